"""The current details of a run, as Markdown for the Temporal Web UI: where it is, what it waits for, what to send.

Lists instead of tables, which the Web UI draws without borders, and below 4 kB, since the text travels in an address.
"""

from __future__ import annotations

import json

from procedure.reports import RunOutcome
from workflows.status import RunReport, StageView, Status, StepState, Wait

LIMIT = 3800
"""Bytes; a little below the 4 kB that a proxy in front of the Web UI may refuse."""
_MARK = {"pending": "○", "running": "▶", "waiting": "✋", "ended": "✔", "not started": "–"}


def render(status: Status) -> str:
    """The details, cut where they would be too long."""
    parts = [_head(status), *_waits(status), _running(status), _stages(status), _heard(status), _notes(status)]
    text = ""
    for part in filter(None, parts):
        longer = f"{text}\n\n{part}" if text else part
        if len(longer.encode()) > LIMIT:
            more = "\n\n… more in the query `status`."
            return text + more
        text = longer
    return text


def _head(status: Status) -> str:
    title = f"### {status.direction.capitalize()} of {status.cluster}: {status.vacated} is vacated"
    if status.outcome is not None:
        return f"{title}\n\n**{_ended(status)}**"
    return f"{title}\n\n**{status.phase}**"


def _ended(status: Status) -> str:
    assert status.outcome is not None  # noqa: S101 - asked by the only caller
    text = f"Ended: {status.outcome.value}."
    if status.outcome_reason:
        text += f" {status.outcome_reason}"
    if status.outcome is not RunOutcome.COMPLETED and isinstance(status, RunReport):
        text += "".join(f"\n- {step}" for step in status.next_steps)
    return text


def _waits(status: Status) -> list[str]:
    return [_wait(wait) for wait in status.waits]


def _wait(wait: Wait) -> str:
    lines = [f"#### ✋ {wait.kind.capitalize()}: {wait.title}", _cut(wait.text, 900)]
    if wait.overdue:
        lines.append("**Its deadline has passed. The run holds: it goes on only when someone decides.**")
    lines.append("More Actions → Send a Signal:")
    lines += [
        f"- `{hint.signal}` – {hint.meaning}: `{json.dumps(hint.payload, ensure_ascii=False)}`" for hint in wait.hints
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def _running(status: Status) -> str:
    running = [record for record in status.steps if record.state is StepState.RUNNING]
    if not running:
        return ""
    lines = [f"- {record.title}" for record in running[:8]]
    if len(running) > 8:
        lines.append(f"- … and {len(running) - 8} more")
    return "#### Running\n\n" + "\n".join(lines)


def _stages(status: Status) -> str:
    if not status.stages:
        return ""
    return "#### Stages\n\n" + "\n".join(_stage(stage) for stage in status.stages)


def _stage(stage: StageView) -> str:
    count = f" ({stage.done}/{stage.total})" if stage.total and stage.state in ("running", "waiting") else ""
    return f"- {_MARK[stage.state]} {stage.number} {stage.title}{count}"


def _heard(status: Status) -> str:
    if not status.decisions:
        return ""
    last = status.decisions[-3:]
    lines = [
        f"- {d.at:%H:%M:%S} {d.signal} {d.by}: {'accepted' if d.accepted else 'NOT accepted'} – {_cut(d.answer, 160)}"
        for d in last
    ]
    return "#### Last signals\n\n" + "\n".join(lines)


def _notes(status: Status) -> str:
    return "#### Notes\n\n" + "\n".join(f"- {_cut(note, 200)}" for note in status.notes[-3:]) if status.notes else ""


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
