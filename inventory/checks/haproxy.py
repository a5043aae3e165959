"""HAProxy: it can be read and set, and each backend survives the loss of either side."""

from __future__ import annotations

from collections.abc import Iterator

from inventory.checks.common import absent_sides, machine_names, machines_by_name, repeated, unknown
from inventory.models import Backend, Inventory, Role
from inventory.problems import Finding, Path


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


def servers_not_crossed(inventory: Inventory) -> Iterator[Finding]:
    """No server is called like one machine and mapped to another: the wrong one would be taken out of service."""
    called = {name.lower(): machine.name for machine in inventory.machines for name in (machine.name, machine.vm_name)}
    for index, backend in enumerate(inventory.haproxy.backends):
        for server, name in backend.servers.items():
            named = called.get(server.lower(), name)
            if named != name and name in machine_names(inventory):
                wrong = f"the server {server} is called like the machine {named}, but is mapped to {name}"
                allowed = f"{named}; if it really is {name}, rename the server in haproxy.cfg"
                yield Finding(("haproxy", "backends", index, "servers", server), wrong, allowed)


def database_backend_given(inventory: Inventory) -> Iterator[Finding]:
    """It is known who takes the database writes."""
    if all(backend.kind != "database" for backend in inventory.haproxy.backends):
        wrong = "no backend is of kind database: nobody could tell which master takes the writes"
        yield Finding(("haproxy", "backends"), wrong, "`kind: database` at the backend of the two masters")


def database_backends(inventory: Inventory) -> Iterator[Finding]:
    """Writes go to the two masters and to nothing else: what a replica alone has written is lost to the others."""
    machines = machines_by_name(inventory)
    masters = [machine.name for machine in inventory.with_role(Role.DATABASE_MASTER)]
    for index, backend in enumerate(inventory.haproxy.backends):
        base: Path = ("haproxy", "backends", index, "servers")
        for server, name in backend.servers.items() if backend.kind == "database" else ():
            if name in machines and machines[name].role != Role.DATABASE_MASTER:
                wrong = f"{name} has the role {machines[name].role}, but the backend {backend.name} is of kind database"
                yield Finding((*base, server), wrong, "database masters; or `kind: application` where nothing writes")
        # Told already: a third master, a backend without a server on one side, a name that no machine has.
        absent = [name for name in masters if name not in _mapped(backend) and len(masters) == 2]
        sided = not absent_sides(inventory, [machines[name] for name in _mapped(backend) if name in machines])
        if backend.kind == "database" and absent and sided:
            wrong = f"the backend {backend.name} is of kind database, but {' and '.join(absent)} is not in it"
            yield Finding(base, wrong, "exactly the two masters")


def _mapped(backend: Backend) -> tuple[str, ...]:
    return tuple(backend.servers.values())


def web_machines_balanced(inventory: Inventory) -> Iterator[Finding]:
    """Each web machine is in a backend: otherwise it is stopped without being taken out of service."""
    behind = {name for backend in inventory.haproxy.backends for name in backend.servers.values()}
    for machine in inventory.with_role(Role.WEB):
        if machine.name not in behind:
            path: Path = ("machines", inventory.machines.index(machine), "name")
            yield Finding(path, f"{machine.name} is in no backend", "a server in haproxy.backends for each web machine")


CHECKS = (
    has_access,
    backend_names,
    servers_known,
    servers_on_both_sides,
    servers_not_crossed,
    database_backend_given,
    database_backends,
    web_machines_balanced,
)
