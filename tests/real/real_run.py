"""A whole run on real hosts: real Temporal server, real worker in a process of its own, real daemons."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from lab.processes import Processes
from lab.real.lab import RealLab
from procedure.reports import RunOutcome
from tests.lab.whole_run import RunOn
from workflows.status import RunReport, Status

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
        self._in_background(self._retry_when_a_caller_was_in_between())
        report = await self.report(within=WITHIN)
        assert report.outcome is RunOutcome.COMPLETED, report.outcome_reason
        return report

    async def failback(self, of: RunReport) -> RunReport:
        """The whole way back, with every gate opened.

        Raises:
            AssertionError: it does not complete; with what the run says.
        """
        await self.begin_failback(of=of)
        self.approve_all()
        self._in_background(self._retry_when_a_caller_was_in_between())
        report = await self.report(within=WITHIN)
        assert report.outcome is RunOutcome.COMPLETED, report.outcome_reason
        return report

    async def _retry_when_a_caller_was_in_between(self) -> None:
        """What an operator does who is told of a session that came after the drain.

        HAProxy tries servers that were stopped until its checks have seen it, so a call can be under way just then.
        """
        while True:
            wait = await self.until_problem(within=WITHIN)
            assert "no session is active" in wait.text, wait.text
            await self.decide("retry", step=wait.step)
            await self.until(partial(_waits_no_more, wait.step), WITHIN)


def _waits_no_more(step: str, status: Status) -> bool:
    return all(wait.step != step for wait in status.waits)
