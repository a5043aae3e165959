"""How times, durations and states are written for people."""

from __future__ import annotations

from datetime import datetime, timedelta

from workflows.status import StepRecord, StepState


def clock(at: datetime) -> str:
    """Local time of day."""
    return f"{at.astimezone():%H:%M:%S}"


def moment(at: datetime) -> str:
    """Local date and time, with its zone: a report is read elsewhere and later."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def took(duration: timedelta | None) -> str:
    """A duration in at most two units."""
    if duration is None:
        return ""
    seconds = max(duration.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def printable(text: str) -> str:
    """Text of machines and people without what would steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def state_of(record: StepRecord) -> str:
    """Outcome of a step that is over, else where it is."""
    over = record.state is StepState.ENDED and record.outcome is not None
    return record.outcome.value if over and record.outcome else record.state.value
