"""Starting a run: the same for each direction. Nobody can start a second run on a cluster."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from inventory.digest import digest
from starters import options
from starters.connection import web_ui
from starters.exit_codes import ExitCode
from starters.running import Stopped
from starters.runs import START_A_WORKER, Run, workers
from starters.watching import watch
from starters.wording import moment
from workflows import names, search_attributes
from workflows.approvals import why_it_would_never_open
from workflows.messages import RunRequest
from workflows.search_attributes import AttributesMissing
from workflows.status import RunReport

TASK_TIMEOUT = timedelta(seconds=5)
"""For a worker to take a decision. Twice this is lost when a worker's host hangs; the default of 10 s is too much."""
CODES = (
    ExitCode.NO_WORKER,
    ExitCode.REFUSED,
    ExitCode.ABORTED,
    ExitCode.COMPLETED_WITH_SKIPS,
    ExitCode.FAILED,
)


@dataclass(frozen=True)
class Start:
    """A run that is to be started."""

    workflow: str
    """Its type in Temporal."""
    request: RunRequest
    headline: str
    """For example "failover of reference, vacate vm-host-1"."""
    about: tuple[str, ...]
    """Further lines of its static details."""

    @property
    def cluster(self) -> str:
        """The cluster it is about."""
        return self.request.inventory.cluster


def add_options(to: argparse.ArgumentParser) -> None:
    """What every start can be told."""
    options.add_inventory(to, required=True)
    to.add_argument("--reason", default="", help="why, for the record")
    to.add_argument("--watch", action="store_true", help="show the run until it ends; its outcome is the exit code")
    options.add_by(to)


async def start_and_tell(client: Client, start: Start, given: argparse.Namespace) -> ExitCode:
    """Start it, tell how to go on, watch it if asked to.

    Raises:
        Stopped: the cluster has a run already, the server did not take this one, or it could never pass its gates.
    """
    if why := why_it_would_never_open(start.request.inventory.approval, start.request.requested_by):
        raise Stopped(ExitCode.USAGE, f"{why} Nothing was started.")
    handle = await _started(client, start)
    print(_told(client, handle, start))
    has_worker = await _tell_about_workers(client, start.cluster)
    if given.watch:
        print()
        return await watch(Run(client, start.cluster), given.by)
    print(f"Watch it: python -m starters.status --cluster {start.cluster} --watch")
    return ExitCode.OK if has_worker else ExitCode.NO_WORKER


async def _started(client: Client, start: Start) -> WorkflowHandle[object, RunReport]:
    try:
        return await _start_with_attributes(client, start)
    except WorkflowAlreadyStartedError as error:
        raise Stopped(ExitCode.REFUSED, await _under_way(client, start.cluster, error)) from error


async def _start_with_attributes(client: Client, start: Start) -> WorkflowHandle[object, RunReport]:
    try:
        return await _start(client, start)
    except RPCError as error:
        # A search attribute that no worker has created yet. Otherwise the same error comes again.
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
    try:
        await search_attributes.ensure(client)
    except AttributesMissing as missing:
        raise Stopped(ExitCode.REFUSED, str(missing)) from missing
    return await _start(client, start)


async def _start(client: Client, start: Start) -> WorkflowHandle[object, RunReport]:
    handle: WorkflowHandle[object, RunReport] = await client.start_workflow(
        start.workflow,
        start.request,
        id=names.workflow_id(start.cluster),
        task_queue=names.task_queue(start.cluster),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        task_timeout=TASK_TIMEOUT,
        result_type=RunReport,
        static_summary=start.headline[0].upper() + start.headline[1:],
        static_details=_details(start),
        memo=_memo(start),
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(names.CLUSTER, start.cluster),
                SearchAttributePair(names.STAGE, "00 Health check"),
                SearchAttributePair(names.WAITING, "nothing"),
            ]
        ),
    )
    return handle


def _memo(start: Start) -> dict[str, str]:
    return {
        "host": start.request.host,
        "reason": start.request.reason,
        "requested_by": start.request.requested_by,
        "inventory_digest": digest(start.request.inventory),
    }


def _details(start: Start) -> str:
    request = start.request
    return "\n".join(
        [
            f"- Cluster: {start.cluster}",
            *(f"- {line}" for line in start.about),
            f"- Reason: {request.reason or 'none given'}",
            f"- Requested by: {request.requested_by or 'nobody named'}",
            f"- Inventory: {digest(request.inventory)}",
            f"- On the command line: `python -m starters.status --cluster {start.cluster} --watch`",
        ]
    )


async def _under_way(client: Client, cluster: str, error: WorkflowAlreadyStartedError) -> str:
    description = await Run(client, cluster).describe()
    run_id = error.run_id or description.run_id
    address = web_ui(client, description.id, run_id)
    return "\n".join(
        [
            f"Cluster {cluster} already has a run since {moment(description.start_time)}: two runs at once "
            "are never allowed. Nothing was started.",
            f"  workflow {description.id}, run {run_id}",
            *([f"  Web UI   {address}"] if address else []),
            f"  see it   python -m starters.status --cluster {cluster}",
        ]
    )


def _told(client: Client, handle: WorkflowHandle[object, RunReport], start: Start) -> str:
    run_id = handle.result_run_id or ""
    address = web_ui(client, handle.id, run_id)
    return "\n".join(
        [
            f"Started: {start.headline}",
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
