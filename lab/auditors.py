"""Auditors: they watch the model's own truth for what must never happen, and know nothing of the product.

The numbers are those of the procedure's list of invariants. What a fault of the simulation brings about by itself is
excused; what somebody did in spite of it is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inventory.models import APPLICATION_ROLES, Role
from lab.watching import Operation
from lab.world import World

_LOG = logging.getLogger(__name__)

# The procedure shuts machines down in this order; application machines in any order among themselves.
_RANKS = {
    Role.DATABASE_REPLICA: 1,
    Role.DATABASE_MASTER: 2,
    Role.LOAD_BALANCER: 3,
    Role.STORAGE: 4,
    **dict.fromkeys(APPLICATION_ROLES, 0),
}
# A master that lacks less than this when it becomes writable has replayed everything that it had received.
_LAG_SECONDS = 1.0


@dataclass(frozen=True)
class Violation:
    """Something that must never happen has happened.

    Attributes:
        at: simulated seconds since the beginning.
        invariant: its number in the procedure's list.
        what: what was seen, on which machine.
    """

    at: float
    invariant: int
    what: str


class Auditors:
    """Looks before each operation and after each change. Never raises: it must not disturb what it watches."""

    def __init__(self, world: World, silenced: Callable[[], set[str]] = set) -> None:
        self._world = world
        self._silenced = silenced
        self._writer = world.writer()
        self._standing: set[tuple[int, str]] = set()
        self.violations: list[Violation] = []
        world.watch(self)

    # --- watching ----------------------------------------------------------------------------------------------------

    def before(self, operation: Operation, machine: str) -> None:
        """Check what an operation may not do to this machine now."""
        checks: dict[str, Callable[[str], Iterator[tuple[int, str]]]] = {
            "shutdown": self._before_off,
            "power_cut": self._before_off,
            "power_on": self._before_on,
            "leave_primary": self._before_leaving,
        }
        if operation in checks:
            self._guarded(lambda: self._note_each(checks[operation](machine)))

    def after(self, machine: str, what: str) -> None:
        """Check what may not be, after any change."""
        del machine, what
        self._guarded(self._check_state)

    def at_end(self, *, vacated: str | None = None) -> list[Violation]:
        """What may not be once a run is over, besides all that was seen before.

        Args:
            vacated: VM-Host that is off on purpose; None: the cluster should be in its normal state.
        """
        before = len(self.violations)
        self._note_each(self._end(vacated))
        return self.violations[before:]

    def _guarded(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception:
            # An auditor's own defect must not change what the servers do; it shows as a violation of number 0.
            _LOG.exception("an auditor failed")
            self._note(0, "an auditor failed, see the log")

    def _note_each(self, found: Iterator[tuple[int, str]]) -> None:
        for invariant, what in found:
            self._note(invariant, what)

    def _note(self, invariant: int, what: str) -> None:
        self.violations.append(Violation(round(self._world.clock.now(), 3), invariant, what))

    # --- before an operation -----------------------------------------------------------------------------------------

    def _before_off(self, machine: str) -> Iterator[tuple[int, str]]:
        world = self._world
        for kind, pair in world.pairs.items():
            if machine in world.primaries(kind):
                yield 3, f"{machine} is powered off while it is primary of the {kind} pair"
            if machine in pair.nodes and pair.drbd and pair.drbd.only_copy(machine):
                yield 3, f"{machine} is powered off while it holds the only UpToDate copy"
        if world.writer() == machine:
            yield 3, f"{machine} is powered off while it takes the writes"
        for balancer, view in world.balancers.items():
            ready = [
                f"{backend.name}/{server.name}"
                for backend in view or ()
                for server in backend.servers
                if server.machine == machine and server.admin == "ready"
            ]
            # A balancer's own end takes its states with it.
            if ready and balancer != machine and not self._alone(balancer):
                yield 3, f"{machine} is powered off while READY on {balancer}: {', '.join(ready)}"
        yield from self._order_off(machine)

    def _alone(self, balancer: str) -> bool:
        return self._world.machines[balancer].power != "on"

    def _order_off(self, machine: str) -> Iterator[tuple[int, str]]:
        own = self._world.machines[machine].machine
        rank = _RANKS[own.role]
        for state in self._world.machines.values():
            other = state.machine
            if other.host != own.host or _RANKS[other.role] >= rank:
                continue
            # Application machines need only have been asked; the others are waited for.
            running = state.power in ("on", "booting") and not state.shutdown_asked
            if running or (_RANKS[other.role] > 0 and state.power != "off"):
                yield 9, f"{machine} ({own.role}) is powered off while {other.name} ({other.role}) is {state.power}"

    def _before_on(self, machine: str) -> Iterator[tuple[int, str]]:
        own = self._world.machines[machine].machine
        for state in self._world.machines.values():
            other = state.machine
            # Storage first, then load balancer, masters, replicas, and all others: the other way round.
            later = _power_on_rank(other.role) < _power_on_rank(own.role)
            if other.host == own.host and later and state.power != "on":
                yield 9, f"{machine} ({own.role}) is powered on while {other.name} ({other.role}) is {state.power}"

    def _before_leaving(self, machine: str) -> Iterator[tuple[int, str]]:
        pair = self._world.pair_on(machine)
        if pair and pair.drbd and not pair.drbd.safe():
            states = ", ".join(f"{node.machine} {node.disk}" for node in pair.drbd.nodes.values())
            connection = pair.drbd.connection(machine) or "down"
            yield 4, f"the {pair.kind} pair leaves {machine} while DRBD is {connection} ({states})"

    # --- after a change ----------------------------------------------------------------------------------------------

    def _check_state(self) -> None:
        now = {*self._pairs(), *self._backends(), *self._daemons()}
        for invariant, what in sorted(now - self._standing):
            self._note(invariant, what)
        self._standing = now
        self._check_writer()

    def _pairs(self) -> Iterator[tuple[int, str]]:
        for kind, pair in self._world.pairs.items():
            primaries = self._world.primaries(kind)
            drbd = pair.drbd.primaries if pair.drbd else []
            if len(set(primaries) | set(drbd)) > 1:
                yield 2, f"the {kind} pair has two primaries"
            stuck = any(self._world.faults.was("pair_stuck", machine) for machine in pair.nodes)
            if not primaries and pair.idle and not stuck:
                yield 2, f"the {kind} pair has no primary, and no move is under way"

    def _backends(self) -> Iterator[tuple[int, str]]:
        for balancer, view in self._world.balancers.items():
            for backend in view or ():
                if all(server.admin == "maint" for server in backend.servers):
                    yield 6, f"every server of {backend.name} on {balancer} is in MAINT"

    def _daemons(self) -> Iterator[tuple[int, str]]:
        running = [state.name for state in self._world.machines.values() if state.daemon in ("running", "starting")]
        if len(running) > 1:
            yield 7, f"AcdGroupDistribute runs on {' and '.join(running)}"

    def _check_writer(self) -> None:
        writer = self._world.writer()
        if writer is None or writer == self._writer:
            return
        before, self._writer = self._writer, writer
        lacking = self._world.replication.lacking(writer)
        if lacking > _LAG_SECONDS:
            self._note(5, f"{writer} takes the writes after {before} and lacks {lacking:.0f} s of them")
        for channel in self._world.replication.channels_of(writer):
            source_on = self._world.replication.nodes[channel.source].up
            if source_on and (channel.io != "Yes" or not channel.sql_running):
                self._note(5, f"{writer} takes the writes while it does not replicate from {channel.source}")

    # --- at the end --------------------------------------------------------------------------------------------------

    def _end(self, vacated: str | None) -> Iterator[tuple[int, str]]:
        telephony = [s for s in self._world.machines.values() if s.machine.role == Role.TELEPHONY and s.on]
        running = [state.name for state in telephony if state.daemon == "running"]
        if telephony and len(running) != 1:
            yield 7, f"AcdGroupDistribute runs on {len(running)} telephony machines at the end"
        for machine in sorted(self._silenced()):
            state = self._world.machines.get(machine)
            if state is not None and state.power != "off":
                yield 11, f"monitoring of {machine} is still silenced"
        for pair in self._world.pairs.values():
            for node in pair.nodes.values():
                if node.standby and self._world.machines[node.machine].machine.host != vacated:
                    yield 10, f"{node.name} is left in standby"


def _power_on_rank(role: Role) -> int:
    order = (Role.STORAGE, Role.LOAD_BALANCER, Role.DATABASE_MASTER, Role.DATABASE_REPLICA)
    return order.index(role) if role in order else len(order)
