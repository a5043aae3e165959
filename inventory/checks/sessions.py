"""What does not count as a session: exceptions, never so many that nobody is waited for."""

from __future__ import annotations

from collections.abc import Iterator

from inventory.checks.common import unknown
from inventory.models import Inventory, Role
from inventory.problems import Finding, Path


def ignored_backends(inventory: Inventory) -> Iterator[Finding]:
    """Backends whose sessions do not count exist, and some are left that do."""
    known = [backend.name for backend in inventory.haproxy.backends]
    ignored = inventory.sessions.ignore_backends
    base: Path = ("sessions", "ignore_backends")
    for index, name in enumerate(ignored):
        yield from unknown((*base, index), name, known, "backend")
    applications = [backend.name for backend in inventory.haproxy.backends if backend.kind == "application"]
    if ignored and set(applications or known) <= set(ignored):
        wrong = "every backend that users come through is ignored: the drain would wait for nobody"
        yield Finding(base, wrong, "at most those whose connections never end; one at least of the others")


def ignored_users(inventory: Inventory) -> Iterator[Finding]:
    """Users are compared as they stand: a pattern would match nobody, or, if it did, everybody."""
    for index, name in enumerate(inventory.sessions.ignore_users):
        if not name.strip() or any(character in name for character in "%*?"):
            wrong = f"{name!r} is a pattern, or no user"
            yield Finding(("sessions", "ignore_users", index), wrong, "the whole name of one database user")


def ignored_addresses(inventory: Inventory) -> Iterator[Finding]:
    """Users reach the database through the load balancers, so these do count."""
    pair = inventory.pairs.load_balancer
    balancers = {machine.address.lower(): machine.name for machine in inventory.with_role(Role.LOAD_BALANCER)}
    balancers[pair.address.lower()] = "the pair of load balancers"
    for index, address in enumerate(inventory.sessions.ignore_addresses):
        if address.lower() in balancers:
            wrong = f"{address} is the address of {balancers[address.lower()]}: all sessions of users come from there"
            allowed = "addresses of monitoring and the like; HAProxy's own check has a user, for `ignore_users`"
            yield Finding(("sessions", "ignore_addresses", index), wrong, allowed)


CHECKS = (ignored_backends, ignored_users, ignored_addresses)
