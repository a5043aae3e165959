"""The current details of a run, as Markdown for the Temporal Web UI: where it is, what it waits for, what to send.

Lists instead of tables, which the Web UI draws without borders, and below 4 kB, since the text travels in an address.
"""

from __future__ import annotations

import json
from datetime import timedelta

from procedure.reports import RunOutcome
from procedure.verdicts import Answer
from workflows.approvals import standing
from workflows.draining import left
from workflows.status import Hint, Progress, RunReport, RunView, StageView, Status, StepState, Wait

LIMIT = 3700
"""Bytes; a little below the 4 kB that a proxy in front of the Web UI may refuse."""
MOST_NEXT_STEPS = 12
"""Shown at the end: with 220 characters each they fit, and the report has them all."""
_MORE = "\n\n… more in the query `status`."
MOST_WARNINGS = 5
"""Of the health check, shown at the first gate; the query `status` has them all."""
_MARK = {"pending": "○", "running": "▶", "waiting": "⚑", "ended": "✔", "not started": "–", "not needed": "–"}
"""Signs that every font has: a browser on a console has no emoji."""


def render(status: Status) -> str:
    """The details, cut where they would be too long: what waits for a person comes first and is cut last."""
    text = _head(status)
    if status.waits:
        text = f"{text}\n\n{_waits(status, _room(text))}"
    for part in filter(None, (_runs(status), _heard(status), _running(status), _stages(status), _notes(status))):
        if len(part.encode()) > _room(text):
            return text + _MORE
        text = f"{text}\n\n{part}"
    return text


def _room(text: str) -> int:
    """Bytes left below a text."""
    return LIMIT - len(text.encode()) - len("\n\n")


def _head(status: Status) -> str:
    title = f"### {status.direction.capitalize()} of {status.cluster}: {status.intention}"
    if status.outcome is not None:
        return f"{title}\n\n{_ended(status)}"
    lines = [f"**{_where(status)}**", "", *_paused(status), *_expectations(status)]
    return f"{title}\n\n" + "\n".join(lines).rstrip()


def _where(status: Status) -> str:
    # What waits comes first: at a gate an earlier stage may still have steps that come later.
    busy = [stage for state in ("waiting", "running") for stage in status.stages if stage.state == state]
    stage = busy[0] if busy else None
    place = f"Stage {stage.number}, {stage.title}" if stage else _cut(status.phase, 100)
    count = len(status.waits)
    return f"{place} – waits for a person" + (f", {count} times" if count > 1 else "") if count else place


def _paused(status: Status) -> list[str]:
    pause = status.paused
    if pause is None:
        return []
    return [
        f"**Paused by {_line(pause.by, 60)} since {pause.since:%d %b %H:%M:%S} UTC: {_line(pause.reason, 200)}**",
        "",
        "- Steps that run end, none begins. Deadlines wait, silences are extended.",
        '- `resume` – go on, with what was decided meanwhile: `{"by": "YOUR NAME"}`',
        "",
    ]


def _expectations(status: Status) -> list[str]:
    """What the plan promises; at the first gate also what the person there wants to know before saying yes."""
    if status.expected is None:
        return []
    told = f"about {_minutes(status.expected)} without the time that people take, outage about "
    lines = [f"- Expected: {told}{_minutes(status.expected_outage)}", *_window(status)]
    if not any(wait.gate == "before_start" for wait in status.waits):
        return lines
    return [*lines, *_plan(status), *_health(status), *_as_found(status)]


def _window(status: Status) -> list[str]:
    if status.window_ends is None:
        return []
    return [f"- Window: until {status.window_ends:%d %b %H:%M} UTC; after it nothing more is changed without a word"]


def _plan(status: Status) -> list[str]:
    longest = "; ".join(status.longest_steps)
    where = f"the query `plan`, or `python -m starters.approve --cluster {status.address}`"
    return [
        *(
            [f"- The critical path, {_minutes(status.critical_path)}, has as its longest steps: {longest}"]
            * bool(longest)
        ),
        f"- Plan {status.plan_digest}, {len(status.steps)} steps, each with its command: {where}",
    ]


