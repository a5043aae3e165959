"""Replication between the simulated database servers: positions, lag, and how replicas lose and find their source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from inventory.models import Replication
from lab.clock import Clock, Timer
from lab.durations import Durations

# Below this a lag is shown as 0: Seconds_Behind_Master counts whole seconds.
_NO_LAG_SECONDS = 0.5


@dataclass
class DatabaseNode:
    """A database server. Its position is measured in seconds of writing that it holds."""

    machine: str
    server_id: int
    up: bool = True
    position: float = 0.0


@dataclass(frozen=True)
class Writing:
    """A server took the writes from this position on, until the next did."""

    server_id: int
    begun: float


@dataclass
class Channel:
    """One replication connection."""

    replica: str
    source: str
    io: Literal["Yes", "Connecting", "No"] = "Yes"
    sql_running: bool = True
    held: bool = False
    """A fault: it receives but does not replay."""
    since: float = 0.0
    fetches_from: float = 0.0
    """When it gets the first of what its source wrote: until then it is connected, and knows of nothing to replay."""
    io_error: tuple[int, str] | None = None
    sql_error: tuple[int, str] | None = None
    timer: Timer | None = None


class ReplicationModel:
    """Who has which data. Positions are brought up to now whenever somebody looks."""

    def __init__(
        self,
        replications: tuple[Replication, ...],
        clock: Clock,
        durations: Durations,
        changed: Callable[[str, str], None],
    ) -> None:
        machines = dict.fromkeys(name for r in replications for name in (r.source, r.replica))
        self.nodes = {name: DatabaseNode(name, number) for number, name in enumerate(machines, start=1)}
        self.channels = [Channel(r.replica, r.source) for r in replications]
        self.writer: str | None = None
        self._writings: list[Writing] = []
        self._clock, self._durations, self._changed = clock, durations, changed
        self._advanced = clock.now()

    def channels_of(self, replica: str) -> list[Channel]:
        """The connections of one replica."""
        return [channel for channel in self.channels if channel.replica == replica]

    def advance(self) -> None:
        """Bring all positions up to now."""
        now = self._clock.now()
        seconds, self._advanced = now - self._advanced, now
        writer = self.nodes.get(self.writer) if self.writer else None
        if writer and writer.up:
            writer.position += seconds
        # A replica may itself be a source: as many rounds as a chain has links here.
        for _ in range(2):
            for channel in self.channels:
                self._replay(channel, seconds)

    def _replay(self, channel: Channel, seconds: float) -> None:
        replica, source = self.nodes[channel.replica], self.nodes[channel.source]
        if not (replica.up and channel.io == "Yes" and channel.sql_running) or channel.held or not source.up:
            return
        seconds = min(seconds, self._clock.now() - channel.fetches_from)
        if replica.position < source.position and seconds > 0:
            replayed = replica.position + seconds * self._durations.replay_factor
            replica.position = min(source.position, replayed)

    def set_writer(self, machine: str | None) -> None:
        """Who takes the writes from now on."""
        self.advance()
        self.writer = machine
        node = self.nodes.get(machine) if machine else None
        if node and (not self._writings or self._writings[-1].server_id != node.server_id):
            self._writings.append(Writing(node.server_id, node.position))

    def written_by(self, position: float) -> dict[int, float]:
        """Who has written what a server holds at a position: up to where, by server id; the last at the end."""
        found: dict[int, float] = {}
        ends = [*(after.begun for after in self._writings[1:]), position]
        for writing, end in zip(self._writings, ends, strict=True) if self._writings else ():
            if writing.begun <= position:
                found.pop(writing.server_id, None)
                found[writing.server_id] = min(end, position)
        return found

    def is_fetching(self, channel: Channel) -> bool:
        """Whether it is connected, and has got nothing yet."""
        return channel.io == "Yes" and self._clock.now() < channel.fetches_from

    def lag(self, channel: Channel) -> int | None:
        """Seconds behind the source; None while not connected, as the server shows it."""
        self.advance()
        if channel.io != "Yes" or not channel.sql_running:
            return None
        if self.is_fetching(channel):
            return 0
        lacking = self.nodes[channel.source].position - self.nodes[channel.replica].position
        return 0 if lacking < _NO_LAG_SECONDS else max(1, round(lacking))

    def lacking(self, machine: str) -> float:
        """Seconds of writing that some other server holds and this one does not."""
        self.advance()
        newest = max(node.position for node in self.nodes.values())
        return newest - self.nodes[machine].position

    def source_down(self, machine: str, *, orderly: bool) -> None:
        """A server has ended, or vanished with its machine."""
        self.advance()
        node = self.nodes[machine]
        if not node.up:
            return
        node.up = False
        notice = self._durations.replica_notices_close if orderly else self._durations.replica_notices_silence
        for channel in self.channels:
            if channel.source == machine and channel.io == "Yes":
                self._later(channel, notice, self._lost)
            if channel.replica == machine:
                self._call_off(channel)

    def server_up(self, machine: str) -> None:
        """A server has started: its own replication tries at once, others at their next attempt."""
        self.advance()
        self.nodes[machine].up = True
        for channel in self.channels:
            if channel.replica == machine and channel.io != "No":
                self._start(channel)
            if channel.source == machine and channel.io == "Connecting":
                self._later(channel, self._until_retry(channel), self._found)
            elif channel.source == machine and channel.timer is not None:
                # It was back before the replica had noticed.
                self._call_off(channel)

    def stop_channel(self, replica: str, error: tuple[int, str] | None = None) -> None:
        """STOP SLAVE, or an SQL error that stopped the replay."""
        for channel in self.channels_of(replica):
            self._call_off(channel)
            channel.sql_running, channel.sql_error = False, error
            if error is None:
                channel.io = "No"
        self._changed(replica, "replication stopped")

    def start_channel(self, replica: str) -> None:
        """START SLAVE."""
        for channel in self.channels_of(replica):
            channel.sql_running, channel.sql_error, channel.held = True, None, False
            self._start(channel)

    def _start(self, channel: Channel) -> None:
        channel.io, channel.since = "Connecting", self._clock.now()
        if self.nodes[channel.source].up:
            self._later(channel, 0.0, self._found)
        self._changed(channel.replica, "replication connecting")

    def _until_retry(self, channel: Channel) -> float:
        waited = self._clock.now() - channel.since
        return self._durations.connect_retry - waited % self._durations.connect_retry

    def _later(self, channel: Channel, seconds: float, action: Callable[[Channel], None]) -> None:
        self._call_off(channel)
        channel.timer = self._clock.after(seconds, lambda: action(channel))

    def _call_off(self, channel: Channel) -> None:
        if channel.timer is not None:
            channel.timer.cancel()
        channel.timer = None

    def _lost(self, channel: Channel) -> None:
        channel.timer = None
        self.advance()
        channel.io, channel.since = "Connecting", self._clock.now()
        self._changed(channel.replica, "replication connecting")

    def _found(self, channel: Channel) -> None:
        channel.timer = None
        if not (self.nodes[channel.source].up and self.nodes[channel.replica].up):
            return
        self.advance()
        channel.io, channel.fetches_from = "Yes", self._clock.now() + self._durations.first_fetch
        self._changed(channel.replica, "replication connected")
