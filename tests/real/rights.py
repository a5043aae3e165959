"""Rights taken away on a real host for a moment, and the product's own hands that meet what is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest

from activities.all_hands import all_hands
from activities.errors import SystemTrouble
from activities.hands import Hands
from inventory.models import Inventory
from lab.real import network
from lab.real.database import Local
from lab.real.lab import RealLab
from lab.sudoers import UNESCAPED
from procedure.facts import Fact, Observation
from procedure.instructions import Instruction
from procedure.subjects import Subject
from tests.deploy.test_sudoers import FILE

SUDOERS = "/etc/sudoers.d/controlled-failover"
OF_THE_PRODUCT = f"'failover'@'{network.CONTROLLER}'"
OF_THE_BACKUP = "'failover_backup'@'localhost'"


@asynccontextmanager
async def hands_for(lab: RealLab, inventory: Inventory | None = None) -> AsyncIterator[Hands]:
    """The product's hands, with the lab's secrets."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in lab.environment.items():
            environment.setenv(name, value)
        hands = all_hands(inventory or lab.inventory)
        try:
            yield hands
        finally:
            await hands.close()


async def seen(hands: Hands, subject: Subject) -> Fact:
    """What is seen."""
    observation = await hands.observe(subject)
    assert observation.fact is not None, observation.problem
    return observation.fact


async def unseen(hands: Hands, subject: Subject, trouble: str = "rejected") -> Observation:
    """Why it is not seen: a right is missing, or whatever it is; nothing was taken for a fact."""
    observation = await hands.observe(subject)
    assert observation.fact is None
    assert observation.trouble == trouble, observation.problem
    return observation


async def refused(hands: Hands, instruction: Instruction, trouble: str = "rejected") -> SystemTrouble:
    """How it is refused, or why it was not done."""
    with pytest.raises(SystemTrouble) as caught:
        await hands.act(instruction)
    assert caught.value.trouble == trouble, caught.value
    return caught.value


# --- sudo -------------------------------------------------------------------------------------------------------------


def rules(text: str) -> list[tuple[str, str]]:
    """Who is meant, and what: an alias of commands, or a command."""
    return [(hosts, member) for hosts, members in map(_split, text.splitlines()) for member in members]


def without(text: str, *gone: str) -> str:
    """The file without these aliases, or commands, in its rules."""
    lines = []
    for line in text.splitlines():
        hosts, members = _split(line)
        kept = [member for member in members if member not in gone]
        if not members:
            lines.append(line)
        elif kept:
            lines.append(f"failover {hosts} = (root) NOPASSWD: {', '.join(kept)}")
    return "\n".join(lines) + "\n"


def _split(line: str) -> tuple[str, list[str]]:
    who, marker, members = line.partition(" = (root) NOPASSWD: ")
    return (who.removeprefix("failover "), UNESCAPED.split(members)) if marker else ("", [])


@asynccontextmanager
async def less_sudo(lab: RealLab, machines: Sequence[str], *gone: str) -> AsyncIterator[None]:
    """Take rules away on these hosts."""
    whole = FILE.read_text(encoding="utf-8")
    less = without(whole, *gone)
    assert less != whole
    try:
        for machine in machines:
            await write(lab, machine, SUDOERS, less)
        yield
    finally:
        for machine in machines:
            await write(lab, machine, SUDOERS, whole)


async def write(lab: RealLab, machine: str, path: str, text: str) -> None:
    """Change a file in a host, which keeps owner and mode."""
    done = await lab.hosts[machine].run("tee", path, stdin=text)
    assert done.code == 0, done.stderr


# --- database ---------------------------------------------------------------------------------------------------------


@contextmanager
def revoked(lab: RealLab, machine: str, grant: str, account: str = OF_THE_PRODUCT) -> Iterator[None]:
    """Take a privilege away on one server alone."""
    root = Local(lab.hosts[machine])
    root.rows("SET SESSION sql_log_bin = 0")
    root.rows(f"REVOKE {grant} ON *.* FROM {account}")
    try:
        yield
    finally:
        root.rows(f"GRANT {grant} ON *.* TO {account}")
        root.close()
