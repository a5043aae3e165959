"""Stations: the servers of one simulated machine, which follow the model. The machine is off: nothing listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, Protocol

from aiohttp import web

from inventory.models import CommandPower, Machine, NagiosMonitoring, SshConnection, VmHost, WinRmConnection
from lab.addresses import Page, Site
from lab.backends import HttpBackend, TcpBackend, VirtualAddress
from lab.balancer_station import BalancerStation
from lab.certificates import CertificateAuthority
from lab.database import DatabaseServer
from lab.database_world import FIRST_CLIENT_THREAD, SimulatedDatabase
from lab.hypervisor import Hypervisor
from lab.listening import Endpoint, Gate, Silence
from lab.nagios import Clock, Nagios
from lab.shell import Shell
from lab.shell_common import SiteCommands, SocatCommand, UptimeCommand, common_handlers
from lab.shell_files import FileCommands
from lab.shell_nagios import NagiosCommands
from lab.shell_pairs import PairCommands
from lab.shell_services import ServiceCommands
from lab.ssh import SshServer
from lab.sudoers import MONITORING_HOST
from lab.windows import SimulatedWindows
from lab.winrm import Account, WinRmServer, WinRmSettings
from lab.world import World

_LOG = logging.getLogger(__name__)
MONITORING = "monitoring"
"""The monitoring server's name in faults, journal and unknown commands."""


class Listening(Protocol):
    """Whatever can be started and stopped at once."""

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Cut everything."""


class Follower:
    """Brings servers to what the model says, each time something has changed, one change at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._dirty = asyncio.Event()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Follow from now on."""
        self._dirty.set()
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Something has changed."""
        self._settled.clear()
        self._dirty.set()

    async def settled(self) -> None:
        """Wait until the servers are as the model says."""
        await self._settled.wait()

    async def end(self) -> None:
        """Stop following, and stop the servers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.close()

    async def follow(self) -> None:
        """Start and stop what should be started and stopped now."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop all servers."""
        raise NotImplementedError

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.follow()
            except Exception:
                # A server that can't follow must be seen, and must not keep the others from following.
                _LOG.exception("the servers of %s do not follow the model", self.name)
            if not self._dirty.is_set():
                self._settled.set()


class Station(Follower):
    """All servers of one machine."""

    def __init__(
        self,
        world: World,
        site: Site,
        machine: Machine,
        authority: CertificateAuthority,
        *,
        always_silent: bool = False,
    ) -> None:
        """Start nothing yet.

        Args:
            world: the model.
            site: addresses and secrets.
            machine: whose servers they are.
            authority: issues certificates.
            always_silent: when it is off its ports are silent, also where a hypervisor tells that it is off.
        """
        super().__init__(machine.name)
        self._world = world
        self._state = world.machines[machine.name]
        self._accounts: list[Account] = []
        self.management = self._management(site, machine, authority)
        self.database = _database(world, site, machine)
        self.balancer = BalancerStation(world, site, machine, authority) if machine.name in world.balancers else None
        self.backends = _backends(site, machine)
        self.extras = [
            TcpBackend(Endpoint(machine.address, p), machine.name) for p in site.extra_ports.get(machine.name, ())
        ]
        self._silences = _silences(site, machine, always=always_silent)
        self._key_changed = False
        self._refuses = False
        self._one_at_a_time = asyncio.Lock()

    def _management(self, site: Site, machine: Machine, authority: CertificateAuthority) -> SshServer | WinRmServer:
        connection = site.inventory.connections[machine.connection]
        endpoint = Endpoint(machine.address, machine.port or connection.port)
        if isinstance(connection, WinRmConnection):
            settings = WinRmSettings(
                computer_name=machine.name.upper()[:15],
                certificate=authority.issue(machine.address, name=machine.name) if connection.https else None,
            )
            account = Account(connection.user.rpartition("\\")[2], site.passwords[connection.password])
            self._accounts.append(account)
            return WinRmServer(
                endpoint, SimulatedWindows(self._world, machine.name, self.cut), self._accounts, settings
            )
        shell = linux_shell(self._world, site, machine, connection)
        key = site.host_key(machine.name)
        return SshServer(endpoint, shell, user=connection.user, client_key=site.client_key, host_key=key)

    async def cut(self) -> None:
        """Drop all management connections; new ones are accepted."""
        # Before anything is cut: who sees the cut can wait until new connections are accepted.
        self.wake()
        async with self._one_at_a_time:
            await self.management.stop()

    async def follow(self) -> None:
        """Start and stop what should be started and stopped now."""
        # A server that is still stopping must not be started: `cut` comes from one of its own commands.
        async with self._one_at_a_time:
            await self._follow_all()

    async def _follow_all(self) -> None:
        await self._follow_faults()
        on = self._state.power in ("on", "stopping")
        reachable = on and not self._holds("unreachable")
        if on:
            await self._silent(off=False)
        await _bring(self.management, reachable)
        for extra in self.extras:
            await _bring(extra, reachable)
        if self.database:
            await _bring(self.database, on and self._state.running("mariadb"))
        if self.balancer:
            await self.balancer.follow()
        await self._follow_backends()
        if not on:
            await self._silent(off=True)

    async def _silent(self, *, off: bool) -> None:
        for silence in self._silences:
            await _bring(silence, off)

    async def _follow_backends(self) -> None:
        services = [service for service in self._state.services.values() if service.component]
        first = services[0] if services else None
        on = self._state.power in ("on", "stopping")
        serves = on and (first is None or first.status in ("running", "stopping"))
        for backend in self.backends:
            if isinstance(backend, HttpBackend):
                # A service that is being stopped tells the balancer to send nobody new.
                backend.healthy = first is None or first.status == "running"
            await _bring(backend, serves)

    async def _follow_faults(self) -> None:
        hangs = self._holds("hangs")
        for gate in self._gates():
            if hangs:
                gate.close()
            else:
                gate.open()
        refuses = self._holds("wrong_password")
        if refuses != self._refuses:
            self._refuses = refuses
            await self.management.stop()
            if isinstance(self.management, SshServer):
                self.management.refuses_all = refuses
            else:
                self._accounts[:] = [Account(a.user, a.password[::-1]) for a in self._accounts]
        changed = self._holds("host_key_changed")
        if changed != self._key_changed and isinstance(self.management, SshServer):
            self._key_changed = changed
            self.management.show_host_key(its_own=not changed)
            await self.management.stop()

    def _holds(self, kind: Literal["unreachable", "hangs", "wrong_password", "host_key_changed"]) -> bool:
        return self._world.faults.holds(kind, self.name, "management")

    def _gates(self) -> list[Gate]:
        gates = [self.management.gate]
        if self.database:
            gates.append(self.database.gate)
        return [*gates, *(backend.gate for backend in self.backends if isinstance(backend, HttpBackend))]

    async def close(self) -> None:
        """Stop all servers."""
        for gate in self._gates():
            gate.open()
        servers: list[Listening] = [self.management, *self.backends, *self.extras, *self._silences]
        for server in [*servers, *([self.database] if self.database else [])]:
            await server.stop()
        if self.balancer:
            await self.balancer.close()


