"""Drives a run as a person does: reads its status, sends its signals."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from inventory.models import Inventory
from procedure.plan import Plan
from tests.workflows.paper_world import PaperWorld
from worker.process import RESTRICTIONS
from workflows import names
from workflows.controlled_failback import ControlledFailback
from workflows.controlled_failover import ControlledFailover
from workflows.health_check import HealthCheckRun
from workflows.maintenance import Maintenance
from workflows.messages import Answer, FailoverRequest, MaintenanceRequest
from workflows.status import RunReport, Status, StepRecord, Wait

PATIENCE = 30.0  # seconds of the wall; a run on paper takes about one
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.15  # seconds between two questions
SOON = timedelta(milliseconds=100)
GATES = ("before_start", "before_power_off", "functionality")


@dataclass
class Run:
    """One run, its world and what a person may do about it."""

    handle: WorkflowHandle[Any, RunReport]
    world: PaperWorld

    async def status(self) -> Status:
        found: Status = await self.handle.query(names.STATUS_QUERY, result_type=Status)
        return found

    async def plan(self) -> Plan | None:
        found: Plan | None = await self.handle.query(names.PLAN_QUERY, result_type=Plan | None)  # type: ignore[arg-type]  # a union is no type for the signature, but one for the converter
        return found

    async def until(self, predicate: Callable[[Status], object]) -> Status:
        """Wait until the status is as wanted."""
        status = await self.status()
        pause = SHORTEST_PAUSE
        try:
            async with asyncio.timeout(PATIENCE):
                while not predicate(status):
                    await asyncio.sleep(pause)  # a run tells nobody that it has changed: it is asked
                    pause = min(pause * 1.5, LONGEST_PAUSE)
                    status = await self.status()
        except TimeoutError:
            raise AssertionError(f"it never came: {status.phase}, {status.waits}, {status.notes}") from None
        return status

    async def waiting(self, *steps: str) -> Status:
        """Wait until these steps wait for a person."""
        return await self.until(lambda s: set(steps) <= {w.step for w in s.waits})

    async def at_gate(self, gate: str) -> Wait:
        status = await self.until(lambda s: any(w.gate == gate for w in s.waits))
        return next(w for w in status.waits if w.gate == gate)

    async def say(self, signal: str, *values: object) -> None:
        await self.handle.signal(signal, args=list(values))

    async def decide(self, signal: str, **payload: object) -> Answer:
        wish = {"signal": signal, "payload": payload}
        answer: Answer = await self.handle.execute_update(names.DECIDE_UPDATE, wish, result_type=Answer)
        return answer

    async def approve(self, *gates: str) -> None:
        for gate in gates:
            wait = await self.at_gate(gate)
            await self.say("approve", {"gate": gate, "seen": wait.code, "by": "ada"})

    async def approve_all(self) -> None:
        await self.approve(*GATES)

    async def result(self) -> RunReport:
        async with asyncio.timeout(PATIENCE):
            return await self.handle.result()

    async def details(self) -> str:
        found = await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return str(found.current_details)


def step_of(status: Status, step: str) -> StepRecord:
    return next(record for record in status.steps if record.id == step)


def own(inventory: Inventory, **changes: object) -> Inventory:
    """An inventory with a cluster name of its own, and with changes."""
    timings = inventory.timings.model_copy(update={"attempts": 2})
    return inventory.model_copy(update={"cluster": f"c-{uuid.uuid4().hex[:8]}", "timings": timings, **changes})


WORKFLOWS: Sequence[type] = (ControlledFailover, ControlledFailback, Maintenance, HealthCheckRun)


def worker_for(client: Client, world: PaperWorld, queue: str, workflows: Sequence[type] = WORKFLOWS) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows,
        activities=world.activities(),
        workflow_runner=SandboxedWorkflowRunner(restrictions=RESTRICTIONS),
        max_heartbeat_throttle_interval=SOON,
        default_heartbeat_throttle_interval=SOON,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )


async def start(
    client: Client,
    world: PaperWorld,
    vacate: str = "vm-host-1",
    *,
    start_at: datetime | None = None,
    window_ends: datetime | None = None,
) -> Run:
    inventory = world.inventory
    request = FailoverRequest(
        inventory=inventory,
        vacate=vacate,
        reason="new memory",
        requested_by="ada",
        start_at=start_at,
        window_ends=window_ends,
    )
    handle: WorkflowHandle[Any, RunReport] = await client.start_workflow(
        names.FAILOVER,
        request,
        id=names.workflow_id(inventory.cluster),
        task_queue=names.task_queue(inventory.cluster),
        result_type=RunReport,
        search_attributes=TypedSearchAttributes([SearchAttributePair(names.CLUSTER, inventory.cluster)]),
    )
    return Run(handle, world)


async def start_maintenance(
    client: Client,
    world: PaperWorld,
    vacate: str = "vm-host-1",
    *,
    reason: str = "new memory",
    both: bool = False,
    window_ends: datetime | None = None,
) -> Run:
    inventory = world.inventory
    request = MaintenanceRequest(
        inventory=inventory, vacate=vacate, both=both, reason=reason, requested_by="ada", window_ends=window_ends
    )
    handle: WorkflowHandle[Any, RunReport] = await client.start_workflow(
        names.MAINTENANCE,
        request,
        id=names.maintenance_workflow_id(inventory.cluster),
        task_queue=names.task_queue(inventory.cluster),
        result_type=RunReport,
        search_attributes=TypedSearchAttributes([SearchAttributePair(names.CLUSTER, inventory.cluster)]),
    )
    # Without its run id: it may go on as a new run.
    return Run(client.get_workflow_handle(handle.id, result_type=RunReport), world)


@asynccontextmanager
async def running(client: Client, world: PaperWorld, vacate: str = "vm-host-1") -> AsyncIterator[Run]:
    """A run with a worker."""
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        yield await start(client, world, vacate)
