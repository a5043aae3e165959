"""Who may decide about a run, and what an approval must be to count."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from inventory.values import AbsolutePath, Duration, Model, Name

GateName = Literal[
    "before_start",
    "before_power_off",
    "functionality",
    "maintenance_finished",
    "end_sessions",
    "after_window",
    "roll_back",
]
"""Where a person decides."""


class GatePolicy(Model):
    """One gate: where a person decides."""

    enabled: bool = True
    deadline: Duration = timedelta(hours=12)
    """After it the run stays where it is and says so: a gate never opens by itself."""
    approvers: tuple[Name, ...] = ()
    """Names that may decide at this gate; empty: those of the whole section."""
    needed: Annotated[int, Field(ge=1, le=20)] = 1
    """Approvals of different people before it opens. One who rejects is enough to end the run."""
    not_requester: bool = False
    """Who requested the run may not approve it."""
    valid_for: Duration = timedelta(hours=1)
    """An approval that waits for another one counts for so long."""
    signed: bool = False
    """Only approvals count that carry an SSH signature of a key in `allowed_signers`."""


class FixedGatePolicy(GatePolicy):
    """A gate that can't be switched off."""

    enabled: Literal[True] = True


class LongGatePolicy(GatePolicy):
    """A gate that is open for as long as the work lasts: without it a VM-Host would come back at once."""

    enabled: Literal[True] = True
    deadline: Duration = timedelta(days=14)
    """After it the gate stays open and says so."""


class Approval(Model):
    """Who may decide, and where."""

    approvers: tuple[Name, ...] = ()
    """Names that may decide; empty: anyone who can reach Temporal. A name is a claim, not a proof."""
    allowed_signers: AbsolutePath | None = None
    """File of ssh-keygen(1) on the worker's machine: whose key signs for which name. It makes a name a proof."""
    before_start: GatePolicy = GatePolicy()
    before_power_off: GatePolicy = GatePolicy()
    functionality: GatePolicy = GatePolicy()
    maintenance_finished: LongGatePolicy = LongGatePolicy()
    end_sessions: FixedGatePolicy = FixedGatePolicy()
    """Before sessions that do not end by themselves are cut."""
    after_window: FixedGatePolicy = FixedGatePolicy()
    """After the end of the window a run was given, before anything else is changed."""
    roll_back: FixedGatePolicy = FixedGatePolicy()
    """Where an aborted run shows how it would put everything back."""

    def at(self, gate: str) -> GatePolicy:
        """What holds at a gate; the defaults for one that the inventory says nothing about."""
        policy = getattr(self, gate, None)
        return policy if isinstance(policy, GatePolicy) else GatePolicy()

    def approvers_at(self, gate: str) -> tuple[str, ...]:
        """Who may decide at a gate; empty: anyone."""
        return self.at(gate).approvers or self.approvers

    @property
    def gates(self) -> Iterator[tuple[str, GatePolicy]]:
        """Every gate the inventory knows, by name."""
        for name in type(self).model_fields:
            policy = getattr(self, name)
            if isinstance(policy, GatePolicy):
                yield name, policy
