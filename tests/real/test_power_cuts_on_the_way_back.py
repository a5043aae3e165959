"""Hosts lose their power, in each stage of a failback and at its gates; and a person switches them on again.

vm-host-1 returns. Its machines are off until stage 5, so until then only the VM-Host itself can lose its power. Two
failbacks, since the second half begins with machines that have just started.

| stage | of the returning side | of the staying side | neither | what comes of it |
|---|---|---|---|---|
| 0 | vm-host-1 | acd-api2 | | it ends before anything is touched |
| gate | vm-host-1 | acd-jb4 | | an approval of what has changed is void |
| 1 | asked nothing | acd-dbm2, during the dump | | waits |
| 2 | asked nothing | asked nothing | acd-mon | waits |
| 3 | vm-host-1, before the last look | acd-store2 before it; acd-jb4, while Wildfly stops | | waits, also for quorum |
| 4 | asked nothing | acd-dbm2, while sessions drain; acd-dbs2 | | waits; without acd-dbs2 it goes on |
| 5 | acd-store1 and acd-dbm1, during boot | the line; acd-lb2, which forgets MAINT | | waits; back in time: goes on |
| 6 | acd-jb1, before Wildfly is stopped | acd-jb5 | | waits; without acd-jb5 it goes on |
| 7 | acd-dbs1, not needed yet | acd-dbm2; acd-jb5, whose Wildfly has started with it | | waits |
| 8 | acd-store1, acd-dbs1 | acd-dbs2 | | waits |
| 9 | acd-store1, while it takes over | acd-store2, when it is to stand by again | | waits |
| 10 | acd-lb1, while it takes over | acd-dbm2: what has it? acd-lb2, when it is to stand by again | | waits |
| 11 | acd-lb1, before it is compared | acd-lb2, before it gets READY | | the address moves by itself: waits |
| 12 | acd-jb1, while Wildfly starts | acd-jb4, likewise | | waits |
| 13 | acd-tel1, before the daemon starts | acd-tel2, before the daemon is stopped | | waits |
| 14 | asked nothing | asked nothing | acd-mon | waits |
| gate | acd-api1 | acd-chat2 | | void |
"""

from __future__ import annotations

import pytest

from procedure.reports import RunOutcome
from tests.lab.attended import words
from tests.real.conftest import Faulty
from tests.real.faulty_run import FaultyRun
from tests.real.mishaps import (
    are_back,
    do,
    does_not_stop,
    has_coordinator,
    held_dump,
    maint_by_hand,
    moved_by_hand,
    power_back,
    power_cut,
    session_that_never_ends,
    stands_by,
    switch_on,
)
from workflows.status import RunReport, StepState

pytestmark = pytest.mark.timeout(600)

SILENCES = ("2-silence-vm-host-1", "2-silence-vm-host-2")
LOOK, DRAIN, DRAIN_AGAIN = "3-look-again", "4-drain-sessions", "7-drain-sessions"
START_BALANCER, START_MASTER, REJOIN_STORAGE = "5-start-acd-lb1", "5-start-acd-dbm1", "5-rejoin-acd-store1"
MOVE_STORAGE, STORAGE_SETTLED = "9-move-storage", "9-rejoin-acd-store2"
MOVE_BALANCER, BALANCER_SETTLED = "10-move-load-balancer", "10-rejoin-acd-lb2"
SILENT = "port 22: "


async def test_until_machines_are_on(faulty: Faulty) -> None:
    async with faulty(vacate="vm-host-1") as one:
        failover = await one.run.failover()
        await _at_the_health_check(one, failover)
        await _at_the_first_gate(one, failover)
        await _while_a_backup_is_made_and_monitoring_is_silenced(one)
        await _when_it_looks_again(one)
        await _while_software_stops_and_sessions_drain(one)
        await _while_machines_start(one)
        await _while_a_master_boots(one)
        await one.approve("functionality")
        await _has_come_back(one)


async def test_when_machines_are_on(faulty: Faulty) -> None:
    async with faulty(vacate="vm-host-1") as one:
        await one.begin(of=await one.run.failover())
        await one.approve("before_start")
        await _while_software_stops_again(one)
        await _while_sessions_drain_again(one)
        await _when_both_sides_are_looked_at(one)
        await _while_storage_moves_back(one)
        await _while_the_load_balancer_moves_back(one)
        await _while_haproxy_is_restored(one)
        await _while_software_starts(one)
        await _while_the_daemon_moves_back(one)
        await _at_the_last_gate(one)
        await _has_come_back(one)


async def _has_come_back(one: FaultyRun) -> None:
    await one.ended(RunOutcome.COMPLETED)
    assert await one.lab.auditors.at_end() == []
    assert one.lab.auditors.violations == []


