"""The two Pacemaker pairs: two machines of the right role, one on each side, one of them active."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from inventory.checks.common import machine_names, machines_by_name, repeated, unknown
from inventory.checks.machines import one_active
from inventory.models import Inventory, Machine, Pair, Role
from inventory.problems import Finding, Path


def _pairs(inventory: Inventory) -> tuple[tuple[str, Role, Pair], ...]:
    return (
        ("storage", Role.STORAGE, inventory.pairs.storage),
        ("load_balancer", Role.LOAD_BALANCER, inventory.pairs.load_balancer),
    )


def _members(inventory: Inventory, pair: Pair) -> list[Machine]:
    machines = machines_by_name(inventory)
    return [machines[name] for name in pair.machines if name in machines]


def machines_fit(inventory: Inventory) -> Iterator[Finding]:
    """Both machines are known and have the pair's role."""
    machines = machines_by_name(inventory)
    for key, role, pair in _pairs(inventory):
        for position, name in enumerate(pair.machines):
            path: Path = ("pairs", key, "machines", position)
            yield from unknown(path, name, machine_names(inventory), "machine")
            if name in machines and machines[name].role != role:
                wrong = f"{name} has the role {machines[name].role}"
                allowed = f"machines with the role {role}: " + ", ".join(one.name for one in inventory.with_role(role))
                yield Finding(path, wrong, allowed)


def spans_both_sides(inventory: Inventory) -> Iterator[Finding]:
    """One machine on each VM-Host, otherwise both go down together."""
    for key, _, pair in _pairs(inventory):
        members = _members(inventory, pair)
        if len(members) == 2 and members[0].host == members[1].host:
            wrong = f"{' and '.join(pair.machines)} are both on {members[0].host}"
            yield Finding(("pairs", key, "machines"), wrong, "one machine on each VM-Host")


def one_is_active(inventory: Inventory) -> Iterator[Finding]:
    """One active and one standby in the normal state."""
    for _, _, pair in _pairs(inventory):
        members = _members(inventory, pair)
        active = sum(machine.normal == "active" for machine in members)
        if len(members) == 2 and active != 1:
            yield one_active(inventory, members[1], list(pair.machines), active)


def nobody_left_out(inventory: Inventory) -> Iterator[Finding]:
    """Each load balancer and each storage belongs to its pair: the product knows one pair of each."""
    for key, role, pair in _pairs(inventory):
        complete = all(machine.role == role for machine in _members(inventory, pair)) and len(set(pair.machines)) == 2
        for machine in inventory.with_role(role) if complete and len(_members(inventory, pair)) == 2 else ():
            if machine.name not in pair.machines:
                path: Path = ("machines", inventory.machines.index(machine), "role")
                wrong = f"{machine.name} has the role {role}, but is not in pairs.{key}"
                yield Finding(path, wrong, f"the machines of the pair: {', '.join(pair.machines)}")


def node_names(inventory: Inventory) -> Iterator[Finding]:
    """Pacemaker knows the two by different names."""
    for _, _, pair in _pairs(inventory):
        entries: list[tuple[Path, str]] = [
            (("machines", inventory.machines.index(machine), "node"), machine.node_name)
            for machine in _members(inventory, pair)
        ]
        if len(set(pair.machines)) == 2:
            yield from repeated(entries, "name in Pacemaker")


def resources_fit(inventory: Inventory) -> Iterator[Finding]:
    """What runs on the primary alone is listed once, and the clone, which runs on both, is not among it."""
    for key, _, pair in _pairs(inventory):
        base: Path = ("pairs", key, "resources")
        yield from repeated([((*base, index), name) for index, name in enumerate(pair.resources)], "resource")
        if pair.promotable in pair.resources:
            wrong = f"{pair.promotable} is the promotable clone, which runs on both machines"
            yield Finding((*base, pair.resources.index(pair.promotable)), wrong, "resources of the primary alone")


def address_is_numeric(inventory: Inventory) -> Iterator[Finding]:
    """The moving address is looked for among those a machine holds, and a machine holds numbers, not names."""
    for key, _, pair in _pairs(inventory):
        try:
            ipaddress.ip_address(pair.address)
        except ValueError:
            wrong = f"{pair.address} is a host name; it is compared with the addresses that a machine holds"
            yield Finding(("pairs", key, "address"), wrong, "an IPv4 or IPv6 address")


CHECKS = (
    machines_fit,
    spans_both_sides,
    one_is_active,
    nobody_left_out,
    node_names,
    resources_fit,
    address_is_numeric,
)
