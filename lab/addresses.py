"""From any inventory to one on loopback: same cluster, own addresses, free ports, generated secrets, shorter times."""

from __future__ import annotations

import random
import re
import secrets
import socket
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncssh
import yaml

from inventory.models import (
    AlertmanagerMonitoring,
    HttpProbe,
    Inventory,
    NagiosMonitoring,
    Probe,
    SqlProbe,
    SshConnection,
    TcpProbe,
    Timings,
    WinRmConnection,
)
from lab.listening import Endpoint, listening_socket
from lab.shell_common import RuntimeSocket
from lab.sudoers import Sudoers

# Whoever holds this port of a net has the net: two labs on one machine never share addresses.
_RESERVED_PORT = 40001
_RESERVED_HOST = 254
_TRIES = 200
# Ports below are for root alone.
_FIRST_PORT = 1024
_MOVED_BY = 10_000
# Free ports are looked for below the range that the kernel gives to clients.
_FREE_PORTS = (20_000, 29_999)
_BACKEND_PORTS = 18_000
_PASSWORD_LENGTH = 24
# A shorter check interval costs more than it shows: every HAProxy asks every server that often.
_CHECK_FLOOR = timedelta(milliseconds=500)
# However fast the simulation runs, processes and protocols need their real time on a busy machine.
_TIMING_FLOORS: dict[str, timedelta] = {
    "connect": timedelta(seconds=5),
    "command": timedelta(seconds=8),
    "poll": timedelta(milliseconds=200),
    "stop": timedelta(seconds=10),
    "start": timedelta(seconds=15),
    "drain": timedelta(seconds=30),
    "move": timedelta(seconds=15),
    "shutdown": timedelta(seconds=15),
    "boot": timedelta(seconds=30),
    "catch_up": timedelta(seconds=60),
    "replication": timedelta(seconds=15),
    "backup": timedelta(seconds=15),
    "healthy": timedelta(seconds=15),
    "probe": timedelta(milliseconds=250),
}
_DOWNTIME_FLOOR = timedelta(minutes=5)


@dataclass(frozen=True)
class Page:
    """What a simulated backend answers on a path, so that the inventory's probes find what they look for."""

    status: int
    text: str


@dataclass
class Site:
    """Everything the lab was given and has made up."""

    directory: Path
    inventory: Inventory
    client_key: asyncssh.SSHKey
    environment: dict[str, str]
    passwords: dict[str, str] = field(repr=False)
    """Secret references of the derived inventory, and what they stand for."""
    frontends: dict[str, int] = field(default_factory=dict)
    """Port of each backend on the address of the load balancers."""
    backend_ports: dict[str, int] = field(default_factory=dict)
    """Port of each backend's servers on their machines."""
    storage_ports: tuple[int, ...] = ()
    extra_ports: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Further TCP ports of machines that the inventory's probes and signals name."""
    pages: dict[str, dict[str, Page]] = field(default_factory=dict)
    """By backend and path."""
    speed: float = 1.0
    """Simulated seconds in a real one."""
    reservation: socket.socket | None = None
    runtime_socket: RuntimeSocket | None = None
    """Speaks to the HAProxy of a machine."""
    sudoers: Sudoers = field(default_factory=Sudoers)
    """What sudo allows on its machines."""
    _host_keys: dict[str, asyncssh.SSHKey] = field(default_factory=dict, repr=False)

    def host_key(self, machine: str) -> asyncssh.SSHKey:
        """The host key of a machine or hypervisor: the same for as long as the site lives."""
        if machine not in self._host_keys:
            self._host_keys[machine] = asyncssh.generate_private_key("ssh-ed25519")
        return self._host_keys[machine]

    @property
    def inventory_path(self) -> Path:
        """The derived inventory, as the product reads it."""
        return self.directory / "inventory.yaml"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all simulated machines."""
        return self.directory / "known_hosts"

    @property
    def ca(self) -> Path:
        """The authority that signed the simulated machines' certificates."""
        return self.directory / "tls" / "ca.pem"

    def secret_texts(self) -> list[str]:
        """Every text that must never be found in a log, history or report."""
        key = self.client_key.export_private_key().decode().splitlines()
        return [*sorted(set(self.passwords.values())), *(line for line in key if line and "PRIVATE KEY" not in line)]

    def close(self) -> None:
        """Give the net back."""
        if self.reservation is not None:
            self.reservation.close()


