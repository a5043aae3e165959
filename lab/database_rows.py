"""What MariaDB 10.11 puts into the answers of its SHOW statements: columns, their order and their types.

Taken from recordings of a real 10.11.19; the defaults are what it shows where nothing is configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mysql_mimic import ColumnType

Value = str | int | None
Row = Sequence[Value]

# Columns whose values are numbers on the wire; all others of these answers are strings.
_NUMBERS = {
    "Id": ColumnType.LONGLONG,
    "Time": ColumnType.LONG,
    "Progress": ColumnType.DOUBLE,
    "Position": ColumnType.LONGLONG,
    "Master_Port": ColumnType.LONG,
    "Connect_Retry": ColumnType.LONG,
    "Read_Master_Log_Pos": ColumnType.LONGLONG,
    "Relay_Log_Pos": ColumnType.LONGLONG,
    "Last_Errno": ColumnType.LONG,
    "Skip_Counter": ColumnType.LONG,
    "Exec_Master_Log_Pos": ColumnType.LONGLONG,
    "Relay_Log_Space": ColumnType.LONGLONG,
    "Until_Log_Pos": ColumnType.LONGLONG,
    "Seconds_Behind_Master": ColumnType.LONGLONG,
    "Last_IO_Errno": ColumnType.LONG,
    "Last_SQL_Errno": ColumnType.LONG,
    "Master_Server_Id": ColumnType.LONG,
    "SQL_Delay": ColumnType.LONG,
    "SQL_Remaining_Delay": ColumnType.LONG,
    "Slave_DDL_Groups": ColumnType.LONGLONG,
    "Slave_Non_Transactional_Groups": ColumnType.LONGLONG,
    "Slave_Transactional_Groups": ColumnType.LONGLONG,
    "Retried_transactions": ColumnType.LONG,
    "Max_relay_log_size": ColumnType.LONGLONG,
    "Executed_log_entries": ColumnType.LONG,
    "Slave_received_heartbeats": ColumnType.LONG,
    "Slave_heartbeat_period": ColumnType.DOUBLE,
}

# SHOW SLAVE STATUS, in its order, with what a freshly configured replica shows.
_REPLICA_DEFAULTS: dict[str, Value] = {
    "Slave_IO_State": "",
    "Master_Host": "",
    "Master_User": "repl",
    "Master_Port": 3306,
    "Connect_Retry": 60,
    "Master_Log_File": "bin.000001",
    "Read_Master_Log_Pos": 4,
    "Relay_Log_File": "relay.000002",
    "Relay_Log_Pos": 4,
    "Relay_Master_Log_File": "bin.000001",
    "Slave_IO_Running": "No",
    "Slave_SQL_Running": "No",
    "Replicate_Do_DB": "",
    "Replicate_Ignore_DB": "",
    "Replicate_Do_Table": "",
    "Replicate_Ignore_Table": "",
    "Replicate_Wild_Do_Table": "",
    "Replicate_Wild_Ignore_Table": "",
    "Last_Errno": 0,
    "Last_Error": "",
    "Skip_Counter": 0,
    "Exec_Master_Log_Pos": 4,
    "Relay_Log_Space": 256,
    "Until_Condition": "None",
    "Until_Log_File": "",
    "Until_Log_Pos": 0,
    "Master_SSL_Allowed": "No",
    "Master_SSL_CA_File": "",
    "Master_SSL_CA_Path": "",
    "Master_SSL_Cert": "",
    "Master_SSL_Cipher": "",
    "Master_SSL_Key": "",
    "Seconds_Behind_Master": None,
    "Master_SSL_Verify_Server_Cert": "No",
    "Last_IO_Errno": 0,
    "Last_IO_Error": "",
    "Last_SQL_Errno": 0,
    "Last_SQL_Error": "",
    "Replicate_Ignore_Server_Ids": "",
    "Master_Server_Id": 0,
    "Master_SSL_Crl": "",
    "Master_SSL_Crlpath": "",
    "Using_Gtid": "Slave_Pos",
    "Gtid_IO_Pos": "",
    "Replicate_Do_Domain_Ids": "",
    "Replicate_Ignore_Domain_Ids": "",
    "Parallel_Mode": "optimistic",
    "SQL_Delay": 0,
    "SQL_Remaining_Delay": None,
    "Slave_SQL_Running_State": "",
    "Slave_DDL_Groups": 0,
    "Slave_Non_Transactional_Groups": 0,
    "Slave_Transactional_Groups": 0,
    "Replicate_Rewrite_DB": "",
}

# What SHOW ALL SLAVES STATUS has in front of and behind those.
_ALL_BEFORE: dict[str, Value] = {"Connection_name": "", "Slave_SQL_State": ""}
_ALL_AFTER: dict[str, Value] = {
    "Retried_transactions": 0,
    "Max_relay_log_size": 1073741824,
    "Executed_log_entries": 0,
    "Slave_received_heartbeats": 0,
    "Slave_heartbeat_period": "30.000",
    "Gtid_Slave_Pos": "",
}

REPLICA_COLUMNS = tuple(_REPLICA_DEFAULTS)
ALL_REPLICAS_COLUMNS = (*_ALL_BEFORE, *REPLICA_COLUMNS, *_ALL_AFTER)
PROCESS_COLUMNS = ("Id", "User", "Host", "db", "Command", "Time", "State", "Info", "Progress")
MASTER_COLUMNS = ("File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB")

_READ_ALL = "Slave has read all relay log; waiting for more updates"
# The plain list cuts statements at 100 characters, the FULL one does not.
_SHORT_INFO = 100


def column_type(name: str) -> ColumnType:
    """The wire type of a column of these answers."""
    return _NUMBERS.get(name, ColumnType.VAR_STRING)


@dataclass(frozen=True)
class Process:
    """A thread of the server, a row of SHOW PROCESSLIST. `seconds` is the time in its present state."""

    thread_id: int
    user: str
    host: str
    command: str
    seconds: int = 0
    database: str | None = None
    state: str | None = ""
    info: str | None = None

    def row(self, *, full: bool) -> Row:
        """The row; without `full` a long statement is cut as the server cuts it."""
        info = self.info if self.info is None or full else self.info[:_SHORT_INFO]
        return (
            self.thread_id,
            self.user,
            self.host,
            self.database,
            self.command,
            self.seconds,
            self.state,
            info,
            "0.000",
        )


@dataclass(frozen=True)
class ReplicaStatus:
    """One replication connection: the columns that differ from a freshly configured replica's."""

    columns: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.columns) - set(ALL_REPLICAS_COLUMNS)
        if unknown:
            raise ValueError(f"no columns of a replica's status: {', '.join(sorted(unknown))}")

    def row(self) -> Row:
        """The row of SHOW SLAVE STATUS."""
        return tuple(self.columns.get(name, default) for name, default in _REPLICA_DEFAULTS.items())

    def row_of_all(self) -> Row:
        """The row of SHOW ALL SLAVES STATUS."""
        before = {**_ALL_BEFORE, "Slave_SQL_State": self.columns.get("Slave_SQL_Running_State", "")}
        defaults = {**before, **_REPLICA_DEFAULTS, **_ALL_AFTER}
        return tuple(self.columns.get(name, default) for name, default in defaults.items())


