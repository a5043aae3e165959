"""The state of a run as lines of text: for `status`, for the lines of `--watch`, and for the question at a gate."""

from __future__ import annotations

from datetime import datetime

from procedure.plan import Gate, Plan
from procedure.verdicts import Answer
from starters.waits import commands
from starters.wording import clock, moment, took
from workflows.approvals import standing
from workflows.draining import left
from workflows.status import DecisionRecord, Progress, RunView, StageView, Status, StepRecord, StepState, Wait

MARKS = {"pending": "○", "running": "▶", "waiting": "⚑", "ended": "✔", "not started": "–", "not needed": "–"}
"""The same signs as in the Web UI."""


def status_lines(status: Status, now: datetime) -> list[str]:
    """Everything a person wants to know at a glance."""
    lines = [headline(status), *_about(status)]
    lines += ["", "Stages"] + [f"  {stage_line(stage, now)}" for stage in status.stages] if status.stages else []
    running = running_steps(status)
    lines += ["", "Running"] if running else []
    for record in running:
        lines += [f"  {running_line(record, now)}", *(f"    {line}" for line in progress_lines(record.progress))]
    lines += ["", "Runs"] + [f"  {run_line(run)}" for run in status.runs] if status.runs else []
    for wait in status.waits:
        lines += ["", *wait_lines(wait, status.address)]
    lines += ["", "Said"] + [f"  {decision_line(said)}" for said in status.decisions] if status.decisions else []
    lines += ["", "Notes"] + [f"  {note}" for note in status.notes] if status.notes else []
    return lines


def headline(status: Status) -> str:
    """Cluster, direction, where it is."""
    where = f"ended: {status.outcome.value}" if status.outcome else status.phase
    return f"{status.direction.capitalize()} of {status.cluster}, {status.intention}: {where}"


def _about(status: Status) -> list[str]:
    end = f", ended {moment(status.ended)}" if status.ended else ""
    lines = [f"  began {moment(status.began)}{end}"]
    if status.scheduled:
        lines.append(f"  scheduled for {moment(status.scheduled)}; until then nothing is looked at, let alone touched")
    if status.window_ends:
        lines.append(f"  window until {moment(status.window_ends)}; after it nothing is changed until people agree")
    if status.requested_by or status.reason:
        lines.append(f"  requested by {status.requested_by or 'nobody named'}: {status.reason or 'no reason given'}")
    if status.outcome_reason:
        lines.append(f"  {status.outcome_reason}")
    return [*lines, *pause_lines(status)]


def pause_lines(status: Status) -> list[str]:
    """Who has paused the run and how it goes on; nothing if it is not paused."""
    pause = status.paused
    if pause is None:
        return []
    return [
        f"⚑ Paused by {pause.by} since {clock(pause.since)}: {pause.reason}",
        "   Steps that run end, none begins. Deadlines wait, silences are extended.",
        f"   To go on: python -m starters.resume --cluster {status.address}",
    ]


def running_steps(status: Status) -> list[StepRecord]:
    """Steps a worker is busy with."""
    return [record for record in status.steps if record.state is StepState.RUNNING]


def stage_line(stage: StageView, now: datetime) -> str:
    """One stage: sign, number, title, count, duration."""
    count = f"{stage.done}/{stage.total}" if stage.total and stage.state in ("running", "waiting") else ""
    duration = took((stage.ended or now) - stage.began) if stage.began and stage.state != "pending" else ""
    return f"{MARKS[stage.state]} {stage.number:>2}  {stage.title:36} {stage.state:11} {count:>7}  {duration}".rstrip()


def run_line(run: RunView) -> str:
    """One run of a maintenance."""
    where = f"{run.direction} of {run.vacated}, began {moment(run.began)}, run {run.run_id}"
    if not run.is_over:
        return f"{where}: under way"
    ended = run.outcome.value if run.outcome else run.outcome_reason
    outage = f", outage {took(run.outage.duration)}" if run.outage and run.outage.began else ""
    return f"{where}: {ended} after {took((run.ended or run.began) - run.began)}{outage}"


def running_line(record: StepRecord, now: datetime) -> str:
    """One running step."""
    again = f", attempt {record.attempts}" if record.attempts > 1 else ""
    since = f"  ({took(now - record.began)}{again})" if record.began else ""
    return f"{record.title}{since}"


