"""The outage as measured: what follows from one measurement after another. Pure, so that it can be continued."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from procedure.reports import Outage, Sample
from procedure.values import Value

MAX_SAMPLES: Final = 200
"""A service that flaps for hours must not outgrow a history: the first and the latest changes are kept."""


class OutageLog(Value):
    """Measurements so far. Sent with each heartbeat, so that another worker continues where this one ended."""

    outage: Outage = Outage()
    last: datetime | None = None
    """When the last measurement began; None: there was none."""
    ok: bool | None = None
    """What the last measurement said."""

    def measured(self, at: datetime, *, ok: bool, detail: str = "") -> OutageLog:
        """With one more measurement.

        The time between two measurements counts as outage when the earlier one failed, so the figure is late by at
        most one interval at either end.
        """
        outage = self.outage
        changes: dict[str, object] = {"measurements": outage.measurements + 1}
        if self.ok is False and self.last is not None:
            changes["duration"] = outage.duration + (at - self.last)
        if ok is not self.ok:
            changes["samples"] = _bounded((*outage.samples, Sample(at=at, ok=ok, detail=detail)))
        if not ok:
            changes |= {"began": outage.began or at, "ended": None}
        elif self.ok is False:
            changes["ended"] = at
        return OutageLog(outage=outage.model_copy(update=changes), last=at, ok=ok)

    def resumed(self, at: datetime) -> OutageLog:
        """Measured again after a while in which nobody did; the gap is recorded.

        Heartbeats are held back for a moment, so the last few measurements of a worker that was killed are inside the
        gap, too.
        """
        if self.last is None:
            gap = f"before {_clock(at)}: measurements of an earlier attempt are lost"
        else:
            seconds = (at - self.last).total_seconds()
            gap = f"{_clock(self.last)} to {_clock(at)} ({seconds:.0f} s): nobody measured, the worker was away"
        return self.model_copy(update={"outage": self.outage.model_copy(update={"gaps": (*self.outage.gaps, gap)})})


def begin(interval: timedelta) -> OutageLog:
    """Before the first measurement."""
    return OutageLog(outage=Outage(interval=interval))


def _bounded(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    half = MAX_SAMPLES // 2
    return samples if len(samples) <= MAX_SAMPLES else (*samples[:half], *samples[-half:])


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S %Z").strip()
