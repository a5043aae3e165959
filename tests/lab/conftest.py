"""What tests of the simulation share: the reference cluster, and a world whose clock is turned by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from inventory.loading import load
from inventory.models import Inventory
from lab.auditors import Auditors
from lab.clock import VirtualClock
from lab.world import World

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
