"""What MariaDB and MySQL answer: process list, replica status, grants. Columns are read by name, old names and new.

Statements are never kept: they may hold data of callers. Neither are the values that error messages repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from activities.errors import NotUnderstood, shortened
from activities.mysql_positions import LogPosition
from procedure.facts import ReplicaChannel, Session, SessionsFact

Row = Mapping[str, object]
Io = Literal["Yes", "No", "Connecting", "Preparing"]
Sql = Literal["Yes", "No"]

SHOWN_SESSIONS = 50
"""Sessions a fact lists: enough to name who is left, few enough for a workflow's history."""
MAX_WORDS = 120
"""Characters of a state, a name or an address that are kept."""
# The procedure, section 7: what is in the process list and is no session.
_DUMPS = ("Binlog Dump", "Binlog Dump GTID")
_OWN_THREADS = ("system user", "event_scheduler", "unauthenticated user")


@dataclass(frozen=True)
class Version:
    """A server's version, which decides what it is asked."""

    number: tuple[int, int, int]
    mariadb: bool
    text: str

    @property
    def replica_status(self) -> str:
        """The statement that shows all replications of a replica."""
        if self.mariadb:
            return "SHOW ALL SLAVES STATUS"
        # SHOW SLAVE STATUS is gone in MySQL 8.4.
        return "SHOW REPLICA STATUS" if self.number >= (8, 0, 22) else "SHOW SLAVE STATUS"

    @property
    def own_position(self) -> str:
        """The statement that shows the end of its own binary log."""
        return "SHOW BINARY LOG STATUS" if not self.mariadb and self.number >= (8, 2, 0) else "SHOW MASTER STATUS"

    @property
    def replication_privileges(self) -> str:
        """What an account needs for both, as in GRANT."""
        # MariaDB split REPLICATION CLIENT in 10.5.
        return "SLAVE MONITOR, BINLOG MONITOR" if self.mariadb and self.number >= (10, 5, 0) else "REPLICATION CLIENT"


def read_version(machine: str, text: object) -> Version:
    """The answer to `SELECT VERSION()`.

    Raises:
        NotUnderstood: no version.
    """
    found = re.match(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})", text) if isinstance(text, str) else None
    if found is None or not isinstance(text, str):
        raise NotUnderstood(machine, f"{text!r} is no version of MariaDB or MySQL")
    major, minor, patch = (int(part) for part in found.groups())
    return Version((major, minor, patch), "MariaDB" in text, text[:MAX_WORDS])


class _Columns:
    """One row, read by name."""

    def __init__(self, machine: str, row: Row) -> None:
        self._machine = machine
        self._row = row

    def value(self, *names: str) -> object:
        """The value of the first of these columns that is there."""
        for name in names:
            if name in self._row:
                return self._row[name]
        raise NotUnderstood(self._machine, f"no column {' or '.join(names)} among {', '.join(self._row)}")

    def text(self, *names: str, limit: int = MAX_WORDS) -> str:
        """Text; NULL is empty."""
        value = self.value(*names)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise NotUnderstood(self._machine, f"column {names[0]} is {type(value).__name__}, no text")
        return shortened(value, limit)

    def optional(self, *names: str) -> str:
        """Text of a column that not every version has."""
        return self.text(*names) if any(name in self._row for name in names) else ""

    def whole(self, *names: str) -> int:
        """A number, not negative."""
        value = self.value(*names)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise NotUnderstood(self._machine, f"column {names[0]} is {value!r}, no number")
        return value

    def whole_or_null(self, *names: str) -> int | None:
        """A number, or None for NULL."""
        return None if self.value(*names) is None else self.whole(*names)

    def word(self, known: Sequence[str], *names: str) -> str:
        """One of the known words."""
        value = self.value(*names)
        if not isinstance(value, str) or value not in known:
            raise NotUnderstood(self._machine, f"{names[0]} is {value!r}; known are {', '.join(known)}")
        return value


def read_replicas(machine: str, rows: Iterable[Row]) -> tuple[ReplicaChannel, ...]:
    """The replications of `SHOW SLAVE STATUS`, `SHOW ALL SLAVES STATUS` or `SHOW REPLICA STATUS`; none: no replica.

    Raises:
        NotUnderstood: a missing column or an unknown word.
    """
    return tuple(_channel(machine, _Columns(machine, row)) for row in rows)


