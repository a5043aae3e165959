"""What follows from measurements: a table of seconds and answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from activities.outage import MAX_SAMPLES, OutageLog, begin
from procedure.reports import Outage

START = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(second: float) -> datetime:
    return START + second * SECOND


def measured(answers: str, log: OutageLog | None = None, since: int = 0) -> OutageLog:
    """One measurement a second: `+` is good, `-` is not."""
    log = log or begin(SECOND)
    for second, answer in enumerate(answers, start=since):
        log = log.measured(at(second), ok=answer == "+", detail="" if answer == "+" else "503")
    return log


@pytest.mark.parametrize(
    ("answers", "began", "ended", "seconds", "changes"),
    [
        ("", None, None, 0, 0),
        ("+", None, None, 0, 1),
        ("++++", None, None, 0, 1),
        ("++--++", 2, 4, 2, 3),
        ("-", 0, None, 0, 1),
        ("---", 0, None, 2, 1),
        ("---+", 0, 3, 3, 2),
        ("+-+-+", 1, 4, 2, 5),
        ("+--++--", 1, None, 3, 4),
    ],
)
def test_outage(answers: str, began: int | None, ended: int | None, seconds: int, changes: int) -> None:
    outage = measured(answers).outage

    assert outage.began == (None if began is None else at(began))
    assert outage.ended == (None if ended is None else at(ended))
    assert outage.duration == seconds * SECOND
    assert [sample.ok for sample in outage.samples] == _alternating(answers)
    assert len(outage.samples) == changes
    assert outage.measurements == len(answers)
    assert outage.interval == SECOND


def _alternating(answers: str) -> list[bool]:
    return [answer == "+" for index, answer in enumerate(answers) if index == 0 or answers[index - 1] != answer]


def test_a_change_says_why() -> None:
    assert [sample.detail for sample in measured("+-").outage.samples] == ["", "503"]


def test_continued_by_another_worker_the_gap_is_recorded() -> None:
    before = measured("+--")
    log = measured("-+", before.resumed(at(12)), since=12)

    assert log.outage.gaps == ("04:00:02 UTC to 04:00:12 UTC (10 s): nobody measured, the worker was away",)
    assert (log.outage.began, log.outage.ended) == (at(1), at(13))
    assert log.outage.duration == 12 * SECOND, "what was out before and after a gap was out in it"
    assert log.outage.measurements == 5


def test_lost_measurements_are_said_to_be_lost() -> None:
    assert begin(SECOND).resumed(at(5)).outage.gaps == (
        "before 04:00:05 UTC: measurements of an earlier attempt are lost",
    )


def test_flapping_is_bounded_and_its_duration_is_not_lost() -> None:
    outage = measured("+-" * MAX_SAMPLES).outage
    assert len(outage.samples) == MAX_SAMPLES
    assert outage.samples[0].at == START
    assert outage.samples[-1].at == at(2 * MAX_SAMPLES - 1)
    assert outage.duration == (MAX_SAMPLES - 1) * SECOND


def test_survives_being_sent() -> None:
    log = measured("+--+").resumed(at(9))
    assert OutageLog.model_validate_json(log.model_dump_json()) == log
    assert OutageLog.model_validate(log.model_dump(mode="json")) == log
    assert isinstance(log.outage, Outage)
