"""What the real HAProxy of each load balancer says now, as the model of the world needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inventory.models import Backend, Inventory

Admin = Literal["ready", "drain", "maint"]


@dataclass(frozen=True)
class ServerView:
    """A server of a backend."""

    name: str
    machine: str
    admin: Admin = "ready"
    up: bool = True
    backup: bool = False
    sessions: int = 0

    @property
    def serves(self) -> bool:
        """Whether new connections go to it."""
        return self.up and self.admin == "ready"


@dataclass(frozen=True)
class BackendView:
    """A backend of one HAProxy."""

    name: str
    database: bool
    servers: tuple[ServerView, ...]

    def serving(self) -> ServerView | None:
        """Who gets new connections first: servers in order, backups only when nobody else can."""
        able = [server for server in self.servers if server.serves]
        return next((s for s in able if not s.backup), able[0] if able else None)


BalancerView = tuple[BackendView, ...]


def fresh_view(inventory: Inventory) -> BalancerView:
    """Every server ready and up, as after a restart."""
    return tuple(_fresh_backend(inventory, backend) for backend in inventory.haproxy.backends)


def admin_changes(before: BalancerView | None, after: BalancerView | None) -> list[tuple[str, Admin]]:
    """Servers (`backend/server`) that somebody has set otherwise between two looks; a restart sets nothing."""
    states = {(b.name, s.name): s.admin for b in before or () for s in b.servers}
    return [
        (f"{b.name}/{s.name}", s.admin)
        for b in after or ()
        for s in b.servers
        if states.get((b.name, s.name), s.admin) != s.admin
    ]


def _fresh_backend(inventory: Inventory, backend: Backend) -> BackendView:
    database = backend.kind == "database"
    servers = tuple(
        ServerView(name, machine, backup=database and inventory.machine(machine).normal == "standby")
        for name, machine in backend.servers.items()
    )
    return BackendView(backend.name, database, servers)
