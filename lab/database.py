"""A MariaDB server of a simulated machine: the MySQL protocol with real passwords, answers from a model.

The protocol is mysql_mimic's. It knows none of the SHOW statements of replication, so they are answered here, with
the columns and types that MariaDB 10.11 has.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mysql_mimic import AllowedResult, IdentityProvider, NativePasswordAuthPlugin, ResultColumn, Session, User
from mysql_mimic.connection import Connection
from mysql_mimic.control import LocalControl
from mysql_mimic.errors import MysqlError, get_sqlstate
from mysql_mimic.stream import ConnectionClosed, MysqlStream
from mysql_mimic.variables import GlobalVariables, SessionVariables

from lab.database_rows import (
    ALL_REPLICAS_COLUMNS,
    MASTER_COLUMNS,
    PROCESS_COLUMNS,
    REPLICA_COLUMNS,
    Process,
    ReplicaStatus,
    Row,
    Value,
    column_type,
)
from lab.database_statements import (
    filtered,
    is_session_statement,
    normalised,
    select_processes,
    selects_processes,
    title_of_single,
)
from lab.listening import Endpoint, Gate, listening_socket

# Names of privileges that MariaDB still takes, and what SHOW GRANTS makes of them since 10.5.
_RENAMED = {"REPLICATION CLIENT": "BINLOG MONITOR", "REPLICA MONITOR": "SLAVE MONITOR"}
_OMNIPOTENT = {"ALL PRIVILEGES", "SUPER"}
_ACCESS_DENIED = 1045
# SQL states of the error numbers that mysql_mimic does not know; all others are HY000.
_SQL_STATES = {1044: b"42000", 1142: b"42000", 1146: b"42S02", 1227: b"42000", 1317: b"70100"}


class SqlError(MysqlError):  # type: ignore[misc]  # mysql_mimic ships no type information
    """An error packet: the server's error number and message. The SQL state follows from the number."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message, number)


@dataclass(frozen=True)
class DatabaseAccount:
    """A database user with global privileges, named as in GRANT."""

    user: str
    password: str = field(repr=False)
    privileges: frozenset[str] = frozenset()
    host: str = "%"

    def may(self, *privileges: str) -> bool:
        """Whether it has one of `privileges`, or all there are."""
        held = {_RENAMED.get(name.upper(), name.upper()) for name in self.privileges}
        return bool(held & (_OMNIPOTENT | set(privileges)))

    def grants(self) -> str:
        """The line SHOW GRANTS prints, with the password's hash as the server prints it."""
        named = sorted(_RENAMED.get(name.upper(), name.upper()) for name in self.privileges) or ["USAGE"]
        digest = NativePasswordAuthPlugin.create_auth_string(self.password).upper()
        return f"GRANT {', '.join(named)} ON *.* TO `{self.user}`@`{self.host}` IDENTIFIED BY PASSWORD '*{digest}'"


@dataclass(frozen=True)
class MasterStatus:
    """The binary log's end, for SHOW MASTER STATUS."""

    file: str = "bin.000001"
    position: int = 4


@dataclass(frozen=True)
class QueryResult:
    """Rows of a statement the model answers itself. Without columns it is a plain OK."""

    columns: Sequence[str] = ()
    rows: Sequence[Row] = ()


class DatabaseModel(Protocol):
    """The world behind a database server. Everything is read anew for each statement."""

    def accounts(self) -> Sequence[DatabaseAccount]:
        """Who may log in."""

    def processes(self) -> Sequence[Process]:
        """The threads that are not real clients of this server: replication, event scheduler, simulated sessions."""

    def replicas(self) -> Sequence[ReplicaStatus]:
        """The replication connections of this server; none if it replicates from nobody."""

    def master_status(self) -> MasterStatus | None:
        """The end of the binary log, None without one."""

    def variables(self) -> Mapping[str, str | int | bool]:
        """Global variables: at least `version`; booleans show as ON and OFF."""

    def status(self) -> Mapping[str, str | int]:
        """Counters of SHOW GLOBAL STATUS."""

    async def kill(self, thread_id: int) -> bool:
        """End one of `processes()`; False if there is none of this id."""

    async def execute(self, account: DatabaseAccount, sql: str) -> QueryResult:
        """Any other statement.

        Raises:
            SqlError: what the server would answer; `not_simulated(sql)` for what the model does not know.
        """


