"""When the last session will have ended, from how their number went down so far."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procedure.decay import LONGEST, Count, expected_end

AT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def counts(*totals: int, every: float = 10) -> list[Count]:
    return [Count(at=AT + timedelta(seconds=every * i), total=total) for i, total in enumerate(totals)]


def test_what_halves_in_ten_seconds_is_gone_after_some_more_of_them() -> None:
    end = expected_end(counts(160, 80, 40, 20, 10))
    assert end is not None
    left = (end - (AT + timedelta(seconds=40))).total_seconds()
    assert left == pytest.approx((math.log(10) + 0.5772) / (math.log(2) / 10), rel=0.01)


@pytest.mark.parametrize(
    "totals",
    [
        (),
        (10,),
        (10, 5),
        (10, 10, 10),
        (5, 10, 20),
        (160, 80, 7, 7, 7, 7, 7),
        (8, 4, 0),
        (10, 9, 10, 9, 10),
    ],
    ids=str,
)
def test_nobody_can_tell_where_they_do_not_become_fewer_or_too_little_was_seen(totals: tuple[int, ...]) -> None:
    assert expected_end(counts(*totals)) is None


def test_a_pace_that_would_take_half_a_day_is_none() -> None:
    assert expected_end(counts(10_000, 9_999, 9_998, every=60)) is None


def test_counts_of_one_moment_are_no_pace() -> None:
    assert expected_end(counts(9, 8, 7, every=0)) is None


@given(
    st.lists(
        st.builds(
            Count, at=st.integers(0, 10**6).map(lambda s: AT + timedelta(seconds=s)), total=st.integers(0, 10**6)
        ),
        max_size=9,
    )
)
def test_whatever_was_counted_the_answer_is_a_time_ahead_or_none(told: list[Count]) -> None:
    end = expected_end(told)
    assert end is None or timedelta(0) <= end - told[-1].at <= LONGEST
