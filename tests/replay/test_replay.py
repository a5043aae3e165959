"""Runs that were begun by older code go on with this code: recorded histories are replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from tests.replay.careless import AnotherOrder
from tests.replay.maintenances import MAINTENANCES
from tests.replay.record import BEGUN, HISTORIES, IDENTITY, STORIES
from worker.process import RESTRICTIONS
from workflows.controlled_failback import ControlledFailback
from workflows.controlled_failover import ControlledFailover
from workflows.converter import DATA_CONVERTER
from workflows.health_check import HealthCheckRun
from workflows.maintenance import Maintenance

RECORDED = sorted(HISTORIES.glob("*.json"))


def recorded(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text(encoding="utf-8"))


def test_every_story_is_recorded() -> None:
    assert {path.stem for path in RECORDED} >= {*STORIES, *BEGUN, *MAINTENANCES}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_run_is_replayed(path: Path) -> None:
    replayer = Replayer(
        workflows=[ControlledFailover, ControlledFailback, Maintenance, HealthCheckRun],
        data_converter=DATA_CONVERTER,
        workflow_runner=SandboxedWorkflowRunner(restrictions=RESTRICTIONS),
    )
    await replayer.replay_workflow(recorded(path))


async def test_a_change_that_breaks_running_runs_is_noticed() -> None:
    replayer = Replayer(workflows=[AnotherOrder], data_converter=DATA_CONVERTER)
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(recorded(HISTORIES / "completed-vm-host-1.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_history_names_no_machine_that_recorded_it(path: Path) -> None:
    found = identities(json.loads(path.read_text(encoding="utf-8")))
    assert IDENTITY in found
    assert not [who for who in found if "@" in who]


def identities(node: object) -> set[str]:
    """All identities of clients and workers in a history."""
    if isinstance(node, dict):
        own = {str(node["identity"])} if "identity" in node else set()
        return own.union(*(identities(value) for value in node.values()))
    return set().union(*(identities(item) for item in node)) if isinstance(node, list) else set()
