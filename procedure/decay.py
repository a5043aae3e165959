"""When will the last session have ended? An estimate from how their number went down so far. Pure arithmetic.

Sessions end independently of each other, so their number halves in equal times: n·e^(-k·t), like decaying atoms. Of n
of them the last one ends after about (ln n + 0.577)/k on average (a harmonic sum). A session that hangs never ends, and
the number stays where it is: then there is no estimate, which is what a person must know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from procedure.values import Value

LATEST = 5
"""Only what was seen last says something of the pace now: a number that has stopped to fall must be noticed soon."""
FEWEST = 3
"""Two points always make a line."""
LONGEST = timedelta(hours=12)
"""Beyond it the pace is none."""
_EULER = 0.5772


class Count(Value):
    """How many sessions were left at a moment."""

    at: datetime
    total: int


def expected_end(counts: Sequence[Count]) -> datetime | None:
    """When none will be left, at the pace of the latest counts.

    Returns:
        None where they do not become fewer, or too little was seen.
    """
    latest = counts[-LATEST:]
    if len(latest) < FEWEST or any(count.total <= 0 for count in latest):
        return None
    rate = -_slope(latest)
    if rate <= 0 or latest[-1].total >= latest[0].total:
        return None
    left = timedelta(seconds=min((math.log(latest[-1].total) + _EULER) / rate, 2 * LONGEST.total_seconds()))
    return latest[-1].at + left if left <= LONGEST else None


def _slope(counts: Sequence[Count]) -> float:
    """Of the logarithm of the number over the seconds, by least squares; 0 where all were seen at one moment."""
    times = [(count.at - counts[0].at).total_seconds() for count in counts]
    logs = [math.log(count.total) for count in counts]
    middle, level = sum(times) / len(times), sum(logs) / len(logs)
    spread = sum((time - middle) ** 2 for time in times)
    return sum((t - middle) * (y - level) for t, y in zip(times, logs, strict=True)) / spread if spread else 0.0
