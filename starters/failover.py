"""Start a controlled failover: vacate one VM-Host.

python -m starters.failover --inventory FILE --vacate HOST [--watch]
"""

from __future__ import annotations

import argparse
from datetime import timedelta

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from inventory.digest import digest
from inventory.models import Inventory
from starters import options
from starters.connection import connected, web_ui
from starters.exit_codes import ExitCode
from starters.running import Stopped, run_and_exit
from starters.runs import START_A_WORKER, Run, workers
from starters.watching import watch
from starters.wording import moment
from workflows import names, search_attributes
from workflows.messages import FailoverRequest
from workflows.search_attributes import AttributesMissing
from workflows.status import RunReport

TASK_TIMEOUT = timedelta(seconds=5)
"""For a worker to take a decision. Twice this is lost when a worker's host hangs; the default of 10 s is too much."""
_CODES = (
    ExitCode.NO_WORKER,
    ExitCode.REFUSED,
    ExitCode.ABORTED,
    ExitCode.COMPLETED_WITH_SKIPS,
    ExitCode.FAILED,
)
_EXAMPLES = """\
  python -m starters.failover --inventory cluster.yaml --vacate vm-host-1 --reason "new memory"
  python -m starters.failover --inventory cluster.yaml --vacate vm-host-2 --watch"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "failover",
        "Vacate one VM-Host of a cluster: health check, approval, then stage after stage. Nothing is touched before "
        "a person has approved. A run goes on by itself: this command may be interrupted at any time.",
        *_CODES,
        examples=_EXAMPLES,
    )
    options.add_inventory(made, required=True)
    made.add_argument("--vacate", metavar="HOST", required=True, help="VM-Host that is to be taken down")
    made.add_argument("--reason", default="", help="why, for the record")
    made.add_argument("--watch", action="store_true", help="show the run until it ends; its outcome is the exit code")
    options.add_by(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Check, start, tell how to go on."""
    inventory = options.inventory_of(given.inventory)
    options.check_host(inventory, given.vacate)
    request = FailoverRequest(
        inventory=inventory, vacate=given.vacate, reason=given.reason[:1000], requested_by=given.by[:100]
    )
    client = await connected()
    handle = await _started(client, request)
    print(_told(client, handle, request))
    has_worker = await _tell_about_workers(client, inventory.cluster)
    if given.watch:
        print()
        return await watch(Run(client, inventory.cluster), given.by)
    print(f"Watch it: python -m starters.status --cluster {inventory.cluster} --watch")
    return ExitCode.OK if has_worker else ExitCode.NO_WORKER


async def _started(client: Client, request: FailoverRequest) -> WorkflowHandle[object, RunReport]:
    try:
        return await _start_with_attributes(client, request)
    except WorkflowAlreadyStartedError as error:
        raise Stopped(ExitCode.REFUSED, await _under_way(client, request.inventory, error)) from error


async def _start_with_attributes(client: Client, request: FailoverRequest) -> WorkflowHandle[object, RunReport]:
    try:
        return await _start(client, request)
    except RPCError as error:
        # A search attribute that no worker has created yet. Otherwise the same error comes again.
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
    try:
        await search_attributes.ensure(client)
    except AttributesMissing as missing:
        raise Stopped(ExitCode.REFUSED, str(missing)) from missing
    return await _start(client, request)


async def _start(client: Client, request: FailoverRequest) -> WorkflowHandle[object, RunReport]:
    cluster = request.inventory.cluster
    handle: WorkflowHandle[object, RunReport] = await client.start_workflow(
        names.FAILOVER,
        request,
        id=names.workflow_id(cluster),
        task_queue=names.task_queue(cluster),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        task_timeout=TASK_TIMEOUT,
        result_type=RunReport,
        static_summary=f"Failover of {cluster}: vacate {request.vacate}",
        static_details=_details(request),
        memo=_memo(request),
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(names.CLUSTER, cluster),
                SearchAttributePair(names.STAGE, "00 Health check"),
                SearchAttributePair(names.WAITING, "nothing"),
            ]
        ),
    )
    return handle


def _memo(request: FailoverRequest) -> dict[str, str]:
    return {
        "vacate": request.vacate,
        "reason": request.reason,
        "requested_by": request.requested_by,
        "inventory_digest": digest(request.inventory),
    }


def _details(request: FailoverRequest) -> str:
    cluster = request.inventory.cluster
    return "\n".join(
        [
            f"- Cluster: {cluster}",
            f"- VM-Host to vacate: {request.vacate}",
            f"- Reason: {request.reason or 'none given'}",
            f"- Requested by: {request.requested_by or 'nobody named'}",
            f"- Inventory: {digest(request.inventory)}",
            f"- On the command line: `python -m starters.status --cluster {cluster} --watch`",
        ]
    )


async def _under_way(client: Client, inventory: Inventory, error: WorkflowAlreadyStartedError) -> str:
    description = await Run(client, inventory.cluster).describe()
    run_id = error.run_id or description.run_id
    address = web_ui(client, description.id, run_id)
    return "\n".join(
        [
            f"Cluster {inventory.cluster} already has a run since {moment(description.start_time)}: two runs at once "
            "are never allowed. Nothing was started.",
            f"  workflow {description.id}, run {run_id}",
            *([f"  Web UI   {address}"] if address else []),
            f"  see it   python -m starters.status --cluster {inventory.cluster}",
        ]
    )


def _told(client: Client, handle: WorkflowHandle[object, RunReport], request: FailoverRequest) -> str:
    run_id = handle.result_run_id or ""
    address = web_ui(client, handle.id, run_id)
    return "\n".join(
        [
            f"Started: failover of {request.inventory.cluster}, vacate {request.vacate}",
            f"  workflow {handle.id}",
            f"  run      {run_id}",
            *([f"  Web UI   {address}"] if address else []),
        ]
    )


async def _tell_about_workers(client: Client, cluster: str) -> bool:
    found = await workers(client, cluster)
    if not found:
        print(
            f"Warning: no worker takes up runs of cluster {cluster} (task queue {names.task_queue(cluster)}). "
            f"The run waits until one is started: {START_A_WORKER}"
        )
    return bool(found)


if __name__ == "__main__":
    run_and_exit(parser(), work)
