"""Checks of an inventory as a whole: whether what each part says about the others is true.

Each check is a pure function from an inventory to findings and knows one rule. A new rule is a new function in the
list of its module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inventory.checks import (
    access,
    approval,
    components,
    database,
    haproxy,
    machines,
    notifications,
    pairs,
    secrets,
    sessions,
    values,
)
from inventory.models import Inventory
from inventory.problems import Finding

Check = Callable[[Inventory], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *machines.CHECKS,
    *values.CHECKS,
    *components.CHECKS,
    *pairs.CHECKS,
    *database.CHECKS,
    *haproxy.CHECKS,
    *sessions.CHECKS,
    *access.CHECKS,
    *notifications.CHECKS,
    *approval.CHECKS,
    *secrets.CHECKS,
)


def check(inventory: Inventory) -> Iterator[Finding]:
    """Everything that is wrong with an inventory whose parts are well-formed, each place once with each mistake."""
    yield from dict.fromkeys(finding for one in CHECKS for finding in one(inventory))


__all__ = ["CHECKS", "Check", "check"]