class SshStation(Follower):
    """The SSH server of something that is always on, apart from faults."""

    def __init__(self, world: World, name: str, management: SshServer) -> None:
        super().__init__(name)
        self._world = world
        self._key_changed = False
        self.management = management

    async def follow(self) -> None:
        """Start and stop, hang and refuse as the faults have it."""
        faults, server = self._world.faults, self.management
        server.refuses_all = faults.holds("wrong_password", self.name)
        if faults.holds("hangs", self.name):
            server.gate.close()
        else:
            server.gate.open()
        changed = faults.holds("host_key_changed", self.name)
        if changed != self._key_changed:
            self._key_changed = changed
            server.show_host_key(its_own=not changed)
            await server.stop()
        await _bring(server, not faults.holds("unreachable", self.name))

    async def close(self) -> None:
        """Stop the server."""
        self.management.gate.open()
        await self.management.stop()


class HypervisorStation(SshStation):
    """A VM-Host."""

    def __init__(self, world: World, site: Site, host: VmHost) -> None:
        power = host.power
        if not isinstance(power, CommandPower):
            raise TypeError(f"{host.name} has no power commands")
        connection = site.inventory.connections[power.connection]
        if not isinstance(connection, SshConnection):
            raise TypeError(f"{host.name}: a hypervisor is reached by SSH")
        shell = Shell(world, host.name, user_is_root=connection.user == "root", may=site.sudoers.on(host.name))
        shell.knows(common_handlers(shell))
        shell.knows(Hypervisor(world, host, shell).handlers())
        endpoint = Endpoint(power.address, power.port or connection.port)
        key = site.host_key(host.name)
        server = SshServer(endpoint, shell, user=connection.user, client_key=site.client_key, host_key=key)
        super().__init__(world, host.name, server)


