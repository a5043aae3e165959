"""Stand-ins for failover and failback below a maintenance: a run that ends as the test says, without any machine."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from procedure.as_found import AsFound
    from procedure.reports import RunOutcome
    from workflows import names
    from workflows.messages import Abort, FailbackRequest, FailoverRequest, Pause, Resume, RunRequest
    from workflows.status import RunReport

QUICK = "quick"
"""As the reason of a maintenance: its runs complete at once."""


class BriefRun:
    """Ends when it is told how; or at once, where the reason says so."""

    def __init__(self, request: RunRequest, direction: str) -> None:
        self._request, self._direction = request, direction
        self._began = workflow.now()
        self._outcome = RunOutcome.COMPLETED if request.reason == QUICK else None
        self._reason = "it went well"
        self._dies = False
        self._said: list[str] = []

    async def carry_out(self) -> RunReport:
        try:
            await workflow.wait_condition(lambda: self._outcome is not None or self._dies)
        except asyncio.CancelledError:
            self._outcome, self._reason = RunOutcome.ABORTED, "Aborted by Temporal: the workflow was cancelled."
        if self._dies:
            raise ApplicationError("the request was not understood", non_retryable=True)
        return self.status()

    @workflow.query
    def status(self) -> RunReport:
        info, request = workflow.info(), self._request
        of = request.of.run_id if isinstance(request, FailbackRequest) and request.of else ""
        return RunReport(
            cluster=request.inventory.cluster,
            direction=self._direction,
            vacated=request.host,
            surviving="the other",
            reason=request.reason,
            requested_by=request.requested_by,
            reference=f"{self._direction}-{info.run_id}",
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            began=self._began,
            ended=workflow.now() if self._outcome else None,
            outcome=self._outcome,
            outcome_reason=self._reason,
            as_found=AsFound.normal(request.inventory),
            notes=(f"undoes {of or 'nothing known'}", *self._said),
        )

    @workflow.signal
    def end(self, outcome: str, reason: str) -> None:
        self._outcome, self._reason = RunOutcome(outcome), reason

    @workflow.signal
    def die(self) -> None:
        self._dies = True

    @workflow.signal
    def pause(self, said: Pause) -> None:
        self._said.append(f"paused by {said.by}")

    @workflow.signal
    def resume(self, said: Resume) -> None:
        self._said.append(f"resumed by {said.by}")

    @workflow.signal
    def abort(self, said: Abort) -> None:
        self._outcome, self._reason = RunOutcome.ABORTED, f"Aborted by {said.by}: {said.reason}."


@workflow.defn(name=names.FAILOVER)
class BriefFailover(BriefRun):
    @workflow.init
    def __init__(self, request: FailoverRequest) -> None:
        super().__init__(request, "failover")

    @workflow.run
    async def run(self, request: FailoverRequest) -> RunReport:
        return await self.carry_out()


@workflow.defn(name=names.FAILBACK)
class BriefFailback(BriefRun):
    @workflow.init
    def __init__(self, request: FailbackRequest) -> None:
        super().__init__(request, "failback")

    @workflow.run
    async def run(self, request: FailbackRequest) -> RunReport:
        return await self.carry_out()
