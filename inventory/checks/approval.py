"""Who decides: a gate can be opened by those who may, and what they have to prove can be checked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from inventory.checks.common import repeated
from inventory.models import Inventory
from inventory.problems import Finding, Path
from inventory.values import show_duration

# Two people on the telephone need as long as that for one command each.
_SHORTEST_VALIDITY = timedelta(minutes=1)


def approvers_once(inventory: Inventory) -> Iterator[Finding]:
    """Nobody stands twice in a list: one person is one approval."""
    lists: list[tuple[Path, tuple[str, ...]]] = [(("approval", "approvers"), inventory.approval.approvers)]
    lists += [(("approval", gate, "approvers"), policy.approvers) for gate, policy in inventory.approval.gates]
    for path, names in lists:
        yield from repeated([((*path, index), name) for index, name in enumerate(names)], "approver")


def gates_can_open(inventory: Inventory) -> Iterator[Finding]:
    """No gate needs more approvals than there are people who may give one."""
    for gate, policy in inventory.approval.gates:
        names = inventory.approval.approvers_at(gate)
        if names and policy.needed > len(names):
            wrong = (
                f"{policy.needed} approvals are needed, but only {', '.join(names)} may approve: it would never open"
            )
            yield Finding(("approval", gate, "needed"), wrong, f"at most {len(names)}, or more approvers")


def signatures_can_be_checked(inventory: Inventory) -> Iterator[Finding]:
    """A gate that wants signatures knows whose keys sign."""
    for gate, policy in inventory.approval.gates:
        if policy.signed and inventory.approval.allowed_signers is None:
            wrong = "signatures are wanted, but nothing says whose keys sign: no approval would ever count"
            yield Finding(("approval", gate, "signed"), wrong, "approval.allowed_signers, or `signed: false`")


def approvals_last(inventory: Inventory) -> Iterator[Finding]:
    """An approval lasts long enough for the next person to give theirs."""
    for gate, policy in inventory.approval.gates:
        if policy.valid_for < _SHORTEST_VALIDITY:
            wrong = f"after {show_duration(policy.valid_for)} an approval would be void before anybody else gives one"
            yield Finding(("approval", gate, "valid_for"), wrong, f"at least {show_duration(_SHORTEST_VALIDITY)}")


CHECKS = (approvers_once, gates_can_open, signatures_can_be_checked, approvals_last)
