"""What a run keeps for people to see: steps, what waits, what was decided, and what became of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from workflows.messages import Approve, Confirm, Extend, Reject, Retry, Skip
from workflows.status import DecisionRecord, StepRecord, Wait

MAX_DECISIONS = 200
"""Wishes kept word by word: far more than a run needs, few enough that a flood of signals can't fill its history."""

Resolution = Approve | Reject | Retry | Skip | Confirm | Extend
"""What a person decided about a step that waited."""


@dataclass
class Book:
    """The pages. Who may write what into them is the ledger's business, and at gates the gate book's."""

    records: dict[str, StepRecord] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    """By step id."""
    resolutions: dict[str, Resolution] = field(default_factory=dict)
    """By step id: what was decided, and not yet acted upon."""
    decisions: list[DecisionRecord] = field(default_factory=list)
    unrecorded: int = 0
    """Wishes beyond `MAX_DECISIONS`."""
    notes: list[str] = field(default_factory=list)
    """What became of approvals without anybody saying something."""

    def resolved(self, step: str) -> bool:
        """Whether a person has decided about a step that waits."""
        return step in self.resolutions

    def keep(self, record: DecisionRecord) -> None:
        """Write down what was said."""
        if len(self.decisions) >= MAX_DECISIONS:
            self.unrecorded += 1
        else:
            self.decisions.append(record)
