"""A failover and its failback, one after the other on one cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from tests.lab.ended_run import Ended, Timeline, ended, watch
from tests.lab.whole_run import WholeRun, WorkerKind


@dataclass(frozen=True)
class ThereAndBack:
    """What is left of both, and the truth before them."""

    before: dict[str, Any]
    there: Ended
    back: Ended


@dataclass
class Travel:
    """A cluster whose hosts are vacated and come back. Made by `Travel.start`."""

    run: WholeRun
    timeline: Timeline
    before: dict[str, Any]
    """The truth at the beginning."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        temporal: WorkflowEnvironment,
        *,
        speed: float = 40.0,
        callers: bool = True,
        worker: WorkerKind = "inside",
        inventory: Inventory | None = None,
        pcs: Literal["0.10", "0.11"] = "0.11",
    ) -> AsyncIterator[Travel]:
        """Start a lab and a worker; see `WholeRun.start`."""
        async with WholeRun.start(
            temporal, worker=worker, speed=speed, callers=callers, inventory=inventory, pcs=pcs
        ) as run:
            yield cls(run, watch(run), run.lab.truth())

    async def there(self, host: str) -> Ended:
        """Vacate a host; every gate is opened."""
        began = len(self.run.lab.journal.entries)
        await self.run.begin(host)
        self.run.approve_all()
        return await ended(self.run, self.timeline, since=began)

    async def back(self, there: Ended) -> Ended:
        """Undo that failover; every gate is opened."""
        began = len(self.run.lab.journal.entries)
        await self.run.begin_failback(of=there.report)
        self.run.approve_all()
        return await ended(self.run, self.timeline, self.before, since=began)

    async def there_and_back(self, host: str) -> ThereAndBack:
        """Vacate a host and bring it back."""
        there = await self.there(host)
        return ThereAndBack(self.before, there, await self.back(there))
