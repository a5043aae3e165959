"""The worker is killed with SIGKILL in each stage: the same final truth, and nothing done twice that may not be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from inventory.models import Role
from lab.journal import Entry
from procedure.reports import RunOutcome
from tests.lab.conftest import Undisturbed, together
from tests.lab.ended_run import ended, watch
from tests.lab.whole_run import WholeRun

pytestmark = pytest.mark.whole_run

PATIENCE = 300
"""Seconds for a test: a run with three deaths takes half a minute, and much longer on a machine that is busy."""
OUTAGE = range(3, 12)
"""Stages in which nobody is served: time without a worker is a gap of the measurement there."""


@dataclass(frozen=True)
class Moment:
    """When to kill: the worst one, where an operation has reached the machine and its answer has not left."""

    reached: Callable[[Entry], bool] | None = None
    """The operation; None: the stage changes nothing, so the moment is when its first step was handed out."""


def _begins(*words: str) -> Moment:
    return Moment(lambda entry: entry.operation.startswith(words))


def _standby(role: Role) -> Moment:
    name = "store" if role is Role.STORAGE else "lb"
    return Moment(lambda entry: entry.operation == "pcs node standby" and name in entry.machine)


MOMENTS = {
    0: Moment(),
    1: _begins("mysqldump "),
    2: Moment(),
    3: _begins("stop wildfly"),
    4: Moment(),
    5: _standby(Role.STORAGE),
    6: _standby(Role.LOAD_BALANCER),
    7: _begins("haproxy "),
    8: _begins("stop AcdGroupDistribute"),
    9: _begins("shutdown"),
    10: Moment(),
    11: _begins("start wildfly"),
    12: Moment(),
    13: Moment(),
    14: _begins("delete snapshot "),
}
"""By stage of the procedure."""


def _killed_in(vacate: str, *stages: int) -> pytest.ParameterSet:
    return pytest.param(vacate, stages, marks=together(vacate), id=f"{'-'.join(map(str, stages))}-{vacate}")


# Three deaths a run, far enough apart that it works in between.
@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize(
    ("vacate", "stages"),
    [
        _killed_in("vm-host-1", 0, 5, 10),
        _killed_in("vm-host-2", 1, 6, 11),
        _killed_in("vm-host-1", 2, 7, 12),
        # The daemon moves only where VM-Host 1 is vacated: it runs there.
        _killed_in("vm-host-1", 3, 8, 13),
        _killed_in("vm-host-2", 4, 9, 14),
    ],
)
async def test_a_worker_killed_in_a_stage_changes_nothing_but_the_time(
    temporal: WorkflowEnvironment, undisturbed: Undisturbed, vacate: str, stages: tuple[int, ...]
) -> None:
    expected = await undisturbed(vacate)
    async with WholeRun.start(temporal, vacate=vacate, worker="process") as run:
        timeline = watch(run)
        await run.begin()
        run.approve_all()
        for stage in stages:
            await _in_the_middle_of(run, stage)
            await run.kill_worker()
            await run.start_worker()
        found = await ended(run, timeline, expected.truth)
        assert await _stages_run_again(run) >= set(stages)
    assert found.report.outcome is RunOutcome.COMPLETED, found.report.outcome_reason
    assert found.violations == ()
    assert found.unknown_commands == ()
    # Plain equality: the truth holds neither times nor ids, which differ in every run.
    assert found.truth == expected.truth
    assert found.silences == expected.silences
    assert found.done_twice == {}
    assert set(found.done) == set(expected.done)
    assert found.report.outage is not None
    assert bool(found.report.outage.gaps) == any(stage in OUTAGE for stage in stages)


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
    assert report.outcome is RunOutcome.COMPLETED, report.outcome_reason
    assert report.outage is not None
    assert report.outage.began is not None
    assert report.outage.ended is not None
    assert report.outage.gaps
    assert report.notes == ()


async def _in_the_middle_of(run: WholeRun, stage: int) -> None:
    reached = MOMENTS[stage].reached
    if reached is None:
        await run.handed_out(f"{stage}-")
        return
    journal = run.lab.journal.entries
    await run.lab.wait_until(lambda: any(map(reached, journal)))


async def _stages_run_again(run: WholeRun) -> set[int]:
    """Stages with a step that was begun, lost with its worker, and begun again."""
    names: dict[int, str] = {}
    again = set()
    for event in await run.history():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_id
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            if started.attempt > 1 and names[started.scheduled_event_id][0].isdigit():
                again.add(int(names[started.scheduled_event_id].split("-")[0]))
    return again
