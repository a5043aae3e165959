"""Faults in the middle of a failback that go away: the run waits with the right words, and completes."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from procedure.reports import RunOutcome
from tests.lab.faulty_run import FaultyRun, words
from tests.lab.whole_run import WholeRun

pytestmark = pytest.mark.whole_run

PATIENCE = 240
"""Seconds: a dozen deadlines are waited for in vain, one after the other, on a machine that may be busy."""


@pytest.mark.timeout(PATIENCE)
async def test_one_thing_after_the_other(temporal: WorkflowEnvironment) -> None:
    """In each stage something does not start, stop, synchronise, catch up, move or read as it should."""
    async with FaultyRun.start_back(temporal) as faulty:
        run, lab = faulty.run, faulty.run.lab
        stuck = faulty.fault("acd-jb4", "service_stuck", "wildfly")
        other = faulty.fault("acd-lb1", "haproxy_differs", "weight")
        boot = faulty.fault("acd-dbm1", "boot_stuck")
        resync = faulty.fault("acd-store1", "resync_stuck")
        late = faulty.fault("acd-chat1", "lie", "systemctl stop *")
        session = faulty.fault("acd-jb1", "session_stuck")
        await run.approve("before_start")

        waits = await faulty.problems("3-stop-wildfly-acd-jb4")
        words(waits["3-stop-wildfly-acd-jb4"], "Wildfly on acd-jb4 is stopped", "it is stopping")
        await faulty.clear(stuck)
        await faulty.retry(*waits)

        waits = await faulty.problems("5-start-acd-dbm1", "5-rejoin-acd-store1")
        words(waits["5-start-acd-dbm1"], "acd-dbm1 is on and up", "Look at the console of acd-dbm1")
        words(waits["5-rejoin-acd-store1"], "acd-store1 stands by in the storage pair", "SyncTarget")
        await faulty.clear(boot, resync)
        await faulty.retry(*waits)

        waits = await faulty.problems("6-stop-chat-server-acd-chat1")
        words(waits["6-stop-chat-server-acd-chat1"], "Chat Server on acd-chat1 is stopped", "it is running")
        await faulty.clear(late)
        await faulty.retry(*waits)

        waits = await faulty.problems("7-drain-sessions")
        words(waits["7-drain-sessions"], "no session is active", "1 from acd@", "stop it on the host")
        behind = faulty.fault("acd-dbm1", "replication_held")
        # As one does that Windows delays.
        lab.by_hand("acd-tel1", "start", "jtelIMAPMailService")
        await faulty.clear(session)
        await faulty.retry(*waits)

        waits = await faulty.problems("8-check-replication-acd-dbm1", "8-check-stopped")
        words(waits["8-check-replication-acd-dbm1"], "acd-dbm2", "Not reached: do not go on")
        words(waits["8-check-stopped"], "IMAP Connector on acd-tel1 is running", "stop it by hand")
        pair = faulty.fault("acd-store1", "pair_stuck")
        lab.by_hand("acd-tel1", "stop", "jtelIMAPMailService")
        await faulty.clear(behind)
        await faulty.caught_up("acd-dbm1")
        await faulty.retry(*waits)

        waits = await faulty.problems("9-move-storage")
        words(waits["9-move-storage"], "acd-store1: failed", "fs_r0 is not on acd-store1", "retry waits")
        # As late as can be: both were in step when stage 8 looked.
        behind = faulty.fault("acd-dbm1", "replication_held")
        await lab.world.sleep(120)
        await faulty.clear(pair)
        await faulty.retry(*waits)

        waits = await faulty.problems("10-move-load-balancer")
        words(
            waits["10-move-load-balancer"],
            "refused",
            "nothing was sent",
            "acd-dbm1 has replayed all changes of acd-dbm2",
            "lag",
        )
        assert lab.world.primaries("load_balancer") == ["acd-lb2"]
        await faulty.clear(behind)
        await faulty.caught_up("acd-dbm1")
        await faulty.retry(*waits)

        waits = await faulty.problems("11-compare-acd-lb1")
        words(
            waits["11-compare-acd-lb1"],
            "HAProxy on acd-lb1 reads as it was found",
            "web/acd-jb1: weight 1 found, now 5",
            "haproxy.cfg",
        )
        asleep = faulty.fault("acd-jb1", "lie", "systemctl start wildfly")
        daemon = faulty.fault("acd-tel2", "lie", "AcdGroupDistribute stop")
        await faulty.clear(other)
        await _restart_haproxy(run, "acd-lb1")
        await faulty.retry(*waits)

        waits = await faulty.problems("12-start-wildfly-acd-jb1")
        words(waits["12-start-wildfly-acd-jb1"], "Wildfly on acd-jb1 is running", "it is stopped", "logs of Wildfly")
        await faulty.clear(asleep)
        await faulty.retry(*waits)

        waits = await faulty.problems("13-stop-daemon-acd-tel2")
        words(waits["13-stop-daemon-acd-tel2"], "AcdGroupDistribute", "acd-tel2", "it is running")
        await faulty.clear(daemon)
        await faulty.retry(*waits)

        await run.approve("functionality")
        found = await faulty.ended(by_hand=("start jtelIMAPMailService", "stop jtelIMAPMailService"))
        assert found.report.outcome is RunOutcome.COMPLETED, found.report.outcome_reason
        assert found.truth == faulty.before


async def _restart_haproxy(run: WholeRun, machine: str) -> None:
    """By hand, on its machine."""
    service = run.lab.world.machines[machine].services["haproxy"]
    run.lab.by_hand(machine, "stop", "haproxy")
    await run.lab.wait_until(lambda: service.status == "stopped")
    await run.lab.settled()
    run.lab.by_hand(machine, "start", "haproxy")
    await run.lab.wait_until(lambda: service.status == "running")
    await run.lab.settled()
