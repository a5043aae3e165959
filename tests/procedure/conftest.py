"""The reference cluster, as an inventory and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from inventory.loading import load
from inventory.models import Inventory
from procedure import health_check
from procedure.facts import Facts
from procedure.plan import Observe
from procedure.situation import Situation
from tests.procedure.one_sided import OneSided, vacated
from tests.procedure.paper_cluster import PaperCluster

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"


@pytest.fixture(scope="session")
def inventory() -> Inventory:
    return load(REFERENCE)


@pytest.fixture
def cluster(inventory: Inventory) -> PaperCluster:
    return PaperCluster(inventory)


@pytest.fixture(scope="session")
def situation(inventory: Inventory) -> Situation:
    return Situation(inventory, "vm-host-1")


@pytest.fixture
def one_side(inventory: Inventory) -> OneSided:
    """Vacated, and nothing has come back yet."""
    return vacated(inventory)


def all_facts(cluster: PaperCluster, situation: Situation) -> Facts:
    """What the health check would see."""
    rounds = health_check.rounds(situation)
    subjects = [s for step in rounds if isinstance(step.action, Observe) for s in step.action.subjects]
    return cluster.facts(subjects)


@pytest.fixture
def facts(cluster: PaperCluster, situation: Situation) -> Facts:
    return all_facts(cluster, situation)
