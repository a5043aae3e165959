"""Views of a run for people: stages, the phase in one line, what to do after the end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from procedure.plan import Plan, Stage
from procedure.reports import Outcome, RunOutcome
from procedure.rollback import DECIDE
from procedure.verdicts import Answer, named_together, without_retry
from workflows import maintenance_views
from workflows.ledger import Ledger
from workflows.status import RunReport, StageView, Status, StepRecord, StepState

_HEALTH = Stage(number=0, label="preconditions", title="Health check")
MOST_STOPPED = 6
"""Named of what is stopped; the report has each step."""
_AT_ANY_TIME = "Nothing was touched. The run can be started again at any time."
_BY_HAND = (
    "Go on from there with `{carry_on}`, which finds done what is done; or by hand by the procedure; or put back by "
    "hand what was done. The report has both ways, each step with its commands. Then run a health check "
    "(`python -m starters.health`)."
)
_TURNED = (
    "The roll-back stands in the middle: the report has what is left of it, each step with its commands. Do that by "
    "hand, then run a health check (`python -m starters.health`); or go on again with `{carry_on}`."
)
_BEGIN_AGAIN = "Nothing was touched. When this is mended, start the run again (`python -m starters.health` only looks)."
_StageState = Literal["pending", "running", "waiting", "ended", "not started", "not needed"]


def stage_views(plans: Sequence[Plan], ledger: Ledger, *, ended: bool) -> tuple[StageView, ...]:
    """The stages, each with the state its steps give it; before there is a plan, the health check alone."""
    stages = [stage for plan in plans for stage in plan.stages] or [_HEALTH]
    needed = {step.stage for plan in plans for step in plan.steps} or {_HEALTH.number}
    # While a run is rolled back nothing that it has not begun is to come any more.
    left = DECIDE if ledger.way_back.has_left_the_rest else 0
    return tuple(
        _view(stage, records, ended=ended or stage.number < left)
        if records or stage.number in needed
        else _not_needed(stage)
        for stage, records in ((stage, _of(stage, ledger)) for stage in stages)
    )


def _not_needed(stage: Stage) -> StageView:
    return StageView(number=stage.number, label=stage.label, title=stage.title, note=stage.note, state="not needed")


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
    paused = [f"resume, paused by {status.paused.by}"] if status.paused else []
    waiting = "; ".join([*paused, *(wait.title for wait in status.waits)])[:200] or "nothing"
    if status.outcome is not None:
        return f"ended: {status.outcome.value}", waiting
    if status.scheduled is not None:
        return f"scheduled for {status.scheduled:%d %b %H:%M} UTC", waiting
    busy = [stage for state in ("waiting", "running") for stage in status.stages if stage.state == state]
    if busy:
        return f"{busy[0].number:02d} {busy[0].title}"[:200], waiting
    # Also one that is not needed, as ever: what is upserted here, and how often, must not change for runs under way.
    coming = [stage for stage in status.stages if stage.state in ("pending", "not needed")]
    return (f"{coming[0].number:02d} {coming[0].title}"[:200] if coming else "ending"), waiting


def next_steps(report: RunReport) -> tuple[str, ...]:
    """What remains to be done by people, after a run that did not simply complete, or was not wholly taken back."""
    if report.outcome in (None, RunOutcome.COMPLETED, RunOutcome.ROLLED_BACK):
        return ()
    if report.direction == "maintenance":
        return (*_skipped(report), *maintenance_views.next_steps(report))
    if not report.plan_digest:
        ill = _ill(report)
        earlier = (report.carry_on,) if report.carry_on else ()
        return (*earlier, *ill, _BEGIN_AGAIN) if ill else (_AT_ANY_TIME,)
    return (*_skipped(report), *_troubled(report), *_undone(report))


def _ill(report: RunReport) -> tuple[str, ...]:
    """What the health check did not like. What has the same cause is told once: a host has ten machines."""
    causes: dict[tuple[str, str, str], list[str]] = {}
    for verdict in report.health:
        if not verdict.allows:
            known = "Not so" if verdict.answer is Answer.FAIL else "Nobody can tell whether"
            # Nothing waits here that could be told to retry: the last line says what to do instead.
            step = without_retry(verdict.next_step)
            causes.setdefault((known, verdict.reason.rstrip("."), step), []).append(verdict.condition)
    return tuple(
        f"{known}: {named_together(conditions)}. Seen: {reason}. {step}".strip()
        for (known, reason, step), conditions in causes.items()
    )


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
    if all(record.outcome is not Outcome.DONE for record in report.steps if record.stage > 0):
        return (_AT_ANY_TIME,)
    return (*_how_far(report), *_not_served(report), *_no_daemon(report), _by_hand(report))


def _by_hand(report: RunReport) -> str:
    return (_TURNED if report.rolled_back_by else _BY_HAND).format(carry_on=carry_on(report))


def carry_on(report: RunReport) -> str:
    """What carries an aborted run on."""
    run = f"--adopt {report.workflow_id}/{report.run_id}"
    if report.direction == "failback":
        return f"python -m starters.failback --inventory FILE {run}"
    return f"python -m starters.failover --inventory FILE --vacate {report.vacated} {run}"


def _how_far(report: RunReport) -> tuple[str, ...]:
    stages = [stage for stage in report.stages if stage.number > 0]
    begun = [stage for stage in stages if stage.done]
    left = [f"{stage.number} {stage.title}" for stage in stages if not stage.done and stage.total]
    done = ", ".join(f"{stage.number} {stage.title} ({stage.done} of {stage.total} steps)" for stage in begun)
    return (f"Stays as it is now: {done}.", *((f"Not begun: {', '.join(left)}.",) if left else ()))


def _not_served(report: RunReport) -> tuple[str, ...]:
    """What was stopped and not started again, by machine: nobody is served by it."""
    stopped = _changed(report, "stop_component", "Stop ")
    started = _changed(report, "start_component", "Start ")
    off = {record.target for record in report.steps if record.kind == "shut_down_machine" and record.outcome in _SO}
    still = {name: machine for name, machine in stopped.items() if name not in started and machine not in off}
    if not still:
        return ()
    named = ", ".join(list(still)[:MOST_STOPPED]) + (f" and {n} more" if (n := len(still) - MOST_STOPPED) > 0 else "")
    return (f"Nobody is served by what is stopped: {named}. Start it on the side that has the storage.",)


def _no_daemon(report: RunReport) -> tuple[str, ...]:
    """AcdGroupDistribute, stopped on one side and not yet started on the other."""
    stopped = [record.target for record in report.steps if record.kind == "stop_daemon" and record.outcome in _SO]
    started = any(record.kind == "start_daemon" and record.outcome in _SO for record in report.steps)
    if not stopped or started:
        return ()
    machines = " and ".join(stopped)
    return (f"AcdGroupDistribute was stopped on {machines} and runs nowhere: start it on one telephony machine.",)


def _changed(report: RunReport, kind: str, verb: str) -> dict[str, str]:
    steps = [record for record in report.steps if record.kind == kind and record.outcome in _SO]
    return {record.title.removeprefix(verb): record.target for record in steps}


_SO = (Outcome.DONE, Outcome.UNCHANGED)
