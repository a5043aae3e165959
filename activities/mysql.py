"""MariaDB and MySQL: who is connected, and how replication stands. All that is ever changed is who is connected.

Each observation opens a connection of its own and closes it in order: a run may wait for hours, and an open
connection would be one more row in the process list that has to become empty.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import aiomysql
import pymysql.err
from pymysql.constants import CLIENT

from activities.errors import Rejected, SystemTrouble, Transient
from activities.hands import Act, Observe, Observed
from activities.mysql_answers import (
    Ignored,
    Row,
    Version,
    all_sessions,
    has_process,
    has_roles,
    read_grants,
    read_position,
    read_read_only,
    read_replicas,
    read_sessions,
    read_version,
    role_grants,
)
from activities.mysql_replay import compare
from activities.mysql_trouble import CAUGHT, PRIVILEGE, translated
from activities.secrets import resolve
from activities.web import tls_context
from inventory.models import Inventory
from inventory.values import Tls
from procedure.facts import ReplicationFact, Session
from procedure.instructions import EndConnections
from procedure.subjects import ReplayOn, ReplicationOn, SessionsOn

REMEMBERED: Final = 256
"""Own connections to a server that are still known after they were closed: the server may list them a moment longer."""
CLEAR_TEXT: Final = b"mysql_clear_password"
PROCESS_LIST: Final = "SHOW PROCESSLIST"
"""Not FULL, which would only bring statements in full length, and these are dropped."""


MAY_KILL: Final = "CONNECTION ADMIN (MySQL: CONNECTION_ADMIN; SUPER before MariaDB 10.5 and MySQL 8)"
UNKNOWN_THREAD: Final = 1094
"""KILL of a connection that has ended meanwhile."""


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # aiomysql ships no type information
    """aiomysql goes on without TLS where the server offers none, and sends a password in clear if asked to."""

    _host: str

    def __init__(self, *, own_ids: deque[int], server_name: str | None, **settings: Any) -> None:  # noqa: ANN401 - aiomysql's own
        super().__init__(**settings)
        self._own_ids = own_ids
        self._server_name = server_name
        self._encrypted = settings["ssl"] is not None

    async def _request_authentication(self) -> None:
        # Before the server lists it under the account's name.
        self._own_ids.append(self.thread_id())
        if self._encrypted and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.err.OperationalError(2026, "the server offers no TLS")
        self._refuse_clear_text(str(self._server_auth_plugin).encode())
        # From here on the name is only what the certificate must be for.
        self._host = self._server_name or self._host
        await super()._request_authentication()

    async def _process_auth(self, plugin_name: bytes, auth_packet: object) -> object:
        self._refuse_clear_text(plugin_name)
        return await super()._process_auth(plugin_name, auth_packet)

    def _refuse_clear_text(self, plugin_name: bytes) -> None:
        if plugin_name == CLEAR_TEXT and not self._encrypted:
            raise pymysql.err.OperationalError(2059, "the server wants the password in clear, without TLS")


@dataclass(frozen=True)
class _Asking:
    """An open connection."""

    machine: str
    connection: _Connection

    async def rows(self, statement: str, grant: str = "") -> list[Row]:
        """The rows a statement answers.

        Raises:
            SystemTrouble: it failed. `grant` names the privileges it needs.
        """
        try:
            async with self.connection.cursor(aiomysql.DictCursor) as cursor:
                await cursor.execute(statement)
                return list(await cursor.fetchall())
        except CAUGHT as error:
            raise translated(self.machine, statement, error, grant) from error

    async def kill(self, session: Session) -> bool:
        """Cut a connection. False: it had ended by itself.

        Raises:
            SystemTrouble: it failed.
        """
        statement = f"KILL CONNECTION {session.id:d}"
        try:
            async with self.connection.cursor() as cursor:
                await cursor.execute(statement)
        except CAUGHT as error:
            if isinstance(error, pymysql.err.MySQLError) and error.args[:1] == (UNKNOWN_THREAD,):
                return False
            raise translated(self.machine, statement, error, MAY_KILL) from error
        return True

    async def value(self, statement: str) -> object:
        """The only value a statement answers; None where there is none."""
        rows = await self.rows(statement)
        return next(iter(rows[0].values()), None) if rows else None


class Databases:
    """Observes the database machines of an inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        # Each server counts its connections for itself: an own number there may be another's session here.
        self._own_ids: defaultdict[tuple[str, int], deque[int]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._trusted: tuple[object, ssl.SSLContext] | None = None

    async def sessions(self, subject: SessionsOn) -> Observed:
        """Who is connected, without what is no session.

        Raises:
            SystemTrouble: not reached, access denied, or not understood.
        """
        async with self._machine(subject.machine) as asking:
            version = read_version(asking.machine, await asking.value("SELECT VERSION()"))
            complete = await self._sees_all(asking, version)
            rows = await asking.rows(PROCESS_LIST)
        fact = read_sessions(subject.machine, rows, ignored=self._ignored(subject.machine), complete=complete)
        return fact, f"mysql {subject.machine}: {PROCESS_LIST}"

    async def _sees_all(self, asking: _Asking, version: Version) -> bool:
        grants = read_grants(asking.machine, await asking.rows("SHOW GRANTS FOR CURRENT_USER"))
        if has_process(grants) or not has_roles(grants):
            return has_process(grants)
        statement = role_grants(version, await asking.value("SELECT CURRENT_ROLE()"))
        return bool(statement) and has_process(read_grants(asking.machine, await asking.rows(statement)))

    def _ignored(self, machine: str) -> Ignored:
        rules = self._inventory.sessions
        server = (self._inventory.machine(machine).address, self._inventory.database.port)
        return Ignored(
            users=frozenset(rules.ignore_users),
            addresses=frozenset(rules.ignore_addresses),
            own_user=self._inventory.database.user,
            own_ids=frozenset(self._own_ids[server]),
        )

    async def end_connections(self, instruction: EndConnections) -> str:
        """Cut each connection that counts as a session at this moment; none of the product's own account.

        Raises:
            SystemTrouble: not reached, access denied, a privilege is missing, or not understood.
        """
        machine = instruction.machine
        async with self._machine(machine) as asking:
            sessions = all_sessions(machine, await asking.rows(PROCESS_LIST), self._ignored(machine))
            own = self._inventory.database.user
            # A connection of the own account that counts may be another worker's, which looks at this very moment.
            cut = [s for s in sessions if s.user != own and await asking.kill(s)]
        told = ", ".join(f"{session.id} ({session.user}@{session.address})" for session in cut)
        return f"cut {len(cut)} of {len(sessions)}: {told}" if cut else f"cut none of {len(sessions)}"

    async def replication(self, subject: ReplicationOn) -> Observed:
        """From whom it replicates, and how that stands.

        Raises:
            SystemTrouble: not reached, access denied, or not understood.
        """
        machine = subject.machine
        async with self._machine(machine) as asking:
            version = read_version(machine, await asking.value("SELECT VERSION()"))
            statement = version.replica_status
            channels = read_replicas(machine, await asking.rows(statement, version.replication_privileges))
            read_only = read_read_only(machine, await asking.rows("SHOW GLOBAL VARIABLES LIKE 'read_only'"))
            position = read_position(machine, await _own_log(asking, version))
        fact = ReplicationFact(version=version.text, read_only=read_only, channels=channels, position=position)
        return fact, f"mysql {machine}: {statement}"

    async def replay(self, subject: ReplayOn) -> Observed:
        """Whether a replica has executed all that its source had written just before.

        Raises:
            SystemTrouble: one of the two was not reached, access denied, or not understood.
        """
        async with self._machine(subject.source) as source, self._machine(subject.machine) as replica:
            fact = await compare(replica, source, self._inventory.machine(subject.source))
        return fact, f"mysql {subject.source}, {subject.machine}: their positions"

    async def query(self, address: str, port: int, statement: str) -> str:
        """Run a probe's query. Why there was no row; empty if there was one.

        Raises:
            Rejected: the password or the certificate authority is not there, so that nothing can be asked.
        """
        _sendable(address, self._inventory.database.password)
        if self._inventory.database.tls:
            self._trust(address, self._inventory.database.tls)
        try:
            async with self._connected(address, address, port) as asking:
                return "" if await asking.rows(statement) else "no row"
        except SystemTrouble as trouble:
            return trouble.seen

    def observers(self) -> dict[type[Any], Observe]:
        """`SessionsOn`, `ReplicationOn` and `ReplayOn`."""
        return {SessionsOn: self.sessions, ReplicationOn: self.replication, ReplayOn: self.replay}

    def actors(self) -> dict[type[Any], Act]:
        """`EndConnections`."""
        return {EndConnections: self.end_connections}

    async def close(self) -> None:
        """Nothing to close: each observation closes its own connection."""

    @asynccontextmanager
    async def _machine(self, machine: str) -> AsyncIterator[_Asking]:
        address = self._inventory.machine(machine).address
        async with self._connected(machine, address, self._inventory.database.port) as asking:
            yield asking

    @asynccontextmanager
    async def _connected(self, name: str, address: str, port: int) -> AsyncIterator[_Asking]:
        """A connection for a few statements, which are given the inventory's time for a command.

        Raises:
            SystemTrouble: no connection, access denied, or no answer in time.
        """
        patience = self._inventory.timings.command.total_seconds()
        connection = await self._open(name, address, port)
        try:
            async with asyncio.timeout(patience):
                yield _Asking(name, connection)
                # In order, so that the server does not count it among the aborted ones.
                with suppress(*CAUGHT):
                    await connection.ensure_closed()
        except TimeoutError as error:
            raise Transient(name, f"the database server gave no answer within {patience:g} s") from error
        finally:
            connection.close()

    def _trust(self, name: str, tls: Tls) -> ssl.SSLContext:
        """Reading the system's authorities takes a tenth of a second, in which nothing else runs: once is enough."""
        version = _version_of(tls.ca or ssl.get_default_verify_paths().cafile)
        if self._trusted is None or version is None or self._trusted[0] != version:
            self._trusted = version, tls_context(name, tls)
        return self._trusted[1]

    async def _open(self, name: str, address: str, port: int) -> _Connection:
        database, patience = self._inventory.database, self._inventory.timings.connect.total_seconds()
        context: ssl.SSLContext | None = self._trust(name, database.tls) if database.tls else None
        password = _sendable(name, database.password)
        connection = _Connection(
            own_ids=self._own_ids[address, port],
            server_name=database.tls.server_name if database.tls else None,
            host=address,
            port=port,
            user=database.user,
            password=password,
            ssl=context,
            charset="utf8mb4",
            # None: the server's own setting stays, nothing is sent for it.
            autocommit=None,
            program_name="controlled-failover",
        )
        try:
            async with asyncio.timeout(patience):
                # Its public way in, aiomysql.connect(), makes connections of its own class only.
                await connection._connect()
        except CAUGHT as error:
            connection.close()
            raise translated(name, f"connect to {address} port {port} as {database.user}", error) from error
        except asyncio.CancelledError:
            # aiomysql leaves the socket open when it is cancelled while it connects.
            connection.close()
            raise
        return connection


def _version_of(file: str | None) -> object:
    """What changes when a file of authorities does; None: there is no telling."""
    try:
        found = os.stat(file) if file else None
    except OSError:
        return None
    return (file, found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def _sendable(name: str, reference: str) -> str:
    password = resolve(reference, name).get_secret_value()
    try:
        password.encode("latin1")
    except UnicodeEncodeError:
        # Without the cause: it would carry the password.
        raise Rejected(
            name,
            f"{reference} holds characters outside of Latin-1",
            "aiomysql can't send them: choose another password",
        ) from None
    return password


async def _own_log(asking: _Asking, version: Version) -> Sequence[Row]:
    """The end of the binary log: good to know, so an account that may not see it is not refused."""
    try:
        return await asking.rows(version.own_position)
    except Rejected as refused:
        cause = refused.__cause__
        if isinstance(cause, pymysql.err.MySQLError) and cause.args[:1] and cause.args[0] in PRIVILEGE:
            return []
        raise
