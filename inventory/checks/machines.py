"""Machines, VM-Hosts and their addresses: each once, each known, each role on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from inventory.checks.common import absent_sides, host_names, machines_by_name, repeated, unknown
from inventory.models import CommandPower, Inventory, Machine, Role
from inventory.problems import Finding, Path, one_of, show_path

NEEDED_ROLES = (Role.DATABASE_MASTER, Role.LOAD_BALANCER, Role.STORAGE)
"""Without these there is no redundant cluster to fail over (the procedure, section 3)."""
_LINUX_ROLES = (*NEEDED_ROLES, Role.DATABASE_REPLICA)


def names(inventory: Inventory) -> Iterator[Finding]:
    """Machines and VM-Hosts have names of their own, also on the hypervisor."""
    hosts = [(("vm_hosts", index, "name"), host.name) for index, host in enumerate(inventory.vm_hosts)]
    machines = [(("machines", index, "name"), machine.name) for index, machine in enumerate(inventory.machines)]
    entries: list[tuple[Path, str]] = [*hosts, *machines]
    yield from repeated(entries, "name")
    for host in host_names(inventory):
        vms: list[tuple[Path, str]] = [
            (("machines", inventory.machines.index(machine), "vm" if machine.vm else "name"), machine.vm_name)
            for machine in machines_by_name(inventory).values()
            if machine.host == host
        ]
        yield from repeated(vms, "name on the hypervisor")


def hosts_known(inventory: Inventory) -> Iterator[Finding]:
    """Each machine is on one of the two VM-Hosts."""
    for index, machine in enumerate(inventory.machines):
        yield from unknown(("machines", index, "host"), machine.host, host_names(inventory), "VM-Host")


def addresses_once(inventory: Inventory) -> Iterator[Finding]:
    """No two share an address, except where both name a management port of their own (behind address translation)."""
    first: dict[str, tuple[Path, int | None]] = {}
    for path, address, port in _addresses(inventory):
        earlier, earlier_port = first.setdefault(_normal(address), (path, port))
        if earlier is not path and (port is None or earlier_port is None or port == earlier_port):
            wrong = f"the address {address!r} is taken already: {show_path(earlier)}"
            yield Finding(path, wrong, "an address of its own")


def _addresses(inventory: Inventory) -> Iterator[tuple[Path, str, int | None]]:
    for index, host in enumerate(inventory.vm_hosts):
        if isinstance(host.power, CommandPower):
            yield ("vm_hosts", index, "power", "address"), host.power.address, host.power.port
    for index, machine in enumerate(inventory.machines):
        yield ("machines", index, "address"), machine.address, machine.port
        for position, alias in enumerate(machine.aliases):
            yield ("machines", index, "aliases", position), alias, None
    yield ("pairs", "storage", "address"), inventory.pairs.storage.address, None
    yield ("pairs", "load_balancer", "address"), inventory.pairs.load_balancer.address, None


def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _normal(address: str) -> str:
    return str(ip_address(address)) if _is_ip(address) else address.lower().rstrip(".")


def aliases_fit(inventory: Inventory) -> Iterator[Finding]:
    """An alias is no other machine's name: a replication would be taken for one from the wrong machine."""
    named = {machine.name.lower(): machine for machine in inventory.machines}
    for index, machine in enumerate(inventory.machines):
        for position, alias in enumerate(machine.aliases):
            other = named.get(alias.lower().split(".")[0], machine)
            if other is not machine and not _is_ip(alias):
                path: Path = ("machines", index, "aliases", position)
                yield Finding(path, f"{alias!r} is the name of {other.name}", "names and addresses of this machine")


def linux_where_needed(inventory: Inventory) -> Iterator[Finding]:
    """Pacemaker, DRBD, HAProxy's socket and the dump are reached through SSH."""
    for index, machine in enumerate(inventory.machines):
        if machine.os == "windows" and machine.role in _LINUX_ROLES:
            wrong = f"{machine.name} runs windows, but what is done on a {machine.role} needs Linux"
            yield Finding(("machines", index, "os"), wrong, "`os: linux` with a connection of kind ssh")


