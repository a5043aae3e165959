"""HAProxy: it can be read and set, and each backend survives the loss of either side."""

from __future__ import annotations

from collections.abc import Iterator

from inventory.checks.common import absent_sides, machine_names, machines_by_name, repeated, unknown
from inventory.models import Inventory, Role
from inventory.problems import Finding, Path

_DATABASES = (Role.DATABASE_MASTER, Role.DATABASE_REPLICA)


def has_access(inventory: Inventory) -> Iterator[Finding]:
    """There is a way to read and set it, and the chosen one is configured."""
    haproxy = inventory.haproxy
    if haproxy.admin_page is None and haproxy.socket is None:
        yield Finding(("haproxy",), "neither admin_page nor socket is given", "at least one of them")
    elif getattr(haproxy, haproxy.change_by) is None:
        other = "socket" if haproxy.change_by == "admin_page" else "admin_page"
        wrong = f"change_by is {haproxy.change_by} (the default is admin_page), but {haproxy.change_by} is not given"
        yield Finding(("haproxy", "change_by"), wrong, f"`change_by: {other}`, or {haproxy.change_by} given")


def backend_names(inventory: Inventory) -> Iterator[Finding]:
    """Each backend stands once."""
    entries: list[tuple[Path, str]] = [
        (("haproxy", "backends", index, "name"), backend.name)
        for index, backend in enumerate(inventory.haproxy.backends)
    ]
    yield from repeated(entries, "backend")


def servers_known(inventory: Inventory) -> Iterator[Finding]:
    """Each server is a machine, and each machine is one server of a backend."""
    for index, backend in enumerate(inventory.haproxy.backends):
        base: Path = ("haproxy", "backends", index, "servers")
        for server, machine in backend.servers.items():
            yield from unknown((*base, server), machine, machine_names(inventory), "machine")
        entries: list[tuple[Path, str]] = [((*base, server), machine) for server, machine in backend.servers.items()]
        yield from repeated(entries, f"machine of the backend {backend.name}")


def servers_on_both_sides(inventory: Inventory) -> Iterator[Finding]:
    """Each backend has a server on either side: otherwise all of them would be in MAINT."""
    machines = machines_by_name(inventory)
    for index, backend in enumerate(inventory.haproxy.backends):
        members = [machines[name] for name in backend.servers.values() if name in machines]
        for host in absent_sides(inventory, members) if len(members) == len(backend.servers) else ():
            wrong = f"the backend {backend.name} has no server on {host}: without the other side it would have none"
            yield Finding(("haproxy", "backends", index, "servers"), wrong, "at least one server on either VM-Host")


def database_backends(inventory: Inventory) -> Iterator[Finding]:
    """The servers that take database writes are databases."""
    machines = machines_by_name(inventory)
    for index, backend in enumerate(inventory.haproxy.backends):
        for server, name in backend.servers.items():
            if backend.kind == "database" and name in machines and machines[name].role not in _DATABASES:
                wrong = f"{name} has the role {machines[name].role}, but the backend {backend.name} is of kind database"
                path: Path = ("haproxy", "backends", index, "servers", server)
                yield Finding(path, wrong, "database masters and replicas; or `kind: application`")


def ignored_backends(inventory: Inventory) -> Iterator[Finding]:
    """Backends whose sessions do not count exist."""
    known = [backend.name for backend in inventory.haproxy.backends]
    for index, name in enumerate(inventory.sessions.ignore_backends):
        yield from unknown(("sessions", "ignore_backends", index), name, known, "backend")


CHECKS = (
    has_access,
    backend_names,
    servers_known,
    servers_on_both_sides,
    database_backends,
    ignored_backends,
)
