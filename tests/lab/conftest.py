"""What tests of the simulation share: the reference cluster, and a world whose clock is turned by hand."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Inventory
from lab.auditors import Auditors
from lab.clock import VirtualClock
from lab.world import World
from procedure.reports import RunOutcome
from tests.lab.there_and_back import ThereAndBack, Travel

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"


@dataclass
class Turned:
    """A world, its clock and its auditors."""

    world: World
    clock: VirtualClock
    auditors: Auditors

    def invariants(self) -> set[int]:
        """Numbers of the invariants that were violated."""
        return {violation.invariant for violation in self.auditors.violations}


@pytest.fixture(scope="session")
def reference() -> Inventory:
    """The reference cluster."""
    return load(REFERENCE)


@pytest.fixture
def turned(reference: Inventory) -> Turned:
    """The reference cluster in its normal state, standing still."""
    clock = VirtualClock()
    world = World(reference, clock)
    return Turned(world, clock, Auditors(world))


UNDISTURBED_WITHIN = 220.0
"""Seconds for a maintenance, or for another process that has begun it; less than a test may take."""
Undisturbed = Callable[[str], Awaitable[ThereAndBack]]
"""From the vacated host to a failover and its failback in which nothing went wrong."""


@dataclass(frozen=True)
class Kept:
    """A file in which one process keeps what all look at."""

    path: Path

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Nobody else reads or writes it meanwhile."""
        with self.path.with_suffix(".lock").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield

    def read(self) -> ThereAndBack | None:
        """What is kept; None: nothing yet."""
        if not self.path.exists():
            return None
        found: ThereAndBack = pickle.loads(self.path.read_bytes())
        return found

    def write(self, made: ThereAndBack) -> None:
        """Keep it, all or nothing."""
        half = self.path.with_suffix(".half")
        half.write_bytes(pickle.dumps(made))
        half.replace(self.path)


@pytest.fixture(scope="session")
def undisturbed(temporal: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Runs that nothing disturbed: there and back once for each host, and looked at by many tests in all processes."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    async def run_once(vacate: str) -> ThereAndBack:
        kept = Kept(shared / f"there-and-back-{vacate}")
        async with asyncio.timeout(UNDISTURBED_WITHIN), kept.locked():
            found = kept.read()
            if found is None:
                async with Travel.start(temporal) as travel:
                    found = await travel.there_and_back(vacate)
                # What failed is not looked at by everybody.
                if {found.there.report.outcome, found.back.report.outcome} == {RunOutcome.COMPLETED}:
                    kept.write(found)
        return found

    return run_once
