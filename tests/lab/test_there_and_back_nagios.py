"""A cluster that Nagios watches, there and back: all are silenced, the vacated stay so, and at the end nobody is."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from procedure.reports import RunOutcome
from tests.lab.there_and_back import Travel

pytestmark = pytest.mark.whole_run

PATIENCE = 300
"""Seconds for a failover and its failback, on a machine that is busy with other tests."""
SPEED = 100.0
"""Simulated seconds in a real one."""


def watched_by_nagios(reference: Inventory) -> Inventory:
    data: dict[str, Any] = reference.model_dump()
    data["monitoring"] = {
        "provider": "nagios",
        "address": "10.77.0.5",
        "connection": "linux",
        "host_names": {"acd-jb1": "acd-jb1.example.com"},
    }
    return Inventory.model_validate(data)


@pytest.mark.timeout(PATIENCE)
async def test_a_cluster_that_nagios_watches(temporal: WorkflowEnvironment, reference: Inventory) -> None:
    inventory = watched_by_nagios(reference)
    async with Travel.start(temporal, speed=SPEED, callers=False, inventory=inventory) as travel:
        lab = travel.run.lab
        assert lab.nagios
        there = await travel.there("vm-host-1")
        vacated = {m.name for m in inventory.machines if m.host == "vm-host-1"}
        assert lab.silenced() == vacated
        hosts = {"acd-jb1.example.com" if name == "acd-jb1" else name for name in vacated}
        assert {host for host in lab.nagios.hosts if lab.nagios.is_wholly_silenced(host)} == hosts
        back = await travel.back(there)
        assert lab.silenced() == set()
        assert lab.nagios.downtimes == {}
        scheduled = [c for c in lab.nagios.received if "SCHEDULE_HOST_DOWNTIME" in c]
        names = {c.split(";")[1] for c in scheduled}
        assert len(names) == 20, "each machine was silenced"
        assert all(there.report.reference in c or back.report.reference in c for c in scheduled)
    for ended in (there, back):
        assert ended.report.outcome is RunOutcome.COMPLETED, f"{ended.report.direction}: {ended.report.outcome_reason}"
        assert ended.violations == ()
        assert ended.unknown_commands == ()
        assert ended.done_twice == {}
    assert back.truth == travel.before
