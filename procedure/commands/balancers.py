"""HAProxy on the load balancers: the procedure, stage 7 and the end of stage 11; of the failback, stages 11 and 12."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from inventory.models import Inventory, Role
from procedure import who
from procedure.commands.base import Command
from procedure.conditions import is_writable
from procedure.facts import Facts
from procedure.instructions import Instruction, SetServers
from procedure.invariants import (
    a_server_stays,
    caught_up,
    is_off_for_good,
    not_in_state,
    not_seen,
    servers_cross,
)
from procedure.replication import observed_of_replay
from procedure.situation import Situation
from procedure.subjects import BalancerOn, PowerOf, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed

USUAL_SETTING = timedelta(seconds=2)
"""One request for each backend, and reading it again."""

USUAL_CHECKS = 3
"""Health checks until HAProxy takes a server for UP: `rise 2` by default, and the first may just have passed."""


class SetMaintenance(Command):
    """Set machines to MAINT or READY on one HAProxy, in every backend they stand in."""

    kind: Literal["set_maintenance"] = "set_maintenance"
    balancer: str
    machines: tuple[str, ...]
    state: Literal["maint", "ready"] = "maint"

    @property
    def target(self) -> str:
        """The load balancer."""
        return self.balancer

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Set {', '.join(self.machines)} to {self.state.upper()} on {self.balancer}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """HAProxy, whether its machine is on, and what the masters that would take writes have replayed."""
        inventory = situation.inventory
        subjects: list[Subject] = [BalancerOn(machine=self.balancer), PowerOf(machine=self.balancer)]
        for master in self._masters_that_get_writes(inventory):
            subjects += observed_of_replay(master, self._sources(inventory, master))
        return tuple(subjects)

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """HAProxy, and whether its machine is on."""
        return (BalancerOn(machine=self.balancer), PowerOf(machine=self.balancer))

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Every place of these machines is set; not applicable on a load balancer that is left and runs no HAProxy."""
        condition = f"{', '.join(self.machines)} in {self.state.upper()} on {self.balancer}"
        fact = facts.balancer(self.balancer)
        if is_off_for_good(situation, self.balancer, facts):
            return not_applicable(condition, f"{self.balancer} is off: there is nothing to set")
        if fact is None:
            return not_seen(condition, [BalancerOn(machine=self.balancer)], facts)
        if not fact.running and self.state == "maint" and not situation.goes(self.balancer):
            step = f"Start HAProxy on {self.balancer}, then retry."
            return failed(condition, "HAProxy does not run there, although everything goes there", step)
        if not fact.running:
            return not_applicable(condition, "HAProxy does not run there: there is nothing to set")
        wrong = not_in_state(fact, who.servers_of(situation.inventory, self.machines), self.state)
        if wrong:
            return failed(condition, ", ".join(wrong), f"Look at the admin page of {self.balancer}; then retry.")
        return passed(condition, "in every backend")

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """Servers are who they should be, one stays in every backend, who gets the writes has caught up (3, 6, 5)."""
        inventory = situation.inventory
        stays = a_server_stays(inventory, self.balancer, self.machines, facts)
        masters = self._masters_that_get_writes(inventory)
        fresh = [caught_up(m, self._sources(inventory, m), facts, inventory) for m in masters]
        fresh += [is_writable(m, facts) for m in masters if inventory.machine(m).role is Role.DATABASE_MASTER]
        right = servers_cross(inventory, self.balancer, facts)
        return (right, stays, *fresh) if self.state == "maint" else (right, *fresh)

    def _masters_that_get_writes(self, inventory: Inventory) -> tuple[str, ...]:
        """MAINT for a master moves writes to the others of its backend; READY may give them to itself."""
        databases = [b for b, _ in who.backends_of(inventory, self.machines) if b.kind == "database"]
        members = dict.fromkeys(m for b in databases for m in b.servers.values())
        return tuple(m for m in members if (m in self.machines) == (self.state == "ready"))

    def _sources(self, inventory: Inventory, master: str) -> tuple[str, ...]:
        """Of which changes may be missing: those of the masters on the other side of the change."""
        others = [s for s in who.sources_of(inventory, master) if s != master]
        return tuple(s for s in others if (s in self.machines) == (self.state == "maint"))

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """One setting for each backend, without those that are set already."""
        fact = facts.balancer(self.balancer)
        todo = [
            (backend.name, servers if fact is None else self._still_wrong(backend.name, servers, facts))
            for backend, servers in who.backends_of(situation.inventory, self.machines)
        ]
        return tuple(self._set(situation.inventory, name, servers) for name, servers in todo if servers)

    def _set(self, inventory: Inventory, backend: str, servers: tuple[str, ...]) -> SetServers:
        by_page, socket = inventory.haproxy.change_by == "admin_page", inventory.haproxy.socket
        return SetServers(
            balancer=self.balancer,
            backend=backend,
            servers=servers,
            state=self.state,
            page=who.admin_page_url(inventory, self.balancer) if by_page else "",
            socket=socket.path if socket else "",
        )

    def _still_wrong(self, backend: str, servers: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
        fact = facts.balancer(self.balancer)
        states = {s: who.state_of(fact, backend, s) if fact else None for s in servers}
        return tuple(s for s, state in states.items() if state is None or state.admin != self.state)

    def compensation(self) -> tuple[Command, ...]:
        """The other state."""
        other: Literal["maint", "ready"] = "ready" if self.state == "maint" else "maint"
        return (SetMaintenance(balancer=self.balancer, machines=self.machines, state=other),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a command: HAProxy sets it at once."""
        return inventory.timings.command

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_SETTING


class AwaitServersUp(Command):
    """Wait until machines are UP on one HAProxy, in every backend they stand in."""

    kind: Literal["await_servers_up"] = "await_servers_up"
    mutates: ClassVar[bool] = False
    balancer: str
    machines: tuple[str, ...]

    @property
    def target(self) -> str:
        """The load balancer."""
        return self.balancer

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Wait until {', '.join(self.machines)} are UP on {self.balancer}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """HAProxy."""
        return (BalancerOn(machine=self.balancer),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """READY and UP in every backend."""
        condition = f"{', '.join(self.machines)} UP on {self.balancer}"
        fact = facts.balancer(self.balancer)
        if fact is None:
            return not_seen(condition, [BalancerOn(machine=self.balancer)], facts)
        if not fact.running:
            return failed(condition, "HAProxy does not run there", f"Start HAProxy on {self.balancer}, then retry.")
        servers = who.servers_of(situation.inventory, self.machines)
        found = {f"{b}/{s}": who.state_of(fact, b, s) for b, s in servers}
        down = [
            f"{name} {state.status if state else 'is not there'}"
            for name, state in found.items()
            if state is None or not state.up or state.admin != "ready"
        ]
        if down:
            return failed(condition, ", ".join(down), "Look at the software of these machines; then retry.")
        return passed(condition, f"{len(servers)} servers UP")

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time to become healthy."""
        return inventory.timings.healthy

    def expected(self, inventory: Inventory) -> timedelta:
        """A few health checks."""
        return inventory.haproxy.check_interval * USUAL_CHECKS
