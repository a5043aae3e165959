"""What a pause does to what waits: deadlines wait too, and go on where they were. Pure: no clock, no Temporal."""

from __future__ import annotations

from datetime import datetime

from workflows.status import Paused, Wait


def shown(wait: Wait, paused: Paused | None) -> Wait:
    """A wait as it is shown: while the run is paused nobody can say when its deadline will be."""
    if paused is None or wait.deadline is None or wait.deadline <= paused.since:
        return wait
    left = wait.deadline - max(paused.since, wait.since)
    return wait.model_copy(update={"deadline": None, "left": left})


def resumed(wait: Wait, paused: Paused, now: datetime) -> Wait:
    """The same with its deadline moved by the time it was paused for. One that had passed before stays as it is."""
    if wait.deadline is None or wait.deadline <= paused.since:
        return wait
    return wait.model_copy(update={"deadline": moved(wait.deadline, wait.since, paused, now)})


def moved(deadline: datetime, since: datetime, paused: Paused, now: datetime) -> datetime:
    """A deadline of something that began at `since`, moved by the time it was paused for."""
    return deadline + (now - max(paused.since, since))
