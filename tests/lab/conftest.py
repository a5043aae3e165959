"""What tests of the simulation share: the reference cluster, and a world whose clock is turned by hand."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pickle
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Inventory
from lab.auditors import Auditors
from lab.clock import VirtualClock
from lab.world import World
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


Undisturbed = Callable[[str], Awaitable[ThereAndBack]]
"""From the vacated host to a failover and its failback in which nothing went wrong."""


@pytest.fixture(scope="session")
def undisturbed(temporal: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Runs that nothing disturbed: there and back once for each host, and looked at by many tests in all processes."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    async def run_once(vacate: str) -> ThereAndBack:
        kept = shared / f"there-and-back-{vacate}"
        with kept.with_suffix(".lock").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            if not kept.exists():
                async with Travel.start(temporal) as travel:
                    kept.write_bytes(pickle.dumps(await travel.there_and_back(vacate)))
        found: ThereAndBack = pickle.loads(kept.read_bytes())
        return found

    return run_once
