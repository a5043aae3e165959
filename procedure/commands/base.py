"""A command: what to do, as a value.

Each command knows what to observe, what is wanted, what must hold before it acts, the exact instructions and what
would undo it. It does nothing itself, so a plan can be printed, compared, tested and replayed.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import ClassVar

from inventory.approval import GateName
from inventory.models import Inventory
from procedure.facts import Facts, SessionCount
from procedure.instructions import Instruction
from procedure.situation import Situation
from procedure.subjects import Subject
from procedure.values import Value
from procedure.verdicts import Verdict


class Command(Value):
    """Base of all commands."""

    kind: str
    """Also the name of the activity that carries it out."""
    mutates: ClassVar[bool] = True
    """False: it only waits for a state or checks it."""
    in_slices: ClassVar[bool] = False
    """A wait that may be long: it is handed over as a series of short ones, so that people see how far it is, and its
    deadline can be moved while it lasts."""

    approval: ClassVar[GateName | None] = None
    """The gate that people must open before it is carried out by force."""

    @property
    @abstractmethod
    def target(self) -> str:
        """The machine, or the pair, it is about."""

    @property
    @abstractmethod
    def title(self) -> str:
        """One line for a person: "Stop Wildfly on acd-jb1"."""

    @abstractmethod
    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """What `wanted` and `conditions` need to know at once."""

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """What `wanted` alone needs to know, while it is waited for; by default all that is observed.

        Args:
            situation: the cluster, and which host is vacated.
            facts: as last seen. What can't be told yet, of a machine that is off say, need not be asked.
        """
        return self.observes(situation)

    def observes_then(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """What `wanted` needs besides, and only the first look can tell whether anybody is there to ask."""
        return tuple(s for s in self.awaits(situation, facts) if facts.observation(s) is None)

    @abstractmethod
    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Whether the wanted state is there: pass, not yet (fail), not applicable, or unknown."""

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """What must hold before it acts, invariants included. Checked on facts of that moment."""
        return ()

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """What exactly is sent. Without facts: what a plan shows."""
        return ()

    def sessions_left(self, situation: Situation, facts: Facts) -> tuple[SessionCount, ...]:
        """How far it is, where it waits for sessions to end."""
        return ()

    def question(self, seen: str) -> str:
        """What the gate of its `approval` asks, given what was last seen; empty without one."""
        return ""

    def compensation(self) -> tuple[Command, ...]:
        """What would undo it, in this order; nothing, if nothing should."""
        return ()

    def forced(self) -> Command | None:
        """The same by force, only ever with the operator's word; None: there is no such way."""
        return None

    @abstractmethod
    def deadline(self, inventory: Inventory) -> timedelta:
        """How long the wanted state may take to come."""

    def at_most(self, inventory: Inventory) -> timedelta:
        """How long all of it may take: looking, acting and waiting for the wanted state."""
        return self.deadline(inventory)

    @abstractmethod
    def expected(self, inventory: Inventory) -> timedelta:
        """How long it usually takes."""