async def _at_the_health_check(one: FaultyRun, failover: RunReport) -> None:
    """Machines of a VM-Host that can't be asked are not taken for off."""
    await power_cut(one.lab, "acd-api2", "vm-host-1")
    await one.run.begin_failback(of=failover)
    report = await one.ended(RunOutcome.FAILED)
    assert "Nothing was touched" in report.outcome_reason
    assert any("acd-api2 is on and answers. Seen: it is off" in step for step in report.next_steps), report.next_steps
    await power_back(one.lab, "acd-api2", "vm-host-1")


async def _at_the_first_gate(one: FaultyRun, failover: RunReport) -> None:
    gate = "before_start"
    await one.begin(of=failover)
    await power_cut(one.lab, "acd-jb4", "vm-host-1")
    await one.approve_in_vain(gate, "acd-jb4: power was on, is off", "acd-jb1: power was known, can't be told now")
    await power_back(one.lab, "acd-jb4", "vm-host-1")
    await one.approve_in_vain(gate, "acd-jb4: power was off, is on")


async def _while_a_backup_is_made_and_monitoring_is_silenced(one: FaultyRun) -> None:
    """The one master there is; and the VM-Host that returns, of which nothing is needed yet."""
    dump = "1-back-up-acd-dbm2"
    await power_cut(one.lab, "acd-mon")
    with held_dump(one.lab, "acd-dbm2"):
        await one.approve("before_start")
        await one.until_running(dump)
        await power_cut(one.lab, "acd-dbm2")
    waits = await one.problems(dump, *SILENCES)
    words(waits[dump], "acd-dbm2: unknown", "a whole database backup is at acd-dbm2:", "acd-dbm2: 10.77.0.72 port 22: ")
    words(waits[SILENCES[0]], "monitoring", "/api/v2/silences: Connect", "it runs and can be reached")
    await power_back(one.lab, "acd-dbm2", "acd-mon")
    await power_cut(one.lab, "acd-store2", "vm-host-1")
    await one.retry(*waits)


async def _when_it_looks_again(one: FaultyRun) -> None:
    """Who restarts alone has no quorum until a person has looked whether the other is off."""
    await switch_on(one.lab, "acd-store2")
    wait = (await one.problems(LOOK))[LOOK]
    words(wait, "all machines of vm-host-1 are off, acd-tel1 does not", " and 8 more: vm-host-1: 10.77.0.1 port 22: ")
    words(wait, "see that acd-store1 is off", "`pcs quorum unblock` on acd-store2", "Look at its console")
    await do(one.lab, "acd-store2", "pcs", "quorum", "unblock", "--force")
    await are_back(one.lab, "acd-store2")
    await switch_on(one.lab, "vm-host-1")


async def _while_software_stops_and_sessions_drain(one: FaultyRun) -> None:
    """Services start with their host: they are stopped once more."""
    lab, wildfly = one.lab, "3-stop-wildfly-acd-jb4"
    async with does_not_stop(lab, "acd-jb4", "wildfly"):
        await one.retry(LOOK)
        await one.until_running(wildfly)
        await power_cut(lab, "acd-jb4", "acd-dbs2")
        waits = await one.problems(wildfly)
        words(waits[wildfly], "acd-jb4: unknown", "Wildfly on acd-jb4 is stopped", SILENT, "it may hang, be off")
        await power_back(lab, "acd-jb4")
    async with session_that_never_ends(lab, "acd-jb5"):
        await one.retry(wildfly)
        await one.until_running(DRAIN)
        await power_cut(lab, "acd-dbm2")
        wait = (await one.problems(DRAIN))[DRAIN]
        words(wait, "it alone: writes go to none", "acd-dbm2: connect to 10.77.0.72 port 3306")
        await power_back(lab, "acd-dbm2")