class NagiosStation(SshStation):
    """A monitoring server with Nagios, which watches each machine: a PING, and its components."""

    def __init__(
        self, world: World, site: Site, monitoring: NagiosMonitoring, *, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        connection = site.inventory.connections[monitoring.connection]
        if not isinstance(connection, SshConnection):
            raise TypeError("a monitoring server with Nagios is reached by SSH")
        hosts = {
            monitoring.host_name(m.name): ["PING", *(c.name for c in site.inventory.components_on(m))]
            for m in site.inventory.machines
        }
        interval = max(1.0, world.durations.nagios_status / site.speed)
        self.nagios = Nagios(hosts, status_update_interval=interval, clock=clock)
        may = site.sudoers.on(MONITORING_HOST)
        shell = Shell(world, MONITORING, user_is_root=connection.user == "root", may=may)
        shell.knows(common_handlers(shell))
        shell.knows(NagiosCommands(shell, self.nagios, monitoring).handlers())
        endpoint = Endpoint(monitoring.address, monitoring.port or connection.port)
        key = site.host_key(MONITORING)
        server = SshServer(endpoint, shell, user=connection.user, client_key=site.client_key, host_key=key)
        super().__init__(world, MONITORING, server)


class AddressStation(Follower):
    """The two addresses that move: whoever Pacemaker says has them."""

    def __init__(self, world: World, site: Site, balancers: Mapping[str, BalancerStation]) -> None:
        super().__init__("addresses")
        self._world = world
        self._site = site
        self._balancers = balancers
        pairs = site.inventory.pairs
        self._virtual = VirtualAddress(pairs.load_balancer.address, site.frontends)
        self._storage = [TcpBackend(Endpoint(pairs.storage.address, port), "storage") for port in site.storage_ports]
        self._owner: str | None = None

    async def follow(self) -> None:
        """Listen for whoever has the address now."""
        storage = self._world.pairs["storage"].address_on
        up = storage is not None and self._world.machines[storage].power in ("on", "stopping")
        for server in self._storage:
            await _bring(server, up)
        owner = self._world.active_balancer()
        if owner is not None and not self._balancers[owner].balancer.running:
            owner = None
        if owner == self._owner:
            return
        before, self._owner = self._owner, owner
        leave_stale = before is not None and self._balancers[before].balancer.running
        if owner is None:
            await self._virtual.withdraw(leave_stale=leave_stale)
        else:
            await self._virtual.move_to(self._targets(owner), leave_stale=leave_stale)
        if before is not None and not leave_stale:
            self._virtual.close_stale()

    def _targets(self, owner: str) -> dict[str, Endpoint]:
        address = self._site.inventory.machine(owner).address
        return {name: Endpoint(address, port) for name, port in self._site.frontends.items()}

    async def close(self) -> None:
        """Nobody has the addresses any more."""
        await self._virtual.withdraw()
        self._virtual.close_stale()
        for server in self._storage:
            await server.stop()


class PageBackend(HttpBackend):
    """A backend that also answers the pages that the inventory's probes ask for."""

    def __init__(self, endpoint: Endpoint, name: str, pages: Mapping[str, Page]) -> None:
        super().__init__(endpoint, name)
        self._pages = pages

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None or not self.healthy:
            try:
                return await super()._serve(request)
            except ConnectionResetError:
                # An agent has hung up, or the service has ended: nobody hears the answer.
                return web.Response()
        self.requests += 1
        return web.Response(status=page.status, text=f"{page.text} {self.name}\n")


def _silences(site: Site, machine: Machine, *, always: bool) -> list[Silence]:
    """What keeps the ports silent by which alone it is seen that a machine is off: a hypervisor tells of others."""
    if not always and isinstance(site.inventory.vm_host(machine.host).power, CommandPower):
        return []
    management = machine.port or site.inventory.connections[machine.connection].port
    return [Silence(Endpoint(machine.address, port)) for port in sorted({management, *machine.signals})]


async def _bring(server: Listening, up: bool) -> None:
    if up and not server.listening:
        await server.start()
    elif not up and server.listening:
        await server.stop()


def linux_shell(world: World, site: Site, machine: Machine, connection: SshConnection) -> Shell:
    """The command line of a Linux machine, with everything it knows."""
    shell = Shell(world, machine.name, user_is_root=connection.user == "root", may=site.sudoers.on(machine.name))
    pairs = PairCommands(shell)
    shell.knows(common_handlers(shell))
    shell.knows({"uptime": UptimeCommand(shell)})
    shell.knows(ServiceCommands(shell).handlers())
    shell.knows(pairs.handlers())
    shell.knows(FileCommands(shell, pairs).handlers())
    SiteCommands(shell)
    socket = site.inventory.haproxy.socket
    if machine.name in world.balancers and socket and site.runtime_socket:
        shell.knows(SocatCommand(shell, socket.path, site.runtime_socket).handlers())
    return shell


def _database(world: World, site: Site, machine: Machine) -> DatabaseServer | None:
    if machine.name not in world.replication.nodes:
        return None
    database = site.inventory.database
    model = SimulatedDatabase(world, machine.name, database.user, site.passwords[database.password])
    endpoint = Endpoint(machine.address, database.port)
    return DatabaseServer(endpoint, model, first_thread_id=FIRST_CLIENT_THREAD)


def _backends(site: Site, machine: Machine) -> list[HttpBackend | TcpBackend]:
    found: list[HttpBackend | TcpBackend] = []
    for backend in site.inventory.haproxy.backends:
        if backend.kind == "application" and machine.name in backend.servers.values():
            endpoint = Endpoint(machine.address, site.backend_ports[backend.name])
            found.append(PageBackend(endpoint, machine.name, site.pages.get(backend.name, {})))
    return found
