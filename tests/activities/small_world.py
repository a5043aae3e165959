"""A world of one service on one machine, held in memory: a real `System` that the engine's tests push around."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from activities.errors import SystemTrouble
from activities.hands import Act, Hands, Observe, Observed
from inventory.models import Inventory
from procedure.commands.base import Command
from procedure.facts import ComponentFact, Facts
from procedure.instructions import Instruction, RunOn
from procedure.situation import Situation
from procedure.subjects import ComponentOn, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed, unknown
from tests.activities.cluster import reference

MACHINE, COMPONENT = "acd-jb1", "Wildfly"
SUBJECT = ComponentOn(machine=MACHINE, component=COMPONENT)

State = Literal["running", "stopped", "stopping", "failed", "missing"]
Look = SystemTrouble | State | None
"""What happens at a look: trouble, a passing state, or (None) the state as it is."""


def small_inventory() -> Inventory:
    """The reference cluster, polled a hundred times a second."""

    def hurry(raw: dict[str, Any]) -> None:
        raw["timings"]["poll"] = "10ms"

    return reference(hurry)


class StopIt(Command):
    """Stop the one service."""

    kind: str = "stop_it"
    allowed: Literal["yes", "no", "unknown", "at rest"] = "yes"
    """At rest: not while it is stopping, which passes."""
    times: int = 1
    """How many instructions it takes."""
    patience: timedelta = timedelta(milliseconds=80)

    @property
    def target(self) -> str:
        return MACHINE

    @property
    def title(self) -> str:
        return f"Stop {COMPONENT} on {MACHINE}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        return (SUBJECT,)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        condition = f"{COMPONENT} on {MACHINE} is stopped"
        fact = facts.component(MACHINE, COMPONENT)
        if fact is None:
            return unknown(condition, facts.why_unknown(SUBJECT))
        if fact.state == "missing":
            return not_applicable(condition, "no such service")
        if fact.state == "stopped":
            return passed(condition, "stopped")
        return failed(condition, fact.state, settled=fact.state == "failed")

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        condition, asked = "nobody needs it", f"asked: {self.allowed}"
        if self.allowed == "at rest":
            fact = facts.component(MACHINE, COMPONENT)
            moves = fact is not None and fact.state == "stopping"
            verdict = failed(condition, asked) if moves else passed(condition, asked)
            return (verdict.model_copy(update={"passing": moves}),)
        if self.allowed == "yes":
            return (passed(condition, asked),)
        return ((failed if self.allowed == "no" else unknown)(condition, asked),)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        return tuple(RunOn(machine=MACHINE, argv=("stop", str(n))) for n in range(self.times))

    def deadline(self, inventory: Inventory) -> timedelta:
        return self.patience

    def expected(self, inventory: Inventory) -> timedelta:
        return timedelta(seconds=1)


class AwaitIt(StopIt):
    """Only wait until somebody has stopped it."""

    kind: str = "await_it"
    mutates = False


class SmallWorld:
    """Implements `activities.hands.System`.

    Attributes:
        state: of the service.
        looks: what happens at each look, in this order, before the state is told: trouble, or None.
        on_act: what an instruction does; by default it stops the service.
        sent: instructions that arrived.
        looked: how often it was observed.
    """

    def __init__(self, state: State = "running") -> None:
        self.state: State = state
        self.looks: list[Look] = []
        self.on_act: Callable[[], None] = self.stop
        self.sent: list[str] = []
        self.looked = 0
        self.hang = False
        self.cancelled = asyncio.Event()
        self.acting = asyncio.Event()

    def stop(self) -> None:
        self.state = "stopped"

    def observers(self) -> dict[type[Any], Observe]:
        return {ComponentOn: self._look}

    def actors(self) -> dict[type[Any], Act]:
        return {RunOn: self._act}

    async def close(self) -> None:
        """Nothing is open."""

    async def _look(self, subject: ComponentOn) -> Observed:
        self.looked += 1
        happens = self.looks.pop(0) if self.looks else None
        if isinstance(happens, SystemTrouble):
            raise happens
        return ComponentFact(state=happens or self.state), f"ssh {subject.machine}: systemctl show"

    async def _act(self, instruction: RunOn) -> str:
        self.sent.append(instruction.text)
        self.acting.set()
        if self.hang:
            await self._hang()
        self.on_act()
        return "exit 0"

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @property
    def hands(self) -> Hands:
        return Hands((self,))
