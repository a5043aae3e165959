"""Hosts lose their power, in each stage of a failover and at its gates; and a person switches them on again.

| stage | of the vacated side | of the surviving side | neither | what comes of it |
|---|---|---|---|---|
| 0 | | acd-api2 | | it ends before anything is touched |
| gate | acd-jb1 | | | an approval of what has changed is void |
| 1 | acd-dbm1, during the dump | acd-lb2, before its snapshot | | waits |
| 2 | | | acd-mon | waits |
| 3 | acd-jb1, while Wildfly stops | acd-chat2, while its server stops | | waits |
| 4 | acd-lb1, while sessions drain | acd-dbs2 | | the address moves by itself: it waits; without acd-dbs2 it goes on |
| 5 | | acd-store2, while it takes over | | waits |
| 6, 7 | acd-lb1, when it stands by | | | goes on: what is off needs no MAINT |
| 8 | acd-tel1 | | | waits |
| gate | acd-store1 | acd-lb2, which forgets MAINT | | void; without acd-store1 it goes on |
| 9 | acd-api1, while it shuts down | acd-dbs2, still off | | goes on; acd-dbm1 stays on: what has acd-dbs2? |
| 10 | | acd-lb2, alone by now | | waits, also for quorum |
| 11 | | acd-jb4, while Wildfly starts; acd-tel2 | | waits |
| 12 | | | acd-mon | waits |
| gate | | acd-chat2 | | void |
"""

from __future__ import annotations

import pytest

from procedure.reports import Outcome, RunOutcome
from tests.lab.attended import words
from tests.real.conftest import Faulty
from tests.real.faulty_run import FaultyRun
from tests.real.mishaps import (
    are_back,
    do,
    does_not_stop,
    held_dump,
    maint_by_hand,
    moved_by_hand,
    power_back,
    power_cut,
    session_that_never_ends,
    stands_by,
    switch_on,
)

pytestmark = pytest.mark.timeout(500)

SILENCES = ("2-silence-vm-host-1", "2-silence-vm-host-2")
DRAIN, MOVE_STORAGE, STOP_DAEMON = "4-drain-sessions", "5-move-storage", "8-stop-daemon-acd-tel1"
CHECK_BALANCER = "10-check-load-balancer"
ON_TEL2 = ("8-server", "platform-udp-listener", "presence-aggregator", "exchange-connector", "imap-connector")
SILENT = "port 22: "


async def test_in_each_stage_of_a_failover(faulty: Faulty) -> None:
    async with faulty(vacate="vm-host-1") as one:
        await _at_the_health_check(one)
        await _at_the_first_gate(one)
        await _while_backups_are_made_and_monitoring_is_silenced(one)
        await _while_software_stops_and_sessions_drain(one)
        await _while_everything_moves(one)
        await _at_the_gate_before_the_power_off(one)
        await _while_machines_go_off(one)
        await _while_one_side_is_alone(one)
        await _while_software_starts(one)
        await _at_the_last_gate(one)
        await one.ended(RunOutcome.COMPLETED)
        assert await one.lab.auditors.at_end(vacated="vm-host-1") == []
        assert one.lab.auditors.violations == []


async def _at_the_health_check(one: FaultyRun) -> None:
    await power_cut(one.lab, "acd-api2")
    await one.run.begin()
    report = await one.ended(RunOutcome.FAILED)
    assert "Nothing was touched" in report.outcome_reason
    assert any("acd-api2 is on and answers. Seen: it is off" in step for step in report.next_steps), report.next_steps
    await power_back(one.lab, "acd-api2")


async def _at_the_first_gate(one: FaultyRun) -> None:
    await one.begin()
    await power_cut(one.lab, "acd-jb1")
    await one.approve_in_vain("before_start", "acd-jb1: power was on, is off")
    await power_back(one.lab, "acd-jb1")
    await one.approve_in_vain("before_start", "acd-jb1: power was off, is on")


