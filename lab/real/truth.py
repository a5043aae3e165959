"""The truth, read from the hosts themselves and not through the product: sockets, namespaces, the daemons' tools."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import socket
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from inventory.models import Inventory, Pair, Role
from lab.real.database import Local
from lab.real.host import Host, HostError
from lab.real.monitoring import Monitoring
from lab.real.site import MONITOR

_HAPROXY_SOCKET = "run/haproxy/admin.sock"
_SOCKET_SECONDS = 3.0


@dataclass(frozen=True)
class PairTruth:
    """A pair as its nodes see it."""

    address_on: tuple[str, ...]
    """Machines that hold the address."""
    mounted_on: tuple[str, ...]
    standby: tuple[str, ...]
    online: tuple[str, ...]
    failures: tuple[str, ...]


class Truth:
    """Looks into the hosts."""

    def __init__(self, inventory: Inventory, hosts: Mapping[str, Host]) -> None:
        self._inventory = inventory
        self._hosts = hosts
        self.monitoring = Monitoring(inventory, hosts[MONITOR])

    # --- pairs -------------------------------------------------------------------------------------------------------

    def holders(self, address: str, machines: tuple[str, ...]) -> list[str]:
        """Who of them has an address on its network card: from the kernel's own list."""
        return [name for name in machines if self._has_address(name, address)]

    def _has_address(self, name: str, address: str) -> bool:
        try:
            text = (Path(f"/proc/{self._hosts[name].pid}/net/fib_trie")).read_text()
        except OSError:
            return False
        lines = text.splitlines()
        local = itertools.pairwise(lines)
        return any(line.strip().endswith(f"-- {address}") and "host LOCAL" in after for line, after in local)

    def mounted(self, path: str, machines: tuple[str, ...]) -> list[str]:
        """Who of them has a file system mounted there."""
        return [name for name in machines if self._has_mount(name, path)]

    def _has_mount(self, name: str, path: str) -> bool:
        try:
            mounts = (Path(f"/proc/{self._hosts[name].pid}/mounts")).read_text()
        except OSError:
            return False
        return any(line.split()[1] == path for line in mounts.splitlines())

    async def pair(self, pair: Pair) -> PairTruth:
        """Everything about a pair; what no node tells is empty."""
        on = next((name for name in pair.machines if self._hosts[name].on), None)
        tree = await self._crm_mon(on) if on else None
        nodes = tree.findall("./nodes/node") if tree is not None else []
        failures = tree.findall("./failures/failure") if tree is not None else []
        return PairTruth(
            address_on=tuple(self.holders(pair.address, pair.machines)),
            mounted_on=tuple(self.mounted(pair.mount, pair.machines)) if pair.mount else (),
            standby=tuple(sorted(n.get("name", "") for n in nodes if n.get("standby") == "true")),
            online=tuple(sorted(n.get("name", "") for n in nodes if n.get("online") == "true")),
            failures=tuple(f"{f.get('op_key') or f.get('id')} {f.get('exitreason') or ''}".strip() for f in failures),
        )

    async def _crm_mon(self, name: str) -> ET.Element | None:
        try:
            done = await self._hosts[name].run("crm_mon", "--output-as=xml")
            return ET.fromstring(done.stdout) if done.code == 0 else None
        except (HostError, ET.ParseError):
            return None

    async def resources(self, pair: Pair) -> dict[str, tuple[str, ...]]:
        """Where each resource runs, with the promoted node first for a promotable one."""
        on = next((name for name in pair.machines if self._hosts[name].on), None)
        tree = await self._crm_mon(on) if on else None
        found: dict[str, tuple[str, ...]] = {}
        for resource in tree.iter("resource") if tree is not None else ():
            nodes = [node.get("name", "") for node in resource.findall("node")]
            key = resource.get("id", "") + (" promoted" if resource.get("role") in ("Promoted", "Master") else "")
            found[key] = tuple(sorted({*found.get(key, ()), *nodes}))
        return found

    # --- HAProxy -----------------------------------------------------------------------------------------------------

    def balancer(self, name: str) -> dict[str, str] | None:
        """Status of each server as this HAProxy says it, by `backend/server`; None: it does not run."""
        answer = self.haproxy(name, "show stat")
        if answer is None:
            return None
        rows = csv.DictReader(io.StringIO(answer.lstrip("# ")))
        servers = (row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND"))
        return {f"{row['pxname']}/{row['svname']}": row["status"] for row in servers}

    def haproxy(self, name: str, command: str) -> str | None:
        """Ask a HAProxy through its socket; None: it does not run."""
        host = self._hosts[name]
        if not host.on:
            return None
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(_SOCKET_SECONDS)
                client.connect(str(host.root / _HAPROXY_SOCKET))
                client.sendall(f"{command}\n".encode())
                return b"".join(iter(lambda: client.recv(65536), b"")).decode()
        except OSError:
            return None

    def writer(self) -> str | None:
        """The master that gets new connections through the load balancers' address; None: nobody does."""
        pair = self._inventory.pairs.load_balancer
        holders = self.holders(pair.address, pair.machines)
        states = self.balancer(holders[0]) if holders else None
        backend = next(b for b in self._inventory.haproxy.backends if b.kind == "database")
        for server, machine in backend.servers.items() if states else ():
            # The servers stand in the order in which they are used.
            if states and states.get(f"{backend.name}/{server}", "").startswith("UP"):
                return machine
        return None

    # --- databases ---------------------------------------------------------------------------------------------------

    def replication(self, replica: str) -> dict[str, Any] | None:
        """The replica's own word; None: its server does not answer."""
        return self._ask(replica, "SHOW SLAVE STATUS")

    def position(self, name: str) -> dict[str, Any] | None:
        """What a server has executed, by global transaction id."""
        return self._ask(name, "SELECT @@gtid_current_pos AS position, @@read_only AS read_only")

    def sessions(self, name: str) -> list[dict[str, Any]]:
        """Sessions of the application on a server."""
        return self._all(name, "SELECT id, user, host FROM information_schema.processlist WHERE user = 'app'")

    def _ask(self, name: str, statement: str) -> dict[str, Any] | None:
        return next(iter(self._all(name, statement)), None)

    def _all(self, name: str, statement: str) -> list[dict[str, Any]]:
        if not self._hosts[name].on:
            return []
        try:
            session = Local(self._hosts[name])
        except (pymysql.Error, OSError):
            return []
        try:
            return session.rows(statement)
        except pymysql.Error:
            return []
        finally:
            session.close()

    # --- the whole ---------------------------------------------------------------------------------------------------

    async def whole(self) -> dict[str, Any]:
        """Everything that is alike after there and back."""
        pairs = self._inventory.pairs
        names = [m.name for m in self._inventory.machines if m.name in self._hosts]
        units = await asyncio.gather(*(self._units(name) for name in names))
        return {
            "power": {name: self._hosts[name].on for name in names},
            "services": dict(zip(names, units, strict=True)),
            "pairs": {
                kind: await self._pair(pair)
                for kind, pair in (("storage", pairs.storage), ("load_balancer", pairs.load_balancer))
            },
            "writer": self.writer(),
            "silenced": await asyncio.to_thread(self.monitoring.silenced),
            "balancers": {name: self.balancer(name) for name in pairs.load_balancer.machines},
            "replication": {
                f"{r.replica} from {r.source}": self._threads(r.replica) for r in self._inventory.database.replication
            },
        }

    async def _pair(self, pair: Pair) -> dict[str, Any]:
        told = await self.pair(pair)
        return {
            "address": told.address_on,
            "mounted": told.mounted_on,
            "standby": told.standby,
            "online": told.online,
            "failures": told.failures,
        }

    def _threads(self, replica: str) -> str:
        status = self.replication(replica)
        return f"{status['Slave_IO_Running']}/{status['Slave_SQL_Running']}" if status else "down"

    async def _units(self, name: str) -> str:
        machine = self._inventory.machine(name)
        unit = next((c.service for c in self._inventory.components if c.role is machine.role and c.service), None)
        if (
            machine.role in (Role.STORAGE, Role.LOAD_BALANCER, Role.DATABASE_REPLICA)
            or unit is None
            or not self._hosts[name].on
        ):
            return ""
        return (await self._hosts[name].run("systemctl", "is-active", unit)).stdout.strip()
