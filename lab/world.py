"""The simulated world: one model with causes and effects. Servers ask it and act on it; it knows no network.

Everything that reaches it from outside is an operation: written to the journal, shown to the watchers before and after.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Literal

from inventory.models import APPLICATION_ROLES, Inventory, Pair, Role
from lab.balancer_view import BalancerView, admin_changes, fresh_view
from lab.clock import Clock, Timer
from lab.durations import Durations
from lab.fault_effects import begins, ends
from lab.faults import Fault, Faults
from lab.journal import Journal
from lab.machines import MachineState, Service, ServiceStatus, machine_state
from lab.pacemaker import PacemakerPair, PairKind
from lab.replication import ReplicationModel
from lab.sessions import SessionModel
from lab.waiting import Waiters
from lab.watching import Effect, Operation, Watcher

_LOG = logging.getLogger(__name__)


class World:
    """All machines of a cluster, what runs on them, and what follows from what."""

    def __init__(self, inventory: Inventory, clock: Clock, durations: Durations | None = None, seed: int = 1) -> None:
        self.inventory = inventory
        self.clock = clock
        self.durations = durations or Durations()
        self.chance = random.Random(seed)
        self.journal = Journal(clock.now)
        self.faults = Faults(seed, self._fault_changed)
        self.machines = {m.name: machine_state(inventory, m, self.chance) for m in inventory.machines}
        self.replication = ReplicationModel(inventory.database.replication, clock, self.durations, self.changed)
        self.sessions = SessionModel(clock, self.durations, self.chance, self.changed)
        self.balancers: dict[str, BalancerView | None] = {}
        self.pcs: Literal["0.10", "0.11"] = "0.11"
        """Its version: until 0.10 a move leaves a location constraint."""
        self.unknown_commands: list[tuple[str, str]] = []
        self.look: Callable[[], Awaitable[None]] | None = None
        """Reads the real HAProxies: asked before an operation whose judgement depends on them."""
        self._watchers: list[Watcher] = []
        self._waiters = Waiters()
        self._timers: dict[tuple[str, str], Timer] = {}
        self._address_was: str | None = None
        self._changing = False
        self.pairs: dict[PairKind, PacemakerPair] = {}
        self._begin()

    # --- beginning ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.pairs["storage"] = self._pair("storage", self.inventory.pairs.storage)
        self.pairs["load_balancer"] = self._pair("load_balancer", self.inventory.pairs.load_balancer)
        for name in self.inventory.pairs.load_balancer.machines:
            self.balancers[name] = fresh_view(self.inventory)
        if self._haproxy_moves():
            self._let_pacemaker_run_haproxy()
        telephony = self.inventory.with_role(Role.TELEPHONY)
        if telephony:
            self.machines[telephony[0].name].daemon = "running"
        self._address_was = self.pairs["load_balancer"].address_on
        self._follow()

    def _pair(self, kind: PairKind, pair: Pair) -> PacemakerPair:
        active = [name for name in pair.machines if self.inventory.machine(name).normal == "active"]
        names = {name: self.inventory.machine(name).node_name for name in pair.machines}
        return PacemakerPair(
            kind,
            pair,
            node_names=names,
            primary=active[0] if active else pair.machines[0],
            clock=self.clock,
            durations=self.durations,
            events=self,
        )

    def _haproxy_moves(self) -> bool:
        return any("haproxy" in resource for resource in self.inventory.pairs.load_balancer.resources)

    def _let_pacemaker_run_haproxy(self) -> None:
        """It starts with no machine: where it runs is Pacemaker's business."""
        pair = self.pairs["load_balancer"]
        for name in pair.nodes:
            self._haproxy(name).enabled = False
            if name not in pair.primaries:
                self._haproxy(name).status = "stopped"
                self.balancers[name] = None

    def _haproxy(self, machine: str) -> Service:
        service = self.machines[machine].service(self.inventory.haproxy.service)
        if service is None:
            raise KeyError(f"no HAProxy on {machine}")
        return service

    # --- watching and waiting ----------------------------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher see everything from now on."""
        self._watchers.append(watcher)

    def changed(self, machine: str, what: str) -> None:
        """Something has changed: let effects follow, tell the watchers, wake who waits."""
        if not self._changing:
            self._changing = True
            try:
                self._follow()
            finally:
                self._changing = False
        for watcher in self._watchers:
            watcher.after(machine, what)
        self._waiters.wake()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something holds; looked at after every change, never polled."""
        await self._waiters.until(predicate)

    async def look_first(self) -> None:
        """See what the real HAProxies say now."""
        if self.look is not None:
            await self.look()

    async def sleep(self, seconds: float) -> None:
        """Wait so many simulated seconds."""
        done = asyncio.get_running_loop().create_future()
        timer = self.clock.after(seconds, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    def _arrives(self, operation: Operation, machine: str) -> None:
        for watcher in self._watchers:
            watcher.before(operation, machine)

    def _after(self, machine: str, name: str, seconds: float, action: Callable[[], None]) -> None:
        """Do something later, instead of what was to come under this name."""
        self._call_off(machine, name)
        self._timers[machine, name] = self.clock.after(seconds, action)

    def _call_off(self, machine: str, name: str) -> None:
        timer = self._timers.pop((machine, name), None)
        if timer is not None:
            timer.cancel()

    # --- services ----------------------------------------------------------------------------------------------------

    def stop_service(self, machine: str, name: str) -> Effect:
        """Begin to stop a service; it takes its time."""
        service = self.machines[machine].service(name)
        effect: Effect = "missing" if service is None else "done"
        if service and service.status in ("stopped", "stopping", "failed"):
            effect = "unchanged"
        self.journal.write(machine, f"stop {name}", effect)
        if service and effect == "done":
            self._arrives("service", machine)
            self._set_status(machine, service, "stopping")
            if not self.faults.holds("service_stuck", machine, service.name):
                self._stops_later(machine, service)
        return effect

    def start_service(self, machine: str, name: str) -> Effect:
        """Begin to start a service."""
        service = self.machines[machine].service(name)
        effect: Effect = "missing" if service is None else "done"
        if service and service.status in ("running", "starting"):
            effect = "unchanged"
        self.journal.write(machine, f"start {name}", effect)
        if service and effect == "done":
            self._arrives("service", machine)
            self._start(machine, service)
        return effect

    def _start(self, machine: str, service: Service) -> None:
        self._set_status(machine, service, "starting")
        seconds = self.durations.start(service.component)
        self._after(machine, service.name, seconds, lambda: self._set_status(machine, service, "running"))

    def _stops_later(self, machine: str, service: Service) -> None:
        seconds = self.durations.stop(service.component)
        self._after(machine, service.name, seconds, lambda: self._set_status(machine, service, "stopped"))

    def _set_status(self, machine: str, service: Service, status: ServiceStatus) -> None:
        if status in ("running", "stopped"):
            self._call_off(machine, service.name)
        service.status = status
        self._service_effects(machine, service)
        self.changed(machine, f"{service.name} {status}")

    def _service_effects(self, machine: str, service: Service) -> None:
        if service.name == "mariadb" and machine in self.replication.nodes:
            if service.status == "running":
                self.replication.server_up(machine)
            elif service.status == "stopped":
                self._database_gone(machine, orderly=True)
        if machine in self.balancers and service.called(self.inventory.haproxy.service):
            self._haproxy_effects(machine, service)
        if service.status in ("stopping", "stopped") and service.component:
            stays = self.faults.holds("session_stuck", machine)
            self.sessions.end(machine, service.name, last_stays=stays)

    def _haproxy_effects(self, machine: str, service: Service) -> None:
        if service.status == "running" and self.balancers[machine] is None:
            # Nothing that was set at run time survives a restart; what the real one says is seen soon.
            self.balancers[machine] = fresh_view(self.inventory)
        elif service.status == "stopped":
            self.balancers[machine] = None
            self.sessions.cut(through=machine)

    def _database_gone(self, machine: str, *, orderly: bool) -> None:
        self.replication.source_down(machine, orderly=orderly)
        self.sessions.cut(database=machine)

    # --- AcdGroupDistribute ------------------------------------------------------------------------------------------

    def start_daemon(self, machine: str) -> Effect:
        """Begin to start AcdGroupDistribute."""
        return self._daemon(machine, "starting", "running")

    def stop_daemon(self, machine: str) -> Effect:
        """Begin to stop AcdGroupDistribute."""
        return self._daemon(machine, "stopping", "stopped")

    def _daemon(
        self, machine: str, passing: Literal["starting", "stopping"], end: Literal["running", "stopped"]
    ) -> Effect:
        state = self.machines[machine]
        effect: Effect = "unchanged" if state.daemon in (passing, end) else "done"
        self.journal.write(machine, f"{'start' if end == 'running' else 'stop'} AcdGroupDistribute", effect)
        if effect == "done":
            self._arrives("daemon", machine)
            state.daemon = passing
            self._after(machine, "daemon", self.durations.daemon, lambda: self._daemon_is(state, end))
            self.changed(machine, f"daemon {passing}")
        return effect

    def _daemon_is(self, state: MachineState, status: Literal["running", "stopped"]) -> None:
        state.daemon = status
        self.changed(state.name, f"daemon {status}")

    # --- pairs -------------------------------------------------------------------------------------------------------

    def pair_on(self, machine: str) -> PacemakerPair | None:
        """The pair this machine belongs to."""
        return next((pair for pair in self.pairs.values() if machine in pair.nodes), None)

    def standby(self, machine: str, *, standby: bool) -> Effect:
        """`pcs node standby` or `unstandby` of a machine's node."""
        pair = self.pair_on(machine)
        if pair is None:
            return "missing"
        word = "standby" if standby else "unstandby"
        effect: Effect = "unchanged" if pair.nodes[machine].standby == standby else "done"
        self.journal.write(machine, f"pcs node {word}", effect)
        if effect == "done":
            if standby and machine in pair.primaries:
                self._arrives("leave_primary", machine)
            pair.set_standby(machine, standby=standby)
        return effect

    def move_pair(self, pair: PacemakerPair, machine: str, *, bind: str | None = None) -> Effect:
        """`pcs resource move` to a machine; `bind` is the resource that stays tied to it, as until pcs 0.10."""
        effect: Effect = "unchanged" if pair.primaries == [machine] and pair.idle else "done"
        self.journal.write(machine, "pcs resource move", effect)
        if effect == "done":
            for primary in pair.primaries:
                self._arrives("leave_primary", primary)
            if bind is None:
                pair.move(machine)
            else:
                pair.prefer(bind, machine)
        return effect

    def pair_changed(self, machine: str, what: str) -> None:
        """A pair or its DRBD has changed."""
        # While the pairs are being built the world is not whole yet.
        if len(self.pairs) == 2:
            self.changed(machine, what)

    def resource_moved(self, resource: str, machine: str, *, started: bool) -> None:
        """Pacemaker has started or stopped a resource; HAProxy may be one."""
        if "haproxy" in resource and self.machines[machine].power != "off":
            self._set_status(machine, self._haproxy(machine), "running" if started else "stopped")

    def start_fails(self, machine: str) -> bool:
        """Whether a fault keeps a pair's resources from starting here."""
        return self.faults.holds("pair_stuck", machine)

    def primaries(self, kind: PairKind) -> list[str]:
        """Machines that are primary of a pair and are not off."""
        return [name for name in self.pairs[kind].primaries if self.machines[name].power != "off"]

    # --- power -------------------------------------------------------------------------------------------------------

    def shut_down(self, machine: str) -> Effect:
        """The operating system was asked to shut down."""
        state = self.machines[machine]
        effect: Effect = "done" if state.power == "on" else "unchanged"
        self.journal.write(machine, "shutdown", effect)
        if effect == "done":
            self._arrives("shutdown", machine)
            state.shutdown_asked = True
            if not self.faults.holds("shutdown_stuck", machine):
                self._go_down(state)
        return effect

    def _go_down(self, state: MachineState) -> None:
        state.power = "stopping"
        pair = self.pair_on(state.name)
        if pair:
            pair.leave(state.name)
        for service in state.services.values():
            self._call_off(state.name, service.name)
            if service.name != "pacemaker" and service.status != "stopped":
                service.status = "stopped"
                self._service_effects(state.name, service)
        seconds = self.durations.shutdown_windows if state.windows else self.durations.shutdown
        self._after(state.name, "power", seconds, lambda: self._try_off(state, self.durations.shutdown_patience))
        self.changed(state.name, "shutting down")

    def _try_off(self, state: MachineState, patience: float) -> None:
        pair = self.pair_on(state.name)
        if pair is None or pair.has_left(state.name) or patience <= 0:
            self._off(state, orderly=True)
        else:
            self._after(state.name, "power", 1.0, lambda: self._try_off(state, patience - 1.0))

    def cut_power(self, machine: str) -> Effect:
        """The hypervisor pulls the plug."""
        state = self.machines[machine]
        effect: Effect = "unchanged" if state.power == "off" else "done"
        self.journal.write(machine, "power cut", effect)
        if effect == "done":
            self._arrives("power_cut", machine)
            self._off(state, orderly=False)
        return effect

    def _off(self, state: MachineState, *, orderly: bool) -> None:
        name = state.name
        for timer in [timer for machine, timer in self._timers if machine == name]:
            self._call_off(name, timer)
        state.power, state.daemon, state.shutdown_asked = "off", "stopped", False
        state.locks.clear()
        for service in state.services.values():
            service.status = "stopped"
        if name in self.replication.nodes:
            self._database_gone(name, orderly=orderly)
        self.sessions.cut(through=name, machine=name)
        if name in self.balancers:
            self.balancers[name] = None
        pair = self.pair_on(name)
        if pair and orderly:
            pair.gone(name)
        elif pair:
            self._after(name, "token", self.durations.pacemaker_token, lambda: pair.gone(name))
        self.changed(name, "off")

    def power_on(self, machine: str) -> Effect:
        """The hypervisor starts the machine."""
        state = self.machines[machine]
        effect: Effect = "done" if state.power == "off" else "unchanged"
        self.journal.write(machine, "power on", effect)
        if effect == "done":
            self._arrives("power_on", machine)
            self._boot(state)
        return effect

    def start_by_itself(self, machine: str, *, automatic: bool) -> None:
        """Whether it starts with its VM-Host, which is booting: it does so at once, and nobody has asked it to."""
        state = self.machines[machine]
        state.autostart = automatic
        if automatic and state.power == "off":
            self._boot(state)

    def _boot(self, state: MachineState) -> None:
        state.power = "booting"
        seconds = self.durations.boot_windows if state.windows else self.durations.boot
        self._after(state.name, "power", seconds, lambda: self._booted(state))
        self.changed(state.name, "booting")

    def _booted(self, state: MachineState) -> None:
        if self.faults.holds("boot_stuck", state.name):
            return
        state.power, state.booted = "on", self.clock.now()
        state.new_boot(self.chance)
        for service in state.services.values():
            if service.enabled and service.component:
                self._start(state.name, service)
            elif service.enabled:
                self._set_status(state.name, service, "running")
        pair = self.pair_on(state.name)
        if pair:
            self._call_off(state.name, "token")
            self._after(state.name, "join", self.durations.pacemaker_start, lambda: pair.join(state.name))
        self.changed(state.name, "on")

    # --- hypervisor --------------------------------------------------------------------------------------------------

    def take_snapshot(self, machine: str, name: str) -> Effect:
        """Make a snapshot; the name must be new."""
        snapshots = self.machines[machine].snapshots
        effect: Effect = "refused" if name in snapshots else "done"
        self.journal.write(machine, f"snapshot {name}", effect)
        if effect == "done":
            snapshots.append(name)
            self.changed(machine, "snapshot taken")
        return effect

    def delete_snapshot(self, machine: str, name: str) -> Effect:
        """Delete a snapshot."""
        snapshots = self.machines[machine].snapshots
        effect: Effect = "done" if name in snapshots else "missing"
        self.journal.write(machine, f"delete snapshot {name}", effect)
        if effect == "done":
            snapshots.remove(name)
            self.changed(machine, "snapshot deleted")
        return effect

    # --- load balancers and effects ----------------------------------------------------------------------------------

    def balancer_seen(self, machine: str, view: BalancerView | None) -> None:
        """What the HAProxy of a load balancer says now; None: it does not run."""
        before = self.balancers.get(machine)
        if before == view:
            return
        for name, admin in admin_changes(before, view):
            self.journal.write(machine, f"haproxy {name} {admin}")
        self.balancers[machine] = view
        self.changed(machine, "haproxy changed")

    def active_balancer(self) -> str | None:
        """The load balancer that holds the address and runs HAProxy."""
        holder = self.pairs["load_balancer"].address_on
        if holder is None or self.machines[holder].power == "off" or self._haproxy(holder).status != "running":
            return None
        return holder

    def writer(self) -> str | None:
        """The database server that gets new connections from the active load balancer."""
        holder = self.active_balancer()
        view = self.balancers.get(holder) if holder else None
        for backend in view or ():
            if backend.database:
                server = backend.serving()
                return server.machine if server and self.machines[server.machine].running("mariadb") else None
        return None

    def _follow(self) -> None:
        """Effects that follow from the state as it is now."""
        holder = self.pairs["load_balancer"].address_on
        if self._address_was and holder != self._address_was and holder is not None:
            self.sessions.abandon(self._address_was)
        self._address_was = holder or self._address_was
        writer = self.writer()
        if writer != self.replication.writer:
            self.replication.set_writer(writer)
        if writer and holder:
            self._open_sessions(writer, holder)

    def _open_sessions(self, writer: str, through: str) -> None:
        for state in self.machines.values():
            if not state.on or state.machine.role not in APPLICATION_ROLES:
                continue
            # One program of each machine speaks to the database: the first in the inventory.
            service = next((s for s in state.services.values() if s.component), None)
            if service and service.status == "running":
                self.sessions.start(state.name, service.name, writer, through)

    # --- faults ------------------------------------------------------------------------------------------------------

    def _fault_changed(self, fault: Fault, is_set: bool) -> None:
        for machine in [name for name in self.machines if fault.machine in (name, "*")]:
            (begins if is_set else ends)(self, fault, machine)
        self.changed(fault.machine, f"fault {fault.kind} {'set' if is_set else 'cleared'}")

    def resume_shutdown(self, machine: str) -> None:
        """A shutdown that a fault held up goes on."""
        state = self.machines[machine]
        if state.shutdown_asked and state.on:
            self._go_down(state)

    def resume_boot(self, machine: str) -> None:
        """A machine that a fault kept from booting boots."""
        if self.machines[machine].power == "booting":
            self._boot(self.machines[machine])

    def resume_stops(self, machine: str) -> None:
        """Services that a fault kept in stopping stop."""
        for service in self.machines[machine].services.values():
            if service.status == "stopping" and (machine, service.name) not in self._timers:
                self._stops_later(machine, service)
