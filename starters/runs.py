"""The run of a cluster as commands see it: what it tells, what it is told, and whether anybody works on it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import FailureError
from temporalio.service import RPCError, RPCStatusCode

from procedure.plan import Plan
from starters.exit_codes import ExitCode
from starters.running import Stopped
from workflows import names
from workflows.connection import shortened
from workflows.messages import Answer, Decide
from workflows.status import RunReport, Status

ANSWER = timedelta(seconds=5)
"""For a worker to answer. A crashed one is waited for 2 s by the server before another is asked."""
NOBODY_IN_SIGHT = timedelta(seconds=1.5)
DECISION = timedelta(seconds=15)
RECENT = timedelta(seconds=70)
"""A worker asks for work at least once a minute; the server lists it for five minutes after it is gone."""
START_A_WORKER = "FAILOVER_INVENTORY=… python -m worker"
_NOBODY = (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
T = TypeVar("T")


class NoAnswer(Exception):
    """The run is there, but nothing that knows its state answers."""


@dataclass(frozen=True)
class Run:
    """The latest run of a cluster, or one of its former runs; or its maintenance."""

    client: Client
    cluster: str
    run_id: str | None = None
    maintenance: bool = False

    @property
    def workflow_id(self) -> str:
        """Its id in Temporal."""
        return (names.maintenance_workflow_id if self.maintenance else names.workflow_id)(self.cluster)

    @property
    def address(self) -> str:
        """What stands behind `--cluster` in commands about it."""
        return names.address(self.cluster, maintenance=self.maintenance)

    @property
    def _handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.workflow_id, run_id=self.run_id)

    async def is_under_way(self) -> bool:
        """Whether there is such a run, and it has not ended; needs no worker."""
        try:
            return (await self._handle.describe(rpc_timeout=ANSWER)).status is WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise

    async def describe(self) -> WorkflowExecutionDescription:
        """What the server itself knows; needs no worker.

        Raises:
            Stopped: there is no such run.
        """
        try:
            return await self._handle.describe(rpc_timeout=ANSWER)
        except RPCError as error:
            if "amespace" in error.message:
                text = f"The Temporal server has no namespace {self.client.namespace!r}: see TEMPORAL_NAMESPACE."
                raise Stopped(ExitCode.REFUSED, text) from error
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise Stopped(ExitCode.REFUSED, self._no_such_run()) from error
            raise

    def _no_such_run(self) -> str:
        what = "maintenance" if self.maintenance else "run"
        if self.run_id:
            return f"Cluster {self.cluster} has no {what} {self.run_id} (workflow {self.workflow_id})."
        start = "maintenance" if self.maintenance else "failover"
        return (
            f"Cluster {self.cluster} has no {what} (workflow {self.workflow_id}).\n"
            f"Start one: python -m starters.{start} --inventory FILE --vacate HOST"
        )

    async def about_its_maintenance(self) -> str:
        """Where to look for the maintenance that is under way beside a run; empty if there is none, or this is it."""
        maintenance = replace(self, run_id=None, maintenance=True)
        if self.maintenance or not await maintenance.is_under_way():
            return ""
        return f"A maintenance of the cluster is under way: python -m starters.status --cluster {maintenance.address}"

    async def status(self) -> Status:
        """The whole state of the run.

        Raises:
            NoAnswer: no worker answers.
        """
        return await self._query(names.STATUS_QUERY, Status)

    async def report(self) -> RunReport:
        """The report as it would be now.

        Raises:
            NoAnswer: no worker answers.
        """
        return await self._query(names.REPORT_QUERY, RunReport)

    async def plan(self) -> Plan | None:
        """The plan; None before the health check is over.

        Raises:
            NoAnswer: no worker answers.
        """
        found = await self._query(names.PLAN_QUERY, object)
        return Plan.model_validate(found) if found is not None else None

    async def roll_back_plan(self) -> Plan | None:
        """The plan of the roll-back; None: there is none.

        Raises:
            NoAnswer: no worker answers.
        """
        found = await self._query(names.ROLL_BACK_QUERY, object)
        return Plan.model_validate(found) if found is not None else None

    async def _query(self, query: str, kind: type[T]) -> T:
        # The server waits for a worker until the time-out; without one in sight there is little to wait for.
        within = ANSWER if await workers(self.client, self.cluster) else NOBODY_IN_SIGHT
        try:
            async with asyncio.timeout(within.total_seconds() + 1):
                answer: T = await self._handle.query(query, result_type=kind, rpc_timeout=within)
        except TimeoutError:
            raise NoAnswer(self.no_worker()) from None
        except RPCError as error:
            if error.status in _NOBODY:
                raise NoAnswer(self.no_worker()) from error
            raise
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise NoAnswer(f"The run can't tell its state: {shortened(str(error))}") from error
        return answer

    def no_worker(self) -> str:
        """What to do without a worker."""
        return no_worker(self.cluster)

    async def decide(self, wish: Decide) -> Answer:
        """Say something to the run and get its answer.

        Raises:
            NoAnswer: nobody answered: whether it was heard is unknown.
        """
        try:
            answer: Answer = await self._handle.execute_update(
                names.DECIDE_UPDATE, wish, result_type=Answer, rpc_timeout=DECISION
            )
        except WorkflowUpdateFailedError as error:
            return Answer(accepted=False, text=reason_of(error))
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise NoAnswer(f"{self.no_worker()}\nWhether the run heard this is unknown: look at its status.") from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                what = "maintenance" if self.maintenance else "run"
                return Answer(accepted=False, text=f"the {what} of cluster {self.cluster} has ended")
            raise
        return answer

    async def result(self) -> RunReport:
        """The report of a run that has ended; needs no worker.

        Raises:
            Stopped: it ended without one; with the reason.
        """
        handle = self.client.get_workflow_handle(self.workflow_id, run_id=self.run_id, result_type=RunReport)
        try:
            report: RunReport = await handle.result(follow_runs=False, rpc_timeout=ANSWER)
        except WorkflowFailureError as error:
            raise Stopped(ExitCode.FAILED, f"The run ended without a report: {reason_of(error)}") from error
        return report


def reason_of(error: BaseException) -> str:
    """The innermost reason: the outer ones only say that something failed."""
    reason: BaseException = error
    while isinstance(reason.__cause__, FailureError):
        reason = reason.__cause__
    return getattr(reason, "message", "") or str(reason)


def no_worker(cluster: str) -> str:
    """What to do without a worker."""
    queue = names.task_queue(cluster)
    return f"No worker of cluster {cluster} answers (task queue {queue}). Start one: {START_A_WORKER}"


async def workers(client: Client, cluster: str) -> tuple[str, ...]:
    """Who asked for work of this cluster lately. One that was killed is still named for a minute."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=names.task_queue(cluster)),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=ANSWER)
    since = datetime.now(UTC) - RECENT
    return tuple(
        poller.identity for poller in answer.pollers if poller.last_access_time.ToDatetime(tzinfo=UTC) >= since
    )