def not_simulated(sql: str) -> SqlError:
    """The error for statements that the simulation does not know: never a silent success."""
    return SqlError(1235, f"The simulated server does not know this statement: {sql[:80]}")


def access_denied(*privileges: str) -> SqlError:
    """The error for a missing global privilege."""
    wanted = ", ".join(("SUPER", *privileges))
    message = f"Access denied; you need (at least one of) the {wanted} privilege(s) for this operation"
    return SqlError(1227, message)


class DatabaseServer:
    """One machine's database server."""

    def __init__(
        self,
        endpoint: Endpoint,
        model: DatabaseModel,
        *,
        first_thread_id: int = 10,
    ) -> None:
        self._endpoint = endpoint
        self._thread_ids = itertools.count(first_thread_id)
        self._server: asyncio.Server | None = None
        # One task for each connection, until it has ended.
        self.serving: set[asyncio.Task[None]] = set()
        self.model = model
        self.gate = Gate()
        self.clients: dict[int, _Client] = {}

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; a chosen port is known after the first start."""
        return self._endpoint

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None

    def next_thread_id(self) -> int:
        """An id for a thread of the model, so that it never meets a client's."""
        return next(self._thread_ids)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        if self._server is None:
            sock = listening_socket(self._endpoint)
            self._endpoint = Endpoint(self._endpoint.address, sock.getsockname()[1])
            self._server = await asyncio.start_server(self._serve, sock=sock)

    async def stop(self) -> None:
        """Refuse new connections and cut the open ones, as the end of the process would."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for client in list(self.clients.values()):
            client.cut()
        tasks = self.serving - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def processes(self, viewer: DatabaseAccount) -> list[Process]:
        """The process list as `viewer` sees it: without PROCESS, one's own threads only."""
        threads = [*self.model.processes(), *(client.process() for client in self.clients.values())]
        seen = threads if viewer.may("PROCESS") else [thread for thread in threads if thread.user == viewer.user]
        return sorted(seen, key=lambda thread: thread.thread_id)

    async def kill(self, killer: _Client, thread_id: int) -> None:
        """End a thread as KILL does.

        Raises:
            SqlError: no such thread, or not the killer's own and no privilege.
        """
        owner = next((thread.user for thread in self.processes(_ROOT) if thread.thread_id == thread_id), None)
        account = killer.signed_in()
        if owner is None:
            raise SqlError(1094, f"Unknown thread id: {thread_id}")
        if owner != account.user and not account.may("CONNECTION ADMIN"):
            raise SqlError(1095, f"You are not owner of thread {thread_id}")
        client = self.clients.get(thread_id)
        if client is not None:
            client.cut()
        elif not await self.model.kill(thread_id):
            raise SqlError(1094, f"Unknown thread id: {thread_id}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        client = _Client(self, writer, self.next_thread_id())
        self.clients[client.thread_id] = client
        if task is not None:
            self.serving.add(task)
        try:
            await self.gate.passed()
            await client.connection(MysqlStream(reader, writer)).start()
        except (ConnectionClosed, ConnectionError, asyncio.IncompleteReadError, struct.error, MysqlError):
            # A client that leaves in the middle, such as a balancer's health check, is nothing to report.
            pass
        except asyncio.CancelledError:
            # The server stops, or the client was cut: the connection's end is all there is to do.
            pass
        finally:
            del self.clients[client.thread_id]
            if task is not None:
                self.serving.discard(task)
            writer.close()


@dataclass
class _Activity:
    command: str = "Connect"
    state: str | None = "login"
    info: str | None = None
    since: float = field(default_factory=time.monotonic)


class _Client:
    """A real connection: who it is, what it does now, and how to cut it."""

    def __init__(self, server: DatabaseServer, writer: asyncio.StreamWriter, thread_id: int) -> None:
        address, port = writer.get_extra_info("peername")[:2]
        self._writer = writer
        self._activity = _Activity()
        self._session: _Session | None = None
        self.server = server
        self.thread_id = thread_id
        self.address = str(address)
        self.host = f"{address}:{port}"
        self.account: DatabaseAccount | None = None

    def connection(self, stream: MysqlStream) -> Connection:
        self._session = _Session(self)
        identities = _Identities(self)
        connection = _Connection(stream, self._session, LocalControl(), identities)
        connection.connection_id = self.thread_id
        return connection

    def signed_in(self) -> DatabaseAccount:
        """The account behind the connection.

        Raises:
            SqlError: not authenticated (yet).
        """
        if self.account is None:
            raise SqlError(1045, "Access denied")
        return self.account

    def cut(self) -> None:
        self._writer.transport.abort()

    def runs(self, statement: str) -> None:
        self._activity = _Activity("Query", "starting", statement)

    def sleeps(self) -> None:
        self._activity = _Activity("Sleep", "")

    def process(self) -> Process:
        activity = self._activity
        return Process(
            thread_id=self.thread_id,
            user=self.account.user if self.account else "unauthenticated user",
            host=self.host,
            command=activity.command,
            seconds=int(time.monotonic() - activity.since),
            database=self._session.database if self._session else None,
            state=activity.state,
            info=activity.info,
        )


_Answer = Callable[[re.Match[str]], Awaitable[AllowedResult]]


class _Session(Session):  # type: ignore[misc]  # mysql_mimic ships no type information
    """Answers one client's statements."""

    def __init__(self, client: _Client) -> None:
        super().__init__(_Variables(client))
        self._client = client
        self._server = client.server
        self._answers: list[tuple[re.Pattern[str], _Answer]] = [
            (re.compile(pattern, re.IGNORECASE | re.DOTALL), answer)
            for pattern, answer in (
                (r"show (?P<full>full )?processlist", self._processlist),
                (r"show (slave|replica) status", self._replica_status),
                (r"show all (slaves|replicas) status", self._all_replicas_status),
                (r"show (master|binlog) status", self._master_status),
                (r"show grants(?P<whom> for .*)?", self._grants),
                (r"show ((global|session|local) )?variables( .*)?", self._variables),
                (r"show ((global|session|local) )?status( .*)?", self._status),
                (r"kill ((hard|soft) )?(connection )?(?P<thread>\d+)", self._kill),
            )
        ]

    async def handle_query(self, sql: str, attrs: dict[str, str]) -> AllowedResult:
        await self._server.gate.passed()
        self._client.signed_in()
        self._client.runs(sql)
        try:
            return await self._answer(sql, normalised(sql), attrs)
        finally:
            self._client.sleeps()

    async def init(self, connection: Connection) -> None:
        await super().init(connection)
        self._client.sleeps()

    async def _answer(self, sql: str, statement: str, attrs: dict[str, str]) -> AllowedResult:
        for pattern, answer in self._answers:
            match = pattern.fullmatch(statement)
            if match:
                return await answer(match)
        if selects_processes(statement):
            threads = self._server.processes(self._client.signed_in())
            rows = [thread.row(full=True) for thread in threads]
            return select_processes(statement, rows, self._client.thread_id)
        if is_session_statement(statement):
            return _titled(await super().handle_query(sql, attrs), title_of_single(statement))
        result = await self._server.model.execute(self._client.signed_in(), sql)
        return _table(result.columns, result.rows)

    async def _processlist(self, match: re.Match[str]) -> AllowedResult:
        threads = self._server.processes(self._client.signed_in())
        return _table(PROCESS_COLUMNS, [thread.row(full=match["full"] is not None) for thread in threads])

    async def _replica_status(self, _: re.Match[str]) -> AllowedResult:
        self._demand("SLAVE MONITOR")
        # Without a connection name it shows the unnamed connection only.
        unnamed = [replica for replica in self._server.model.replicas() if not replica.columns.get("Connection_name")]
        return _table(REPLICA_COLUMNS, [replica.row() for replica in unnamed])

    async def _all_replicas_status(self, _: re.Match[str]) -> AllowedResult:
        self._demand("SLAVE MONITOR")
        return _table(ALL_REPLICAS_COLUMNS, [replica.row_of_all() for replica in self._server.model.replicas()])

    async def _master_status(self, _: re.Match[str]) -> AllowedResult:
        self._demand("BINLOG MONITOR")
        log = self._server.model.master_status()
        return _table(MASTER_COLUMNS, [(log.file, log.position, "", "")] if log else [])

    async def _grants(self, match: re.Match[str]) -> AllowedResult:
        account = self._client.signed_in()
        whom = (match["whom"] or " for current_user").lower().removeprefix(" for ").replace("`", "'")
        if whom not in ("current_user", "current_user()", f"'{account.user}'@'{account.host}'".lower()):
            raise SqlError(1044, f"Access denied for user '{account.user}'@'{account.host}' to database 'mysql'")
        return _table([f"Grants for {account.user}@{account.host}"], [(account.grants(),)])

    async def _variables(self, match: re.Match[str]) -> AllowedResult:
        values = {name: _shown(value) for name, value in self._server.model.variables().items()}
        return _table(("Variable_name", "Value"), filtered(match.group(), values))

    async def _status(self, match: re.Match[str]) -> AllowedResult:
        values = {name: _shown(value) for name, value in self._server.model.status().items()}
        return _table(("Variable_name", "Value"), filtered(match.group(), values))

    async def _kill(self, match: re.Match[str]) -> AllowedResult:
        await self._server.kill(self._client, int(match["thread"]))
        return None

    def _demand(self, privilege: str) -> None:
        if not self._client.signed_in().may(privilege):
            raise access_denied(privilege)


class _Variables(SessionVariables):  # type: ignore[misc]  # mysql_mimic ships no type information
    """System variables of a session: its own settings over the model's global ones over mysql_mimic's defaults."""

    def __init__(self, client: _Client) -> None:
        super().__init__(GlobalVariables())
        self._client = client

    def get(self, key: str, default: object = None) -> object:
        """A variable's value, the mapping's default never: the server knows no unset variables.

        Raises:
            SqlError: there is no such variable.
        """
        try:
            return self[key]
        except KeyError:
            raise SqlError(1193, f"Unknown system variable '{key}'") from None

    def get_variable(self, name: str) -> Value:
        key = name.lower()
        if key == "external_user" and self._client.account:
            return f"{self._client.account.user}@{self._client.address}"
        value = self._client.server.model.variables().get(key)
        # mysql_mimic reckons with its own time zone names.
        if key in self._values or key == "time_zone" or value is None:
            own: Value = super().get_variable(name)
            return own
        return int(value) if isinstance(value, bool) else value


class _Connection(Connection):  # type: ignore[misc]  # mysql_mimic ships no type information
    """mysql_mimic's connection, which would let a client stay whose password was wrong."""

    async def authenticate(self, *args: object, **kwargs: object) -> None:
        await super().authenticate(*args, **kwargs)
        if self.session.username is None:
            self.stream.writer.close()
            raise ConnectionClosed

    def error(self, *, msg: object = "", code: int = 1105) -> bytes:
        """An error packet with any of the server's numbers; mysql_mimic knows a few only."""
        known: bytes = get_sqlstate(code)
        sqlstate = _SQL_STATES.get(int(code), known)
        text = self.identity_provider.denial() if code == _ACCESS_DENIED else str(msg)
        return b"\xff" + struct.pack("<H", int(code)) + b"#" + sqlstate + text.encode()


class _Identities(IdentityProvider):  # type: ignore[misc]  # mysql_mimic ships no type information
    """The model's accounts, for one connection."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._plugins = [_Password(client)]
        self._claimed = ""

    def get_plugins(self) -> Sequence[_Password]:
        return self._plugins

    async def get_user(self, username: str) -> User:
        self._claimed = username
        account = _account(self._client, username)
        # An unknown user is asked for a password too, and refused with the same words.
        secret = NativePasswordAuthPlugin.create_auth_string(account.password) if account else "00" * 20
        name = f"{username}@{account.host if account else '%'}"
        return User(name=name, auth_string=secret, auth_plugin=_Password.name)

    def denial(self) -> str:
        """MariaDB's words for a wrong password and for an unknown user alike."""
        return f"Access denied for user '{self._claimed}'@'{self._client.address}' (using password: YES)"


class _Password(NativePasswordAuthPlugin):  # type: ignore[misc]  # mysql_mimic ships no type information
    """mysql_native_password, MariaDB's default."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def password_matches(self, user: User, scramble: bytes, nonce: bytes) -> bool:
        matches = bool(super().password_matches(user, scramble, nonce))
        self._client.account = _account(self._client, user.name.rpartition("@")[0]) if matches else None
        return matches


def _account(client: _Client, user: str) -> DatabaseAccount | None:
    return next((account for account in client.server.model.accounts() if account.user == user), None)


def _shown(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return str(value)


def _titled(result: AllowedResult, title: str | None) -> AllowedResult:
    if title is None or not isinstance(result, tuple) or len(result[1]) != 1:
        return result
    return result[0], [title]


def _table(columns: Sequence[str], rows: Sequence[Row]) -> AllowedResult:
    if not columns:
        return None
    return [list(row) for row in rows], [ResultColumn(name=name, type=column_type(name)) for name in columns]


_ROOT = DatabaseAccount("root", "", frozenset({"ALL PRIVILEGES"}))
