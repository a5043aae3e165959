"""When a run begins and until when it may change things: what a person types, and what is refused with which words."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from starters.exit_codes import ExitCode
from starters.running import Stopped
from starters.times import Times, add_times, times_of

NOW = datetime(2026, 10, 20, 12, 0, tzinfo=UTC)  # 14:00 in Berlin


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def typed(*words: str) -> Times:
    parser = argparse.ArgumentParser()
    add_times(parser)
    return times_of(parser.parse_args(words), NOW)


def at(day: int, hour: int, minute: int = 0, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ((), Times()),
        (("--start-at", "2026-10-21 02:00"), Times(at(21, 0))),
        (("--start-at", "2026-10-21T02:00+00:00"), Times(at(21, 2))),
        (("--start-at", "2026-10-21T02:00Z"), Times(at(21, 2))),
        (("--start-at", "2026-11-26 02:00"), Times(at(26, 1, month=11))),
        (("--window", "3h"), Times(None, at(20, 15))),
        (("--start-at", "2026-10-21 02:00", "--window", "2h 30m"), Times(at(21, 0), at(21, 2, 30))),
        (("--until", "17:30"), Times(None, at(20, 15, 30))),
        (("--until", "05:00"), Times(None, at(21, 3))),
        (("--start-at", "2026-10-21 22:00", "--until", "05:00"), Times(at(21, 20), at(22, 3))),
        (("--until", "2026-10-22 05:00"), Times(None, at(22, 3))),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_meant(words: tuple[str, ...], times: Times) -> None:
    assert typed(*words) == times


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--start-at", "tonight"), "'tonight' is no time; allowed: \"2026-11-26 02:00\" (local time), or with a zone"),
        (("--start-at", "2026-10-20 13:59"), "'2026-10-20 13:59' is in the past; it is 2026-10-20 14:00 CEST"),
        (("--start-at", "2027-10-21 02:00"), "is more than 90 days ahead"),
        (
            ("--start-at", "2026-10-25 02:30"),
            "comes twice here, since clocks are put back then; give a zone: 2026-10-25T02",
        ),
        (("--window", "3"), "--window: '3' is no duration; allowed: for example 30s, 5m, 2h"),
        (("--window", "100d"), "is no duration up to 90 days"),
        (("--window", "0s"), "is no duration up to 90 days"),
        (("--window", "PT3H"), "is no duration up to 90 days"),
        (("--until", "25:00"), "--until: '25:00' is no time"),
        (("--until", "05:00Z"), "is a time of day with a zone"),
        (("--start-at", "2026-10-22 02:00", "--until", "2026-10-22 01:00"), "is not later than the beginning"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused_and_nothing_is_started(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(Stopped) as stopped:
        typed(*words)
    assert stopped.value.code == ExitCode.USAGE
    assert said in str(stopped.value)
    assert str(stopped.value).endswith("Nothing was started.")


def test_a_time_that_clocks_leave_out_does_not_exist() -> None:
    parser = argparse.ArgumentParser()
    add_times(parser)
    with pytest.raises(Stopped, match="does not exist here, since clocks are put forward then"):
        times_of(parser.parse_args(("--start-at", "2027-03-28 02:30")), datetime(2027, 3, 1, tzinfo=UTC))


def test_window_and_until_say_the_same_so_only_one_is_taken() -> None:
    with pytest.raises(SystemExit):
        typed("--window", "3h", "--until", "05:00")


def test_an_end_is_after_the_beginning_whatever_the_time_of_day() -> None:
    for hour in range(24):
        ends = typed("--until", f"{hour:02}:00").window_ends
        assert ends is not None
        assert timedelta(0) < ends - NOW <= timedelta(days=1)
