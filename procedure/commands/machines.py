"""Power of machines: the procedure, stage 9 of the failover and stage 5 of the failback."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from inventory.models import CommandPower, Inventory, Role
from procedure import who
from procedure.commands.base import Command
from procedure.conditions import is_vacated, nothing_is_lost, partner_is_primary, returns, stays_where_it_is
from procedure.facts import Facts
from procedure.instructions import Instruction, RunOn, WindowsShutdown
from procedure.invariants import (
    go_before,
    in_maintenance,
    not_primary,
    not_seen,
    not_the_only_copy,
    off_before,
    on_before,
    start_before,
    takes_no_writes,
)
from procedure.replication import observed_of_replay
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, ComponentOn, DrbdOn, PowerOf, ReplicationOn, Subject
from procedure.verdicts import Verdict, failed, passed

USUAL_SHUTDOWN = timedelta(seconds=40)
"""From the order to power-off: services end, file systems are written; Windows takes the longest."""
USUAL_CUT = timedelta(seconds=5)
"""A hypervisor cuts the power at once, and then has to say so."""
USUAL_BOOT = timedelta(seconds=90)
"""From power-on until it can be logged in and its services answer; Windows takes the longest."""


_NEXT = (
    "Look at the console of {machine}, then retry; or retry with force and a reason, which cuts its power where the "
    "VM-Host can."
)


class ShutDownMachine(Command):
    """Shut a machine down in order, by its own operating system."""

    kind: Literal["shut_down_machine"] = "shut_down_machine"
    machine: str
    can_be_forced: bool = False
    """Whether its VM-Host has a power provider that can cut it off."""

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Shut down {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Its power, and all that could still need it."""
        return _observed(situation, self.machine)

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """Its power: what is needed no more is asked no more."""
        return (PowerOf(machine=self.machine),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It is off, by its provider or by silence on two signals."""
        return _is_off(self.machine, facts)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """Nothing needs it any more (invariants 3 and 9)."""
        return _not_needed(situation, self.machine, facts)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """Ask the operating system; one that answers no more is not asked again."""
        if _is_going_down(self.machine, facts):
            return ()
        machine = situation.inventory.machine(self.machine)
        if machine.os == "windows":
            return (WindowsShutdown(machine=self.machine),)
        # Understood with systemd and without it.
        return (RunOn(machine=self.machine, argv=("shutdown", "-h", "now"), detached=True),)

    def compensation(self) -> tuple[Command, ...]:
        """Start it again."""
        return (StartMachine(machine=self.machine),)

    def forced(self) -> Command | None:
        """Cut the power, where the VM-Host's provider can."""
        return CutPower(machine=self.machine) if self.can_be_forced else None

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a shutdown."""
        return inventory.timings.shutdown

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_SHUTDOWN


class CutPower(Command):
    """Cut the power of a machine that does not shut down. Only ever with the operator's word."""

    kind: Literal["cut_power"] = "cut_power"
    machine: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Cut the power of {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Its power, and all that could still need it."""
        return _observed(situation, self.machine)

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """Its power: what is needed no more is asked no more."""
        return (PowerOf(machine=self.machine),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It is off, by its provider or by silence on two signals."""
        return _is_off(self.machine, facts)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """The same as for an orderly shutdown, and there is a provider that can."""
        return (self._has_provider(situation.inventory), *_needed_by_nobody(situation, self.machine, facts))

    def _has_provider(self, inventory: Inventory) -> Verdict:
        host = inventory.machine(self.machine).host
        condition = f"{host} has a power provider"
        if isinstance(inventory.vm_host(host).power, CommandPower):
            return passed(condition)
        return failed(condition, "it is manual", f"Switch {self.machine} off on {host} by hand, then retry.")

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """The hypervisor's command."""
        words = hypervisor_command(situation.inventory, self.machine, "off")
        return (RunOn(machine=situation.inventory.machine(self.machine).host, argv=words),) if words else ()

    def compensation(self) -> tuple[Command, ...]:
        """Start it again."""
        return (StartMachine(machine=self.machine),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a shutdown."""
        return inventory.timings.shutdown

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_CUT


class StartMachine(Command):
    """Switch a machine of the returning VM-Host on, and wait until it is up."""

    kind: Literal["start_machine"] = "start_machine"
    machine: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Start {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Its power, what must be on before it, and that nothing would go to it by itself."""
        inventory, machine = situation.inventory, self.machine
        pair = inventory.pair_of(machine)
        subjects: list[Subject] = [PowerOf(machine=m) for m in (machine, *start_before(situation, machine))]
        if pair is not None:
            subjects += [ClusterOn(machine=who.partner(pair, machine))]
            subjects += [DrbdOn(machine=who.partner(pair, machine))] if pair.drbd else []
        if who.servers_of(inventory, (machine,)):
            subjects.append(BalancerOn(machine=_survivor(situation)))
        return tuple(dict.fromkeys(subjects))

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """Its power; what it says itself only when a port answers: a call to nobody takes long to fail."""
        power = PowerOf(machine=self.machine)
        return (power, *_says_itself(situation.inventory, self.machine)) if _answers(self.machine, facts) else (power,)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It is on and up: what runs on it can be asked. A port that answers is not enough to go on."""
        condition = f"{self.machine} is on and up"
        fact = facts.power(self.machine)
        if fact is None:
            return not_seen(condition, [PowerOf(machine=self.machine)], facts)
        step = f"Look at the console of {self.machine}; then retry."
        if fact.state != "on":
            return failed(condition, f"it is {fact.state}", step)
        if not _answers(self.machine, facts):
            return failed(condition, "it is on, but not up yet: no port answers", step)
        asked = _says_itself(situation.inventory, self.machine)
        silent = [facts.why_unknown(s) for s in asked if (o := facts.observation(s)) is None or o.fact is None]
        if silent:
            return failed(condition, f"it is on, but not up yet: {'; '.join(dict.fromkeys(silent))}", step)
        return passed(condition)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """It is its turn (9), its partner has everything (2, 3) and keeps it, and it gets no traffic when it boots."""
        inventory, machine = situation.inventory, self.machine
        return (
            returns(situation, machine),
            on_before(situation, machine, facts),
            partner_is_primary(inventory, machine, facts),
            not_the_only_copy(situation, machine, facts),
            *stays_where_it_is(inventory, machine, facts),
            in_maintenance(situation, machine, _survivor(situation), facts),
        )

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """The hypervisor's command; a machine that is on already is only waited for."""
        fact = facts.power(self.machine)
        if fact is not None and "on" in (fact.state, fact.provider):
            return ()
        words = hypervisor_command(situation.inventory, self.machine, "on")
        return (RunOn(machine=situation.inventory.machine(self.machine).host, argv=words),) if words else ()

    def compensation(self) -> tuple[Command, ...]:
        """Shut it down again."""
        return (ShutDownMachine(machine=self.machine, can_be_forced=True),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a boot."""
        return inventory.timings.boot

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return min(USUAL_BOOT, inventory.timings.boot)


def _survivor(situation: Situation) -> str:
    """The load balancer that serves meanwhile."""
    return situation.survivor_of(situation.inventory.pairs.load_balancer)


def _says_itself(inventory: Inventory, machine: str) -> list[Subject]:
    """What only a machine that is up can tell: its cluster node, its database, its services."""
    found = inventory.machine(machine)
    subjects: list[Subject] = [ClusterOn(machine=machine)] if inventory.pair_of(machine) else []
    if found.role in (Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        subjects.append(ReplicationOn(machine=machine))
    return [*subjects, *(ComponentOn(machine=machine, component=c.name) for c in inventory.components_on(found))]


def hypervisor_command(
    inventory: Inventory, machine: str, name: Literal["on", "off", "snapshot", "delete_snapshot"], snapshot: str = ""
) -> tuple[str, ...]:
    """A command of the machine's power provider with its words filled in; empty where there is none."""
    found = inventory.machine(machine)
    power = inventory.vm_host(found.host).power
    template = getattr(power.commands, name) if isinstance(power, CommandPower) else None
    return tuple(word.replace("{vm}", found.vm_name).replace("{snapshot}", snapshot) for word in template or ())


def _observed(situation: Situation, machine: str) -> tuple[Subject, ...]:
    inventory = situation.inventory
    subjects: list[Subject] = [PowerOf(machine=m) for m in (machine, *go_before(situation, machine))]
    pair = inventory.pair_of(machine)
    if pair is not None:
        subjects += [ClusterOn(machine=m) for m in pair.machines]
        subjects += [DrbdOn(machine=m) for m in pair.machines if pair.drbd]
    if who.servers_of(inventory, (machine,)) or inventory.machine(machine).role is Role.DATABASE_MASTER:
        subjects += [BalancerOn(machine=b) for b in inventory.pairs.load_balancer.machines]
        subjects += [PowerOf(machine=b) for b in inventory.pairs.load_balancer.machines]
    if inventory.machine(machine).role is Role.DATABASE_MASTER:
        subjects += [ClusterOn(machine=b) for b in inventory.pairs.load_balancer.machines]
        staying = [r for r in who.replicas_of(inventory, machine) if not situation.goes(r)]
        subjects += [subject for r in staying for subject in observed_of_replay(r, (machine,))]
    return tuple(dict.fromkeys(subjects))


def _answers(machine: str, facts: Facts) -> bool:
    """Whether any port of it is open."""
    fact = facts.power(machine)
    return fact is not None and bool(fact.answering)


def _is_off(machine: str, facts: Facts) -> Verdict:
    condition = f"{machine} is off"
    fact = facts.power(machine)
    if fact is None:
        return not_seen(condition, [PowerOf(machine=machine)], facts)
    if fact.state == "off":
        return passed(condition, "its provider says so" if fact.provider == "off" else f"silent: {fact.silent}")
    ports = ", ".join(str(port) for port in fact.answering)
    seen = f"it is {fact.state}" + (f", port {ports} answers" if ports else "")
    return failed(condition, seen, _NEXT.format(machine=machine))


def _not_needed(situation: Situation, machine: str, facts: Facts) -> tuple[Verdict, ...]:
    if _is_going_down(machine, facts):
        return (passed(f"{machine} is going down already", "it answers no more; nothing is sent"),)
    return _needed_by_nobody(situation, machine, facts)


def _needed_by_nobody(situation: Situation, machine: str, facts: Facts) -> tuple[Verdict, ...]:
    balancers = situation.inventory.pairs.load_balancer.machines
    return (
        is_vacated(situation, machine),
        not_primary(situation, machine, facts),
        not_the_only_copy(situation, machine, facts),
        takes_no_writes(situation, machine, facts),
        nothing_is_lost(situation, machine, facts),
        *(in_maintenance(situation, machine, balancer, facts) for balancer in balancers),
        off_before(situation, machine, facts),
    )


def _is_going_down(machine: str, facts: Facts) -> bool:
    # On when the order was given, silent now, but not proved off: asked again it could not answer.
    fact = facts.power(machine)
    return fact is not None and fact.state == "undecided" and not fact.answering
