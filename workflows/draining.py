"""Waiting in slices: a long wait is a series of short activities. Pure: no clock, no Temporal.

So people see how far it is, and may move its deadline while it lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from procedure.commands.base import Command
from procedure.decay import Count, expected_end
from procedure.facts import SessionCount
from procedure.reports import StepProblem, StepReport
from procedure.verdicts import Answer, unknown, with_retry
from workflows.pausing import moved
from workflows.status import Paused, Progress, StepRecord

FIRST_SLICE = timedelta(seconds=5)
"""Most drains are over within it, and whoever looks at a longer one soon sees a second count."""
LONGEST_SLICE = timedelta(seconds=60)
"""A slice costs six events of the history: so half an hour of drain stays at about two hundred."""


@dataclass
class Drain:
    """One wait for sessions to end. It tells the record of its step how far it is."""

    record: StepRecord
    since: datetime
    deadline: datetime
    length: timedelta = FIRST_SLICE
    """Of the next slice."""
    counts: list[Count] = field(default_factory=list)
    paused: bool = False
    unseen_since: datetime | None = None
    """From when on its slices could not tell who is left."""
    _sessions: tuple[SessionCount, ...] = ()
    _seen: datetime | None = None

    def next_slice(self, now: datetime) -> timedelta:
        """How long the next activity may wait: each twice as long as the one before, and never beyond the deadline."""
        length = min(self.length, self.deadline - now)
        self.length = min(2 * self.length, LONGEST_SLICE)
        return max(length, timedelta(0))

    def is_late(self, now: datetime) -> bool:
        """Whether a person has to decide."""
        return now >= self.deadline

    def take(self, report: StepReport) -> None:
        """Keep what a slice has seen."""
        self._sessions, self._seen = report.sessions, report.ended
        if all(verdict.answer is not Answer.UNKNOWN for verdict in report.verdicts):
            self.unseen_since = None
            self.counts.append(Count(at=report.ended, total=sum(count.count for count in report.sessions)))
        elif self.unseen_since is None:
            self.unseen_since = report.ended
        self.tell()

    def is_blind(self, longest: timedelta) -> bool:
        """Whether nobody could tell who is left for longer than that: a person should not wait for the deadline."""
        if self.unseen_since is None or self._seen is None:
            return False
        return self._seen - self.unseen_since > longest

    def tell(self) -> None:
        """Show how far it is, and until when it is waited for. There is nothing to show before the first slice."""
        if self._seen is not None:
            self.record.progress = Progress(
                sessions=self._sessions,
                at=self._seen,
                deadline=None if self.paused else self.deadline,
                expected_end=expected_end(self.counts),
            )


class Drains:
    """The waits that are under way, by step."""

    def __init__(self) -> None:
        self._under_way: dict[str, Drain] = {}

    def __contains__(self, step: str) -> bool:
        return step in self._under_way

    def __iter__(self) -> Iterator[str]:
        return iter(self._under_way)

    def begin(self, record: StepRecord, longest: timedelta, now: datetime) -> Drain:
        """A step waits, until a deadline that people may move."""
        drain = self._under_way[record.id] = Drain(record, since=now, deadline=now + longest)
        return drain

    def stop(self, step: str) -> None:
        """It waits no longer by itself; what it has seen last stays to be seen."""
        record = self._under_way.pop(step).record
        if record.progress is not None:
            record.progress = record.progress.model_copy(update={"deadline": None, "expected_end": None})

    def extend(self, step: str, by: timedelta) -> datetime | None:
        """Wait for longer; until when, if that can be said."""
        drain = self._under_way[step]
        drain.deadline += by
        drain.tell()
        return None if drain.paused else drain.deadline

    def pause(self) -> None:
        """From now on nobody can say when the deadlines will be."""
        for drain in self._under_way.values():
            drain.paused = True
            drain.tell()

    def resume(self, paused: Paused, now: datetime) -> None:
        """The time for which the run was paused does not count."""
        for drain in self._under_way.values():
            drain.paused = False
            drain.unseen_since = None  # Nobody has looked meanwhile.
            drain.deadline = moved(drain.deadline, drain.since, paused, now)
            drain.tell()


def overdue(report: StepReport, command: Command) -> StepProblem:
    """What is told to a person when a wait has reached its deadline, or sees nothing: what its last slice has seen."""
    against = next(iter(report.verdicts), None) or unknown(command.title, report.seen)
    kind: Literal["failed", "unknown"] = "unknown" if against.answer is Answer.UNKNOWN else "failed"
    step = against.next_step or "Look at the system, then retry; or skip the step with a reason, or abort."
    return StepProblem(
        kind=kind,
        machine=command.target,
        expected=against.condition,
        seen=against.reason or against.answer.value,
        next_step=with_retry(step),
        report=report,
    )


def left(sessions: tuple[SessionCount, ...]) -> str:
    """The sessions left, in one line: "load balancer: 9 acd-jb1; database: 3 from app on acd-jb1"."""
    told = []
    for kind in ("load balancer", "database"):
        of_kind = [count for count in sessions if count.kind == kind]
        named = ", ".join(f"{c.count} " + (f"from {c.user} on " if c.user else "") + c.machine for c in of_kind)
        told += [f"{kind}: {named}"] if named else []
    return "; ".join(told) or "none"