def _channel(machine: str, row: _Columns) -> ReplicaChannel:
    host = row.text("Master_Host", "Source_Host")
    if not host:
        raise NotUnderstood(machine, "a replication without a source")
    return ReplicaChannel.model_validate(
        {
            "source_host": host,
            "source_port": row.whole("Master_Port", "Source_Port"),
            "io": row.word(get_args(Io), "Slave_IO_Running", "Replica_IO_Running"),
            "sql": row.word(get_args(Sql), "Slave_SQL_Running", "Replica_SQL_Running"),
            "lag_seconds": row.whole_or_null("Seconds_Behind_Master", "Seconds_Behind_Source"),
            "io_error": _error(row, "Last_IO_Errno", "Last_IO_Error"),
            "sql_error": _error(row, "Last_SQL_Errno", "Last_SQL_Error"),
            "gtid": row.optional("Gtid_Slave_Pos", "Executed_Gtid_Set", "Gtid_IO_Pos"),
            "name": row.optional("Connection_name", "Channel_Name"),
            "caught_up": _caught_up(row),
        }
    )


def _caught_up(row: _Columns) -> bool | None:
    """Whether what was received has been replayed: the IO thread's position in the source's log is the SQL thread's."""
    received = (row.text("Master_Log_File", "Source_Log_File"), row.whole("Read_Master_Log_Pos", "Read_Source_Log_Pos"))
    replayed = _replayed(row)
    if not received[0] or not replayed.file:
        return None
    return received == replayed


def _replayed(row: _Columns) -> LogPosition:
    return LogPosition(
        row.text("Relay_Master_Log_File", "Relay_Source_Log_File"),
        row.whole("Exec_Master_Log_Pos", "Exec_Source_Log_Pos"),
    )


@dataclass(frozen=True)
class Reached:
    """How a replication counts, and where in its source's log it is."""

    by_gtid: bool
    log: LogPosition


def read_reached(machine: str, row: Row) -> Reached:
    """One row of a replica's status.

    Raises:
        NotUnderstood: a missing column or an unknown word.
    """
    columns = _Columns(machine, row)
    if "Using_Gtid" in row:
        by_gtid = columns.word(("No", "Slave_Pos", "Current_Pos"), "Using_Gtid") != "No"
    else:
        # MySQL has it since 5.6.
        by_gtid = bool(columns.whole("Auto_Position"))
    return Reached(by_gtid, _replayed(columns))


def _error(row: _Columns, number: str, text: str) -> str:
    errno = row.whole(number)
    said = row.text(text, limit=100_000)
    return shortened(f"{errno}: {without_data(said)}", 300) if errno or said else ""


def without_data(error: str) -> str:
    """A replication error without the statement and the values that it repeats."""
    error = re.sub(r"\bQuery: '.*", "Query: …", error, flags=re.DOTALL)
    return re.sub(r"\b(entry|value:?) '(?:[^'\\]|\\.|'')*'", r"\1 '…'", error)


def read_read_only(machine: str, rows: Iterable[Row]) -> bool:
    """The answer to `SHOW GLOBAL VARIABLES LIKE 'read_only'`, or to a pattern that finds it among others.

    Raises:
        NotUnderstood: it is not there, or has another value than ON and OFF.
    """
    columns = (_Columns(machine, row) for row in rows)
    found = [row.word(("ON", "OFF"), "Value") for row in columns if row.text("Variable_name") == "read_only"]
    if len(found) != 1:
        raise NotUnderstood(machine, "the server does not tell whether it is read_only")
    return found[0] == "ON"


def read_position(machine: str, rows: Sequence[Row]) -> str:
    """The end of its own binary log as file:offset; empty without one.

    Raises:
        NotUnderstood: a missing column.
    """
    return str(read_log_end(machine, rows[0])) if rows else ""


def read_log_end(machine: str, row: Row) -> LogPosition:
    """The end of a server's binary log.

    Raises:
        NotUnderstood: a missing column.
    """
    columns = _Columns(machine, row)
    return LogPosition(columns.text("File"), columns.whole("Position"))


