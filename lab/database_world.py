"""What a simulated database server shows of the world: accounts, replication, sessions of the software."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inventory.models import Role, SqlProbe
from lab.database import DatabaseAccount, MasterStatus, QueryResult, not_simulated
from lab.database_rows import (
    Process,
    ReplicaStatus,
    binlog_dump,
    connecting,
    replicating,
    replication_threads,
    stopped,
)
from lab.replication import Channel
from lab.world import World

_VERSION = "10.11.19-MariaDB-0+deb12u1-log"
# What the product's account needs: the process list, replication, and to cut sessions that do not end.
_PRIVILEGES = frozenset({"PROCESS", "REPLICATION CLIENT", "SLAVE MONITOR", "CONNECTION ADMIN"})
# Thread ids: the software's sessions count from 100, real clients from here.
FIRST_CLIENT_THREAD = 10_000
_POSITION_PER_SECOND = 137
_JUST_RECEIVED = 0.05
"""Seconds of writing: a replica of who takes the writes has received one more than it has replayed."""


class SimulatedDatabase:
    """One machine's database server, read anew for each statement."""

    def __init__(self, world: World, machine: str, user: str, password: str) -> None:
        self._world = world
        self._machine = machine
        self._account = DatabaseAccount(user, password, _PRIVILEGES)

    def accounts(self) -> Sequence[DatabaseAccount]:
        """Who may log in: the product's account alone."""
        if self._world.faults.holds("wrong_password", self._machine, "database"):
            return [DatabaseAccount(self._account.user, f"not {self._account.password}", _PRIVILEGES)]
        return [self._account]

    def processes(self) -> Sequence[Process]:
        """Replication in both directions, the event scheduler, and the software's sessions."""
        rows = [Process(4, "event_scheduler", "localhost", "Daemon", 4000, state="Waiting on empty queue")]
        for number, channel in enumerate(self._world.replication.channels_of(self._machine)):
            if channel.io != "No":
                rows += replication_threads(10 + 2 * number, 11 + 2 * number, io_state=_IO_STATES[channel.io])
        for number, channel in enumerate(self._world.replication.channels):
            if channel.source == self._machine and channel.io == "Yes":
                rows.append(binlog_dump(40 + number, f"{self._address(channel.replica)}:{50_000 + number}"))
        return [*rows, *self._sessions()]

    def _sessions(self) -> list[Process]:
        now = self._world.clock.now()
        return [
            Process(
                session.number,
                "acd",
                f"{self._address(session.through)}:{40_000 + session.number % 20_000}",
                "Sleep",
                int(now - session.opened),
                database="JTELStats",
            )
            for session in self._world.sessions.of_database(self._machine)
        ]

    def replicas(self) -> Sequence[ReplicaStatus]:
        """The state of each replication connection."""
        return [self._replica(channel) for channel in self._world.replication.channels_of(self._machine)]

    def _replica(self, channel: Channel) -> ReplicaStatus:
        host, port = self._address(channel.source), self._world.inventory.database.port
        source = self._world.replication.nodes[channel.source]
        if not channel.sql_running:
            number, text = channel.sql_error or (0, "")
            return stopped(
                host, port, Slave_IO_Running=channel.io, Last_Errno=number, Last_Error=text,
                Last_SQL_Errno=number, Last_SQL_Error=text,
            )  # fmt: skip
        if channel.io == "Connecting":
            retry = int(self._world.durations.connect_retry)
            return connecting(host, port, server_id=source.server_id, retry_seconds=retry)
        replication = self._world.replication
        lag = replication.lag(channel) or 0
        applied = replication.nodes[channel.replica].position
        ahead = _JUST_RECEIVED if channel.source == replication.writer else 0.0
        received = applied if replication.is_fetching(channel) else source.position + ahead
        return replicating(
            host, port, server_id=source.server_id, lag_seconds=lag, Gtid_IO_Pos=self._gtid(received),
            Read_Master_Log_Pos=_log_position(received), Exec_Master_Log_Pos=_log_position(min(received, applied)),
        )  # fmt: skip

    def master_status(self) -> MasterStatus | None:
        """The end of the binary log."""
        self._world.replication.advance()
        return MasterStatus(position=_log_position(self._world.replication.nodes[self._machine].position))

    def variables(self) -> Mapping[str, str | int | bool]:
        """Global variables."""
        replica = self._world.inventory.machine(self._machine).role == Role.DATABASE_REPLICA
        self._world.replication.advance()
        node = self._world.replication.nodes[self._machine]
        position = self._gtid(node.position)
        return {
            "version": _VERSION,
            "version_comment": "Simulated server",
            "read_only": replica,
            "server_id": node.server_id,
            "log_bin": True,
            "gtid_current_pos": position,
            "gtid_binlog_pos": position,
            "gtid_binlog_state": ",".join(self._gtids(node.position)),
            "gtid_slave_pos": position,
            "slave_net_timeout": int(self._world.durations.replica_notices_silence),
            "super_read_only": False,
            "event_scheduler": True,
            "hostname": self._machine,
        }

    def status(self) -> Mapping[str, str | int]:
        """Counters."""
        return {"Uptime": int(self._world.clock.now()) + 4000}

    async def kill(self, thread_id: int) -> bool:
        """End a session of the software."""
        killed = self._world.sessions.kill(thread_id)
        self._world.journal.write(self._machine, f"KILL {thread_id}", "done" if killed else "missing")
        return killed

    async def execute(self, account: DatabaseAccount, sql: str) -> QueryResult:
        """Statements beyond those of replication and sessions: the probes' constant ones.

        Raises:
            SqlError: everything else.
        """
        del account
        text = " ".join(sql.strip().rstrip(";").split())
        probes = {probe.query for probe in self._world.inventory.probes if isinstance(probe, SqlProbe)}
        if text.lower() == "select 1" or sql.strip() in probes:
            # There are no tables: what the inventory asks for is there.
            return QueryResult(("1",), [(1,)])
        self._world.unknown_commands.append((self._machine, sql))
        raise not_simulated(sql)

    def _gtids(self, position: float) -> list[str]:
        """The last of each server that has written, in the order of writing: all log what they replay."""
        written = self._world.replication.written_by(position)
        return [f"0-{server_id}-{_log_position(end)}" for server_id, end in written.items()]

    def _gtid(self, position: float) -> str:
        return next(reversed(self._gtids(position)), "")

    def _address(self, machine: str) -> str:
        return self._world.inventory.machine(machine).address


_IO_STATES = {
    "Yes": "Waiting for master to send event",
    "Connecting": "Reconnecting after a failed master event read",
}


def _log_position(seconds: float) -> int:
    return 322 + int(seconds * _POSITION_PER_SECOND)