async def _while_machines_start(one: FaultyRun) -> None:
    """Also the line is cut; the load balancer that stays forgets MAINT."""
    lab = one.lab
    await one.retry(DRAIN)
    await one.until_running("5-start-acd-store1")
    await lab.until(lambda: lab.hosts["acd-store1"].on, "acd-store1 boots")
    lab.set_line(up=False)
    await power_cut(lab, "acd-store1")
    await switch_on(lab, "acd-store1")
    waits = await one.problems(START_BALANCER, REJOIN_STORAGE)
    words(waits[START_BALANCER], "acd-lb1: unknown", "acd-lb2: 10.77.0.82 port 22: ")
    words(waits[REJOIN_STORAGE], "acd-store1: unknown", "acd-store2: 10.77.0.12 port 22: ")
    assert not lab.hosts["acd-lb1"].on
    await power_cut(lab, "acd-lb2")
    lab.set_line(up=True)
    await are_back(lab, "acd-store1")
    await one.retry(*waits)
    words((await one.problems(START_BALANCER))[START_BALANCER], "acd-lb1: unknown", "acd-lb2: 10.77.0.82 port 22: ")
    await switch_on(lab, "acd-lb2", "acd-dbs2")
    await has_coordinator(lab, "acd-lb2")
    await one.retry(START_BALANCER)
    wait = (await one.problems(START_BALANCER))[START_BALANCER]
    words(wait, "acd-lb1: refused", "nothing was sent", "primary is none: acd-lb2 has no quorum")
    words(wait, "see that acd-lb1 is off, and only then `pcs quorum unblock` on acd-lb2")
    await do(lab, "acd-lb2", "pcs", "quorum", "unblock", "--force")
    await are_back(lab, "acd-lb2")
    await one.retry(START_BALANCER)
    wait = (await one.problems(START_MASTER))[START_MASTER]
    words(wait, "acd-dbm1: refused", "nothing was sent", "acd-dbm1 is in MAINT in every backend on acd-lb2")
    words(wait, "Set acd-dbm1 to MAINT on acd-lb2 first (a HAProxy that was reloaded or restarted forgets MAINT)")
    maint_by_hand(lab, "acd-lb2", "vm-host-1")


async def _while_a_master_boots(one: FaultyRun) -> None:
    lab = one.lab
    await one.retry(START_MASTER)
    await one.until_running(START_MASTER)
    await lab.until(lambda: lab.hosts["acd-dbm1"].on, "acd-dbm1 boots")
    await power_cut(lab, "acd-dbm1")
    wait = (await one.problems(START_MASTER))[START_MASTER]
    words(wait, "acd-dbm1 is on and up. Seen: it is off", "Look at the console of acd-dbm1")
    await one.retry(START_MASTER)


async def _while_software_stops_again(one: FaultyRun) -> None:
    """Once all are up it is held, so that one is cut off before what has started with it is stopped."""
    lab, wildfly = one.lab, "6-stop-wildfly-acd-jb1"
    await one.until_running("5-start-acd-jb1")
    await _held(one, "5-start-")
    await are_back(lab, "acd-dbm1", "acd-dbs2")
    await power_cut(lab, "acd-jb1", "acd-jb5")
    await one.run.decide("resume")
    waits = await one.problems(wildfly)
    words(waits[wildfly], "acd-jb1: unknown", "Wildfly on acd-jb1 is stopped", SILENT)
    await power_back(lab, "acd-jb1")


async def _held(one: FaultyRun, steps: str) -> None:
    """Pause, and wait until the steps that are being done have ended: the next ones do not begin."""
    answer = await one.run.decide("pause", reason="a moment")
    assert answer.accepted, answer.text
    await one.run.until(
        lambda status: all(s.state is StepState.ENDED for s in status.steps if s.id.startswith(steps)), one.within
    )


async def _while_sessions_drain_again(one: FaultyRun) -> None:
    lab = one.lab
    await power_cut(lab, "acd-dbm2", "acd-dbs1", "acd-dbs2")
    await one.retry("6-stop-wildfly-acd-jb1")
    wait = (await one.problems(DRAIN_AGAIN))[DRAIN_AGAIN]
    words(wait, "it alone: writes go to none", "acd-dbm2: connect to 10.77.0.72 port 3306")
    await power_back(lab, "acd-dbm2", "acd-jb5")
    await one.retry(DRAIN_AGAIN)
    wait = (await one.problems(DRAIN_AGAIN))[DRAIN_AGAIN]
    words(wait, "HAProxy on acd-lb2 has no session: db/acd-dbm2: 2", "from app@10.77.0.82 (acd-lb2, Sleep)")
    words(wait, "They end when their program disconnects: stop it on the host named")
    await do(lab, "acd-jb5", "systemctl", "stop", "wildfly")
    await power_cut(lab, "acd-store1")


async def _when_both_sides_are_looked_at(one: FaultyRun) -> None:
    """A replica on either side, and a node of a pair: do not go on."""
    lab, storage = one.lab, "8-check-storage"
    replicas = tuple(f"8-check-replication-acd-{name}" for name in ("dbs1", "dbs2"))
    await one.retry(DRAIN_AGAIN)
    waits = await one.problems(storage, *replicas)
    words(waits[storage], "acd-store2 is primary of the storage pair, acd-store1 stands by in sync")
    words(waits[replicas[0]], "acd-dbs1: unknown")
    words(waits[replicas[1]], "acd-dbs2: unknown")
    await power_back(lab, "acd-store1", "acd-dbs1", "acd-dbs2")
    await one.retry(*waits)


