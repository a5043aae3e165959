"""The real HAProxy of one load balancer: it follows the model, and the model sees what it says."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from inventory.models import Inventory, Machine
from lab.addresses import Site
from lab.balancer import AdminPage, Backend, Balancer, BalancerConfig, HealthCheck, Server
from lab.balancer_view import Admin, BackendView, BalancerView, ServerView
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint
from lab.world import World

# Between two looks at a HAProxy that has just started: it tells nobody when its first checks are done.
_CHECKED_SECONDS = 0.05
# What a server's weight is when a fault has changed it; it is 1 else.
_OTHER_WEIGHT = 5


class BalancerStation:
    """The real HAProxy of one load balancer, and what the world sees of it."""

    def __init__(self, world: World, site: Site, machine: Machine, authority: CertificateAuthority) -> None:
        self._world = world
        self._inventory = site.inventory
        self._machine = machine.name
        self._config = _config(site, machine, authority)
        self.balancer = Balancer(self._config)
        self._hangs = False
        self._looking: set[asyncio.Task[None]] = set()
        # HAProxy logs each change of a server's state: it need not be asked again and again.
        self.balancer.log = _Log(self._logged)

    async def follow(self) -> None:
        """Run it while its service runs."""
        state = self._world.machines[self._machine]
        self._hang(hangs=self._world.faults.holds("hangs", self._machine))
        wanted = state.running(self._inventory.haproxy.service)
        if wanted and not self.balancer.running:
            self.balancer.config = self._as_it_starts()
            await self.balancer.start()
            await self.look()
        elif not wanted and self.balancer.running:
            self._hang(hangs=False)
            await (self.balancer.kill() if state.power == "off" else self.balancer.stop())
            self._world.balancer_seen(self._machine, None)

    def _as_it_starts(self) -> BalancerConfig:
        """Its file as it is now: somebody may have changed it while the machine was off (a fault)."""
        config, faults = self._config, self._world.faults
        if faults.holds("haproxy_differs", self._machine, "weight"):
            config = _with_first_server(config, lambda server: replace(server, weight=_OTHER_WEIGHT))
        if faults.holds("haproxy_differs", self._machine, "backup"):
            config = _with_first_server(config, lambda server: replace(server, backup=True))
        return config

    async def look(self) -> None:
        """Read every server's state and tell the world."""
        if not self.balancer.running or self._hangs:
            return
        try:
            text = await self.balancer.socket.command("show stat")
        except OSError:
            return
        self._world.balancer_seen(self._machine, read_view(self._inventory, text))

    def _hang(self, *, hangs: bool) -> None:
        """A process that hangs is one that the kernel doesn't let run."""
        if hangs != self._hangs and self.balancer.pid is not None:
            os.kill(self.balancer.pid, signal.SIGSTOP if hangs else signal.SIGCONT)
            self._hangs = hangs

    async def all_checked(self) -> None:
        """Wait until a fresh HAProxy has checked every server once; until then they show `UP 1/2`."""
        while self.balancer.running:
            rows = csv.DictReader(io.StringIO((await self.balancer.socket.command("show stat")).removeprefix("# ")))
            if not any(row.get("check_status") == "INI" for row in rows):
                return
            await asyncio.sleep(_CHECKED_SECONDS)

    def _logged(self, line: str) -> None:
        if "Server " in line:
            task = asyncio.ensure_future(self.look())
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def close(self) -> None:
        """End it."""
        self._hang(hangs=False)
        await self.balancer.close()


def read_view(inventory: Inventory, text: str) -> BalancerView:
    """Read HAProxy's `show stat`."""
    rows = [row for row in csv.DictReader(io.StringIO(text.removeprefix("# "))) if row.get("type") == "2"]
    views = []
    for backend in inventory.haproxy.backends:
        own = {row["svname"]: row for row in rows if row["pxname"] == backend.name}
        servers = tuple(_server_view(name, backend.servers[name], row) for name, row in own.items())
        views.append(BackendView(backend.name, backend.kind == "database", servers))
    return tuple(views)


def _server_view(name: str, machine: str, row: Mapping[str, str]) -> ServerView:
    status = row["status"]
    admin: Admin = "maint" if status.startswith("MAINT") else "drain" if status.startswith("DRAIN") else "ready"
    up = status.startswith(("UP", "no check"))
    # Session counts are left out: they change all the time, and nothing here depends on them.
    return ServerView(name, machine, admin, up, row["bck"] == "1")


class _Log(deque[str]):
    """HAProxy's log, that tells of each new line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(maxlen=500)
        self._tell = tell

    def append(self, line: str, /) -> None:
        super().append(line)
        self._tell(line)


def _with_first_server(config: BalancerConfig, change: Callable[[Server], Server]) -> BalancerConfig:
    """The same with another first server of the first backend that serves pages."""
    first = next(backend for backend in config.backends if backend.mode == "http")
    changed = replace(first, servers=(change(first.servers[0]), *first.servers[1:]))
    return replace(config, backends=[changed if backend is first else backend for backend in config.backends])


def _config(site: Site, machine: Machine, authority: CertificateAuthority) -> BalancerConfig:
    inventory = site.inventory
    page = inventory.haproxy.admin_page
    admin = None
    if page:
        name = page.tls.server_name if page.tls else None
        certificate = authority.issue(machine.address, name=name or machine.name) if page.tls else None
        bind = Endpoint(machine.address, page.port)
        admin = AdminPage(bind, page.user, site.passwords[page.password], page.path, certificate)
    interval = int(inventory.haproxy.check_interval.total_seconds() * 1000)
    backends = [_backend(site, machine, backend.name) for backend in inventory.haproxy.backends]
    return BalancerConfig(machine.name, backends, admin, HealthCheck(interval_ms=interval))


def _backend(site: Site, balancer: Machine, name: str) -> Backend:
    inventory = site.inventory
    backend = next(backend for backend in inventory.haproxy.backends if backend.name == name)
    database = backend.kind == "database"
    servers = []
    for server, machine_name in backend.servers.items():
        machine = inventory.machine(machine_name)
        port = inventory.database.port if database else site.backend_ports[name]
        standby = database and machine.normal == "standby"
        servers.append(Server(server, Endpoint(machine.address, port), backup=standby))
    return Backend(name, Endpoint(balancer.address, site.frontends[name]), servers, "tcp" if database else "http")
