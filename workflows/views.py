"""Views of a run for people: stages, the phase in one line, what to do after the end. Pure."""

from __future__ import annotations

from typing import Literal

from procedure.plan import Plan, Stage
from procedure.reports import Outcome, RunOutcome
from workflows.ledger import Ledger
from workflows.status import RunReport, StageView, Status, StepRecord, StepState

_HEALTH = Stage(number=0, label="preconditions", title="Health check")
_StageState = Literal["pending", "running", "waiting", "ended", "not started"]


def stage_views(plan: Plan | None, ledger: Ledger, *, ended: bool) -> tuple[StageView, ...]:
    """The stages, each with the state its steps give it."""
    stages = plan.stages if plan else (_HEALTH,)
    return tuple(_view(stage, _of(stage, ledger), ended=ended) for stage in stages)


def _of(stage: Stage, ledger: Ledger) -> list[StepRecord]:
    return [record for record in ledger.records.values() if record.stage == stage.number]


def _view(stage: Stage, records: list[StepRecord], *, ended: bool) -> StageView:
    begins = [record.began for record in records if record.began]
    ends = [record.ended for record in records if record.ended]
    state = _state(records, ended=ended)
    return StageView(
        number=stage.number,
        label=stage.label,
        title=stage.title,
        note=stage.note,
        state=state,
        done=sum(record.is_over for record in records),
        total=len(records),
        began=min(begins, default=None),
        ended=max(ends, default=None) if state == "ended" else None,
    )


def _state(records: list[StepRecord], *, ended: bool) -> _StageState:
    states = {record.state for record in records}
    if StepState.WAITING in states:
        return "waiting"
    if not states <= {StepState.ENDED} and states & {StepState.RUNNING, StepState.ENDED}:
        return "not started" if ended and StepState.NOT_STARTED in states else "running"
    if states == {StepState.ENDED}:
        return "ended"
    return "not started" if ended and states else "pending"


def phase(status: Status) -> tuple[str, str]:
    """Where the run is and what it waits for, each short enough for a search attribute."""
    waiting = "; ".join(wait.title for wait in status.waits)[:200] or "nothing"
    if status.outcome is not None:
        return f"ended: {status.outcome.value}", waiting
    busy = [stage for stage in status.stages if stage.state in ("running", "waiting")]
    if busy:
        return f"{busy[0].number:02d} {busy[0].title}"[:200], waiting
    coming = [stage for stage in status.stages if stage.state == "pending"]
    return (f"{coming[0].number:02d} {coming[0].title}"[:200] if coming else "ending"), waiting


def next_steps(report: RunReport) -> tuple[str, ...]:
    """What remains to be done by people, after a run that did not simply complete."""
    if report.outcome is None or report.outcome is RunOutcome.COMPLETED:
        return ()
    if not report.plan_digest:
        bad = [verdict for verdict in report.health if not verdict.allows]
        return tuple(f"{v.condition}: {v.reason}. {v.next_step}".strip() for v in bad) or ("Nothing was touched.",)
    return (*_skipped(report), *_troubled(report), *_undone(report))


def _skipped(report: RunReport) -> tuple[str, ...]:
    return tuple(
        f"Skipped by {record.decided_by} ({record.reason}), so do it or check it by hand: {record.title}"
        for record in report.steps
        if record.outcome is Outcome.SKIPPED
    )


def _troubled(report: RunReport) -> tuple[str, ...]:
    return tuple(
        f"Look at this first: {record.title} is {record.outcome.value}"
        + (f" – {record.problem.text}" if record.problem else "")
        for record in report.steps
        if record.outcome in (Outcome.FAILED, Outcome.UNKNOWN)
    )


def _undone(report: RunReport) -> tuple[str, ...]:
    if report.outcome is not RunOutcome.ABORTED:
        return ()
    left = [record for record in report.steps if record.state is StepState.NOT_STARTED]
    done = [record for record in report.steps if record.outcome is Outcome.DONE and record.stage > 0]
    text = f"{len(done)} steps were done and stay done, {len(left)} were not started"
    first = f"; the first of them: {left[0].title}" if left else ""
    return (f"{text}{first}. Run a health check before anything else.",)
