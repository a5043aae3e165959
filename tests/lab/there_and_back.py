"""A failover and its failback, one after the other on one cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from tests.lab.ended_run import Ended, Timeline, ended, watch
from tests.lab.whole_run import WholeRun, WorkerKind
from workflows.status import Wait

_WITHIN = 150.0
"""Seconds for a run: without a hypervisor the silence of two ports has to prove that a machine is off, twice."""


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
    tasks: list[str] = field(default_factory=list)
    """Steps that a person was asked to do."""

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
        self._with_people()
        return await ended(self.run, self.timeline, since=began, within=_WITHIN)

    async def back(self, there: Ended) -> Ended:
        """Undo that failover; every gate is opened."""
        began = len(self.run.lab.journal.entries)
        await self.run.begin_failback(of=there.report)
        self._with_people()
        return await ended(self.run, self.timeline, self.before, since=began, within=_WITHIN)

    def _with_people(self) -> None:
        self.run.approve_all()
        self.run.do_all_tasks(self._do)

    async def _do(self, wait: Wait) -> None:
        """What a person is asked to do, told by the title: "Stop 8-Server on acd-tel1 by hand"."""
        self.tasks.append(wait.step)
        lab = self.run.lab
        verb, _, what = wait.title.removesuffix(" by hand").partition(" ")
        program, _, machine = what.rpartition(" on ")
        if what in lab.world.machines:
            lab.by_hand(what, "power_on")
            await lab.wait_until(lambda: lab.world.machines[what].on)
        elif machine in lab.world.machines:
            action: Literal["start", "stop"] = "start" if verb == "Start" else "stop"
            lab.by_hand(machine, action, None if program == "AcdGroupDistribute" else program)
        await lab.settled()

    async def there_and_back(self, host: str) -> ThereAndBack:
        """Vacate a host and bring it back."""
        there = await self.there(host)
        return ThereAndBack(self.before, there, await self.back(there))