def _health(status: Status) -> list[str]:
    counts = ((answer, sum(verdict.answer is answer for verdict in status.health)) for answer in Answer)
    lines = [f"- Health check: {', '.join(f'{count} {answer.value}' for answer, count in counts if count)}"]
    warnings = [verdict for verdict in status.health if verdict.answer is Answer.WARN]
    lines += [
        f"- Warning: {_line(f'{verdict.condition}: {verdict.reason}', 180)}" for verdict in warnings[:MOST_WARNINGS]
    ]
    left = len(warnings) - MOST_WARNINGS
    return [*lines, f"- … and {left} more warnings, in the query `status`"] if left > 0 else lines


def _as_found(status: Status) -> list[str]:
    found = status.as_found
    if found is None:
        return []
    daemon = f", AcdGroupDistribute {', '.join(found.daemon)}" if found.daemon else ""
    return [f"- As found: storage {found.storage}, load balancer {found.load_balancer}, writes {found.writer}{daemon}"]


def _minutes(duration: timedelta | None) -> str:
    seconds = duration.total_seconds() if duration else 0
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _ended(status: Status) -> str:
    assert status.outcome is not None  # noqa: S101 - asked by the only caller
    text = f"**Ended: {status.outcome.value}. {_line(status.outcome_reason, 500)}**"
    if not isinstance(status, RunReport):
        return text
    steps = status.next_steps if status.outcome is not RunOutcome.COMPLETED else ()
    shown = steps[:MOST_NEXT_STEPS]
    lines = [f"- {_line(step, 220)}" for step in shown]
    left = len(steps) - len(shown)
    lines += [f"- … and {left} more, in the query `report`"] if left else []
    return "\n".join([text, "", *lines, *_figures(status)])


def _figures(status: Status) -> list[str]:
    lines = [f"- It took {_minutes(status.ended - status.began)}"] if status.ended else []
    if status.outage is not None and status.outage.began is not None:
        within = status.outage.interval.total_seconds()
        lines.append(f"- The outage as measured: {_minutes(status.outage.duration)}, right to about {within:g} s")
    return [*lines, f"- Everything else: `python -m starters.report --cluster {status.address}`"]


# --- what waits for a person ------------------------------------------------------------------------------------------


def _waits(status: Status, room: int) -> str:
    """In full where there is room; else shorter, but with what to send for each as long as that is possible at all."""
    for text_limit in (900, 250, 80):
        text = "\n\n".join(_wait(wait, text_limit) for wait in status.waits)
        if len(text.encode()) <= room:
            return text
    return _many(status.waits, room)


def _wait(wait: Wait, text_limit: int) -> str:
    lines = [f"#### ⚑ {wait.kind.capitalize()}: {_line(wait.title, 160)}", ""]
    lines += [_said(wait, text_limit), ""] if wait.text != wait.title else []
    lines += _items("You vouch for", wait.vouched, text_limit) + _items(
        "Done and seen before you approve", wait.checklist, text_limit
    )
    lines += _items("**Shown anew: approvals are void, since this has changed**", wait.changes, text_limit)
    lines += [_line(f"**{standing(wait)}**", text_limit), ""] if standing(wait) else []
    lines += _items("What matters now", wait.bound.facts if wait.bound else (), min(text_limit, 320))
    lines += [_deadline(wait), ""]
    lines.append("To answer: More Actions → Send a Signal, choose the signal, paste the JSON, put in your name.")
    # Without the empty line it would be no list.
    lines += ["", *(f"- {_to_send(hint)}" for hint in wait.hints)]
    return "\n".join(lines)


def _deadline(wait: Wait) -> str:
    if wait.overdue:
        return "**Its deadline has passed. The run holds: it goes on only when someone decides.**"
    if wait.left is not None:
        return f"Waits since {wait.since:%H:%M:%S} UTC; its deadline waits too, {_minutes(wait.left)} before it."
    until = f"; deadline {wait.deadline:%d %b %H:%M} UTC, after which it still waits" if wait.deadline else ""
    return f"Waits since {wait.since:%H:%M:%S} UTC{until}."


def _said(wait: Wait, limit: int) -> str:
    # What a machine said stays on one line: it must not look like a heading or a signal of this page.
    return _line(wait.text, limit) if wait.kind == "problem" else _cut(wait.text, limit)


