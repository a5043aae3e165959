"""A run on real hosts in which something goes wrong, and the person who watches it.

The waiting times of the inventory are short here, so that a deadline costs seconds; the hosts are as ever. Nobody
calls: what callers see of a fault is not what is looked at, and a call in the wrong moment would be one more fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Timings
from lab.processes import Processes
from lab.real.lab import RealLab
from procedure.reports import RunOutcome
from tests.lab.attended import Attended
from tests.real.real_run import WITHIN, RealRun
from workflows.status import RunReport

SHORT = {
    "connect": timedelta(seconds=3),
    "command": timedelta(seconds=10),
    "stop": timedelta(seconds=8),
    "start": timedelta(seconds=20),
    "drain": timedelta(seconds=8),
    "move": timedelta(seconds=15),
    "shutdown": timedelta(seconds=20),
    "boot": timedelta(seconds=30),
    "catch_up": timedelta(seconds=20),
    "replication": timedelta(seconds=15),
    "healthy": timedelta(seconds=15),
    "attempts": 2,
}
"""What is waited for in vain here; a busy machine needs the rest."""
_WITHIN = 90.0
"""Seconds from one decision to the next question, on a busy machine."""


@dataclass
class FaultyRun(Attended[RealLab]):
    """A run on real hosts, and the person who watches it. Made by `FaultyRun.start`."""

    run: RealRun

    @classmethod
    @asynccontextmanager
    async def start(
        cls, temporal: WorkflowEnvironment, lab: RealLab, processes: Processes, *, vacate: str = "vm-host-1"
    ) -> AsyncIterator[FaultyRun]:
        """A worker for a lab that runs; no run yet."""
        whole = load(lab.inventory_path)
        timings = Timings.model_validate({**whole.timings.model_dump(), **SHORT})
        inventory = whole.model_copy(update={"timings": timings})
        run = RealRun(temporal.client, lab, vacate, "inside", inventory, processes, {})
        async with run.working(), without_callers(lab):
            yield cls(run, within=_WITHIN)

    @property
    def lab(self) -> RealLab:
        """The hosts."""
        return self.run.lab

    async def begin(self, *, of: RunReport | None = None) -> None:
        """Begin, and wait until it asks whether it may: the health check has found nothing.

        Args:
            of: the failover that is undone; None: it is a failover.
        """
        await (self.run.begin_failback(of=of) if of else self.run.begin())
        await self.run.until_gate("before_start", self.within)

    async def approve(self, gate: str) -> None:
        """Wait until a gate is reached, and open it."""
        answer = await self.run.approve(gate, self.within)
        assert answer.accepted, answer.text

    async def until_running(self, step: str) -> None:
        """Wait until a step is being done."""
        await self.run.until(
            lambda status: any(s.id == step and s.state == "running" for s in status.steps), self.within
        )

    async def ended(self, outcome: RunOutcome) -> RunReport:
        """Wait for the end."""
        report = await self.run.report(within=WITHIN)
        assert report.outcome is outcome, report.outcome_reason
        return report


@asynccontextmanager
async def without_callers(lab: RealLab) -> AsyncIterator[None]:
    """Nobody calls meanwhile."""
    users = [user for user in (lab.callers, lab.agents) if user is not None]
    for user in users:
        await user.stop()
    try:
        yield
    finally:
        for user in users:
            user.start()
