"""What tests of the simulation share: the reference cluster, and a world whose clock is turned by hand."""

from __future__ import annotations

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
def undisturbed(temporal: WorkflowEnvironment) -> Undisturbed:
    """Runs that nothing disturbed: there and back once for each host, and looked at by many tests."""
    kept: dict[str, ThereAndBack] = {}

    async def run_once(vacate: str) -> ThereAndBack:
        if vacate not in kept:
            async with Travel.start(temporal) as travel:
                kept[vacate] = await travel.there_and_back(vacate)
        return kept[vacate]

    return run_once


def together(vacate: str) -> pytest.MarkDecorator:
    """What needs the runs of this host: with pytest-xdist's `--dist loadgroup` one process runs them, once."""
    return pytest.mark.xdist_group(f"failover of {vacate}")
