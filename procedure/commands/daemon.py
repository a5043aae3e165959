"""AcdGroupDistribute.r5, of which exactly one runs: the procedure, stage 8."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from inventory.models import Inventory, Role
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.instructions import Instruction, RunOn, WindowsCommand
from procedure.invariants import daemon_nowhere_else, not_seen
from procedure.situation import Situation
from procedure.subjects import DaemonOn, PowerOf, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed


class StopDaemon(Command):
    """Stop AcdGroupDistribute on a telephony machine."""

    kind: Literal["stop_daemon"] = "stop_daemon"
    machine: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Stop AcdGroupDistribute on {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The daemon there."""
        return (DaemonOn(machine=self.machine),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It does not run there."""
        return _is(self.machine, "stopped", facts)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """The inventory's command."""
        commands = situation.inventory.daemon.commands
        return (_sent(situation.inventory, self.machine, commands.stop),) if commands else ()

    def compensation(self) -> tuple[Command, ...]:
        """Start it again."""
        return (StartDaemon(machine=self.machine),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a stop."""
        return inventory.timings.stop

    def expected(self, inventory: Inventory) -> timedelta:
        """As the inventory says."""
        return inventory.daemon.expected


class StartDaemon(Command):
    """Start AcdGroupDistribute on a telephony machine."""

    kind: Literal["start_daemon"] = "start_daemon"
    machine: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Start AcdGroupDistribute on {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The daemon on its machine, and which other telephony machines are off."""
        return (DaemonOn(machine=self.machine), *(PowerOf(machine=m) for m in self._others(situation)))

    def observes_then(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """The daemon on the others, but for those that are off: a call to nobody takes long to fail."""
        powers = {m: facts.power(m) for m in self._others(situation)}
        return tuple(DaemonOn(machine=m) for m, power in powers.items() if power is None or power.state != "off")

    def _others(self, situation: Situation) -> tuple[str, ...]:
        telephony = situation.inventory.with_role(Role.TELEPHONY)
        return tuple(m.name for m in telephony if m.name != self.machine)

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """The daemon on its machine."""
        return (DaemonOn(machine=self.machine),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It runs there."""
        return _is(self.machine, "running", facts)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """It runs nowhere else (invariant 7)."""
        return (daemon_nowhere_else(situation.inventory, self.machine, facts),)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """The inventory's command."""
        commands = situation.inventory.daemon.commands
        return (_sent(situation.inventory, self.machine, commands.start),) if commands else ()

    def compensation(self) -> tuple[Command, ...]:
        """Stop it again."""
        return (StopDaemon(machine=self.machine),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a start."""
        return inventory.timings.start

    def expected(self, inventory: Inventory) -> timedelta:
        """As the inventory says."""
        return inventory.daemon.expected


def _sent(inventory: Inventory, machine: str, argv: tuple[str, ...]) -> Instruction:
    """The site's own command, as it stands in the inventory: like `status` without sudo, unless it says so itself."""
    if inventory.machine(machine).os == "windows":
        return WindowsCommand(machine=machine, argv=argv)
    return RunOn(machine=machine, argv=argv, sudo=False)


def _is(machine: str, state: Literal["running", "stopped"], facts: Facts) -> Verdict:
    condition = f"AcdGroupDistribute on {machine} is {state}"
    fact = facts.daemon(machine)
    if fact is None:
        return not_seen(condition, [DaemonOn(machine=machine)], facts, invariant=7)
    if fact.state == "by_hand":
        return not_applicable(condition, "only a person can see and control it", invariant=7)
    if fact.state == state:
        return passed(condition, invariant=7)
    step = f"Look at AcdGroupDistribute.r5 in the 8-Server of {machine}; then retry."
    return failed(condition, f"it is {fact.state}", step, invariant=7)
