"""Steps through a real Temporal server: retries, lost answers, and what reaches the run of a problem."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.errors import Rejected, Transient
from activities.steps import StepActivities
from inventory.digest import digest
from procedure.commands import StopComponent
from procedure.orders import StepOrder
from procedure.reports import Outcome, StepProblem, StepReport
from procedure.values import Value
from tests.activities.small_world import COMPONENT, MACHINE, SmallWorld, small_inventory

INVENTORY = small_inventory()
LOST = Transient(MACHINE, "connection lost")


class Ended(Value):
    """How a step ended, as a run sees it."""

    report: StepReport | None = None
    problem: StepProblem | None = None
    kind: str = ""
    causes: int = 0


@workflow.defn(name="StepForTest")
class StepForTest:
    """One step, as a run does it."""

    @workflow.run
    async def run(self, order: StepOrder) -> Ended:
        try:
            report: StepReport = await workflow.execute_activity(
                order.command.kind,
                order,
                result_type=StepReport,
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2),
            )
        except ActivityError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError)
            problem = StepProblem.model_validate(cause.details[0])
            return Ended(problem=problem, kind=cause.type or "", causes=0 if cause.cause is None else 1)
        return Ended(report=report)


@asynccontextmanager
async def working(temporal: WorkflowEnvironment, world: SmallWorld) -> AsyncIterator[str]:
    queue = f"steps-{uuid.uuid4()}"
    async with Worker(
        temporal.client,
        task_queue=queue,
        workflows=[StepForTest],
        activities=StepActivities(INVENTORY, world.hands).all(),
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield queue


async def ended(temporal: WorkflowEnvironment, world: SmallWorld) -> Ended:
    return (await ended_with_history(temporal, world))[0]


async def ended_with_history(temporal: WorkflowEnvironment, world: SmallWorld) -> tuple[Ended, str]:
    order = StepOrder(
        step_id="3-stop-wildfly-acd-jb1",
        stage=3,
        command=StopComponent(machine=MACHINE, component=COMPONENT),
        vacated="vm-host-1",
        inventory_digest=digest(INVENTORY),
        cluster=INVENTORY.cluster,
    )
    async with working(temporal, world) as queue:
        run = await temporal.client.start_workflow(StepForTest.run, order, id=queue, task_queue=queue)
        return await run.result(), (await run.fetch_history()).to_json()


async def test_a_connection_that_comes_back_is_tried_again(temporal: WorkflowEnvironment) -> None:
    world = SmallWorld()
    world.looks = [LOST]
    end = await ended(temporal, world)
    assert end.report is not None
    assert end.report.outcome is Outcome.DONE
    assert len(world.sent) == 1


async def test_an_answer_that_is_lost_is_looked_after_and_nothing_is_done_twice(temporal: WorkflowEnvironment) -> None:
    world = SmallWorld()
    world.looks = [None, LOST]

    def stop_and_break() -> None:
        world.stop()
        raise LOST

    world.on_act = stop_and_break
    end = await ended(temporal, world)
    assert end.report is not None
    assert end.report.outcome is Outcome.DONE, "the second attempt knows from the heartbeat that the first one acted"
    assert len(world.sent) == 1


async def test_a_connection_that_stays_away_is_unknown(temporal: WorkflowEnvironment) -> None:
    world = SmallWorld()
    world.looks = [LOST, LOST, LOST, LOST]
    end = await ended(temporal, world)
    assert end.problem is not None
    assert (end.kind, end.problem.kind, end.causes) == ("unknown", "unknown", 0)
    assert world.looked == 2, "as often as the run allows"
    assert world.sent == []


@pytest.mark.parametrize("secret", ["hunter2-never-shown"])
async def test_a_rejection_is_not_tried_again_and_keeps_its_cause_to_itself(
    temporal: WorkflowEnvironment, secret: str
) -> None:
    denied = Rejected(MACHINE, "permission denied")
    denied.__cause__ = OSError(secret)
    world = SmallWorld()
    world.looks = [denied]
    end, history = await ended_with_history(temporal, world)
    assert (end.kind, end.causes, world.looked) == ("rejected", 0, 1)
    assert "permission denied" in history
    assert secret not in history
