"""One failover on real hosts in which something goes wrong again and again, as soon as the last thing is put right.

Each time it waits with the right words, holds back what depends on it, and goes on when it is told to retry.
"""

from __future__ import annotations

from functools import partial

import pytest

from procedure.reports import RunOutcome
from tests.lab.attended import words
from tests.real.conftest import Faulty
from tests.real.faulty_run import FaultyRun
from tests.real.mishaps import (
    asked,
    do,
    does_not_stop,
    full_disk,
    maint_by_hand,
    no_sudo,
    nothing_to_mount,
    other_host_key,
    session_that_never_ends,
)

pytestmark = pytest.mark.timeout(400)

DRAIN, MOVE_STORAGE, MOVE_BALANCER = "4-drain-sessions", "5-move-storage", "6-move-load-balancer"


async def test_one_after_the_other(faulty: Faulty) -> None:
    async with faulty(vacate="vm-host-1") as one:
        await one.begin()
        await _the_disk_for_the_dump_is_full(one)
        await _a_service_does_not_stop(one)
        async with session_that_never_ends(one.lab, "acd-jb2"):
            await _a_session_does_not_end_and_a_service_comes_back(one)
            await _the_storage_does_not_start_on_the_other_node(one)
        await _hosts_are_not_those_they_were(one)
        await _a_replica_stops_at_a_duplicate_key(one)
        await _haproxy_forgets_its_maint(one)
        await one.approve("functionality")
        await one.ended(RunOutcome.COMPLETED)
        assert await one.lab.auditors.at_end(vacated="vm-host-1") == []
        assert one.lab.auditors.violations == []


async def _the_disk_for_the_dump_is_full(one: FaultyRun) -> None:
    step, folder = "1-back-up-acd-dbm1", one.lab.inventory.backup.directory
    async with full_disk(one.lab, "acd-dbm1", folder):
        await one.approve("before_start")
        wait = (await one.problems(step))[step]
        words(
            wait,
            "a whole database backup is at acd-dbm1:",
            "Got errno 28 on write",
            f"free space and the rights in {folder}",
        )


async def _a_service_does_not_stop(one: FaultyRun) -> None:
    step = "3-stop-wildfly-acd-jb1"
    async with does_not_stop(one.lab, "acd-jb1", "wildfly"):
        await one.retry("1-back-up-acd-dbm1")
        wait = (await one.problems(step))[step]
        words(wait, "acd-jb1: unknown", "Wildfly on acd-jb1 is stopped", "it is stopping", "logs of Wildfly")


async def _a_session_does_not_end_and_a_service_comes_back(one: FaultyRun) -> None:
    """The service by somebody's watchdog: whoever has been stopped is not looked at, but its sessions are."""
    lab = one.lab
    await one.retry("3-stop-wildfly-acd-jb1")
    words(
        (await one.problems(DRAIN))[DRAIN],
        "no session is active",
        "1 from app@10.77.0.81 (acd-lb1, Query)",
        "stop it on the host",
    )
    await do(lab, "acd-chat1", "systemctl", "start", "jtel-clientmessenger")
    await one.retry(DRAIN)
    words((await one.problems(DRAIN))[DRAIN], "from app@10.77.0.81 (acd-lb1, Sleep)")
    await do(lab, "acd-chat1", "systemctl", "stop", "jtel-clientmessenger")


async def _cut_off(one: FaultyRun) -> None:
    """Who never ends is cut off at HAProxy and in the database, and so for whoever asked."""
    answer = await one.run.decide("retry", step=DRAIN, force=True, reason="nobody knows whose it is")
    assert answer.accepted, answer.text
    words(await one.run.until_gate("end_sessions", one.within), "They are cut off", "1 from app@10.77.0.81")
    await one.approve("end_sessions")
    await one.lab.until(partial(_is_over, one), "the forgotten query has ended")


async def _is_over(one: FaultyRun) -> bool:
    done = await one.lab.hosts["acd-jb2"].run("systemctl", "is-active", "forgotten")
    return done.stdout.strip() != "active"


async def _the_storage_does_not_start_on_the_other_node(one: FaultyRun) -> None:
    """What is to be mounted is not there."""
    async with nothing_to_mount(one.lab, "acd-store2"):
        await _cut_off(one)
        words(
            (await one.problems(MOVE_STORAGE))[MOVE_STORAGE],
            "acd-store2: failed",
            "fs_r0_start_0 on acd-store2: error (1), complete, Couldn't mount device",
            "pcs resource cleanup",
        )


async def _hosts_are_not_those_they_were(one: FaultyRun) -> None:
    """One has another host key, and sudo lets nobody in; what is asked of it waits, and of nothing else."""
    async with other_host_key(one.lab, "acd-lb2"):
        await one.retry(MOVE_STORAGE)
        wait = (await one.problems(MOVE_BALANCER))[MOVE_BALANCER]
        words(wait, "access was denied", "changed host key: expected ssh-ed25519 SHA256:", "known_hosts", "console")
    async with no_sudo(one.lab, "acd-lb2"):
        await one.retry(MOVE_BALANCER)
        words((await one.problems(MOVE_BALANCER))[MOVE_BALANCER], "acd-lb2", "sudo refused `", "NOPASSWD (sudoers)")


async def _a_replica_stops_at_a_duplicate_key(one: FaultyRun) -> None:
    """The survivor lacks what the vacated master has written: the writes don't move to it."""
    lab, step = one.lab, "7-maint-acd-lb2"
    row = "(id, who, server) VALUES (1000001, 'somebody', 0)"
    with asked(lab, "acd-dbm2") as replica:
        replica.rows(f"INSERT INTO jtel.calls {row}")
    with asked(lab, "acd-dbm1") as source:
        source.rows("SET SESSION sql_log_bin = 1")
        source.rows(f"INSERT INTO jtel.calls {row}")
    await one.retry(MOVE_BALANCER)
    waits = await one.problems(step, "7-maint-acd-lb1")
    words(waits[step], "nothing was sent", "acd-dbm2 has replayed all changes of acd-dbm1", "1062")
    assert lab.truth.writer() == "acd-dbm1"
    with asked(lab, "acd-dbm2") as replica:
        replica.rows("DELETE FROM jtel.calls WHERE id = 1000001")
        replica.rows("START SLAVE SQL_THREAD")
    await lab.until(lambda: (lab.truth.replication("acd-dbm2") or {}).get("Seconds_Behind_Master") == 0, "caught up")
    await one.retry(*waits)


async def _haproxy_forgets_its_maint(one: FaultyRun) -> None:
    """At the gate before the power-off: an approval of what is no longer so is void, and nothing in use goes off."""
    lab = one.lab
    await one.until_gate("before_power_off")
    await do(lab, "acd-lb2", "systemctl", "restart", "haproxy")
    await one.approve_what_has_changed("before_power_off", "acd-lb2: MAINT was")
    in_backends = {f"9-shut-down-{name}" for name in ("acd-jb1", "acd-jb2", "acd-jb3", "acd-chat1", "acd-api1")}
    waits = await one.problems(*in_backends)
    words(
        waits["9-shut-down-acd-jb1"],
        "nothing was sent",
        "in MAINT in every backend on acd-lb2",
        "reloaded or restarted forgets MAINT",
    )
    assert lab.hosts["acd-jb1"].on
    maint_by_hand(lab, "acd-lb2", "vm-host-1")
    await one.retry(*waits)