def derive(original: Inventory, directory: Path, *, speed: float) -> Site:
    """Derive an inventory on loopback, and write it with its secrets and keys into `directory` (mode 0700).

    Raises:
        OSError: no net of loopback is free, or the directory can't be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in ("secrets", "tls"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    derivation = _Derivation(original, directory, speed)
    site = derivation.site()
    # Without what was left out on purpose: an earlier version, which may be tried here too, knows not every setting.
    told = site.inventory.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    text = yaml.safe_dump(told, sort_keys=False, width=120)
    header = "# Derived for a simulated cluster on loopback. Nothing in it is a real machine.\n"
    site.inventory_path.write_text(header + text, encoding="utf-8")
    return site


class _Net:
    """127.A.B.0/24, reserved."""

    def __init__(self) -> None:
        self.prefix, self.reservation = _reserved()
        self._numbers: dict[str, int] = {}
        self._taken: set[tuple[str, int]] = set()

    def of(self, address: str) -> str:
        """The address that stands for another."""
        number = self._numbers.setdefault(address.casefold(), len(self._numbers) + 1)
        if number >= _RESERVED_HOST:
            raise ValueError("more addresses than a simulated net has")
        return f"{self.prefix}.{number}"

    def knows(self, address: str) -> bool:
        return address.casefold() in self._numbers

    def port(self, wanted: int, addresses: Iterable[str]) -> int:
        """A port that is free on all these addresses: the wanted one if it can be."""
        places = list(dict.fromkeys(addresses))
        first: int = wanted if wanted >= _FIRST_PORT else wanted + _MOVED_BY
        port: int
        for port in (first, *range(*_FREE_PORTS)):
            if all((place, port) not in self._taken and _is_free(Endpoint(place, port)) for place in places):
                self._taken |= {(place, port) for place in places}
                return port
        raise OSError(f"no port is free on {', '.join(places)}")


class _Derivation:
    def __init__(self, original: Inventory, directory: Path, speed: float) -> None:
        self._original = original
        self._directory = directory
        self._speed = speed
        self._net = _Net()
        self._ports: dict[tuple[str, int], int] = {}
        self._passwords: dict[str, str] = {}
        self._environment: dict[str, str] = {}
        self._extra: dict[str, set[int]] = {}
        self._storage: set[int] = set()
        self._frontends: dict[str, int] = {}
        self._pages: dict[str, dict[str, Page]] = {}
        self._key = asyncssh.generate_private_key("ssh-ed25519")

    def site(self) -> Site:
        original = self._original
        for machine in original.machines:
            self._net.of(machine.address)
        vip = self._net.of(original.pairs.load_balancer.address)
        self._net.of(original.pairs.storage.address)
        key_file = self._directory / "id_ed25519"
        key_file.touch(mode=0o600)
        key_file.write_bytes(self._key.export_private_key())
        self._choose_frontends(vip)
        inventory = self._inventory(key_file)
        return Site(
            directory=self._directory,
            inventory=inventory,
            client_key=self._key,
            environment=self._environment,
            passwords=self._passwords,
            frontends=self._frontends,
            backend_ports=self._backend_ports(),
            storage_ports=tuple(sorted(self._storage)),
            extra_ports={machine: tuple(sorted(ports)) for machine, ports in self._extra.items()},
            pages=self._pages,
            speed=self._speed,
            reservation=self._net.reservation,
        )

    def _inventory(self, key_file: Path) -> Inventory:
        original = self._original
        data: dict[str, Any] = original.model_dump()
        data["vm_hosts"] = [self._vm_host(host.model_dump()) for host in original.vm_hosts]
        data["machines"] = [self._machine(machine.model_dump()) for machine in original.machines]
        data["connections"] = {
            name: self._connection(connection, key_file) for name, connection in original.connections.items()
        }
        data["components"] = [self._component(component.model_dump()) for component in original.components]
        data["pairs"] = {
            "storage": self._pair(original.pairs.storage.model_dump()),
            "load_balancer": self._pair(original.pairs.load_balancer.model_dump()),
        }
        data["database"] = self._database(original.database.model_dump())
        data["haproxy"] = self._haproxy(original.haproxy.model_dump())
        data["sessions"]["ignore_addresses"] = [
            self._net.of(a) if self._net.knows(a) else a for a in original.sessions.ignore_addresses
        ]
        data["monitoring"] = self._monitoring()
        data["backup"]["expected"] = self._shorter(original.backup.expected)
        data["daemon"]["expected"] = self._shorter(original.daemon.expected)
        data["probes"] = [self._probe(probe) for probe in original.probes]
        data["timings"] = self._timings(original.timings)
        # A version that does not know every gate reads the same inventory.
        data["approval"] = original.approval.model_dump(exclude_unset=True)
        # Those who are told are real people: a simulation tells nobody.
        del data["notifications"]
        return Inventory.model_validate(data)

    # --- machines and connections ------------------------------------------------------------------------------------

    def _vm_host(self, host: dict[str, Any]) -> dict[str, Any]:
        power = host["power"]
        if power["provider"] == "command":
            power["address"] = self._net.of(power["address"])
            wanted = power["port"] or self._connection_port(power["connection"])
            power["port"] = self._net.port(wanted, [power["address"]])
        return host

    def _machine(self, machine: dict[str, Any]) -> dict[str, Any]:
        address = machine["address"] = self._net.of(machine["address"])
        wanted = machine["port"] or self._connection_port(machine["connection"])
        machine["port"] = self._net.port(wanted, [address])
        machine["signals"] = [self._extra_port(machine["name"], address, port) for port in machine["signals"]]
        return machine

    def _extra_port(self, machine: str, address: str, wanted: int) -> int:
        if (address, wanted) not in self._ports:
            self._ports[address, wanted] = self._net.port(wanted, [address])
            self._extra.setdefault(machine, set()).add(self._ports[address, wanted])
        return self._ports[address, wanted]

    def _connection_port(self, name: str) -> int:
        port: int = self._original.connections[name].port
        return port

    def _connection(self, connection: SshConnection | WinRmConnection, key_file: Path) -> dict[str, Any]:
        data = connection.model_dump()
        if isinstance(connection, SshConnection):
            return {**data, "key": f"file:{key_file}", "known_hosts": str(self._directory / "known_hosts")}
        return {**data, "password": self._secret(connection.password), "ca": str(self._directory / "tls" / "ca.pem")}

    def _component(self, component: dict[str, Any]) -> dict[str, Any]:
        for name in ("expected_stop", "expected_start"):
            component[name] = self._shorter(component[name])
        return component

    def _pair(self, pair: dict[str, Any]) -> dict[str, Any]:
        pair["address"] = self._net.of(pair["address"])
        pair["expected_move"] = self._shorter(pair["expected_move"])
        return pair

    # --- systems -----------------------------------------------------------------------------------------------------

    def _database(self, database: dict[str, Any]) -> dict[str, Any]:
        machines = {name for r in self._original.database.replication for name in (r.replica, r.source)}
        addresses = [self._net.of(self._original.machine(name).address) for name in sorted(machines)]
        database["port"] = self._net.port(database["port"], addresses)
        database["password"] = self._secret(database["password"])
        # The simulated servers speak without TLS.
        database["tls"] = None
        return database

    def _haproxy(self, haproxy: dict[str, Any]) -> dict[str, Any]:
        page = haproxy["admin_page"]
        if page:
            pair = self._original.pairs.load_balancer
            addresses = [self._net.of(self._original.machine(name).address) for name in pair.machines]
            page["port"] = self._net.port(page["port"], addresses)
            page["password"] = self._secret(page["password"])
            page["tls"] = self._tls(page["tls"])
        interval = haproxy["check_interval"]
        haproxy["check_interval"] = min(interval, max(_CHECK_FLOOR, self._shorter(interval)))
        return haproxy

    def _monitoring(self) -> dict[str, Any]:
        monitoring = self._original.monitoring
        data = monitoring.model_dump()
        data["downtime"] = max(_DOWNTIME_FLOOR, self._shorter(monitoring.downtime))
        if isinstance(monitoring, AlertmanagerMonitoring):
            url = urlsplit(monitoring.url)
            address = self._net.of(url.hostname or "")
            default = 443 if url.scheme == "https" else 80
            data["url"] = f"{url.scheme}://{address}:{self._net.port(url.port or default, [address])}"
            data["password"] = self._secret(monitoring.password) if monitoring.password else None
            data["tls"] = self._tls(data["tls"])
        if isinstance(monitoring, NagiosMonitoring):
            data["address"] = self._net.of(monitoring.address)
            wanted = monitoring.port or self._connection_port(monitoring.connection)
            data["port"] = self._net.port(wanted, [data["address"]])
        return data

    def _tls(self, tls: dict[str, Any] | None) -> dict[str, Any] | None:
        return {**tls, "ca": str(self._directory / "tls" / "ca.pem")} if tls else None

    # --- secrets -----------------------------------------------------------------------------------------------------

    def _secret(self, reference: str) -> str:
        """Make up a secret; the reference under which the derived inventory names it."""
        kind, _, name = reference.partition(":")
        derived = reference if kind == "env" else f"file:{self._secret_file(name)}"
        if derived not in self._passwords:
            password = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_PASSWORD_LENGTH))
            self._passwords[derived] = password
            if kind == "env":
                self._environment[name] = password
            else:
                file = Path(derived.partition(":")[2])
                file.touch(mode=0o600)
                file.write_text(f"{password}\n", encoding="utf-8")
        return derived

    def _secret_file(self, name: str) -> Path:
        return self._directory / "secrets" / re.sub(r"[^A-Za-z0-9.-]", "_", name.lstrip("/"))

    # --- probes and frontends ----------------------------------------------------------------------------------------

    def _choose_frontends(self, vip: str) -> None:
        """Which port of the moving address is which backend's: by the probes' names, else in order."""
        backends = self._original.haproxy.backends
        wanted: dict[str, int] = {}
        for probe, port in self._probed_ports(self._original.pairs.load_balancer.address):
            if port not in wanted.values():
                name = self._backend_of(probe, wanted)
                if name is not None:
                    wanted[name] = port
        for backend in backends:
            port = wanted.get(backend.name, self._original.database.port if backend.kind == "database" else 8000)
            balancers = [self._original.machine(name).address for name in self._original.pairs.load_balancer.machines]
            places = [vip, *(self._net.of(address) for address in balancers)]
            self._frontends[backend.name] = self._net.port(port, places)
            if backend.name in wanted:
                self._ports[vip, port] = self._frontends[backend.name]

    def _probed_ports(self, address: str) -> list[tuple[Probe, int]]:
        found = [(probe, *_target(probe)) for probe in self._original.probes if _target(probe)[0]]
        # A name that is nobody's address is the one that users know: the load balancers'.
        here = [(p, port) for p, host, port in found if host == address or not self._net.knows(host)]
        # Names that say more come first; a port without a telling name gets what is left.
        return sorted(here, key=lambda pair: not self._told(pair[0]))

    def _told(self, probe: Probe) -> bool:
        return isinstance(probe, SqlProbe) or any(b.name in probe.name for b in self._original.haproxy.backends)

    def _backend_of(self, probe: Probe, taken: dict[str, int]) -> str | None:
        database = isinstance(probe, SqlProbe)
        free = [
            b.name
            for b in self._original.haproxy.backends
            if (b.kind == "database") == database and b.name not in taken
        ]
        return next((name for name in free if name in probe.name), free[0] if free else None)

    def _probe(self, probe: Probe) -> dict[str, Any]:
        data: dict[str, Any] = probe.model_dump()
        host, wanted = _target(probe)
        if not host:
            return data
        address = self._net.of(host) if self._net.knows(host) else self._net.of(self._vip)
        port = self._probe_port(host, address, wanted)
        if isinstance(probe, HttpProbe):
            url = urlsplit(probe.url)
            path = url.path + (f"?{url.query}" if url.query else "")
            data |= {"url": f"http://{address}:{port}{path}", "tls": None}
            self._note_page(port, url.path or "/", Page(probe.status, probe.contains or "ok"))
            return data
        return data | {"address": address, "port": port}

    @property
    def _vip(self) -> str:
        return self._original.pairs.load_balancer.address

    def _probe_port(self, host: str, address: str, wanted: int) -> int:
        if (address, wanted) in self._ports:
            return self._ports[address, wanted]
        if host == self._original.pairs.storage.address:
            port = self._ports[address, wanted] = self._net.port(wanted, [address])
            self._storage.add(port)
            return port
        for machine in self._original.machines:
            if machine.address == host:
                return self._extra_port(machine.name, address, wanted)
        # More probed ports than backends: the first backend answers them too.
        return next(iter(self._frontends.values()))

    def _note_page(self, port: int, path: str, page: Page) -> None:
        for backend, frontend in self._frontends.items():
            if frontend == port:
                self._pages.setdefault(backend, {})[path] = page

    def _backend_ports(self) -> dict[str, int]:
        ports = {}
        for number, backend in enumerate(self._original.haproxy.backends):
            machines = [self._net.of(self._original.machine(name).address) for name in backend.servers.values()]
            ports[backend.name] = self._net.port(_BACKEND_PORTS + number, machines)
        return ports

    # --- times -------------------------------------------------------------------------------------------------------

    def _shorter(self, duration: timedelta) -> timedelta:
        return max(timedelta(milliseconds=10), duration / self._speed)

    def _timings(self, timings: Timings) -> dict[str, Any]:
        data = timings.model_dump()
        for name, floor in _TIMING_FLOORS.items():
            # Never longer than the inventory says: a test may want a short one.
            data[name] = min(data[name], max(floor, self._shorter(data[name])))
        # What is left at its default is left out: a version that does not know it reads the same inventory.
        return {name: value for name, value in data.items() if value != getattr(Timings(), name)}


def _target(probe: Probe) -> tuple[str, int]:
    """Host and port of a probe; an empty host where it runs on a machine."""
    if isinstance(probe, HttpProbe):
        url = urlsplit(probe.url)
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    if isinstance(probe, TcpProbe | SqlProbe):
        return probe.address, probe.port
    return "", 0


def _reserved() -> tuple[str, socket.socket]:
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        # 127.0 is everybody's.
        prefix = f"127.{chance.randint(1, 250)}.{chance.randint(0, 250)}"
        lock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            lock.bind((f"{prefix}.{_RESERVED_HOST}", _RESERVED_PORT))
        except OSError:
            lock.close()
            continue
        return prefix, lock
    raise OSError("no net of loopback is free")


def _is_free(endpoint: Endpoint) -> bool:
    try:
        listening_socket(endpoint).close()
    except OSError:
        return False
    return True
