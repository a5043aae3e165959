"""What faults do to the model when they begin, and what goes on when they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lab.faults import Fault
from lab.pacemaker import PacemakerPair
from lab.replication import ReplicationModel
from lab.sessions import SessionModel

_DUPLICATE = (1062, "Error 'Duplicate entry '1' for key 'PRIMARY'' on query. Default database: 'acd'.")


class Affected(Protocol):
    """What faults need of the world."""

    replication: ReplicationModel
    sessions: SessionModel

    def pair_on(self, machine: str) -> PacemakerPair | None:
        """The pair of a machine."""

    def start_by_itself(self, machine: str, *, automatic: bool) -> None:
        """Whether a machine starts with its VM-Host."""

    def resume_boot(self, machine: str) -> None:
        """Go on with a boot."""

    def resume_shutdown(self, machine: str) -> None:
        """Go on with a shutdown."""

    def resume_stops(self, machine: str) -> None:
        """Go on stopping services."""


_Effect = Callable[[Affected, str], None]


def begins(world: Affected, fault: Fault, machine: str) -> None:
    """A fault has been set for a machine. Most are only asked for when something happens."""
    effect = _BEGINS.get(fault.kind)
    if effect:
        effect(world, machine)


def ends(world: Affected, fault: Fault, machine: str) -> None:
    """A fault has been cleared for a machine: what it held up goes on."""
    effect = _ENDS.get(fault.kind)
    if effect:
        effect(world, machine)


def _cut_drbd(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair and pair.drbd:
        pair.drbd.disconnect()


def _mend_drbd(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair and pair.drbd:
        pair.drbd.repair()


def _hold_resync(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair and pair.drbd:
        pair.drbd.hold_resync()


def _resume_resync(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair and pair.drbd:
        pair.drbd.resume_resync()


def _pull(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair:
        pair.prefer(pair.body, machine)


def _let_go(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair:
        pair.clear(pair.body)


def _clean_up_pair(world: Affected, machine: str) -> None:
    pair = world.pair_on(machine)
    if pair:
        pair.cleanup()


def _stop_replication(world: Affected, machine: str) -> None:
    world.replication.stop_channel(machine, _DUPLICATE)


def _hold_replication(world: Affected, machine: str) -> None:
    world.replication.advance()
    for channel in world.replication.channels_of(machine):
        channel.held = True


def _start_replication(world: Affected, machine: str) -> None:
    world.replication.start_channel(machine)


def _release_sessions(world: Affected, machine: str) -> None:
    del machine
    world.sessions.release()


_BEGINS: dict[str, _Effect] = {
    "autostart": lambda world, machine: world.start_by_itself(machine, automatic=True),
    "resync_stuck": _hold_resync,
    "pulled_back": _pull,
    "drbd_standalone": _cut_drbd,
    "replication_stopped": _stop_replication,
    "replication_held": _hold_replication,
}
_ENDS: dict[str, _Effect] = {
    "autostart": lambda world, machine: world.start_by_itself(machine, automatic=False),
    "boot_stuck": lambda world, machine: world.resume_boot(machine),
    "resync_stuck": _resume_resync,
    "pulled_back": _let_go,
    "drbd_standalone": _mend_drbd,
    "pair_stuck": _clean_up_pair,
    "replication_stopped": _start_replication,
    "replication_held": _start_replication,
    "session_stuck": _release_sessions,
    "service_stuck": lambda world, machine: world.resume_stops(machine),
    "shutdown_stuck": lambda world, machine: world.resume_shutdown(machine),
}
