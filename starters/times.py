"""When a run begins and until when it may change things, as a person types it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from inventory.values import parse_duration
from starters.exit_codes import ExitCode
from starters.running import Stopped

LATEST = timedelta(days=90)
"""Ahead. Whatever lies beyond is a typing error in the year or the month."""
_HOW = 'allowed: "2026-11-26 02:00" (local time), or with a zone "2026-11-26T02:00+01:00"'


@dataclass(frozen=True)
class Times:
    """When it begins, and the end of its window."""

    start_at: datetime | None = None
    window_ends: datetime | None = None


def add_times(to: argparse.ArgumentParser) -> None:
    """`--start-at`, `--window`, `--until`."""
    to.add_argument(
        "--start-at",
        metavar="TIME",
        help='begin then: "2026-11-26 02:00" in local time, or with a zone (default: at once)',
    )
    limit = to.add_mutually_exclusive_group()
    limit.add_argument(
        "--window",
        metavar="DURATION",
        help="so long after the beginning nothing more is changed until people agree: 3h (default: no limit)",
    )
    limit.add_argument("--until", metavar="TIME", help="the same as a time: 05:00, the next one after the beginning")


def times_of(given: argparse.Namespace, now: datetime) -> Times:
    """What the options mean.

    Raises:
        Stopped: no time, no duration, in the past, too far ahead, or the window ends before the run begins.
    """
    start = _moment("--start-at", given.start_at, now) if given.start_at else None
    begins = start or now
    if given.window:
        return Times(start, begins + _duration(given.window))
    if given.until:
        return Times(start, _end(given.until, begins, now))
    return Times(start)


def _end(text: str, begins: datetime, now: datetime) -> datetime:
    try:
        of_day = time.fromisoformat(text)
    except ValueError:
        ends = _moment("--until", text, now)
    else:
        ends = _next(text, of_day, begins)
    if ends <= begins:
        raise _wrong("--until", text, f"is not later than the beginning, {_shown(begins)}")
    return ends


def _next(text: str, of_day: time, begins: datetime) -> datetime:
    """The first such time of day after the beginning."""
    if of_day.tzinfo is not None:
        raise _wrong("--until", text, "is a time of day with a zone; leave the zone out, or give the date too")
    day = begins.astimezone().date()
    ends = _local("--until", text, datetime.combine(day, of_day))
    return ends if ends > begins else _local("--until", text, datetime.combine(day + timedelta(days=1), of_day))


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(option, text, f"is no time; {_HOW}") from None
    if at.tzinfo is None:
        at = _local(option, text, at)
    if at <= now:
        raise _wrong(option, text, f"is in the past; it is {_shown(now)}")
    if at - now > LATEST:
        raise _wrong(option, text, f"is more than {LATEST.days} days ahead")
    return at.astimezone(UTC)


def _local(option: str, text: str, wall: datetime) -> datetime:
    """A time of the clock on the wall here. When clocks are changed some of them don't exist and others come twice."""
    first, second = wall.astimezone(), wall.replace(fold=1).astimezone()
    if first.replace(tzinfo=None) != wall:
        raise _wrong(option, text, "does not exist here, since clocks are put forward then; choose another time")
    if first.utcoffset() != second.utcoffset():
        either = " or ".join(at.isoformat(timespec="minutes") for at in (first, second))
        raise _wrong(option, text, f"comes twice here, since clocks are put back then; give a zone: {either}")
    return first.astimezone(UTC)


def _duration(text: str) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise Stopped(ExitCode.USAGE, f"--window: {error}. Nothing was started.") from None
    if not isinstance(found, timedelta) or not timedelta(0) < found <= LATEST:
        raise _wrong("--window", text, f"is no duration up to {LATEST.days} days; allowed: for example 3h, 2h 30m")
    return found


def _shown(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M %Z}"


def _wrong(option: str, text: str, why: str) -> Stopped:
    return Stopped(ExitCode.USAGE, f"{option}: {text!r} {why}. Nothing was started.")