def replicating(host: str, port: int, *, server_id: int, lag_seconds: int = 0, **columns: Value) -> ReplicaStatus:
    """Both threads run, `lag_seconds` behind the master."""
    running: dict[str, Value] = {
        "Slave_IO_State": "Waiting for master to send event",
        "Master_Host": host,
        "Master_Port": port,
        "Slave_IO_Running": "Yes",
        "Slave_SQL_Running": "Yes",
        "Seconds_Behind_Master": lag_seconds,
        "Master_Server_Id": server_id,
        "Slave_SQL_Running_State": _READ_ALL if lag_seconds == 0 else "Executing",
    }
    return ReplicaStatus(running | columns)


def connecting(host: str, port: int, *, server_id: int = 0, retry_seconds: int = 60, **columns: Value) -> ReplicaStatus:
    """The master is away: the IO thread keeps trying, the SQL thread waits; the lag is not known (NULL)."""
    error = (
        f"error reconnecting to master 'repl@{host}:{port}' - retry-time: {retry_seconds}  maximum-retries: 100000"
        f"  message: Can't connect to server on '{host}' (111 \"Connection refused\")"
    )
    away: dict[str, Value] = {
        "Slave_IO_State": "Reconnecting after a failed master event read",
        "Master_Host": host,
        "Master_Port": port,
        "Connect_Retry": retry_seconds,
        "Slave_IO_Running": "Connecting",
        "Slave_SQL_Running": "Yes",
        "Last_IO_Errno": 2003,
        "Last_IO_Error": error,
        "Master_Server_Id": server_id,
        "Slave_SQL_Running_State": _READ_ALL,
    }
    return ReplicaStatus(away | columns)


def stopped(host: str, port: int, **columns: Value) -> ReplicaStatus:
    """Both threads stopped by STOP SLAVE, or by the errors given as columns."""
    master: dict[str, Value] = {"Master_Host": host, "Master_Port": port}
    return ReplicaStatus(master | columns)


def replication_threads(io_id: int, sql_id: int, *, io_state: str, sql_state: str = _READ_ALL) -> list[Process]:
    """The two `system user` threads of a running replica."""
    return [
        Process(io_id, "system user", "", "Slave_IO", state=io_state),
        Process(sql_id, "system user", "", "Slave_SQL", state=sql_state),
    ]


def binlog_dump(thread_id: int, host: str, *, user: str = "repl", seconds: int = 0) -> Process:
    """The thread that feeds one replica."""
    state = "Master has sent all binlog to slave; waiting for more updates"
    return Process(thread_id, user, host, "Binlog Dump", seconds, state=state)
