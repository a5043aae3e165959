"""What is reported: outcomes of steps and of a run, with the evidence for them."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from procedure.facts import SessionCount
from procedure.values import Value
from procedure.verdicts import Verdict


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    UNCHANGED = "unchanged"
    NOT_APPLICABLE = "not applicable"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_YET = "not yet"
    """Only of a worker's report about a part of a long wait; no step ends so."""


class RunOutcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    COMPLETED_WITH_SKIPS = "completed with skips"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"
    FAILED = "failed"


class Evidence(Value):
    """One instruction and what the system answered, shortened."""

    at: datetime
    instruction: str
    answer: str = ""


class StepReport(Value):
    """What a worker reports of a step."""

    outcome: Outcome
    seen: str = ""
    """The wanted state, as it was finally seen."""
    verdicts: tuple[Verdict, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    sessions: tuple[SessionCount, ...] = ()
    """Those that are left, where the step waits for sessions to end."""
    began: datetime
    ended: datetime


class StepProblem(Value):
    """Why a step did not end well. It waits for the operator then."""

    kind: Literal["refused", "rejected", "failed", "unknown"]
    """refused: a condition does not hold; rejected: access was denied; failed: the wanted state did not come;
    unknown: nobody can tell."""
    machine: str
    expected: str
    seen: str
    next_step: str
    report: StepReport | None = None

    @property
    def text(self) -> str:
        """All of it in one paragraph."""
        seen = self.seen.rstrip(".")
        return f"{self.machine}: {_MEANS[self.kind]}. Expected: {self.expected}. Seen: {seen}. Next: {self.next_step}"


_MEANS: Final = {
    "refused": "refused, since a condition does not hold; nothing was sent",
    "rejected": "rejected, access was denied",
    "failed": "failed, the wanted state did not come",
    "unknown": "unknown, nobody can tell whether it is or will be so",
}
"""What each kind of problem means to somebody who does not know this product's words."""


class Sample(Value):
    """A change seen by the outage probes: from `at` on, the service answered, or did not."""

    at: datetime
    ok: bool
    detail: str = ""


class Outage(Value):
    """The outage as the probes measured it."""

    began: datetime | None = None
    """First failed measurement; None: there was no outage."""
    ended: datetime | None = None
    """First good measurement after the last failed one; None: still out, or never out."""
    duration: timedelta = timedelta(0)
    measurements: int = 0
    interval: timedelta = timedelta(seconds=1)
    """The figures are right to about this much."""
    samples: tuple[Sample, ...] = ()
    gaps: tuple[str, ...] = ()
    """Times in which nobody measured (a worker was away), in words."""
