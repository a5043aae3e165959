"""Software on the machines: the procedure, section 2."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from inventory.models import Component, Inventory
from procedure.commands.base import Command
from procedure.conditions import components_are, run_first, service_exists, stop_first
from procedure.facts import Facts
from procedure.instructions import Instruction, RunOn, WindowsServiceAction
from procedure.invariants import not_seen
from procedure.situation import Situation
from procedure.subjects import ComponentOn, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed

NOT_RUNNING = ("stopped", "failed")
"""systemd calls a unit failed when its process ended with an error code, as Java does (143) after an orderly stop."""


class StopComponent(Command):
    """Stop a component of a machine."""

    kind: Literal["stop_component"] = "stop_component"
    machine: str
    component: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Stop {self.component} on {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The component, and those that must be stopped before it."""
        return _observed(self.machine, self.component, stop_first(*self._in(situation)))

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """The component."""
        return (ComponentOn(machine=self.machine, component=self.component),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It does not run."""
        return _is(self.machine, self.component, NOT_RUNNING, facts)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """It is a service, and what needs it is stopped."""
        first = stop_first(*self._in(situation))
        return (
            service_exists(self.machine, self.component, facts),
            components_are(self.machine, first, (*NOT_RUNNING, "missing"), facts),
        )

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """Stop the service."""
        return (_service_action(situation.inventory, self.machine, self.component, "stop"),)

    def compensation(self) -> tuple[Command, ...]:
        """Start it again."""
        return (StartComponent(machine=self.machine, component=self.component),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a stop."""
        return inventory.timings.stop

    def expected(self, inventory: Inventory) -> timedelta:
        """As the component says."""
        return inventory.component(self.machine, self.component).expected_stop

    def _in(self, situation: Situation) -> tuple[Inventory, str, Component]:
        return situation.inventory, self.machine, situation.inventory.component(self.machine, self.component)


class StartComponent(Command):
    """Start a component of a machine."""

    kind: Literal["start_component"] = "start_component"
    machine: str
    component: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Start {self.component} on {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The component, and those that must run before it."""
        return _observed(self.machine, self.component, run_first(*self._in(situation)))

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """The component."""
        return (ComponentOn(machine=self.machine, component=self.component),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It runs."""
        return _is(self.machine, self.component, ("running",), facts)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """It is a service, and what it needs runs."""
        first = run_first(*self._in(situation))
        return (
            service_exists(self.machine, self.component, facts),
            components_are(self.machine, first, ("running",), facts),
        )

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """Start the service."""
        return (_service_action(situation.inventory, self.machine, self.component, "start"),)

    def compensation(self) -> tuple[Command, ...]:
        """Stop it again."""
        return (StopComponent(machine=self.machine, component=self.component),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a start."""
        return inventory.timings.start

    def expected(self, inventory: Inventory) -> timedelta:
        """As the component says."""
        return inventory.component(self.machine, self.component).expected_start

    def _in(self, situation: Situation) -> tuple[Inventory, str, Component]:
        return situation.inventory, self.machine, situation.inventory.component(self.machine, self.component)


def _observed(machine: str, component: str, others: tuple[str, ...]) -> tuple[Subject, ...]:
    return tuple(ComponentOn(machine=machine, component=name) for name in (component, *others))


def _is(machine: str, component: str, states: tuple[str, ...], facts: Facts) -> Verdict:
    condition = f"{component} on {machine} is {states[0]}"
    fact = facts.component(machine, component)
    if fact is None:
        return not_seen(condition, [ComponentOn(machine=machine, component=component)], facts)
    seen = f"it is {fact.state}" + (f" ({fact.detail})" if fact.detail else "")
    if fact.state == "by_hand":
        return not_applicable(condition, "only a person can see and control it")
    if fact.state in states:
        return passed(condition, seen)
    # `failed` is not settled: systemd may start it again by itself (Restart=).
    settled = fact.state == "missing"
    return failed(condition, seen, f"Look at the logs of {component} on {machine}; then retry.", settled=settled)


def _service_action(
    inventory: Inventory, machine: str, component: str, action: Literal["start", "stop"]
) -> Instruction:
    found = inventory.component(machine, component)
    service = found.service or found.name
    if inventory.machine(machine).os == "windows":
        return WindowsServiceAction(machine=machine, service=service, action=action)
    deadline = inventory.timings.stop if action == "stop" else inventory.timings.start
    words = ("systemctl", action, service) if found.manager == "systemd" else ("service", service, action)
    # Both managers answer only when the service has stopped or started: that may take as long as its deadline.
    return RunOn(machine=machine, argv=words, timeout=deadline)
