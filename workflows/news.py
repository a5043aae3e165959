"""What is worth telling people who are not at the screen, in words: what happened, and how to answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from inventory.notifications import Event
from workflows.approvals import standing
from workflows.status import RunReport, Wait

MOST_NAMED = 20
"""Of what waits, in a reminder; the run's page has them all."""


@dataclass(frozen=True)
class News:
    """One thing to tell."""

    event: Event
    headline: str
    details: str
    next_step: str


def of_wait(wait: Wait, cluster: str) -> News:
    """Something has begun to wait for a person."""
    return {"gate": _of_gate, "problem": _of_problem, "operator task": _of_task}[wait.kind](wait, cluster)


def _of_gate(wait: Wait, cluster: str) -> News:
    until = f"Deadline: {_moment(wait.deadline)}; after it the run still waits." if wait.deadline else ""
    parts = (
        wait.text,
        _listed("It is shown anew, and approvals are void, since this has changed:", wait.changes),
        standing(wait),
        _listed("Whoever approves vouches for:", wait.vouched),
        _listed("To be done and seen before:", wait.checklist),
        until,
    )
    return News(Event.GATE, f"Gate {wait.gate} waits for a decision", _joined(parts), _decide(cluster))


def _of_problem(wait: Wait, cluster: str) -> News:
    told = f"--cluster {cluster} --step {wait.step}"
    answer = (
        f"When it is mended: `python -m starters.retry {told}`. Or go on without it: `python -m starters.skip {told} "
        f"--reason WHY`. Or end the run: `python -m starters.abort --cluster {cluster} --reason WHY`."
    )
    return News(Event.PROBLEM, f"Waits with a problem: {wait.title}", wait.text, answer)


def _of_task(wait: Wait, cluster: str) -> News:
    told = f"--cluster {cluster} --step {wait.step}"
    answer = f"When it is done: `python -m starters.confirm {told}`. Or: `python -m starters.skip {told} --reason WHY`."
    return News(Event.TASK, f"To be done by a person: {wait.title}", wait.text, answer)


def of_overdue(wait: Wait, cluster: str) -> News:
    """A gate has passed its deadline."""
    details = f"It waits since {_moment(wait.since)}. The run holds: a gate never opens by itself."
    return News(Event.REMINDER, f"Gate {wait.gate} is past its deadline", details, _decide(cluster))


def of_what_waits_still(waits: tuple[Wait, ...], cluster: str, now: datetime) -> News:
    """Nobody has answered for a while."""
    count = "1 thing still waits" if len(waits) == 1 else f"{len(waits)} things still wait"
    lines = [f"{wait.title} (for {_long(now - wait.since)})" for wait in waits[:MOST_NAMED]]
    left = len(waits) - len(lines)
    lines += [f"and {left} more"] if left > 0 else []
    answer = f"See what each needs, and how to answer: `python -m starters.status --cluster {cluster}`."
    return News(Event.REMINDER, f"{count} for a person", _listed("", tuple(lines)), answer)


def of_end(report: RunReport) -> News:
    """The run is over."""
    assert report.outcome is not None  # noqa: S101 - asked for once the run has one
    headline = f"{report.direction.capitalize()} ended: {report.outcome.value}"
    details = _joined((report.outcome_reason, _listed("What remains to be done:", report.next_steps)))
    return News(Event.END, headline, details, f"The report: `python -m starters.report --cluster {report.address}`.")


def _decide(cluster: str) -> str:
    # Without the code of the gate: who decides has to read there what it is about.
    return (
        f"Read and decide: `python -m starters.approve --cluster {cluster}` (or reject), or in the Temporal Web UI the "
        "page of the run."
    )


def _joined(parts: tuple[str, ...]) -> str:
    return "\n\n".join(part for part in parts if part)


def _listed(heading: str, items: tuple[str, ...]) -> str:
    return "\n".join([*([heading] if heading else []), *(f"- {item}" for item in items)]) if items else ""


def _moment(at: datetime) -> str:
    return f"{at:%d %b %H:%M} UTC"


def _long(duration: timedelta) -> str:
    minutes = duration.total_seconds() / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 60 * 48 else f"{minutes / 60 / 24:.0f} days"
