"""A whole run on real hosts: real Temporal server, real worker in a process of its own, real daemons."""

from __future__ import annotations

from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from lab.processes import Processes
from lab.real.lab import RealLab
from procedure.reports import RunOutcome
from tests.lab.whole_run import RunOn
from tests.outcomes import why
from workflows.status import RunReport

WITHIN = 240.0
"""Seconds for a whole run on a busy machine; an idle one takes 50 to 90."""


class RealRun(RunOn[RealLab]):
    """A run on the cluster of real hosts."""

    @classmethod
    def of(cls, temporal: WorkflowEnvironment, lab: RealLab, directory: Path, *, vacate: str) -> RealRun:
        """Of a lab that runs; no worker yet."""
        inventory = load(lab.inventory_path)
        return cls(temporal.client, lab, vacate, "process", inventory, Processes(directory), {})

    async def failover(self) -> RunReport:
        """A whole failover, with every gate opened.

        Raises:
            AssertionError: it does not complete; with what the run says.
        """
        await self.begin()
        self.approve_all()
        report = await self.report(within=WITHIN)
        assert report.outcome is RunOutcome.COMPLETED, why(report)
        return report

    async def failback(self, of: RunReport) -> RunReport:
        """The whole way back, with every gate opened.

        Raises:
            AssertionError: it does not complete; with what the run says.
        """
        await self.begin_failback(of=of)
        self.approve_all()
        report = await self.report(within=WITHIN)
        assert report.outcome is RunOutcome.COMPLETED, why(report)
        return report
