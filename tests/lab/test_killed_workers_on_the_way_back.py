"""The worker is killed with SIGKILL in each stage of a failback: the same final truth, and nothing done twice."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory, Role
from lab.journal import Entry
from procedure.reports import RunOutcome
from tests.lab.conftest import Undisturbed
from tests.lab.ended_run import ended
from tests.lab.killing import PATIENCE, Moment, begins, kill_in, stages_run_again, standby
from tests.lab.there_and_back import Travel
from tests.outcomes import why

pytestmark = pytest.mark.whole_run


def _moments(inventory: Inventory, returning: str) -> dict[int, Moment]:
    """By stage of the procedure."""

    def stopped_again(entry: Entry) -> bool:
        return entry.operation.startswith("stop wildfly") and inventory.machine(entry.machine).host == returning

    return {
        0: Moment(),
        1: begins("mysqldump "),
        2: Moment(),
        3: begins("stop wildfly"),
        4: Moment(),
        5: begins("power on"),
        6: Moment(stopped_again),
        7: Moment(),
        8: Moment(),
        9: standby(Role.STORAGE),
        10: standby(Role.LOAD_BALANCER),
        11: begins("haproxy "),
        12: begins("start wildfly"),
        13: begins("stop AcdGroupDistribute"),
        14: Moment(),
        15: Moment(),
        16: begins("rm "),
    }


DEATHS = (
    ("vm-host-1", (0, 3, 6, 9, 11, 14)),
    ("vm-host-1", (1, 4, 7, 10, 13, 16)),
    ("vm-host-2", (2, 5, 8, 12, 15)),
)
"""Runs, far enough apart that a worker works in between. Daemon and pairs move back with VM-Host 1 alone."""


def test_every_stage_has_its_death() -> None:
    assert sorted(stage for _, stages in DEATHS for stage in stages) == list(range(17))


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize(
    ("vacate", "stages"), DEATHS, ids=["-".join([host, *map(str, stages)]) for host, stages in DEATHS]
)
async def test_a_worker_killed_on_the_way_back_changes_nothing_but_the_time(
    temporal: WorkflowEnvironment,
    undisturbed: Undisturbed,
    reference: Inventory,
    vacate: str,
    stages: tuple[int, ...],
) -> None:
    expected = (await undisturbed(vacate)).back
    moments = _moments(reference, vacate)
    async with Travel.start(temporal, worker="process", callers=False) as travel:
        run = travel.run
        there = await travel.there(vacate)
        began = len(run.lab.journal.entries)
        await run.begin_failback(of=there.report)
        run.approve_all()
        for stage in stages:
            await kill_in(run, stage, moments[stage], since=began)
        found = await ended(run, travel.timeline, expected.truth, since=began)
        assert await stages_run_again(run) >= set(stages)
    assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
    assert found.violations == ()
    assert found.unknown_commands == ()
    assert found.truth == expected.truth == travel.before
    assert found.done_twice == {}
    assert set(found.done) == set(expected.done)
    outage = found.report.outage
    # Time without a worker is a gap of the measurement. On a slow machine the whole outage may pass in one; and what
    # is cancelled before another worker has taken it up is lost, which the report says.
    assert outage.gaps if outage else any("the outage could not be measured" in note for note in found.report.notes)
