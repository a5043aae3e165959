"""DRBD 8.4 of one pair: roles, disks, the connection, what an absent peer lacks, resynchronisation, split brain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lab.clock import Clock, Timer
from lab.durations import Durations

Disk = Literal["UpToDate", "Inconsistent", "Outdated"]
RESYNCHRONISED = "drbd resynchronised"
"""What is told when a resynchronisation has ended."""


@dataclass
class DrbdNode:
    """One side's device. `up` is false on a node in standby: Pacemaker has taken the device down."""

    machine: str
    up: bool = True
    primary: bool = False
    disk: Disk = "UpToDate"
    standalone: bool = False
    lacking: float = 0.0
    """KiB that its peer lacks because it wrote them alone."""
    alone_since: float | None = None
    """Since when it writes without its peer."""


class DrbdPair:
    """Two devices. Every change calls `changed(machine, what)`."""

    def __init__(
        self, machines: tuple[str, str], clock: Clock, durations: Durations, changed: Callable[[str, str], None]
    ) -> None:
        self.nodes = {machine: DrbdNode(machine) for machine in machines}
        self._clock = clock
        self._durations = durations
        self._changed = changed
        self._sync_target: str | None = None
        self._sync_began = 0.0
        self._sync_seconds = 1.0
        self._sync_kib = 0.0
        self._sync_timer: Timer | None = None
        self._sync_held: float | None = None
        """The progress at which a fault holds every resynchronisation; None: nothing holds it."""

    def peer(self, machine: str) -> DrbdNode:
        """The other side."""
        return next(node for name, node in self.nodes.items() if name != machine)

    @property
    def connected(self) -> bool:
        """Whether both sides speak to each other, resynchronising or not."""
        return all(node.up and not node.standalone for node in self.nodes.values())

    @property
    def primaries(self) -> list[str]:
        """Machines whose device is primary."""
        return [node.machine for node in self.nodes.values() if node.up and node.primary]

    def safe(self) -> bool:
        """Connected and UpToDate on both."""
        return self.connected and all(node.disk == "UpToDate" for node in self.nodes.values())

    def only_copy(self, machine: str) -> bool:
        """Whether this machine holds the only UpToDate copy."""
        node, peer = self.nodes[machine], self.peer(machine)
        peer_current = peer.up and self.connected and peer.disk == "UpToDate"
        return node.up and node.disk == "UpToDate" and not peer_current

    def connection(self, machine: str) -> str:
        """The connection state in the words of 8.4; empty where the device is down."""
        node = self.nodes[machine]
        if not node.up:
            return ""
        if node.standalone:
            return "StandAlone"
        if not self.connected:
            return "WFConnection"
        if self._sync_target is None:
            return "Connected"
        return "SyncTarget" if self._sync_target == machine else "SyncSource"

    def synced(self) -> float:
        """Progress of a resynchronisation, 0 to 1."""
        if self._sync_target is None:
            return 1.0
        if self._sync_held is not None:
            return self._sync_held
        return min(1.0, (self._clock.now() - self._sync_began) / self._sync_seconds)

    @property
    def sync_kib(self) -> float:
        """What the running resynchronisation copies in all, in KiB."""
        return self._sync_kib

    def out_of_sync(self, machine: str) -> int:
        """KiB that differ, as this side counts them."""
        if self._sync_target is not None:
            return round(self._sync_kib * (1 - self.synced()))
        return round(self._written_alone(self.nodes[machine]))

    def bring_up(self, machine: str) -> None:
        """`drbdadm up`: the device attaches and connects."""
        node = self.nodes[machine]
        if node.up:
            return
        node.up, node.standalone = True, False
        self._reconnect()
        self._changed(machine, "drbd up")

    def bring_down(self, machine: str, *, what: str = "drbd down") -> None:
        """`drbdadm down`, or the end of the machine."""
        node = self.nodes[machine]
        if not node.up:
            return
        self._note_alone(node)
        self._stop_sync()
        node.up, node.primary = False, False
        peer = self.peer(machine)
        if peer.up and peer.primary and peer.alone_since is None:
            peer.alone_since = self._clock.now()
        self._changed(machine, what)

    def promote(self, machine: str) -> bool:
        """Make it primary; False where DRBD would refuse (peer is primary, no current data)."""
        node, peer = self.nodes[machine], self.peer(machine)
        if not node.up or node.disk != "UpToDate" or (self.connected and peer.primary):
            return False
        node.primary = True
        if not self.connected:
            node.alone_since = self._clock.now()
        self._changed(machine, "drbd primary")
        return True

    def demote(self, machine: str) -> None:
        """Make it secondary."""
        node = self.nodes[machine]
        self._note_alone(node)
        node.primary = False
        self._changed(machine, "drbd secondary")

    def disconnect(self, *, split_brain: bool = True) -> None:
        """Cut the connection on both sides, as a suspected split brain leaves it (StandAlone)."""
        self._stop_sync()
        for node in self.nodes.values():
            node.standalone = split_brain and node.up
            if node.primary and node.alone_since is None:
                node.alone_since = self._clock.now()
        self._changed(next(iter(self.nodes)), "drbd StandAlone")

    def repair(self) -> None:
        """Connect again by hand; a split brain is resolved in favour of the primary."""
        for node in self.nodes.values():
            node.standalone = False
            self._note_alone(node)
            if not node.primary:
                node.lacking = 0.0
        self._reconnect()
        self._changed(next(iter(self.nodes)), "drbd connected")

    def hold_resync(self) -> None:
        """A fault: resynchronisation stands still, the running one and any that begins."""
        self._sync_held = self.synced() if self._sync_target else 0.0
        if self._sync_timer is not None:
            self._sync_timer.cancel()

    def resume_resync(self) -> None:
        """It goes on where it stood."""
        done, self._sync_held = self._sync_held, None
        if self._sync_target is not None and done is not None:
            self._sync_began = self._clock.now() - done * self._sync_seconds
            self._sync_timer = self._clock.after((1 - done) * self._sync_seconds, self._sync_done)

    def _written_alone(self, node: DrbdNode) -> float:
        if node.alone_since is None:
            return node.lacking
        seconds = self._clock.now() - node.alone_since
        return node.lacking + 4 + seconds * self._durations.drbd_writes_kib_per_second

    def _note_alone(self, node: DrbdNode) -> None:
        node.lacking, node.alone_since = self._written_alone(node), None

    def _reconnect(self) -> None:
        if not self.connected:
            return
        for node in self.nodes.values():
            self._note_alone(node)
        sources = [node for node in self.nodes.values() if node.lacking > 0]
        if len(sources) == 2:
            for node in self.nodes.values():
                node.standalone = True
            return
        behind = [node for node in self.nodes.values() if node.disk != "UpToDate"]
        if sources or behind:
            target = self.peer(sources[0].machine) if sources else behind[0]
            self._start_sync(target, max((node.lacking for node in sources), default=512.0))

    def _start_sync(self, target: DrbdNode, kib: float) -> None:
        target.disk = "Inconsistent"
        self._sync_target, self._sync_kib = target.machine, kib
        self._sync_began = self._clock.now()
        self._sync_seconds = max(self._durations.resync, kib / self._durations.resync_kib_per_second)
        if self._sync_held is None:
            self._sync_timer = self._clock.after(self._sync_seconds, self._sync_done)
        else:
            self._sync_held = 0.0

    def _sync_done(self) -> None:
        target, self._sync_target = self._sync_target, None
        if target is None:
            return
        self.nodes[target].disk = "UpToDate"
        self.peer(target).lacking = 0.0
        self._changed(target, RESYNCHRONISED)

    def _stop_sync(self) -> None:
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        if self._sync_target is not None:
            source = self.peer(self._sync_target)
            source.lacking = max(1.0, self._sync_kib * (1 - self.synced()))
        self._sync_target = self._sync_timer = None