async def _while_storage_moves_back(one: FaultyRun) -> None:
    """Who takes over; then the master that is to hand over."""
    lab = one.lab
    await stands_by(lab, lab.inventory.pairs.storage, "acd-store2")
    await power_cut(lab, "acd-store1")
    wait = (await one.problems(MOVE_STORAGE))[MOVE_STORAGE]
    words(wait, "acd-store1: unknown", "the storage pair is on acd-store1", SILENT, "it may hang, be off")
    await power_back(lab, "acd-store1")
    await power_cut(lab, "acd-dbm2")
    await one.retry(MOVE_STORAGE)
    await one.until_running(STORAGE_SETTLED)
    await power_cut(lab, "acd-store2")


async def _while_the_load_balancer_moves_back(one: FaultyRun) -> None:
    lab = one.lab
    waits = await one.problems(STORAGE_SETTLED, MOVE_BALANCER)
    words(waits[STORAGE_SETTLED], "acd-store2")
    words(waits[MOVE_BALANCER], "refused", "nothing was sent", "acd-dbm1 has replayed all changes of acd-dbm2")
    await power_back(lab, "acd-store2", "acd-dbm2")
    await one.retry(*waits)
    await stands_by(lab, lab.inventory.pairs.load_balancer, "acd-lb2")
    await power_cut(lab, "acd-lb1")
    wait = (await one.problems(MOVE_BALANCER))[MOVE_BALANCER]
    words(wait, "acd-lb1: unknown", "the load-balancer pair is on acd-lb1", SILENT)
    await power_back(lab, "acd-lb1")
    await one.retry(MOVE_BALANCER)
    await one.until_running(BALANCER_SETTLED)
    await power_cut(lab, "acd-lb2")
    words((await one.problems(BALANCER_SETTLED))[BALANCER_SETTLED], "acd-lb2")
    await power_back(lab, "acd-lb2")


async def _while_haproxy_is_restored(one: FaultyRun) -> None:
    """The address moves by itself, and a person moves it back."""
    lab, pair, compare, ready = one.lab, one.lab.inventory.pairs.load_balancer, "11-compare-acd-lb1", "11-ready-acd-lb2"
    await one.retry(BALANCER_SETTLED)
    await _held(one, BALANCER_SETTLED)
    await power_cut(lab, "acd-lb1")
    await one.run.decide("resume")
    waits = await one.problems(compare)
    words(waits[compare], "acd-lb1: unknown", "10.77.0.81")
    await power_back(lab, "acd-lb1")
    await moved_by_hand(lab, pair, "acd-lb1")
    await power_cut(lab, "acd-lb2")
    await one.retry(compare)
    words((await one.problems(ready))[ready], "acd-lb2: unknown", "10.77.0.82")
    await power_back(lab, "acd-lb2")


async def _while_software_starts(one: FaultyRun) -> None:
    wildfly = {name: f"12-start-wildfly-{name}" for name in ("acd-jb1", "acd-jb4")}
    await one.retry("11-ready-acd-lb2")
    for step in wildfly.values():
        await one.until_running(step)
    await power_cut(one.lab, *wildfly)
    waits = await one.problems(*wildfly.values())
    for name, step in wildfly.items():
        words(waits[step], f"{name}: unknown", f"Wildfly on {name} is running", SILENT, "it may hang, be off")
    await power_back(one.lab, *wildfly)
    await power_cut(one.lab, "acd-tel1", "acd-tel2", "acd-mon")
    await one.retry(*wildfly.values())


async def _while_the_daemon_moves_back(one: FaultyRun) -> None:
    lab, stop, start = one.lab, "13-stop-daemon-acd-tel2", "13-start-daemon-acd-tel1"
    lifts = tuple(f"14-lift-silence-vm-host-{number}" for number in (1, 2))
    words((await one.problems(stop))[stop], "acd-tel2: unknown", "AcdGroupDistribute", "timed out")
    await power_back(lab, "acd-tel2")
    await one.retry(stop)
    words((await one.problems(start))[start], "acd-tel1", "AcdGroupDistribute", "timed out")
    await power_back(lab, "acd-tel1")
    await one.retry(start)
    waits = await one.problems(*lifts, "15-check-restored")
    words(waits[lifts[0]], "monitoring", "10 machines are not silenced", "Connect")
    await power_back(lab, "acd-mon")
    await one.retry(*waits)


async def _at_the_last_gate(one: FaultyRun) -> None:
    lab, gate = one.lab, "functionality"
    await one.until_gate(gate)
    await power_cut(lab, "acd-chat2", "acd-api1")
    await one.approve_in_vain(gate, "acd-chat2: power was on, is off", "acd-api1: power was on, is off")
    await power_back(lab, "acd-chat2", "acd-api1")
    await one.approve_in_vain(gate, "acd-chat2: power was off, is on", "acd-api1: power was off, is on")
    await one.approve(gate)
