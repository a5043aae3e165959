"""Starting a run: the same for each direction. Nobody can start a second run on a cluster."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from starters import options
from starters.connection import web_ui
from starters.exit_codes import ExitCode
from starters.running import Stopped
from starters.runs import START_A_WORKER, Run, workers
from starters.times import add_times, times_of
from starters.watching import watch
from starters.wording import moment
from workflows import names, opening, search_attributes
from workflows.approvals import why_it_would_never_open
from workflows.opening import Opening
from workflows.search_attributes import AttributesMissing
from workflows.status import RunReport

CODES = (
    ExitCode.NO_WORKER,
    ExitCode.REFUSED,
    ExitCode.ABORTED,
    ExitCode.COMPLETED_WITH_SKIPS,
    ExitCode.FAILED,
)


def add_options(to: argparse.ArgumentParser) -> None:
    """What every start can be told."""
    options.add_inventory(to, required=True)
    to.add_argument("--reason", default="", help="why, for the record")
    add_times(to)
    to.add_argument("--watch", action="store_true", help="show the run until it ends; its outcome is the exit code")
    options.add_by(to)


def asked(given: argparse.Namespace) -> dict[str, Any]:
    """What these options mean for a request.

    Raises:
        Stopped: a time makes no sense.
    """
    times = times_of(given, datetime.now(UTC))
    return {
        "reason": given.reason[:1000],
        "requested_by": given.by[:100],
        "start_at": times.start_at,
        "window_ends": times.window_ends,
    }


async def start_and_tell(client: Client, start: Opening, given: argparse.Namespace) -> ExitCode:
    """Start it, tell how to go on, watch it if asked to.

    Raises:
        Stopped: the cluster has a run already, the server did not take this one, or it could never pass its gates.
    """
    approval, requester = start.request.inventory.approval, start.request.requested_by
    if why := why_it_would_never_open(approval, requester, maintenance=start.is_maintenance):
        raise Stopped(ExitCode.USAGE, f"{why} Nothing was started.")
    handle = await _started(client, start)
    print(_told(client, handle, start))
    run = Run(client, start.cluster, maintenance=start.is_maintenance)
    if beside := await run.about_its_maintenance():
        print(f"{beside}\n  It did not start this run, and goes on by itself.")
    has_worker = await _tell_about_workers(client, start.cluster)
    if given.watch:
        print()
        return await watch(run, given.by)
    print(f"Watch it: python -m starters.status --cluster {start.address} --watch")
    return ExitCode.OK if has_worker else ExitCode.NO_WORKER


async def _started(client: Client, start: Opening) -> WorkflowHandle[object, RunReport]:
    try:
        return await _start_with_attributes(client, start)
    except WorkflowAlreadyStartedError as error:
        raise Stopped(ExitCode.REFUSED, await _under_way(client, start, error)) from error


async def _start_with_attributes(client: Client, start: Opening) -> WorkflowHandle[object, RunReport]:
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


async def _start(client: Client, start: Opening) -> WorkflowHandle[object, RunReport]:
    handle: WorkflowHandle[object, RunReport] = await client.start_workflow(
        start.workflow,
        start.request,
        id=start.workflow_id,
        task_queue=names.task_queue(start.cluster),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        task_timeout=opening.TASK_TIMEOUT,
        result_type=RunReport,
        static_summary=start.summary,
        static_details=start.details,
        memo=start.memo,
        search_attributes=start.search_attributes,
    )
    return handle


async def _under_way(client: Client, start: Opening, error: WorkflowAlreadyStartedError) -> str:
    what = "maintenance" if start.is_maintenance else "run"
    description = await Run(client, start.cluster, maintenance=start.is_maintenance).describe()
    run_id = error.run_id or description.run_id
    address = web_ui(client, description.id, run_id)
    return "\n".join(
        [
            f"Cluster {start.cluster} already has a {what} since {moment(description.start_time)}: two at once "
            "are never allowed. Nothing was started.",
            f"  workflow {description.id}, run {run_id}",
            *([f"  Web UI   {address}"] if address else []),
            f"  see it   python -m starters.status --cluster {start.address}",
        ]
    )


def _told(client: Client, handle: WorkflowHandle[object, RunReport], start: Opening) -> str:
    run_id = handle.result_run_id or ""
    address = web_ui(client, handle.id, run_id)
    return "\n".join(
        [
            f"Started: {start.headline}",
            f"  workflow {handle.id}",
            f"  run      {run_id}",
            *([f"  Web UI   {address}"] if address else []),
            *([f"  begins   {moment(start.request.start_at)}"] if start.request.start_at else []),
            *([f"  window   until {moment(start.request.window_ends)}"] if start.request.window_ends else []),
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