def standby_where_paired(inventory: Inventory) -> Iterator[Finding]:
    """Only of the masters and within the pairs is one in standby; all others are at work on both sides."""
    for index, machine in enumerate(inventory.machines):
        if machine.normal == "standby" and machine.role not in NEEDED_ROLES:
            wrong = f"{machine.name} has the role {machine.role}, of which all machines are at work"
            allowed = f"`normal: standby` only for {', '.join(NEEDED_ROLES)}"
            yield Finding(("machines", index, "normal"), wrong, allowed)


def roles_on_both_sides(inventory: Inventory) -> Iterator[Finding]:
    """Each role that the cluster has is there on both VM-Hosts: otherwise nothing takes over."""
    for role in Role:
        machines = inventory.with_role(role)
        absent = absent_sides(inventory, machines)
        if not machines and role in NEEDED_ROLES:
            wrong = f"there is no machine with the role {role}"
            yield Finding(("machines",), wrong, f"one on each of {', '.join(host_names(inventory))}")
        elif machines and absent:
            path = ("machines", inventory.machines.index(machines[0]), "role")
            wrong = f"the role {role} has no machine on {' and '.join(absent)}: nothing could take over"
            yield Finding(path, wrong, "at least one machine of each role on either VM-Host")


def connections_known(inventory: Inventory) -> Iterator[Finding]:
    """Each machine has a way in that fits its operating system."""
    for index, machine in enumerate(inventory.machines):
        path: Path = ("machines", index, "connection")
        yield from unknown(path, machine.connection, inventory.connections, "connection")
        yield from _fits(inventory, machine, path)


def _fits(inventory: Inventory, machine: Machine, path: Path) -> Iterator[Finding]:
    connection = inventory.connections.get(machine.connection)
    wanted = "winrm" if machine.os == "windows" else "ssh"
    if connection and connection.kind != wanted:
        fitting = [name for name, one in inventory.connections.items() if one.kind == wanted]
        wrong = f"{machine.name} runs {machine.os}, but the connection {machine.connection!r} is {connection.kind}"
        yield Finding(path, wrong, f"a connection of kind {wanted}; {one_of(fitting)}; or another `os`")


def two_masters(inventory: Inventory) -> Iterator[Finding]:
    """Two masters, of which one is active in the normal state."""
    masters = inventory.with_role(Role.DATABASE_MASTER)
    if len(masters) > 2:
        path: Path = ("machines", inventory.machines.index(masters[2]), "role")
        yield Finding(path, f"there are {len(masters)} database masters", "two, one on each VM-Host")
    active = [machine for machine in masters if machine.normal == "active"]
    if len(masters) == 2 and len(active) != 1:
        yield one_active(inventory, masters[1], [machine.name for machine in masters], len(active))


def one_active(inventory: Inventory, second: Machine, both: list[str], active: int) -> Finding:
    """The finding that two machines are not one active and one standby; shown at the second."""
    counted = "both are active" if active else "both are standby"
    path: Path = ("machines", inventory.machines.index(second), "normal")
    wrong = f"of {' and '.join(both)} {counted} in the normal state"
    return Finding(path, wrong, "exactly one `normal: active` and one `normal: standby`")


def off_can_be_proved(inventory: Inventory) -> Iterator[Finding]:
    """Without a power provider, off is proved by silence on two ports, so there have to be two."""
    manual = {host.name for host in inventory.vm_hosts if not isinstance(host.power, CommandPower)}
    for index, machine in enumerate(inventory.machines):
        connection = inventory.connections.get(machine.connection)
        further = set(machine.signals) - {machine.port or (connection.port if connection else None)}
        if machine.host in manual and not further:
            wrong = f"power of {machine.host} is manual, and {machine.name} has no second port to prove that it is off"
            allowed = "`signals` with a port that answers while it is on, other than its management port"
            yield Finding(("machines", index, "signals"), wrong, allowed)


CHECKS = (
    names,
    hosts_known,
    addresses_once,
    aliases_fit,
    linux_where_needed,
    standby_where_paired,
    roles_on_both_sides,
    connections_known,
    two_masters,
    off_can_be_proved,
)