async def _while_backups_are_made_and_monitoring_is_silenced(one: FaultyRun) -> None:
    dump, snapshot = "1-back-up-acd-dbm1", "1-snapshot-acd-lb2"
    await power_cut(one.lab, "acd-mon")
    with held_dump(one.lab, "acd-dbm1"):
        await one.approve("before_start")
        await one.until_running(dump)
        await power_cut(one.lab, "acd-dbm1", "acd-lb2")
    waits = await one.problems(dump, *SILENCES)
    words(waits[dump], "acd-dbm1: unknown", "a whole database backup is at acd-dbm1:", SILENT, "it may hang, be off")
    words(waits[SILENCES[0]], "monitoring", "/api/v2/silences: Connect", "it runs and can be reached")
    await power_back(one.lab, "acd-dbm1")
    await one.retry(dump)
    waits = await one.problems(snapshot, *SILENCES)
    words(waits[snapshot], "acd-lb2: refused", "nothing was sent", "Seen: it is off", "Start acd-lb2 first")
    await power_back(one.lab, "acd-lb2", "acd-mon")


async def _while_software_stops_and_sessions_drain(one: FaultyRun) -> None:
    """Services start with their host: they are stopped once more."""
    lab, wildfly, chat = one.lab, "3-stop-wildfly-acd-jb1", "3-stop-chat-server-acd-chat2"
    async with does_not_stop(lab, "acd-jb1", "wildfly"), does_not_stop(lab, "acd-chat2", "jtel-clientmessenger"):
        await one.retry("1-snapshot-acd-lb2", *SILENCES)
        await one.until_running(wildfly)
        await power_cut(lab, "acd-jb1", "acd-chat2")
        waits = await one.problems(wildfly, chat)
        words(waits[wildfly], "acd-jb1: unknown", "Wildfly on acd-jb1 is stopped", SILENT, "it may hang, be off")
        words(waits[chat], "acd-chat2: unknown", "Chat Server on acd-chat2 is stopped", SILENT)
        await power_back(lab, "acd-jb1", "acd-chat2")
    async with session_that_never_ends(lab, "acd-jb2"):
        await one.retry(wildfly, chat)
        await one.until_running(DRAIN)
        await _while_sessions_drain(one)


async def _while_sessions_drain(one: FaultyRun) -> None:
    """Pacemaker moves the address to the other load balancer; a person moves it back."""
    lab, pair = one.lab, one.lab.inventory.pairs.load_balancer
    await power_cut(lab, "acd-lb1", "acd-dbs2")
    await lab.until(lambda: lab.truth.holders(pair.address, pair.machines) == ["acd-lb2"], "the address has moved")
    await one.problems(DRAIN)
    await power_back(lab, "acd-lb1")
    await one.retry(DRAIN)
    wait = (await one.problems(DRAIN))[DRAIN]
    words(wait, "active is acd-lb2", "It was acd-lb1 when the run began: move it back there and retry; or abort")
    await moved_by_hand(lab, pair, "acd-lb1")


async def _while_everything_moves(one: FaultyRun) -> None:
    """Without who takes over it waits; without who leaves it goes on."""
    lab, pairs = one.lab, one.lab.inventory.pairs
    await power_cut(lab, "acd-tel1")
    await one.retry(DRAIN)
    await stands_by(lab, pairs.storage, "acd-store1")
    await power_cut(lab, "acd-store2")
    waits = await one.problems(MOVE_STORAGE, STOP_DAEMON)
    words(
        waits[MOVE_STORAGE], "acd-store2: unknown", "the storage pair is on acd-store2", SILENT, "it may hang, be off"
    )
    words(waits[STOP_DAEMON], "acd-tel1: unknown", "AcdGroupDistribute on acd-tel1 is stopped", "timed out")
    await power_back(lab, "acd-store2", "acd-tel1")
    await one.retry(*waits)
    await stands_by(lab, pairs.load_balancer, "acd-lb1")
    await power_cut(lab, "acd-lb1")
    await one.until_gate("before_power_off")
    assert lab.truth.writer() == "acd-dbm2"
    assert await _outcome(one, "7-maint-acd-lb1") is Outcome.NOT_APPLICABLE


