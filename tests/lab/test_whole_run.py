"""Whole failovers in the lab: either host is vacated, and what is true afterwards."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from procedure.reports import RunOutcome
from tests.lab.whole_run import WholeRun

pytestmark = pytest.mark.whole_run


@pytest.mark.parametrize("vacate", ["vm-host-1", "vm-host-2"])
async def test_a_failover_of_either_host(temporal: WorkflowEnvironment, vacate: str) -> None:
    async with WholeRun.start(temporal, vacate=vacate, worker="inside") as run:
        await run.begin()
        run.approve_all()
        report = await run.report()
        assert report.outcome is RunOutcome.COMPLETED, report.outcome_reason
        assert run.lab.violations == []
        assert run.lab.auditors.at_end(vacated=vacate) == []
