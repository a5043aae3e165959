"""Again and again a VM-Host is vacated and comes back, in both directions: the cluster is each time as it was."""

from __future__ import annotations

import os

import pytest
from temporalio.testing import WorkflowEnvironment

from procedure.reports import RunOutcome
from tests.lab.there_and_back import ThereAndBack, Travel
from tests.outcomes import why

pytestmark = pytest.mark.whole_run

ROUNDS = int(os.environ.get("THERE_AND_BACK_ROUNDS", "4"))
"""A round is a failover and its failback. The hosts take turns, so each goes and comes back twice."""
SPEED = 200.0
"""Simulated seconds in a real one. What takes time then are the real protocols and processes."""
PATIENCE = 60
"""Seconds for a round, on a machine that is busy with other tests."""


@pytest.mark.timeout(ROUNDS * PATIENCE)
async def test_rounds_in_a_row(temporal: WorkflowEnvironment) -> None:
    async with Travel.start(temporal, speed=SPEED, callers=False) as travel:
        for number in range(ROUNDS):
            both = await travel.there_and_back(f"vm-host-{1 + number % 2}")
            _must_be_as_it_was(number + 1, both)


def _must_be_as_it_was(number: int, both: ThereAndBack) -> None:
    for ended in (both.there, both.back):
        where = f"round {number}, {ended.report.direction} of {ended.vacated}"
        assert ended.report.outcome is RunOutcome.COMPLETED, why(ended.report)
        assert ended.violations == (), where
        assert ended.unknown_commands == (), where
        assert ended.done_twice == {}, where
    assert both.back.truth == both.before, f"round {number}"
