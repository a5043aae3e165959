"""Other clusters there and back: other ways to move pairs, HAProxy under Pacemaker, and much that is done by hand."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory, ManualMonitoring, ManualPower
from procedure.reports import RunOutcome
from tests.lab.test_other_inventories import another
from tests.lab.there_and_back import ThereAndBack, Travel
from tests.outcomes import why

pytestmark = pytest.mark.whole_run

PATIENCE = 300
"""Seconds for a failover and its failback, on a machine that is busy with other tests."""
SPEED = 100.0
"""Simulated seconds in a real one."""


def without_hypervisors(reference: Inventory) -> Inventory:
    """Whatever an inventory lets differ, and no access to either VM-Host: a person switches machines on."""
    inventory = another(reference)
    hosts = tuple(host.model_copy(update={"power": ManualPower()}) for host in inventory.vm_hosts)
    return Inventory.model_validate(inventory.model_copy(update={"vm_hosts": hosts}).model_dump())


def without_access(reference: Inventory) -> Inventory:
    """Both pairs by `move`, HAProxy among their resources; monitoring, the daemon and the 8-Server by hand."""
    pairs = reference.pairs
    storage = pairs.storage.model_copy(update={"method": "move"})
    balancer = pairs.load_balancer.model_copy(update={"method": "move", "resources": ("vip", "haproxy")})
    components = tuple(
        c.model_copy(update={"by_hand_on": ("acd-tel1", "acd-tel2")}) if c.name == "8-Server" else c
        for c in reference.components
    )
    changed = {
        "pairs": pairs.model_copy(update={"storage": storage, "load_balancer": balancer}),
        "components": components,
        "monitoring": ManualMonitoring(host="vm-host-1"),
        "daemon": reference.daemon.model_copy(update={"commands": None}),
    }
    return Inventory.model_validate(reference.model_copy(update=changed).model_dump())


@pytest.mark.timeout(PATIENCE)
async def test_a_pair_that_an_older_pcs_moves_and_machines_that_a_person_switches_on(
    temporal: WorkflowEnvironment, reference: Inventory
) -> None:
    inventory = without_hypervisors(reference)
    async with Travel.start(temporal, speed=SPEED, callers=False, inventory=inventory, pcs="0.10") as travel:
        both = await travel.there_and_back("vm-host-1")
        _must_be_as_it_was(both)
        returned = {m.name for m in inventory.machines if m.host == "vm-host-1"}
        assert {step for step in travel.tasks if step.startswith("5-start-")} == {f"5-start-{m}" for m in returned}
        cleared = [machine for machine, operation in both.back.done if operation == "pcs resource clear fs_r0"]
        assert cleared == ["acd-store2", "acd-store1"]
        assert travel.run.lab.world.pairs["storage"].preferences == []


@pytest.mark.timeout(PATIENCE)
async def test_a_cluster_in_which_much_is_done_by_hand(temporal: WorkflowEnvironment, reference: Inventory) -> None:
    inventory = without_access(reference)
    async with Travel.start(temporal, speed=SPEED, callers=False, inventory=inventory, pcs="0.10") as travel:
        both = await travel.there_and_back("vm-host-1")
        _must_be_as_it_was(both)
        assert {"3-stop-8-server-acd-tel2", "8-start-daemon-acd-tel2", "13-start-daemon-acd-tel1"} < set(travel.tasks)
        assert all(pair.preferences == [] for pair in travel.run.lab.world.pairs.values())


def _must_be_as_it_was(both: ThereAndBack) -> None:
    for ended in (both.there, both.back):
        assert ended.report.outcome is RunOutcome.COMPLETED, why(ended.report)
        assert ended.violations == ()
        assert ended.unknown_commands == ()
        assert ended.done_twice == {}
    assert both.back.truth == both.before
