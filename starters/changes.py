"""What has changed between two looks at a run, one line a change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from starters.screens import decision_line, progress_lines, wait_lines
from starters.wording import state_of, took
from workflows.status import StageView, Status, StepRecord, StepState


def changes(before: Status, now: Status, at: datetime) -> list[str]:
    """Stages, steps, decisions, waits, notes, in the order in which they matter."""
    lines = [*_stages(before, now, at), *_steps(before, now)]
    lines += [decision_line(said) for said in now.decisions[len(before.decisions) :]]
    lines += [f"note: {note}" for note in now.notes if note not in before.notes]
    known = {(wait.step, wait.since, wait.overdue) for wait in before.waits}
    for wait in now.waits:
        if (wait.step, wait.since, wait.overdue) not in known:
            lines += wait_lines(wait, now.address)
    if now.outcome is not before.outcome and now.outcome is not None:
        lines.append(f"ended: {now.outcome.value}. {now.outcome_reason}".rstrip())
    return lines


def _stages(before: Status, now: Status, at: datetime) -> Iterator[str]:
    states = {stage.number: stage.state for stage in before.stages}
    for stage in now.stages:
        if stage.state != states.get(stage.number, "pending"):
            yield _stage(stage, at)


def _stage(stage: StageView, at: datetime) -> str:
    duration = f" after {took((stage.ended or at) - stage.began)}" if stage.began and stage.state == "ended" else ""
    return f"stage {stage.number:02d} {stage.title}: {stage.state}{duration}"


def _steps(before: Status, now: Status) -> Iterator[str]:
    known = {record.id: (record.state, record.outcome, record.attempts) for record in before.steps}
    progress = {record.id: record.progress for record in before.steps}
    for record in now.steps:
        before_it = progress.get(record.id)
        if record.progress is not None and (before_it is None or before_it.at != record.progress.at):
            yield from (f"      {line}" for line in progress_lines(record.progress))
        quiet = record.state in (StepState.PENDING, StepState.NOT_STARTED)
        if not quiet and (record.state, record.outcome, record.attempts) != known.get(record.id):
            yield _step(record)


def _step(record: StepRecord) -> str:
    duration = f" in {took(record.duration)}" if record.state is StepState.ENDED and record.duration else ""
    again = f" (attempt {record.attempts})" if record.state is StepState.RUNNING and record.attempts > 1 else ""
    seen = f": {record.report.seen}" if record.state is StepState.ENDED and record.report else ""
    return f"   {record.title}: {state_of(record)}{duration}{again}{seen}"
