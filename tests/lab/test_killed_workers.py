"""The worker is killed with SIGKILL in each stage, there and back: the same final truth, and nothing done twice."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from inventory.models import Role
from procedure.reports import RunOutcome
from tests.lab.conftest import Undisturbed
from tests.lab.ended_run import ended, watch
from tests.lab.killing import PATIENCE, Moment, begins, kill_in, stages_run_again, standby
from tests.lab.whole_run import WholeRun
from tests.outcomes import why

pytestmark = pytest.mark.whole_run

MOMENTS = {
    0: Moment(),
    1: begins("mysqldump "),
    2: Moment(),
    3: begins("stop wildfly"),
    4: Moment(),
    5: standby(Role.STORAGE),
    6: standby(Role.LOAD_BALANCER),
    7: begins("haproxy "),
    8: begins("stop AcdGroupDistribute"),
    9: begins("shutdown"),
    10: Moment(),
    11: begins("start wildfly"),
    12: Moment(),
    13: Moment(),
    14: begins("delete snapshot "),
}
"""By stage of the procedure."""


DEATHS = (
    ("vm-host-1", (0, 3, 6, 9, 12)),
    ("vm-host-2", (1, 4, 7, 10, 13)),
    ("vm-host-1", (2, 5, 8, 11, 14)),
)
"""Runs, far enough apart that a worker works in between. The daemon moves only where VM-Host 1 is vacated."""


def test_every_stage_has_its_death() -> None:
    assert sorted(stage for _, stages in DEATHS for stage in stages) == sorted(MOMENTS)


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize(
    ("vacate", "stages"), DEATHS, ids=["-".join([host, *map(str, stages)]) for host, stages in DEATHS]
)
async def test_a_worker_killed_in_a_stage_changes_nothing_but_the_time(
    temporal: WorkflowEnvironment, undisturbed: Undisturbed, vacate: str, stages: tuple[int, ...]
) -> None:
    expected = (await undisturbed(vacate)).there
    async with WholeRun.start(temporal, vacate=vacate, worker="process") as run:
        timeline = watch(run)
        await run.begin()
        run.approve_all()
        for stage in stages:
            await kill_in(run, stage, MOMENTS[stage])
        found = await ended(run, timeline, expected.truth)
        assert await stages_run_again(run) >= set(stages)
    assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
    assert found.violations == ()
    assert found.unknown_commands == ()
    # Plain equality: the truth holds neither times nor ids, which differ in every run.
    assert found.truth == expected.truth
    assert found.silences == expected.silences
    assert found.done_twice == {}
    assert set(found.done) == set(expected.done)
    outage = found.report.outage
    # Time without a worker is a gap of the measurement. On a slow machine the whole outage may pass in one; and what
    # is cancelled before another worker has taken it up is lost, which the report says.
    assert outage.gaps if outage else any("the outage could not be measured" in note for note in found.report.notes)


@pytest.mark.timeout(PATIENCE)
async def test_a_worker_killed_as_the_measurement_of_the_outage_ends(temporal: WorkflowEnvironment) -> None:
    """The server begins a cancelled activity never again, so what it had measured would be lost."""
    async with WholeRun.start(temporal, worker="process", callers=False) as run:
        await run.begin()
        run.approve_all()
        await run.happened(EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
        await run.kill_worker()
        await run.start_worker()
        report = await run.report()
    assert report.outcome is RunOutcome.COMPLETED, why(report)
    assert report.outage is not None
    assert report.outage.began is not None
    assert report.outage.ended is not None
    assert report.outage.gaps
    assert report.notes == ()