def _items(heading: str, items: tuple[str, ...], limit: int) -> list[str]:
    if not items:
        return []
    shown = items[: limit // 80]
    more = [f"- … and {len(items) - len(shown)} more, in the query `status`"] if len(shown) < len(items) else []
    return [f"{heading}:", "", *(f"- {_line(item, limit)}" for item in shown), *more, ""]


def _many(waits: tuple[Wait, ...], room: int) -> str:
    """One line each, with the first of its signals; the others look alike."""
    head = f"#### ⚑ {len(waits)} things wait. More Actions → Send a Signal, one for each:\n"
    tail = (
        'Instead of `retry` or `confirm` also `skip`, the same with `"reason": "WHY"`; '
        'or `abort` for the whole run: `{"by": "YOUR NAME", "reason": "WHY"}`. Why they wait: query `status`.'
    )
    lines: list[str] = []
    for wait in waits:
        hint = wait.hints[0]
        line = f"- {_line(wait.title, 80)} – {_to_send(hint)}"
        left = f"- … and {len(waits) - len(lines)} more, in the query `status`"
        if len("\n".join([head, *lines, line, left, "", tail]).encode()) > room:
            lines.append(left)
            break
        lines.append(line)
    return "\n".join([head, *lines, "", tail])


def _to_send(hint: Hint) -> str:
    if hint.command:
        return f"{hint.meaning}, signed, on your machine: `{hint.command}`"
    return f"`{hint.signal}` – {hint.meaning}: `{_json(hint)}`"


def _json(hint: Hint) -> str:
    return json.dumps(hint.payload, ensure_ascii=False)


# --- what else there is to see ----------------------------------------------------------------------------------------


def _runs(status: Status) -> str:
    """Of a maintenance: where its failover and its failback are seen, and decided about."""
    if not status.runs:
        return ""
    lines = [f"- {_line(_run(run), 300)}" for run in status.runs]
    return "#### Runs of their own, each with its gates (see Relationships)\n\n" + "\n".join(lines)


def _run(run: RunView) -> str:
    name = f"{run.name}, workflow {run.workflow_id}, run {run.run_id}"
    if not run.is_over:
        return f"▶ {name}: under way; what it waits for is shown and decided there"
    ended = run.outcome.value if run.outcome else "without a report"
    outage = f", outage {_minutes(run.outage.duration)}" if run.outage and run.outage.began else ""
    return f"{name}: {ended}{outage}"


def _running(status: Status) -> str:
    running = [record for record in status.steps if record.state is StepState.RUNNING]
    if not running:
        return ""
    lines = [line for record in running[:8] for line in (f"- {record.title}", *_sessions(record.progress))]
    if len(running) > 8:
        lines.append(f"- … and {len(running) - 8} more")
    return "#### Running\n\n" + "\n".join(lines)


def _sessions(progress: Progress | None) -> list[str]:
    if progress is None:
        return []
    lines = [f"  - {progress.total} left at {progress.at:%H:%M:%S} UTC – {_line(left(progress.sessions), 300)}"]
    pace = f"about {progress.expected_end:%H:%M} UTC" if progress.expected_end else "nobody can tell when"
    until = f"; waits until {progress.deadline:%H:%M} UTC" if progress.deadline else ""
    return [*lines, f"  - None left, at the observed pace: {pace}{until}"]


def _stages(status: Status) -> str:
    if not status.stages:
        return ""
    return "#### Stages, each with its time from first step to last\n\n" + "\n".join(
        _stage(stage) for stage in status.stages
    )


def _stage(stage: StageView) -> str:
    return f"- {_MARK[stage.state]} {stage.number} {stage.title}{_progress(stage)}"


def _progress(stage: StageView) -> str:
    if stage.state in ("running", "waiting") and stage.total:
        return f" – {stage.done} of {stage.total}"
    if stage.began and stage.ended:
        return f" – {_minutes(stage.ended - stage.began)}"
    return f" – {stage.total} steps" if stage.total > 1 else ""


def _heard(status: Status) -> str:
    if not status.decisions:
        return ""
    last = status.decisions[-3:]
    lines = [
        f"- {d.at:%H:%M:%S} {_line(d.signal, 60)} {_line(d.by, 60)}: "
        f"{'accepted' if d.accepted else 'NOT accepted'} – {_line(d.answer, 160)}"
        for d in last
    ]
    return "#### Last signals\n\n" + "\n".join(lines)


def _notes(status: Status) -> str:
    return "#### Notes\n\n" + "\n".join(f"- {_line(note, 200)}" for note in status.notes[-3:]) if status.notes else ""


def _line(text: str, limit: int) -> str:
    """On one line, and without what ends inline code."""
    return _cut(" ".join(text.split()).replace("`", "'"), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