async def _outcome(one: FaultyRun, step: str) -> Outcome | None:
    return next(record.outcome for record in (await one.run.status()).steps if record.id == step)


async def _at_the_gate_before_the_power_off(one: FaultyRun) -> None:
    """HAProxy does not remember who is in MAINT: a master that is to go would take the writes again."""
    lab, gate = one.lab, "before_power_off"
    await power_back(lab, "acd-lb1")
    maint_by_hand(lab, "acd-lb1", "vm-host-1")
    await power_cut(lab, "acd-lb2", "acd-store1")
    await one.approve_in_vain(gate, "acd-lb2: power was on, is off", "acd-store1: power was on, is off")
    await power_back(lab, "acd-lb2")
    maint_by_hand(lab, "acd-lb2", "vm-host-1")
    await one.approve_in_vain(gate, "acd-lb2: power was off, is on")
    await one.approve(gate)


async def _while_machines_go_off(one: FaultyRun) -> None:
    """Who is off already need not be shut down; what a replica has that does not answer can't be told."""
    step = "9-shut-down-acd-dbm1"
    await one.until_running("9-shut-down-acd-api1")
    await power_cut(one.lab, "acd-api1")
    wait = (await one.problems(step))[step]
    words(
        wait, "acd-dbm1: unknown", "every replica that stays has replayed what acd-dbm1 wrote", "10.77.0.62 port 3306"
    )
    assert one.lab.hosts["acd-dbm1"].on
    await power_back(one.lab, "acd-dbs2")
    await one.retry(step)


async def _while_one_side_is_alone(one: FaultyRun) -> None:
    """A node that restarts alone has no quorum until a person has looked whether the other is off."""
    lab = one.lab
    await one.until_running("9-shut-down-acd-lb1")
    await lab.hosts["acd-lb1"].until_off()
    await power_cut(lab, "acd-lb2", "acd-tel2")
    words((await one.problems(CHECK_BALANCER))[CHECK_BALANCER], "acd-lb2: unknown", SILENT, "it may hang, be off")
    await switch_on(lab, "acd-lb2")
    await one.retry(CHECK_BALANCER)
    wait = (await one.problems(CHECK_BALANCER))[CHECK_BALANCER]
    words(wait, "acd-lb2 has no quorum; vip is not on acd-lb2", "see that acd-lb1 is off", "`pcs quorum unblock`")
    await do(lab, "acd-lb2", "pcs", "quorum", "unblock", "--force")
    await are_back(lab, "acd-lb2")
    maint_by_hand(lab, "acd-lb2", "vm-host-1")
    await one.retry(CHECK_BALANCER)


async def _while_software_starts(one: FaultyRun) -> None:
    wildfly, lift = "11-start-wildfly-acd-jb4", "12-lift-silence-vm-host-2"
    await one.until_running(wildfly)
    await power_cut(one.lab, "acd-jb4", "acd-mon")
    waits = await one.problems(wildfly, *(f"11-start-{component}-acd-tel2" for component in ON_TEL2))
    words(waits[wildfly], "acd-jb4: unknown", "Wildfly on acd-jb4 is running", SILENT, "it may hang, be off")
    words(waits["11-start-8-server-acd-tel2"], "acd-tel2: unknown", "timed out", "the machine is on")
    await power_back(one.lab, "acd-jb4", "acd-tel2")
    await one.retry(*waits)
    words((await one.problems(lift))[lift], "monitoring", "10 machines are not silenced", "Connect")
    await power_back(one.lab, "acd-mon")
    await one.retry(lift)


async def _at_the_last_gate(one: FaultyRun) -> None:
    await one.until_gate("functionality")
    await power_cut(one.lab, "acd-chat2")
    await one.approve_in_vain("functionality", "acd-chat2: power was on, is off")
    await power_back(one.lab, "acd-chat2")
    await one.approve_in_vain("functionality", "acd-chat2: power was off, is on")
    await one.approve("functionality")
