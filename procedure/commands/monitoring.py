"""Silences at the monitoring server: the procedure, stages 2 and 12."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from inventory.models import Inventory, NagiosMonitoring
from inventory.values import show_duration
from procedure.commands.base import Command
from procedure.facts import Facts, SilencesFact
from procedure.instructions import CreateSilence, Instruction
from procedure.instructions import LiftSilence as LiftNow
from procedure.invariants import not_seen
from procedure.situation import Situation
from procedure.subjects import PowerOf, Silences, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed

USUAL_REQUEST = timedelta(seconds=2)
"""One request, and reading it again."""
USUAL_STATUS_FILES = timedelta(seconds=20)
"""Nagios tells nothing but by its status file, every 10 s in Debian: one before, one or two afterwards."""
STATUS_FILES = 6
"""So many may be waited for in turn, each up to the time for a command: to look, to see longer downtimes, to verify."""
ENOUGH_LEFT = 0.5
"""A silence with more than this part of its time left needs no extension: late enough not to pile them up, early
enough for many attempts before it runs out."""
ENOUGH_LEFT_OFF = 0.95
"""The same for machines that stay off: nobody extends their silence any more, so nearly all of it must be left."""


class SilenceMonitoring(Command):
    """Silence machines, or make their silence last longer."""

    kind: Literal["silence_monitoring"] = "silence_monitoring"
    machines: tuple[str, ...]
    comment: str
    only_extend: bool = False
    """True: machines whose silence was lifted are left alone."""
    for_maintenance: bool = False
    """True: for as long as machines stay off on purpose, and not for the downtime of a run."""

    @property
    def target(self) -> str:
        """The service."""
        return "monitoring"

    @property
    def title(self) -> str:
        """One line for a person."""
        action = "Extend the silence of" if self.only_extend or self.for_maintenance else "Silence"
        return f"{action} {len(self.machines)} machines ({self.machines[0]} …)" if self.machines else action

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """What is silenced."""
        return (Silences(),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """All are silenced, with more than half of the downtime left."""
        wanted = self._duration(situation.inventory) * (ENOUGH_LEFT_OFF if self.for_maintenance else ENOUGH_LEFT)
        condition = f"{len(self.machines)} machines are silenced for at least {show_duration(wanted)} more"
        fact = facts.silences()
        if fact is None:
            return not_seen(condition, [Silences()], facts)
        if fact.by_hand:
            return not_applicable(condition, "a person does it; nothing can be seen")
        bare = self._not_covered(facts, fact, wanted)
        if not bare:
            return passed(condition, f"until {self._until(fact):%Y-%m-%d %H:%M} UTC")
        if self.only_extend and not any(_is_silenced(m, fact) for m in self.machines):
            return not_applicable(condition, "their silence was lifted")
        return failed(condition, f"not: {', '.join(bare)}", "Look at the monitoring server; then retry.")

    def _not_covered(self, facts: Facts, fact: SilencesFact, left: timedelta) -> tuple[str, ...]:
        seen = facts.observation(Silences())
        enough = [s for s in fact.silences if seen is not None and s.until - seen.at > left]
        return tuple(m for m in self.machines if not any(m in s.machines for s in enough))

    def _until(self, fact: SilencesFact) -> datetime:
        """When the first of them is silenced no longer."""
        ends = (max(s.until for s in fact.silences if machine in s.machines) for machine in self.machines)
        return min(ends).astimezone(UTC)

    def _duration(self, inventory: Inventory) -> timedelta:
        return inventory.monitoring.maintenance if self.for_maintenance else inventory.monitoring.downtime

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """One silence for all of them, from now on."""
        duration = self._duration(situation.inventory)
        return (CreateSilence(machines=self.machines, duration=duration, comment=self.comment),)

    def compensation(self) -> tuple[Command, ...]:
        """Lift it."""
        return (LiftSilence(machines=self.machines),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a command."""
        return inventory.timings.command

    def at_most(self, inventory: Inventory) -> timedelta:
        """Longer where the monitoring server only tells from time to time."""
        return _at_most(inventory)

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return _usual(inventory)


class LiftSilence(Command):
    """End the silence of machines."""

    kind: Literal["lift_silence"] = "lift_silence"
    machines: tuple[str, ...]
    keep_if_off: bool = False
    """True: machines that are off stay silenced; they are off on purpose."""

    @property
    def target(self) -> str:
        """The service."""
        return "monitoring"

    @property
    def title(self) -> str:
        """One line for a person."""
        which = " that are not off" if self.keep_if_off else ""
        return f"Lift the silence of {len(self.machines)} machines{which} ({self.machines[0]} …)"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """What is silenced, and which machines are off where that matters."""
        powers = tuple(PowerOf(machine=m) for m in self.machines) if self.keep_if_off else ()
        return (Silences(), *powers)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """None of them is silenced."""
        machines = self._concerned(facts)
        condition = f"{len(machines)} machines are not silenced"
        fact = facts.silences()
        if fact is None:
            return not_seen(condition, [Silences()], facts, invariant=11)
        if fact.by_hand:
            return not_applicable(condition, "a person does it; nothing can be seen", invariant=11)
        still = [m for m in machines if _is_silenced(m, fact)]
        if still:
            return failed(condition, f"still: {', '.join(still)}", "Look at the monitoring server.", invariant=11)
        return passed(condition, invariant=11)

    def _concerned(self, facts: Facts) -> tuple[str, ...]:
        # A machine whose power nobody can tell is not off on purpose: an alarm too many is better than one too few.
        return tuple(m for m in self.machines if not (self.keep_if_off and _is_off(m, facts)))

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """Silence anew what stays silenced, then end the silences of the others."""
        lifted = self._concerned(facts)
        kept = tuple(m for m in self.machines if m not in lifted)
        comment = "Off on purpose: its VM-Host is vacated."
        duration = situation.inventory.monitoring.maintenance
        keep = (CreateSilence(machines=kept, duration=duration, comment=comment),) if kept else ()
        return (*keep, LiftNow(machines=lifted)) if lifted else ()

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a command."""
        return inventory.timings.command

    def at_most(self, inventory: Inventory) -> timedelta:
        """Longer where the monitoring server only tells from time to time."""
        return _at_most(inventory)

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return _usual(inventory)


def _is_silenced(machine: str, fact: SilencesFact) -> bool:
    return any(machine in silence.machines for silence in fact.silences)


def _is_off(machine: str, facts: Facts) -> bool:
    fact = facts.power(machine)
    return fact is not None and fact.state == "off"


def _usual(inventory: Inventory) -> timedelta:
    return USUAL_STATUS_FILES if isinstance(inventory.monitoring, NagiosMonitoring) else USUAL_REQUEST


def _at_most(inventory: Inventory) -> timedelta:
    waits = STATUS_FILES if isinstance(inventory.monitoring, NagiosMonitoring) else 1
    return waits * inventory.timings.command
