"""Runs that follow another one: the way back after a failover, and the carrying on of one that was terminated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio.client import Client

from procedure.as_found import AsFound
from starters.carrying_on import adopted
from tests.workflows.driving import GATES, Run, start
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.messages import FailbackRequest, FailoverRequest, Restored
from workflows.status import RunReport

HOST = "vm-host-1"


async def begun(client: Client, world: PaperWorld, workflow: str, request: object) -> Run:
    handle = await client.start_workflow(
        workflow,
        request,
        id=names.workflow_id(world.inventory.cluster),
        task_queue=names.task_queue(world.inventory.cluster),
        result_type=RunReport,
    )
    return Run(handle, world)


async def failback(client: Client, world: PaperWorld) -> Run:
    """After a failover that completed."""
    there = await start(client, world, HOST)
    await there.approve_all()
    report = await there.result()
    restored = Restored(
        workflow_id=report.workflow_id,
        run_id=report.run_id,
        reference=report.reference,
        as_found=report.as_found or AsFound.normal(world.inventory),
    )
    request = FailbackRequest(inventory=world.inventory, returning=HOST, of=restored, requested_by="ada")
    back = await begun(client, world, names.FAILBACK, request)
    await back.approve("before_start", "functionality")
    return back


async def carried_on(client: Client, world: PaperWorld) -> Run:
    """After a failover that was terminated while the storage moved."""
    held = world.hold("5-move-storage")
    terminated = await start(client, world, HOST)
    await terminated.approve("before_start")
    await held.reached.wait()
    await terminated.handle.terminate("a mistake")
    held.go.set()
    found = await adopted(client, world.inventory, terminated.handle.id, names.FAILOVER, HOST)
    request = FailoverRequest(inventory=world.inventory, vacate=HOST, requested_by="ada", adopt=found)
    again = await begun(client, world, names.FAILOVER, request)
    await again.approve(*GATES)
    return again


FOLLOWING: dict[str, Callable[[Client, PaperWorld], Awaitable[Run]]] = {
    "failback": failback,
    "carried-on": carried_on,
}
