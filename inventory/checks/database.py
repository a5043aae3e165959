"""Who replicates from whom: two masters from each other, each replica from one source, no other circle."""

from __future__ import annotations

from collections.abc import Iterator

from inventory.checks.common import machines_by_name, unknown
from inventory.models import Inventory, Role
from inventory.problems import Finding, Path

_DATABASES = (Role.DATABASE_MASTER, Role.DATABASE_REPLICA)


def names_known(inventory: Inventory) -> Iterator[Finding]:
    """Both ends are database machines."""
    databases = [machine.name for machine in inventory.with_role(*_DATABASES)]
    for index, one in enumerate(inventory.database.replication):
        for key, name in (("replica", one.replica), ("source", one.source)):
            yield from unknown(("database", "replication", index, key), name, databases, "database machine")


def one_source(inventory: Inventory) -> Iterator[Finding]:
    """A machine replicates from one source, and not from itself."""
    first: dict[str, str] = {}
    for index, one in enumerate(inventory.database.replication):
        path: Path = ("database", "replication", index)
        if one.replica == one.source:
            yield Finding((*path, "source"), f"{one.replica} would replicate from itself", "another machine")
        elif one.replica in first:
            wrong = f"{one.replica} already replicates from {first[one.replica]}"
            yield Finding((*path, "replica"), wrong, "one source for each machine")
        first.setdefault(one.replica, one.source)


def everybody_replicates(inventory: Inventory) -> Iterator[Finding]:
    """Each master and each replica has a source, so that its state can be judged."""
    replicas = {one.replica for one in inventory.database.replication}
    for machine in inventory.with_role(*_DATABASES):
        if machine.name not in replicas:
            wrong = f"{machine.name} ({machine.role}) replicates from nowhere"
            allowed = f"an entry {{replica: {machine.name}, source: …}}; the masters replicate from each other"
            yield Finding(("database", "replication"), wrong, allowed)


def masters_from_each_other(inventory: Inventory) -> Iterator[Finding]:
    """A master replicates from the other master, and from nothing else."""
    masters = [machine.name for machine in inventory.with_role(Role.DATABASE_MASTER)]
    machines = machines_by_name(inventory)
    for index, one in enumerate(inventory.database.replication):
        known = one.source in machines and one.source != one.replica
        if known and one.replica in masters and one.source not in masters:
            others = [name for name in masters if name != one.replica]
            wrong = f"{one.replica} is a master, but would replicate from {one.source}"
            yield Finding(("database", "replication", index, "source"), wrong, f"the other master: {', '.join(others)}")


def no_circle(inventory: Inventory) -> Iterator[Finding]:
    """Nothing replicates in a circle but the two masters."""
    sources = {one.replica: one.source for one in reversed(inventory.database.replication)}
    masters = {machine.name for machine in inventory.with_role(Role.DATABASE_MASTER)}
    reported: set[frozenset[str]] = set()
    for index, one in enumerate(inventory.database.replication):
        circle = _circle(sources, one.replica)
        members = frozenset(circle)
        # A master with another source than the other master is told already.
        if len(members) > 1 and not members & masters and members not in reported:
            reported.add(members)
            wrong = f"a replication loop: {' from '.join([*circle, circle[0]])}"
            allowed = "no loop, except the two masters replicating from each other"
            yield Finding(("database", "replication", index), wrong, allowed)


def _circle(sources: dict[str, str], start: str) -> list[str]:
    """The machines on the way from `start` back to it; empty if the way never comes back."""
    way = [start]
    while way[-1] in sources:
        following = sources[way[-1]]
        if following == start:
            return way
        if following in way:
            return []
        way.append(following)
    return []


CHECKS = (names_known, one_source, everybody_replicates, masters_from_each_other, no_circle)
