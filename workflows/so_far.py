"""What a maintenance takes along when it goes on as a new run, so that its history stays small."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from procedure.plan import Plan
from workflows.status import DecisionRecord, Paused, RunView, StepRecord, Told, Wait

Mark = tuple[str, datetime, bool]
"""Of what people were told: step, since when it waits, and whether they were told that it is past its deadline."""


class LedgerState(Told):
    """Where each step is, which gates are open, and what people said."""

    records: tuple[StepRecord, ...] = ()
    waits: tuple[Wait, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()
    paused: Paused | None = None
    closed_gates: dict[str, str] = Field(default_factory=dict)
    """By name: who closed it, and how."""


class SoFar(Told):
    """The maintenance until now. A run that is started by a person has none."""

    began: datetime
    plan: Plan
    plan_digest: str = ""
    ledger: LedgerState
    runs: tuple[RunView, ...] = ()
    told: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