@dataclass(frozen=True)
class Ignored:
    """What does not count as a session."""

    users: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    own_user: str = ""
    own_ids: frozenset[int] = frozenset()

    def holds(self, session: Session) -> bool:
        """Whether a row of the process list is no session: the procedure, section 7."""
        return (
            session.command in _DUMPS
            or session.user in _OWN_THREADS
            or (session.user == self.own_user and session.id in self.own_ids)
            or session.user in self.users
            or host_of(session.address) in self.addresses
        )


def host_of(address: str) -> str:
    """The address without its port: `10.0.0.1:35638`, `localhost`, `2001:db8::1:35638` (MySQL writes no brackets)."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") if host and port.isdigit() else address


def read_sessions(machine: str, rows: Iterable[Row], *, ignored: Ignored, complete: bool) -> SessionsFact:
    """The rows of `SHOW PROCESSLIST`, without their statements. `Sleep` counts like any other.

    Raises:
        NotUnderstood: a missing column or a value of another kind.
    """
    everything = list(rows)
    sessions = all_sessions(machine, everything, ignored)
    return SessionsFact(
        complete=complete,
        count=len(sessions),
        sessions=tuple(sessions[:SHOWN_SESSIONS]),
        ignored=len(everything) - len(sessions),
    )


def all_sessions(machine: str, rows: Iterable[Row], ignored: Ignored) -> list[Session]:
    """Those of the rows that count.

    Raises:
        NotUnderstood: a missing column or a value of another kind.
    """
    everything = [_session(_Columns(machine, row)) for row in rows]
    return [session for session in everything if not ignored.holds(session)]


def _session(row: _Columns) -> Session:
    # The time is NULL while a client logs in; it may be negative after the clock was set.
    seconds = row.value("Time")
    return Session(
        id=row.whole("Id"),
        user=row.text("User"),
        address=row.text("Host"),
        database=row.text("db"),
        command=row.text("Command"),
        seconds=None if seconds is None else _seconds(row, seconds),
        state=row.text("State"),
    )


def _seconds(row: _Columns, value: object) -> int:
    return 0 if isinstance(value, int) and value < 0 else row.whole("Time")


_GLOBAL_GRANT = re.compile(r"GRANT (?P<privileges>[A-Z][A-Z_, ]*) ON \*\.\* TO ")
_ROLE_GRANT = re.compile(r"GRANT [`'\"]?[^ ]+ TO ")
_MYSQL_ROLES = re.compile(r"`[^`]+`@`[^`]+`(,`[^`]+`@`[^`]+`)*")


def read_grants(machine: str, rows: Iterable[Row]) -> tuple[str, ...]:
    """The lines of `SHOW GRANTS`. They may hold password hashes: they are for these functions only.

    Raises:
        NotUnderstood: no line at all, or rows of another form.
    """
    lines = []
    for row in rows:
        values = list(row.values())
        if len(values) != 1 or not isinstance(values[0], str):
            raise NotUnderstood(machine, f"a grant with {len(values)} columns")
        lines.append(values[0])
    if not lines:
        raise NotUnderstood(machine, "the server shows no grants of its own account")
    return tuple(lines)


def has_process(grants: Iterable[str]) -> bool:
    """Whether these grants include PROCESS, without which the process list silently shows one's own threads only."""
    found = (_GLOBAL_GRANT.match(line) for line in grants)
    return any({"PROCESS", "ALL PRIVILEGES", "ALL"} & set(match["privileges"].split(", ")) for match in found if match)


def has_roles(grants: Iterable[str]) -> bool:
    """Whether roles are granted, whose privileges another statement shows."""
    return any(_ROLE_GRANT.match(line) for line in grants)


def role_grants(version: Version, active: object) -> str:
    """The statement that shows what the active roles grant; empty where none is active, or its name is not plain.

    Args:
        version: of the server.
        active: what `SELECT CURRENT_ROLE()` answered.
    """
    if not isinstance(active, str) or active in ("", "NONE"):
        return ""
    if version.mariadb:
        return "SHOW GRANTS FOR CURRENT_ROLE"
    # The names come back into a statement: only plainly quoted ones do.
    return f"SHOW GRANTS FOR CURRENT_USER() USING {active}" if _MYSQL_ROLES.fullmatch(active) else ""
