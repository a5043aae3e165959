"""Auditors of the real lab: they look into the hosts for what must never happen, and know nothing of the product.

The numbers are those of the procedure's list of invariants. Looking takes time, so what lasts less than a look or two
can escape them; everything else they see whether or not the product saw it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inventory.models import APPLICATION_ROLES, Pair, Role

if TYPE_CHECKING:
    from lab.real.lab import RealLab

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
# A pair that moves has no primary for a moment; longer than this nobody is moving it.
_MOVE_SECONDS = 20.0
_RANKS = {
    Role.DATABASE_REPLICA: 1,
    Role.DATABASE_MASTER: 2,
    Role.LOAD_BALANCER: 3,
    Role.STORAGE: 4,
    **dict.fromkeys(APPLICATION_ROLES, 0),
}


@dataclass(frozen=True)
class Violation:
    """Something that must never happen has happened.

    Attributes:
        at: seconds since the auditors began.
        invariant: its number in the procedure's list.
        what: what was seen, on which machine.
    """

    at: float
    invariant: int
    what: str

    def __str__(self) -> str:
        return f"{self.at:.1f} s: invariant {self.invariant}: {self.what}"


class Auditors:
    """Look all the time. Never raise: they must not disturb what they watch."""

    def __init__(self, lab: RealLab) -> None:
        self._lab = lab
        self._began = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._standing: set[tuple[int, str]] = set()
        self._without_primary: dict[str, float] = {}
        self._writer: str | None = None
        self.excused: set[str] = set()
        """Hosts that a fault has struck and nobody has put right yet.

        Their order is nobody's doing, and their pair may wait for a primary until somebody comes.
        """
        self.violations: list[Violation] = []

    def start(self) -> None:
        """Begin to look."""
        self._writer = self._lab.truth.writer()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def forget(self) -> None:
        """Begin anew: with who takes the writes now, and nothing seen or excused."""
        self._writer = self._lab.truth.writer()
        self.violations.clear()
        self.excused.clear()

    async def _run(self) -> None:
        while True:
            await asyncio.to_thread(self._guarded)
            await asyncio.sleep(_LOOK_SECONDS)

    def _guarded(self) -> None:
        try:
            self._look()
        except Exception:
            _LOG.exception("an auditor failed")
            self._note(0, "an auditor failed, see the log")

    def _note(self, invariant: int, what: str) -> None:
        self.violations.append(Violation(round(time.monotonic() - self._began, 1), invariant, what))

    def _look(self) -> None:
        now = {*self._pairs(), *self._backends(), *self._daemon()}
        for invariant, what in sorted(now - self._standing):
            self._note(invariant, what)
        self._standing = now
        self._check_writer()

    # --- what may not be ---------------------------------------------------------------------------------------------

    def _pairs(self) -> Iterator[tuple[int, str]]:
        pairs = self._lab.inventory.pairs
        for kind, pair in (("storage", pairs.storage), ("load balancer", pairs.load_balancer)):
            yield from self._pair(kind, pair)

    def _pair(self, kind: str, pair: Pair) -> Iterator[tuple[int, str]]:
        truth = self._lab.truth
        holders = truth.holders(pair.address, pair.machines)
        mounted = truth.mounted(pair.mount, pair.machines) if pair.mount else []
        if len(holders) > 1:
            yield 2, f"the address of the {kind} pair is on {' and '.join(holders)}"
        if len(mounted) > 1:
            yield 2, f"the file system of the {kind} pair is mounted on {' and '.join(mounted)}"
        if holders or self.excused.intersection(pair.machines):
            self._without_primary.pop(kind, None)
        elif time.monotonic() - self._without_primary.setdefault(kind, time.monotonic()) > _MOVE_SECONDS:
            yield 2, f"the {kind} pair has no primary for more than {_MOVE_SECONDS:g} s"

    def _backends(self) -> Iterator[tuple[int, str]]:
        for name in self._lab.inventory.pairs.load_balancer.machines:
            states = self._lab.truth.balancer(name) or {}
            for backend in self._lab.inventory.haproxy.backends:
                own = [states.get(f"{backend.name}/{server}", "") for server in backend.servers]
                if states and all(state.startswith("MAINT") for state in own):
                    yield 6, f"every server of {backend.name} on {name} is in MAINT"

    def _daemon(self) -> Iterator[tuple[int, str]]:
        machines = self._lab.windows.world.machines.values()
        running = [state.name for state in machines if state.daemon in ("running", "starting")]
        if len(running) > 1:
            yield 7, f"AcdGroupDistribute runs on {' and '.join(running)}"

    def _check_writer(self) -> None:
        writer = self._lab.truth.writer()
        if writer is None or writer == self._writer:
            return
        before, self._writer = self._writer, writer
        other = next((m.name for m in self._lab.inventory.with_role(Role.DATABASE_MASTER) if m.name != writer), None)
        if other is None or not self._lab.hosts[other].on:
            return
        status, source = self._lab.truth.replication(writer), self._lab.truth.position(other)
        if status is None or source is None:
            return
        if status["Slave_IO_Running"] != "Yes" or status["Slave_SQL_Running"] != "Yes":
            self._note(5, f"{writer} takes the writes after {before} and does not replicate from {other}")
        own = self._lab.truth.position(writer)
        behind = lacking(str(own["position"]) if own else "", str(source["position"]))
        if behind:
            self._note(5, f"{writer} takes the writes after {before} and lacks {behind} transactions of {other}")

    # --- power -------------------------------------------------------------------------------------------------------

    def power_changed(self, name: str) -> None:
        """A host went on or off: was it its turn, and did nobody depend on it?"""
        try:
            self._check_power(name)
        except Exception:
            _LOG.exception("an auditor failed")
            self._note(0, "an auditor failed, see the log")

    def _check_power(self, name: str) -> None:
        inventory, hosts = self._lab.inventory, self._lab.hosts
        own = next((m for m in inventory.machines if m.name == name), None)
        if own is None or name in self.excused:
            return
        off = not hosts[name].on
        for other in inventory.machines:
            if other.host != own.host or other.name not in hosts or other.name in self.excused:
                continue
            earlier, later = _RANKS[other.role] < _RANKS[own.role], _RANKS[other.role] > _RANKS[own.role]
            if off and earlier and hosts[other.name].on:
                self._note(9, f"{name} ({own.role}) is off while {other.name} ({other.role}) is on")
            if not off and later and not hosts[other.name].on:
                self._note(9, f"{name} ({own.role}) is switched on while {other.name} ({other.role}) is off")
        if off:
            self._check_last_role(name)

    def _check_last_role(self, name: str) -> None:
        """What it was just before: the hosts' own state is gone with it."""
        if self._writer == name:
            self._note(3, f"{name} is off and was the one that takes the writes")
        for balancer in self._lab.inventory.pairs.load_balancer.machines:
            states = self._lab.truth.balancer(balancer) if balancer != name else None
            for backend in self._lab.inventory.haproxy.backends:
                for server, machine in backend.servers.items():
                    state = (states or {}).get(f"{backend.name}/{server}")
                    if machine == name and state is not None and not state.startswith("MAINT"):
                        self._note(3, f"{name} is off while {backend.name}/{server} is {state} on {balancer}")

    # --- at the end --------------------------------------------------------------------------------------------------

    async def at_end(self, *, vacated: str | None = None) -> list[Violation]:
        """What may not be once a run is over, besides all that was seen before.

        Args:
            vacated: VM-Host that is off on purpose; None: the cluster should be in its normal state.
        """
        before = len(self.violations)
        inventory = self._lab.inventory
        for pair in (inventory.pairs.storage, inventory.pairs.load_balancer):
            told = await self._lab.truth.pair(pair)
            for name in pair.machines:
                if inventory.machine(name).node_name in told.standby and inventory.machine(name).host != vacated:
                    self._note(10, f"{name} is left in standby")
            if len(told.address_on) != 1:
                self._note(2, f"{pair.address} is held by {told.address_on or 'nobody'}")
        world = self._lab.windows.world
        running = [state.name for state in world.machines.values() if state.daemon == "running" and state.on]
        if len(running) != 1:
            self._note(7, f"AcdGroupDistribute runs on {len(running)} telephony machines at the end")
        silenced = await asyncio.to_thread(self._lab.truth.monitoring.silenced)
        if silenced is None:
            self._note(11, "nobody can tell what is silenced")
        for name in silenced or ():
            if self._lab.outlets[name].on:
                self._note(11, f"monitoring of {name} is still silenced")
        return self.violations[before:]


def lacking(own: str, source: str) -> int:
    """Transactions of the source that a server has not executed, by global transaction ids (`domain-server-number`)."""
    have = _positions(own)
    return sum(max(0, number - have.get(domain, 0)) for domain, number in _positions(source).items())


def _positions(text: str) -> dict[str, int]:
    parts = [part.split("-") for part in text.split(",") if part]
    return {domain: int(number) for domain, _, number in parts}
