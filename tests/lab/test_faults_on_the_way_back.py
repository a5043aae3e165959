"""Faults in the middle of a failback that go away: the run waits with the right words, and completes."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from lab.faults import Fault
from procedure.reports import RunOutcome
from tests.lab.attended import words
from tests.lab.faulty_run import FaultyRun
from tests.outcomes import why

pytestmark = pytest.mark.whole_run

PATIENCE = 400
"""Seconds: a dozen deadlines are waited for in vain, one after the other, on a machine that may be busy."""

BY_HAND = tuple(f"{verb} {service}" for verb in ("start", "stop") for service in ("wildfly", "jtelIMAPMailService"))
"""What is also done by hand here, and so twice."""


@pytest.mark.timeout(PATIENCE)
async def test_one_thing_after_the_other(temporal: WorkflowEnvironment) -> None:
    """In each stage something does not start, stop, synchronise, catch up, move or read as it should."""
    async with FaultyRun.start_back(temporal) as faulty:
        config = faulty.fault("acd-lb1", "haproxy_differs", "weight")
        await _one_side_stops(faulty)
        await _machines_return(faulty)
        await _both_sides_are_looked_at(faulty)
        await _the_pairs_move_back(faulty)
        await _haproxy_is_compared(faulty, config)
        await _software_starts(faulty)
        await faulty.run.approve("functionality")
        found = await faulty.ended(by_hand=BY_HAND)
        assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
        assert found.truth == faulty.before


async def _one_side_stops(faulty: FaultyRun) -> None:
    """A service won't stop, a session never ends; then nobody knows whose data is better."""
    stuck = faulty.fault("acd-jb4", "service_stuck", "wildfly")
    session = faulty.fault("acd-jb5", "session_stuck")
    await faulty.run.approve("before_start")

    waits = await faulty.problems("3-stop-wildfly-acd-jb4")
    words(waits["3-stop-wildfly-acd-jb4"], "Wildfly on acd-jb4 is stopped", "it is stopping")
    await faulty.clear(stuck)
    await faulty.retry(*waits)

    waits = await faulty.problems("4-drain-sessions")
    words(waits["4-drain-sessions"], "no session is active on acd-lb2 and acd-dbm2", "1 from acd@")
    split = faulty.fault("acd-store1", "drbd_standalone")
    await faulty.clear(session)
    await faulty.retry(*waits)

    waits = await faulty.problems("5-start-acd-store1")
    words(waits["5-start-acd-store1"], "refused", "StandAlone: suspicion of split brain", "Stop. Compare the data")
    # Not even switched on.
    assert faulty.run.lab.world.machines["acd-store1"].power == "off"
    faulty.fault("acd-store1", "resync_stuck")
    faulty.fault("acd-dbm1", "boot_stuck")
    faulty.fault("acd-dbs1", "replication_stopped")
    faulty.fault("acd-chat1", "lie", "systemctl stop *")
    await faulty.clear(split)
    await faulty.retry(*waits)


async def _machines_return(faulty: FaultyRun) -> None:
    """One does not boot, DRBD does not synchronise, what started does not stop, and what was stopped starts again."""
    lab = faulty.run.lab
    waits = await faulty.problems("5-start-acd-dbm1", "5-rejoin-acd-store1")
    words(waits["5-start-acd-dbm1"], "acd-dbm1 is on and up", "Look at the console of acd-dbm1")
    words(waits["5-rejoin-acd-store1"], "acd-store1 stands by in the storage pair", "SyncTarget")
    await faulty.clear(*faulty.of_kind("boot_stuck", "resync_stuck"))
    await faulty.retry(*waits)

    waits = await faulty.problems("6-stop-chat-server-acd-chat1")
    words(waits["6-stop-chat-server-acd-chat1"], "Chat Server on acd-chat1 is stopped", "it is running")
    await faulty.by_hand("acd-jb2", "start", "wildfly")
    await faulty.clear(*faulty.of_kind("lie"))
    await faulty.retry(*waits)

    waits = await faulty.problems("7-drain-sessions")
    words(waits["7-drain-sessions"], "no session is active", "3 from acd@", "stop it on the host")
    faulty.fault("acd-dbm1", "replication_held")
    await faulty.by_hand("acd-jb2", "stop", "wildfly")
    # As one does that Windows delays.
    lab.by_hand("acd-tel1", "start", "jtelIMAPMailService")
    await faulty.retry(*waits)


