"""What Temporal reports of a step that did not end well, in the words of the procedure."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType

from procedure.reports import Outcome, StepProblem, StepReport

_LOOK = "look at the machine, then retry; or skip with a reason, or abort"


def problem_of(error: ActivityError, machine: str, title: str) -> StepProblem:
    """The problem behind a failed activity. A time-out is *unknown*: it may have been done."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        return _reported(cause, machine, title)
    if isinstance(cause, TimeoutError):
        return StepProblem(
            kind="unknown", machine=machine, expected=title, seen=_WHY_LATE.get(cause.type, str(cause)), next_step=_LOOK
        )
    return StepProblem(
        kind="unknown",
        machine=machine,
        expected=title,
        seen=str(cause or error) or "no reason was given",
        next_step=_LOOK,
    )


def doubtful(report: StepReport, machine: str, title: str) -> StepProblem:
    """A worker that reports a step as failed, or as something it can't be, has not done it."""
    kind: Literal["failed", "unknown"] = "failed" if report.outcome is Outcome.FAILED else "unknown"
    seen = report.seen or f"the worker reports it as {report.outcome.value}"
    return StepProblem(kind=kind, machine=machine, expected=title, seen=seen, next_step=_LOOK, report=report)


def not_looked_at(machine: str, title: str) -> StepProblem:
    """Nobody looks any more, since the run is aborted."""
    return StepProblem(kind="unknown", machine=machine, expected=title, seen="the run was aborted", next_step=_LOOK)


def _reported(cause: ApplicationError, machine: str, title: str) -> StepProblem:
    detail = cause.details[0]
    if isinstance(detail, StepProblem):
        return detail
    if isinstance(detail, dict):
        known = {"machine": machine, "expected": title, "seen": str(cause), "next_step": _LOOK, **detail}
        if known.get("kind") not in ("refused", "rejected", "failed", "unknown"):
            known["kind"] = "unknown"
        try:
            return StepProblem.model_validate(known)
        except ValidationError:  # of a worker of another version; the failure's own words are still there
            pass
    return StepProblem(kind="unknown", machine=machine, expected=title, seen=str(cause), next_step=_LOOK)


_WHY_LATE: dict[TimeoutType | None, str] = {
    TimeoutType.HEARTBEAT: "the worker that did it stopped answering, several times",
    TimeoutType.START_TO_CLOSE: "it took longer than it may, and whether it was done is not known",
    TimeoutType.SCHEDULE_TO_START: "no worker took it",
    TimeoutType.SCHEDULE_TO_CLOSE: "it took longer than it may, all attempts together",
}
