"""A request that makes no sense fails at once, with words, and nothing is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inventory.models import Inventory
from tests.workflows.driving import own, worker_for
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.messages import FailoverRequest, HealthRequest, MaintenanceRequest
from workflows.status import HealthReport


async def refused(client: Client, world: PaperWorld, workflow: str, *values: object) -> str:
    """Why it failed."""
    queue = names.task_queue(world.inventory.cluster)
    async with worker_for(client, world, queue):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(workflow, args=list(values), id=queue, task_queue=queue)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "bad request"
    assert cause.non_retryable
    assert world.orders == []
    assert "Nothing was touched." in cause.message
    return cause.message


def with_unknown_keys(inventory: Inventory) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(inventory.model_dump_json())
    document["colour"] = "green"
    document["machines"][3]["adress"] = "10.0.0.1"
    return {"inventory": document, "vacate": "vm-host-1"}


@pytest.mark.parametrize("workflow", [names.FAILOVER, names.MAINTENANCE, names.HEALTH_CHECK])
async def test_unknown_keys_in_the_inventory(client: Client, world: PaperWorld, workflow: str) -> None:
    text = await refused(client, world, workflow, with_unknown_keys(world.inventory))
    assert "inventory.colour: Extra inputs are not permitted" in text
    assert "inventory.machines.3.adress" in text


@pytest.mark.parametrize("workflow", [names.FAILOVER, names.MAINTENANCE, names.HEALTH_CHECK])
@pytest.mark.parametrize(
    ("values", "part"),
    [
        ((), "0 values were given. It takes one JSON object with the fields inventory,"),
        ((1, 2), "2 values were given"),
        (("vm-host-1",), "request: Input should be"),
        ((None,), "request: Input should be"),
        (({},), "inventory: Field required"),
        ((RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{oops")),), "it is no JSON"),
        ((RawValue(Payload(metadata={"encoding": b"strange"}, data=b"\xff\xfe")),), "it is no JSON"),
    ],
)
async def test_no_request_at_all(
    client: Client, world: PaperWorld, workflow: str, values: tuple[object, ...], part: str
) -> None:
    assert part in await refused(client, world, workflow, *values)


async def test_an_unknown_host(client: Client, world: PaperWorld) -> None:
    allowed = "VM-Host 'vm-host-3' is not in the inventory of {}; allowed: vm-host-1, vm-host-2."
    models = ((names.FAILOVER, FailoverRequest), (names.HEALTH_CHECK, HealthRequest))
    for workflow, model in (*models, (names.MAINTENANCE, MaintenanceRequest)):
        request = model(inventory=world.inventory, vacate="vm-host-3")
        assert allowed.format(world.inventory.cluster) in await refused(client, world, workflow, request)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"both": "perhaps"}, "both: Input should be a valid boolean"),
        ({"so_far": {}}, "so_far.began: Field required"),
        ({"until": "friday"}, "until: Extra inputs are not permitted"),
    ],
)
async def test_a_maintenance_that_is_asked_for_in_a_wrong_way(
    client: Client, world: PaperWorld, wrong: dict[str, object], part: str
) -> None:
    document = json.loads(world.inventory.model_dump_json())
    request = {"inventory": document, "vacate": "vm-host-1", **wrong}
    text = await refused(client, world, names.MAINTENANCE, request)
    assert part in text
    assert f"It takes one JSON object with the fields {', '.join(MaintenanceRequest.model_fields)}." in text


async def test_a_health_check_alone_judges_as_if_the_active_side_went(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference))
    queue = names.task_queue(world.inventory.cluster)
    async with worker_for(client, world, queue):
        report: HealthReport = await client.execute_workflow(
            names.HEALTH_CHECK,
            HealthRequest(inventory=world.inventory),
            id=queue,
            task_queue=queue,
            result_type=HealthReport,
        )
    assert report.healthy
    assert report.vacated == "vm-host-1"
    assert report.verdicts
    assert world.orders == []