async def _both_sides_are_looked_at(faulty: FaultyRun) -> None:
    """A replica has an SQL error, a master lags, a service has started late."""
    dbm1, dbs1 = "8-check-replication-acd-dbm1", "8-check-replication-acd-dbs1"
    waits = await faulty.problems(dbm1, dbs1, "8-check-stopped")
    words(waits[dbs1], "acd-dbs1", "1062", "SHOW REPLICA STATUS on acd-dbs1")
    words(waits[dbm1], "acd-dbm2", "Not reached: do not go on")
    words(waits["8-check-stopped"], "IMAP Connector on acd-tel1 is running", "stop it by hand")
    faulty.fault("acd-store1", "pair_stuck")
    await faulty.by_hand("acd-tel1", "stop", "jtelIMAPMailService")
    await faulty.clear(*faulty.of_kind("replication_held", "replication_stopped"))
    for replica in ("acd-dbm1", "acd-dbs1"):
        await faulty.caught_up(replica)
    await faulty.retry(*waits)


async def _the_pairs_move_back(faulty: FaultyRun) -> None:
    """One does not move; the returned master lags again, as late as can be: it would be given the writes."""
    world = faulty.run.lab.world
    waits = await faulty.problems("9-move-storage")
    words(waits["9-move-storage"], "acd-store1: failed", "fs_r0 is not on acd-store1", "retry waits")
    behind = faulty.fault("acd-dbm1", "replication_held")
    await world.sleep(2 * 60)
    await faulty.clear(*faulty.of_kind("pair_stuck"))
    await faulty.retry(*waits)

    move = "10-move-load-balancer"
    waits = await faulty.problems(move)
    words(waits[move], "refused", "nothing was sent", "acd-dbm1 has replayed all changes of acd-dbm2", "lag")
    assert world.primaries("load_balancer") == ["acd-lb2"]
    await faulty.clear(behind)
    await faulty.caught_up("acd-dbm1")
    await faulty.retry(*waits)


async def _haproxy_is_compared(faulty: FaultyRun, config: Fault) -> None:
    """Somebody has changed its configuration while the machine was off."""
    compare = "11-compare-acd-lb1"
    waits = await faulty.problems(compare)
    words(
        waits[compare], "HAProxy on acd-lb1 reads as it was found", "web/acd-jb1: weight 1 found, now 5", "haproxy.cfg"
    )
    faulty.fault("acd-jb1", "lie", "systemctl start wildfly")
    await faulty.clear(config)
    for action in ("stop", "start"):
        await faulty.by_hand("acd-lb1", action, "haproxy")
    await faulty.retry(*waits)


async def _software_starts(faulty: FaultyRun) -> None:
    """One program does not start, and the daemon does not end where it was."""
    waits = await faulty.problems("12-start-wildfly-acd-jb1")
    words(waits["12-start-wildfly-acd-jb1"], "Wildfly on acd-jb1 is running", "it is stopped", "logs of Wildfly")
    daemon = faulty.fault("acd-tel2", "lie", "AcdGroupDistribute stop")
    await faulty.clear(*(fault for fault in faulty.of_kind("lie") if fault is not daemon))
    await faulty.retry(*waits)

    waits = await faulty.problems("13-stop-daemon-acd-tel2")
    words(waits["13-stop-daemon-acd-tel2"], "AcdGroupDistribute", "acd-tel2", "it is running")
    await faulty.clear(daemon)
    await faulty.retry(*waits)