def progress_lines(progress: Progress | None) -> list[str]:
    """Sessions that are left, with whom, and until when they are waited for; nothing for a step that waits for none."""
    if progress is None:
        return []
    pace = f"about {clock(progress.expected_end)}" if progress.expected_end else "nobody can tell when"
    until = f"; waits until {clock(progress.deadline)}" if progress.deadline else ""
    return [
        f"{progress.total} left at {clock(progress.at)} – {left(progress.sessions)}",
        f"None left, at the observed pace: {pace}{until}",
    ]


def wait_lines(wait: Wait, cluster: str) -> list[str]:
    """What waits, since when, and what to type."""
    lines = [f"⚑ Waiting since {clock(wait.since)}: {wait.title} ({wait.kind})"]
    lines += [f"   {line}" for line in text_lines(wait)]
    if wait.overdue:
        lines.append("   Its deadline has passed. The run holds: it goes on only when someone decides.")
    elif wait.left is not None:
        lines.append(f"   Its deadline waits while the run is paused, {took(wait.left)} before it.")
    elif wait.deadline:
        lines.append(f"   Deadline {moment(wait.deadline)}; after it the run still holds.")
    return [*lines, "   Type, in another terminal:", *(f"     {command}" for command in commands(wait, cluster))]


def decision_line(said: DecisionRecord) -> str:
    """Who said what, and what came of it."""
    about = f" {said.about}" if said.about else ""
    words = f' "{said.said}"' if said.said else ""
    verdict = "accepted" if said.accepted else "NOT accepted"
    return f"{clock(said.at)} {said.by or 'unnamed'}: {said.signal}{about}{words} – {verdict}: {said.answer}"


def question(wait: Wait, status: Status, plan: Plan | None) -> list[str]:
    """What an approver must have seen: plan, facts, and last, above the prompt, the question."""
    lines = [f"Plan {plan.digest}", *(f"  {line}" for line in plan_lines(plan)), ""] if plan else []
    lines += ["Facts", *(f"  {fact}" for fact in _facts(status))]
    lines += ["", "Seen, and what the approval is bound to", *(f"  {fact}" for fact in _bound(wait))] * bool(
        _bound(wait)
    )
    lines += _gate_lines(wait, plan)
    return [*lines, "", f"Gate {wait.gate}: {wait.title}", *(f"  {line}" for line in text_lines(wait))]


def _bound(wait: Wait) -> tuple[str, ...]:
    return wait.bound.facts if wait.bound else ()


def text_lines(wait: Wait) -> list[str]:
    """What a wait says beyond its title."""
    text = wait.text.splitlines() if wait.text != wait.title else []
    changes = ["Shown anew: approvals are void, since this has changed:", *(f"  - {line}" for line in wait.changes)]
    return [*text, *(changes if wait.changes else ()), *filter(None, [standing(wait)])]


def _gate_lines(wait: Wait, plan: Plan | None) -> list[str]:
    gate = plan.step(wait.step).action if plan else None
    if not isinstance(gate, Gate):
        return []
    lines = ["", "You vouch for", *(f"  - {item}" for item in gate.vouched)] if gate.vouched else []
    return lines + (["", "You have tried", *(f"  - {item}" for item in gate.checklist)] if gate.checklist else [])


def _facts(status: Status) -> list[str]:
    if status.direction == "maintenance":
        return [f"cluster {status.cluster}: {status.intention}", *map(run_line, status.runs)]
    facts = [f"cluster {status.cluster}: {status.intention}, {_other(status)}"]
    if status.expected:
        facts.append(f"expected: {took(status.expected)} in all, outage {took(status.expected_outage)}")
    good = sum(verdict.answer is Answer.PASS for verdict in status.health)
    facts.append(f"health check: {good} of {len(status.health)} conditions pass")
    facts += [f"warning: {v.condition} – {v.reason}" for v in status.health if v.answer is Answer.WARN]
    if status.outage and status.outage.began:
        facts.append(f"outage measured so far: {took(status.outage.duration)}")
    return facts + [f"note: {note}" for note in status.notes]


def _other(status: Status) -> str:
    return f"{status.surviving} {'runs alone now' if status.direction == 'failback' else 'takes over'}"


def plan_lines(plan: Plan) -> list[str]:
    """Stages with their steps, in the words of the procedure."""
    lines: list[str] = []
    for stage in plan.stages:
        steps = plan.steps_of(stage.number)
        lines.append(f"{stage.number:>2}  {stage.title} ({stage.label})" + (f": {stage.note}" if not steps else ""))
        lines += [f"      {step.title}" for step in steps]
    return lines
