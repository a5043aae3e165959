"""Runs that a maintenance begins and waits for. What comes of one is the report, or the problem, of a step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from procedure.plan import ChildRun
    from procedure.reports import Evidence, Outcome, RunOutcome, StepProblem, StepReport
    from workflows import opening
    from workflows.ledger import Ledger
    from workflows.maintenance_views import ENDED_WELL, GIVEN_UP
    from workflows.messages import (
        CANCELLED,
        Abort,
        FailbackRequest,
        FailoverRequest,
        MaintenanceRequest,
        Pause,
        Restored,
    )
    from workflows.opening import Opening
    from workflows.status import Paused, RunView


class Children:
    """Ordinary runs of the cluster, one after the other, as if a person had started each."""

    def __init__(
        self, request: MaintenanceRequest, ledger: Ledger, runs: tuple[RunView, ...], changed: Callable[[], None]
    ) -> None:
        self._request = request
        self._ledger = ledger
        self._changed = changed
        self.runs = list(runs)
        """The latest last."""
        self.notes: list[str] = []

    async def carry_out(self, child: ChildRun) -> StepReport | StepProblem:
        """Begin a run and wait for its end.

        A pause and an abort of the maintenance are told to the run, whose own end is waited for. A run that was
        aborted ends the maintenance too.
        """
        start = self._opening(child)
        try:
            handle = await self._begin(start)
        except WorkflowAlreadyStartedError:
            return _taken(start)
        run = RunView(
            direction=child.direction,
            vacated=child.host,
            workflow_id=handle.id,
            run_id=handle.first_execution_run_id or "",
            began=workflow.now(),
        )
        self._keep(run)
        forwarding = asyncio.create_task(self._forward(handle))
        try:
            ended: RunView = await handle
        except ChildWorkflowError as error:
            return self._broken_off(run, error)
        finally:
            forwarding.cancel()
        self._keep(ended)
        return self._judged(ended)

    def failover_of(self, host: str) -> RunView | None:
        """The run that has vacated a host; None: it was done in another way."""
        done = [run for run in self.runs if (run.direction, run.vacated) == ("failover", host)]
        return next((run for run in reversed(done) if run.outcome in ENDED_WELL), None)

    def _opening(self, child: ChildRun) -> Opening:
        request, info = self._request, workflow.info()
        common: dict[str, Any] = {
            "inventory": request.inventory,
            "reason": request.reason,
            "requested_by": request.requested_by,
        }
        part = f"Part of the maintenance `{info.workflow_id}`"
        if child.direction == "failover":
            # What limits the beginning of a maintenance does not limit what comes weeks later.
            ends = None if self.runs else request.window_ends
            return opening.failover(FailoverRequest(vacate=child.host, window_ends=ends, **common), part)
        restored = self._restored(child.host)
        return opening.failback(FailbackRequest(returning=child.host, of=restored, **common), part)

    def _restored(self, host: str) -> Restored | None:
        former = self.failover_of(host)
        if former is None or former.as_found is None:
            return None
        return Restored(
            workflow_id=former.workflow_id,
            run_id=former.run_id,
            reference=former.reference,
            as_found=former.as_found,
        )

    async def _begin(self, start: Opening) -> workflow.ChildWorkflowHandle[Any, RunView]:
        return await workflow.start_child_workflow(
            start.workflow,
            start.request,
            id=start.workflow_id,
            result_type=RunView,
            # It goes on by itself whatever becomes of the maintenance.
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            task_timeout=opening.TASK_TIMEOUT,
            memo=start.memo,
            search_attributes=start.search_attributes,
            static_summary=start.summary,
            static_details=start.details,
        )

    async def _forward(self, handle: workflow.ChildWorkflowHandle[Any, RunView]) -> None:
        """Tell the run what the maintenance is told about all of it. It may have ended in this very moment."""
        ledger, told = self._ledger, self._ledger.paused
        while ledger.abort is None:
            await workflow.wait_condition(partial(self._has_news, told))
            with suppress(ApplicationError):
                if ledger.abort == CANCELLED:
                    run_id = handle.first_execution_run_id
                    await workflow.get_external_workflow_handle(handle.id, run_id=run_id).cancel()
                elif ledger.abort is not None:
                    await handle.signal("abort", ledger.abort)
                elif ledger.paused is not None:
                    told = ledger.paused
                    await handle.signal("pause", Pause(by=told.by, reason=told.reason))
                else:
                    told = None
                    await handle.signal("resume", ledger.resumed)

    def _has_news(self, told: Paused | None) -> bool:
        return self._ledger.abort is not None or self._ledger.paused is not told

    def _keep(self, run: RunView) -> None:
        self.runs = [known for known in self.runs if known.run_id != run.run_id] + [run]
        self._changed()

    def _broken_off(self, run: RunView, error: ChildWorkflowError) -> StepProblem:
        """Nobody reports: it was terminated, or its input was not understood."""
        seen = f"the run ended without a report: {error.cause or error}"
        self._keep(run.model_copy(update={"ended": workflow.now(), "outcome_reason": seen}))
        look = "find out how the cluster is (`python -m starters.health` only looks), then retry; or abort"
        return _problem("unknown", run, seen, look)

    def _judged(self, run: RunView) -> StepReport | StepProblem:
        if run.outcome in ENDED_WELL:
            if run.outcome is RunOutcome.COMPLETED_WITH_SKIPS:
                self.notes.append(f"{run.name} completed with skips. {run.outcome_reason}")
            return _report(run)
        seen = run.outcome_reason or "no reason was given"
        if run.outcome in GIVEN_UP:
            self._ledger.give_up(Abort(by=f"the {run.direction}", reason=seen[:1000]), workflow.now())
        cluster = self._request.inventory.cluster
        read = f"read `python -m starters.report --cluster {cluster} --run {run.run_id}`, then retry, or abort"
        return _problem("failed", run, seen, read)


def _report(run: RunView) -> StepReport:
    ended = run.ended or workflow.now()
    proof = Evidence(at=run.began, instruction=f"run {run.run_id} of {run.workflow_id}", answer=run.outcome_reason)
    return StepReport(outcome=Outcome.DONE, seen=run.outcome_reason, evidence=(proof,), began=run.began, ended=ended)


def _problem(kind: Literal["failed", "unknown"], run: RunView, seen: str, next_step: str) -> StepProblem:
    return StepProblem(
        kind=kind,
        machine=run.vacated,
        expected=f"the {run.direction} completes",
        seen=seen,
        next_step=next_step,
    )


def _taken(start: Opening) -> StepProblem:
    """Two runs at once are never allowed (invariant 8)."""
    return StepProblem(
        kind="refused",
        machine=start.request.host,
        expected=f"cluster {start.cluster} has no other run",
        seen=f"another run of {start.workflow_id} is under way, which this maintenance did not begin",
        next_step=f"wait until it has ended (`python -m starters.status --cluster {start.cluster}`), then retry; "
        "or skip, if it does what this step would have done; or abort",
    )
