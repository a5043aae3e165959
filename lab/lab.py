"""The lab: a simulated cluster on loopback, of any inventory, in one process.

async with Lab.start(inventory, speed=20, seed=1) as lab:
    ...  # lab.inventory_path and lab.environment are what a worker needs
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from inventory.models import AlertmanagerMonitoring, CommandPower, Inventory, NagiosMonitoring
from lab.addresses import Site, derive
from lab.alertmanager import Alertmanager, BasicCredentials
from lab.auditors import Auditors, Violation
from lab.balancer_station import BalancerStation
from lab.callers import AgentSession, RequestCaller, SessionLength, Sessions, counted
from lab.certificates import CertificateAuthority
from lab.clock import ScaledClock
from lab.durations import Durations
from lab.faults import Fault, FaultKind
from lab.journal import Journal
from lab.listening import Endpoint
from lab.nagios import Nagios
from lab.stations import MONITORING, AddressStation, Follower, HypervisorStation, NagiosStation, Station
from lab.sudoers import Sudoers
from lab.truth import truth_of
from lab.watching import Effect, Operation
from lab.world import World

# Callers and agents of the simulation: enough that a drain takes time, few enough for two cores.
_AGENTS = 4
_AGENT_SECONDS = SessionLength(1.0, 4.0)
_REQUEST_INTERVAL_SECONDS = 0.25
# HAProxy tells of each change in its log; this look catches what a lost line would hide.
_LOOK_SECONDS = 2.0


class Lab:
    """A running simulation. Made by `Lab.start`."""

    def __init__(
        self, inventory: Inventory, directory: Path, *, speed: float, seed: int, durations: Durations | None
    ) -> None:
        self.original = inventory
        self.speed = speed
        self.seed = seed
        self._durations = durations
        self._pcs: Literal["0.10", "0.11"] = "0.11"
        self.site: Site = derive(inventory, directory, speed=speed)
        self.site.runtime_socket = self._runtime_socket
        self.site.sudoers = Sudoers.of(self.inventory)
        self._authority = CertificateAuthority(directory / "tls")
        self._stations: dict[str, Station] = {}
        self._followers: list[Follower] = []
        self._looking: asyncio.Task[None] | None = None
        self.world: World
        self.auditors: Auditors
        self.monitoring: Alertmanager | None = None
        self.nagios: Nagios | None = None
        self.callers: RequestCaller | None = None
        self.agents: Sessions | None = None

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        inventory: Inventory,
        *,
        speed: float = 20.0,
        seed: int = 1,
        directory: Path | None = None,
        durations: Durations | None = None,
        callers: bool = True,
        pcs: Literal["0.10", "0.11"] = "0.11",
    ) -> AsyncIterator[Lab]:
        """Start a simulation of an inventory; it ends with the context.

        Args:
            inventory: any cluster; addresses, ports, secrets and times are replaced.
            speed: simulated seconds in a real one.
            seed: of everything that happens by chance.
            directory: where the derived inventory, keys and secrets go; None: a temporary one, removed at the end.
            durations: how long things take; None: the defaults.
            callers: whether simulated callers and agents use the cluster.
            pcs: its version on the pairs: until 0.10 a move leaves a location constraint.

        Raises:
            OSError: no loopback net is free, or the directory can't be written.
        """
        place = directory or Path(tempfile.mkdtemp(prefix="lab-"))
        lab = cls(inventory, place, speed=speed, seed=seed, durations=durations)
        lab._pcs = pcs
        try:
            await lab._begin(callers=callers)
            yield lab
        finally:
            await lab._end()
            lab.site.close()
            if directory is None:
                shutil.rmtree(place, ignore_errors=True)

    # --- what a test or a demo looks at ------------------------------------------------------------------------------

    @property
    def inventory(self) -> Inventory:
        """The derived inventory."""
        return self.site.inventory

    @property
    def inventory_path(self) -> Path:
        """The derived inventory's file."""
        return self.site.inventory_path

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with the secrets that the inventory names by `env:`."""
        return dict(self.site.environment)

    @property
    def secrets(self) -> list[str]:
        """Every secret text there is."""
        return self.site.secret_texts()

    @property
    def violations(self) -> list[Violation]:
        """What must never happen and has happened."""
        return self.auditors.violations

    @property
    def journal(self) -> Journal:
        """Every mutating operation that reached the world."""
        return self.world.journal

    @property
    def unknown_commands(self) -> list[tuple[str, str]]:
        """Machine and text of everything that was sent and is not simulated."""
        return self.world.unknown_commands

    def silenced(self) -> set[str]:
        """Machines that monitoring is silent about now."""
        configured = self.inventory.monitoring
        names = [machine.name for machine in self.inventory.machines]
        if self.nagios is not None and isinstance(configured, NagiosMonitoring):
            return {name for name in names if self.nagios.is_silenced(configured.host_name(name))}
        if self.monitoring is not None and isinstance(configured, AlertmanagerMonitoring):
            return {name for name in names if self.monitoring.is_silenced({configured.label: name})}
        return set()

    def truth(self) -> dict[str, Any]:
        """The whole truth, comparable: two runs that end alike give equal answers."""
        return truth_of(self.world) | {"silenced": sorted(self.silenced())}

    async def wait_until(self, predicate: Callable[[], bool], within: float = 120.0) -> None:
        """Wait until something holds of the world; looked at after every change.

        Raises:
            TimeoutError: it does not hold after so many real seconds.
        """
        async with asyncio.timeout(within):
            await self.world.until(predicate)

    async def settled(self) -> None:
        """Wait until all servers are as the model says."""
        for follower in self._followers:
            await follower.settled()

    def station(self, machine: str) -> Station:
        """The servers of a machine."""
        return self._stations[machine]

    # --- what a test or a demo does ----------------------------------------------------------------------------------

    def fault(
        self,
        machine: str,
        kind: FaultKind,
        operation: str = "*",
        *,
        times: int | None = None,
        seconds: float = 30.0,
        probability: float = 1.0,
    ) -> Fault:
        """Set a fault; see `lab.faults`."""
        fault = Fault(machine, kind, operation, times=times, seconds=seconds, probability=probability)
        self.world.faults.add(fault)
        for follower in self._followers:
            if machine in (follower.name, "*"):
                follower.wake()
        return fault

    def clear_faults(self, *faults: Fault) -> None:
        """Clear these faults, or all."""
        self.world.faults.clear(*faults)
        for follower in self._followers:
            follower.wake()

    def by_hand(self, machine: str, action: Literal["start", "stop", "power_on"], service: str | None = None) -> Effect:
        """What a person does at the machine: a service (None: AcdGroupDistribute), or its power.

        Raises:
            KeyError: there is no such machine.
            ValueError: there is no such action.
        """
        if machine not in self.world.machines:
            raise KeyError(f"there is no machine {machine!r}")
        if action == "power_on":
            return self.world.power_on(machine)
        if action not in ("start", "stop"):
            raise ValueError(f"{action!r} is neither start, stop nor power_on")
        if service is None:
            return self.world.start_daemon(machine) if action == "start" else self.world.stop_daemon(machine)
        act = self.world.start_service if action == "start" else self.world.stop_service
        return act(machine, service)

    def caller_statistics(self) -> dict[str, object]:
        """What became of the simulated callers and agents so far."""
        users = {"callers": self.callers, "agents": self.agents}
        return counted({name: source for name, source in users.items() if source is not None})

    async def look(self) -> None:
        """See what the real HAProxies say now."""
        await asyncio.gather(*(station.look() for station in self._balancers().values()))

    async def reset(self) -> None:
        """Begin anew: the same addresses, keys and secrets, and a world in its normal state."""
        callers = self.callers is not None
        await self._end()
        await self._begin(callers=callers)

    # --- beginning and end -------------------------------------------------------------------------------------------

    async def _begin(self, *, callers: bool) -> None:
        self.world = World(self._as_long_as_the_original(), ScaledClock(self.speed), self._durations, self.seed)
        self.world.look = self.look
        self.world.pcs = self._pcs
        machines = self.inventory.machines
        self._stations = {m.name: Station(self.world, self.site, m, self._authority) for m in machines}
        hypervisors = [
            HypervisorStation(self.world, self.site, host)
            for host in self.inventory.vm_hosts
            if isinstance(host.power, CommandPower)
        ]
        addresses = AddressStation(self.world, self.site, self._balancers())
        self._followers = [*self._stations.values(), *hypervisors, *self._nagios_station(), addresses]
        self.auditors = Auditors(self.world, self.silenced)
        self.world.watch(_Waker(self._stations, addresses))
        self._write_known_hosts()
        await self._start_monitoring()
        # A HAProxy whose first checks meet closed ports would begin with servers that are down.
        balancers = [station for station in self._stations.values() if station.balancer]
        others = [follower for follower in self._followers if follower not in (*balancers, addresses)]
        for group in (others, balancers, [addresses]):
            for follower in group:
                follower.begin()
            for follower in group:
                await follower.settled()
        await asyncio.gather(*(station.all_checked() for station in self._balancers().values()))
        await self.look()
        self._looking = asyncio.create_task(self._keep_looking())
        if callers:
            self._start_callers()

    def _as_long_as_the_original(self) -> Inventory:
        """The derived inventory with the original's expected durations: the clock shortens them, once."""
        pairs, original = self.inventory.pairs, self.original.pairs
        storage = pairs.storage.model_copy(update={"expected_move": original.storage.expected_move})
        balancer = pairs.load_balancer.model_copy(update={"expected_move": original.load_balancer.expected_move})
        return self.inventory.model_copy(
            update={
                "components": self.original.components,
                "pairs": pairs.model_copy(update={"storage": storage, "load_balancer": balancer}),
            }
        )

    def _write_known_hosts(self) -> None:
        lines = []
        for machine in self.inventory.machines:
            connection = self.inventory.connections[machine.connection]
            if connection.kind == "ssh":
                lines.append(_host_line(self.site, machine.name, machine.address, machine.port or connection.port))
        for host in self.inventory.vm_hosts:
            if isinstance(host.power, CommandPower):
                port = host.power.port or self.inventory.connections[host.power.connection].port
                lines.append(_host_line(self.site, host.name, host.power.address, port))
        server = self.inventory.monitoring
        if isinstance(server, NagiosMonitoring):
            port = server.port or self.inventory.connections[server.connection].port
            lines.append(_host_line(self.site, MONITORING, server.address, port))
        self.site.known_hosts.write_text("".join(lines), encoding="utf-8")

    def _nagios_station(self) -> Iterator[NagiosStation]:
        configured = self.inventory.monitoring
        if isinstance(configured, NagiosMonitoring):
            station = NagiosStation(self.world, self.site, configured)
            self.nagios = station.nagios
            yield station

    async def _start_monitoring(self) -> None:
        configured = self.inventory.monitoring
        if not isinstance(configured, AlertmanagerMonitoring):
            return
        url = urlsplit(configured.url)
        endpoint = Endpoint(url.hostname or "", url.port or 0)
        credentials = None
        if configured.user and configured.password:
            credentials = BasicCredentials(configured.user, self.site.passwords[configured.password])
        certificate = self._authority.issue(endpoint.address) if url.scheme == "https" else None
        self.monitoring = Alertmanager(endpoint, credentials=credentials, certificate=certificate)
        await self.monitoring.start()

    def _balancers(self) -> Mapping[str, BalancerStation]:
        return {name: station.balancer for name, station in self._stations.items() if station.balancer}

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    def _start_callers(self) -> None:
        address = self.inventory.pairs.load_balancer.address
        applications = [b.name for b in self.inventory.haproxy.backends if b.kind == "application"]
        if not applications:
            return
        url = f"http://{address}:{self.site.frontends[applications[0]]}"
        self.callers = RequestCaller(f"{url}/login", interval_seconds=_REQUEST_INTERVAL_SECONDS)
        self.agents = Sessions(AgentSession(url), count=_AGENTS, length=_AGENT_SECONDS, seed=self.seed)
        self.callers.start()
        self.agents.start()

    async def _end(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self.callers is not None:
            await self.callers.stop()
        if self.agents is not None:
            await self.agents.stop()
        self.callers = self.agents = None
        await asyncio.gather(*(follower.end() for follower in self._followers), return_exceptions=True)
        self._followers, self._stations = [], {}
        if self.monitoring is not None:
            await self.monitoring.stop()
            self.monitoring = None
        self.nagios = None

    async def _runtime_socket(self, machine: str, request: bytes) -> bytes:
        """Pass lines on to the real HAProxy of a machine, as its socket takes them.

        Raises:
            OSError: it does not run.
        """
        station = self._balancers()[machine]
        if not station.balancer.running:
            raise ConnectionRefusedError(f"no HAProxy on {machine}")
        commands = [command.strip() for line in request.decode().splitlines() for command in line.split(";")]
        answers = [await station.balancer.socket.command(command) for command in commands if command]
        await station.look()
        return "".join(answers).encode()


class _Waker:
    """Wakes the servers of whatever has changed."""

    def __init__(self, stations: Mapping[str, Station], addresses: Follower) -> None:
        self._stations = stations
        self._addresses = addresses

    def before(self, operation: Operation, machine: str) -> None:
        """Nothing has changed yet."""

    def after(self, machine: str, what: str) -> None:
        """Have the machine's servers follow."""
        station = self._stations.get(machine)
        if station is not None:
            station.wake()
        self._addresses.wake()


def _host_line(site: Site, name: str, address: str, port: int) -> str:
    algorithm, key = site.host_key(name).export_public_key().decode().split()[:2]
    return f"[{address}]:{port} {algorithm} {key}\n"
