"""Sessions and replication read over the MySQL protocol, from a simulated server, and everything that goes wrong."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql.err
import pytest

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.mysql import Databases
from activities.mysql_trouble import CAUGHT, DENIED, PASSING, PRIVILEGE, translated
from inventory.models import Inventory
from lab.certificates import CertificateAuthority, ServerCertificate
from lab.database import DatabaseAccount, DatabaseServer, MasterStatus, QueryResult, SqlError, not_simulated
from lab.database_rows import Process, ReplicaStatus, binlog_dump, connecting, replicating, replication_threads, stopped
from lab.listening import Endpoint
from procedure.facts import ReplicationFact, SessionsFact
from procedure.instructions import EndConnections
from procedure.subjects import ReplicationOn, SessionsOn
from tests.activities.cluster import machine, reference

ADDRESS = "127.77.3.2"
MASTER = "acd-dbm1"
PASSWORD = "DATABASE-SECRET-41"
ALL = frozenset({"PROCESS", "SLAVE MONITOR", "BINLOG MONITOR"})


@dataclass
class World:
    """What the simulated server shows."""

    privileges: frozenset[str] = ALL
    threads: list[Process] = field(default_factory=list)
    replications: list[ReplicaStatus] = field(default_factory=list)
    read_only: bool = False
    version: str = "10.11.19-MariaDB-0+deb12u1-log"
    log: MasterStatus | None = field(default_factory=lambda: MasterStatus("bin.000007", 4711))
    trouble: SqlError | None = None
    killed: list[int] = field(default_factory=list)
    gone_with: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Threads that end when another one is killed."""

    def accounts(self) -> Sequence[DatabaseAccount]:
        return [DatabaseAccount("failover", PASSWORD, self.privileges)]

    def processes(self) -> Sequence[Process]:
        return self.threads

    def replicas(self) -> Sequence[ReplicaStatus]:
        if self.trouble:
            raise self.trouble
        return self.replications

    def master_status(self) -> MasterStatus | None:
        return self.log

    def variables(self) -> Mapping[str, str | int | bool]:
        return {"version": self.version, "read_only": self.read_only, "innodb_read_only": True}

    def status(self) -> Mapping[str, str | int]:
        return {}

    async def kill(self, thread_id: int) -> bool:
        self.killed.append(thread_id)
        there = [thread for thread in self.threads if thread.thread_id == thread_id]
        ended = (thread_id, *self.gone_with.get(thread_id, ()))
        self.threads = [thread for thread in self.threads if thread.thread_id not in ended]
        return bool(there)

    async def execute(self, account: DatabaseAccount, sql: str) -> QueryResult:
        if sql == "SELECT id FROM nothing":
            return QueryResult(("id",), ())
        raise not_simulated(sql)


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[DatabaseServer]:
    server = DatabaseServer(Endpoint(ADDRESS), world)
    await server.start()
    try:
        yield server
    finally:
        server.gate.open()
        await server.stop()


def cluster(port: int, patience: str = "10s", **database: object) -> Inventory:
    def here(raw: dict[str, Any]) -> None:
        machine(raw, MASTER)["address"] = ADDRESS
        raw["database"] |= {"port": port, "password": "env:TEST_DATABASE_PASSWORD"} | database
        raw["sessions"] = {"ignore_users": ["haproxy_check"], "ignore_addresses": ["10.0.0.9"]}
        raw["timings"] |= {"connect": patience, "command": patience}

    return reference(here)


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_PASSWORD", PASSWORD)


async def sessions(world: World) -> SessionsFact:
    async with serving(world) as server:
        fact, _ = await Databases(cluster(server.endpoint.port)).sessions(SessionsOn(machine=MASTER))
    assert isinstance(fact, SessionsFact)
    return fact


async def replication(world: World) -> ReplicationFact:
    async with serving(world) as server:
        fact, source = await Databases(cluster(server.endpoint.port)).replication(ReplicationOn(machine=MASTER))
    assert isinstance(fact, ReplicationFact)
    assert source == f"mysql {MASTER}: SHOW ALL SLAVES STATUS"
    return fact


async def test_only_real_sessions_are_counted() -> None:
    fact = await sessions(
        World(
            threads=[
                *replication_threads(1, 2, io_state="Waiting for master to send event"),
                binlog_dump(3, "10.0.0.2:5000"),
                Process(4, "event_scheduler", "localhost", "Daemon"),
                Process(5, "haproxy_check", "10.0.0.8:5000", "Sleep"),
                Process(6, "app", "10.0.0.9:5000", "Sleep"),
                Process(7, "wildfly", "10.0.0.7:5000", "Query", 12, "acd", "Sending data", "SELECT '+49 89 1234'"),
                Process(8, "wildfly", "10.0.0.7:5001", "Sleep", 900),
            ]
        )
    )
    assert fact.complete
    assert [(session.id, session.user, session.command) for session in fact.sessions] == [
        (7, "wildfly", "Query"),
        (8, "wildfly", "Sleep"),
    ]
    # Six that are no sessions, and one's own connection.
    assert (fact.count, fact.ignored) == (2, 7)
    assert "1234" not in fact.model_dump_json()


async def test_its_own_connections_are_no_sessions_even_at_the_same_time() -> None:
    async with serving(World()) as server:
        databases = Databases(cluster(server.endpoint.port))
        facts = await asyncio.gather(*(databases.sessions(SessionsOn(machine=MASTER)) for _ in range(8)))
    assert {fact.count for fact, _ in facts if isinstance(fact, SessionsFact)} == {0}


async def test_its_own_number_at_one_server_is_somebody_elses_session_at_another() -> None:
    async with serving(World()) as first:
        port, other = first.endpoint.port, "127.77.21.202"
        here = cluster(port)
        user = here.database.user
        machines = tuple(m.model_copy(update={"address": other}) if m.name == "acd-dbm2" else m for m in here.machines)
        stranger = Process(10, user, "10.0.0.7:5000", "Sleep")
        second = DatabaseServer(Endpoint(other, port), World(threads=[stranger]), first_thread_id=50)
        await second.start()
        databases = Databases(here.model_copy(update={"machines": machines}))

        own, _ = await databases.sessions(SessionsOn(machine=MASTER))
        fact, _ = await databases.sessions(SessionsOn(machine="acd-dbm2"))
        await second.stop()

    assert isinstance(own, SessionsFact)
    assert isinstance(fact, SessionsFact)
    assert own.count == 0
    assert [session.id for session in fact.sessions] == [10]


async def test_connections_are_closed_in_order() -> None:
    async with serving(World()) as server:
        databases = Databases(cluster(server.endpoint.port))
        await databases.sessions(SessionsOn(machine=MASTER))
        if server.serving:
            await asyncio.wait_for(asyncio.gather(*server.serving), 5)
        assert not server.clients


async def test_without_process_the_list_is_not_complete() -> None:
    fact = await sessions(World(privileges=ALL - {"PROCESS"}, threads=[Process(7, "wildfly", "10.0.0.7:1", "Sleep")]))
    assert (fact.complete, fact.count) == (False, 0)


async def test_a_replica_that_replicates() -> None:
    fact = await replication(World(replications=[replicating("10.77.0.32", 3306, server_id=2, Gtid_Slave_Pos="1-2-4")]))
    (channel,) = fact.channels
    assert (channel.source_host, channel.source_port, channel.io, channel.sql) == ("10.77.0.32", 3306, "Yes", "Yes")
    assert (channel.lag_seconds, channel.caught_up, channel.gtid) == (0, True, "1-2-4")
    assert (fact.position, fact.read_only) == ("bin.000007:4711", False)
    assert "MariaDB" in fact.version


async def test_a_replica_whose_master_is_away_or_that_stopped() -> None:
    (channel,) = (await replication(World(replications=[connecting("10.77.0.32", 3306)]))).channels
    assert (channel.io, channel.sql, channel.lag_seconds) == ("Connecting", "Yes", None)
    assert channel.io_error.startswith("2003: ")
    (channel,) = (await replication(World(replications=[stopped("10.77.0.32", 3306)], read_only=True))).channels
    assert (channel.io, channel.sql, channel.lag_seconds) == ("No", "No", None)


async def test_no_replica_and_no_binary_log() -> None:
    fact = await replication(World(log=None, read_only=True))
    assert (fact.channels, fact.position, fact.read_only) == ((), "", True)


async def test_its_own_position_is_only_good_to_know() -> None:
    assert (await replication(World(privileges=ALL - {"BINLOG MONITOR"}))).position == ""


async def test_a_missing_privilege_says_what_to_grant() -> None:
    with pytest.raises(Rejected) as raised:
        await replication(World(privileges=frozenset({"PROCESS"})))
    assert "GRANT SLAVE MONITOR, BINLOG MONITOR ON *.*" in raised.value.next_step


async def test_a_wrong_password_is_rejected_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_PASSWORD", "WRONG-SECRET-77")
    with pytest.raises(Rejected) as raised:
        await sessions(World())
    assert "failover" in raised.value.seen
    assert "WRONG-SECRET-77" not in f"{raised.value} {raised.value.__cause__!r}"


async def test_a_password_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_PASSWORD", "пароль")
    with pytest.raises(Rejected, match="Latin-1") as raised:
        await sessions(World())
    assert raised.value.__cause__ is None
    assert "пароль" not in str(raised.value)


async def test_nobody_listens() -> None:
    async with serving(World()) as server:
        port = server.endpoint.port
    with pytest.raises(Transient, match=str(port)):
        await Databases(cluster(port)).sessions(SessionsOn(machine=MASTER))


async def test_a_server_that_accepts_and_never_answers() -> None:
    async with serving(World()) as server:
        server.gate.close()
        with pytest.raises(Transient, match="no answer"):
            await Databases(cluster(server.endpoint.port, "100ms")).sessions(SessionsOn(machine=MASTER))


class Hanging(World):
    """Hangs in the middle: the gate closes with the first statement about replication."""

    server: DatabaseServer

    def replicas(self) -> Sequence[ReplicaStatus]:
        self.server.gate.close()
        return []


async def test_a_server_that_hangs_in_the_middle() -> None:
    world = Hanging()
    async with serving(world) as server:
        world.server = server
        with pytest.raises(Transient, match="no answer"):
            await Databases(cluster(server.endpoint.port, "1s")).replication(ReplicationOn(machine=MASTER))


async def test_a_cancelled_observation_leaves_no_connection() -> None:
    async with serving(World()) as server:
        server.gate.close()
        inventory = cluster(server.endpoint.port)
        task = asyncio.create_task(Databases(inventory).sessions(SessionsOn(machine=MASTER)))
        while not server.clients:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.gate.open()
        await asyncio.wait_for(asyncio.gather(*server.serving, return_exceptions=True), 5)
        assert not server.clients


@asynccontextmanager
async def saying(words: bytes) -> AsyncIterator[int]:
    """Something else than a database server."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        writer.close()

    async with await asyncio.start_server(serve, ADDRESS, 0) as server:
        yield server.sockets[0].getsockname()[1]


def packet(payload: bytes, number: int = 0) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


OTHERS: dict[str, tuple[bytes, type[SystemTrouble]]] = {
    "closed": (b"", Transient),
    "cut off": (b"\x4a\x00\x00\x00\x0a10.11", Transient),
    "an SSH server": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" * 9, SystemTrouble),
    "a packet too short": (packet(b"\x0a8.0.36\0\x01"), NotUnderstood),
    "a version that is none": (packet(b"\x0anew\0" + bytes(60)), NotUnderstood),
    "a host that is blocked": (packet(b"\xff\x69\x04Host '10.0.0.1' is blocked"), Rejected),
    "too many connections": (packet(b"\xff\x10\x04Too many connections"), Transient),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_something_else_answers(what: str) -> None:
    words, kind = OTHERS[what]
    async with saying(words) as port:
        with pytest.raises(kind) as raised:
            await Databases(cluster(port)).sessions(SessionsOn(machine=MASTER))
    assert raised.value.machine == MASTER


def greeting(capabilities: int, plugin: bytes) -> bytes:
    """What MySQL 8 says first (protocol version 10)."""
    low, high = struct.pack("<H", capabilities & 0xFFFF), struct.pack("<H", capabilities >> 16)
    head = b"\x0a8.0.36\0" + struct.pack("<I", 9) + b"saltsalt\0" + low + b"\x2d\x02\x00" + high + b"\x15"
    return packet(head + bytes(10) + b"saltsaltsalt\0" + plugin + b"\0")


def deny_inside_of_tls(listener: socket.socket, certificate: ServerCertificate, times: int) -> None:
    """Speaks TLS as a database server begins it, and then denies access: whoever hears that has accepted it.

    With blocking sockets: streams would read the beginning of TLS together with the packet before it.
    """
    for _ in range(times):
        plain, _ = listener.accept()
        with suppress(OSError), plain:
            plain.settimeout(10)
            plain.sendall(greeting(0xFFFF_FFFF, b"mysql_native_password"))
            plain.recv(36, socket.MSG_WAITALL)
            with certificate.server_context().wrap_socket(plain, server_side=True) as inside:
                inside.recv(4096)
                inside.sendall(packet(b"\xff\x15\x04#28000Access denied, inside of TLS", 3))


async def test_tls_is_verified(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = CertificateAuthority(tmp_path)
    ca, other = str(authority.ca_file), str(CertificateAuthority(tmp_path_factory.mktemp("other")).ca_file)
    expected: list[tuple[dict[str, str], str]] = [
        ({"ca": ca}, "inside of TLS"),
        ({"ca": ca, "server_name": "db.example.com"}, "inside of TLS"),
        ({"ca": other}, "certificate verify failed"),
        ({"ca": ca, "server_name": "x.example.com"}, "certificate verify failed"),
    ]
    certificate = authority.issue(ADDRESS, name="db.example.com")
    with socket.create_server((ADDRESS, 0)) as listener:
        listener.settimeout(10)
        serving = asyncio.create_task(asyncio.to_thread(deny_inside_of_tls, listener, certificate, len(expected)))
        for tls, words in expected:
            databases = Databases(cluster(listener.getsockname()[1], tls=tls))
            with pytest.raises(Rejected, match=words):
                await databases.sessions(SessionsOn(machine=MASTER))
        await serving


def test_authorities_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    inventory = cluster(3306, tls={"ca": str(authority.ca_file)})
    databases, tls = Databases(inventory), inventory.database.tls
    assert tls

    first = databases._trust(MASTER, tls)
    assert databases._trust(MASTER, tls) is first
    authority.ca_file.write_text(authority.ca_file.read_text() * 2)
    assert databases._trust(MASTER, tls) is not first
    authority.ca_file.unlink()
    with pytest.raises(Rejected):
        databases._trust(MASTER, tls)


async def test_tls_that_is_wanted_is_never_left_out(tmp_path: Path) -> None:
    tls = {"ca": str(CertificateAuthority(tmp_path).ca_file)}
    async with serving(World()) as server:
        with pytest.raises(Rejected, match="no TLS"):
            await Databases(cluster(server.endpoint.port, tls=tls)).sessions(SessionsOn(machine=MASTER))


async def test_a_password_is_never_sent_in_clear() -> None:
    """A greeting whose method of authentication is the password itself."""
    async with saying(greeting(0xFFFF_FFFF & ~0x800, b"mysql_clear_password")) as port:
        with pytest.raises(Rejected, match="in clear"):
            await Databases(cluster(port)).sessions(SessionsOn(machine=MASTER))


async def test_a_probe_gets_a_row_or_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(World()) as server:
        port = server.endpoint.port
        databases = Databases(cluster(port))
        assert await databases.query(ADDRESS, port, "SELECT 1") == ""
        assert await databases.query(ADDRESS, port, "SELECT id FROM nothing") == "no row"
        assert "nowhere" in await databases.query(ADDRESS, port, "SELECT id FROM nowhere")
        monkeypatch.setenv("TEST_DATABASE_PASSWORD", "wrong")
        assert "denied" in await databases.query(ADDRESS, port, "SELECT 1")
        monkeypatch.delenv("TEST_DATABASE_PASSWORD")
        with pytest.raises(Rejected):
            await databases.query(ADDRESS, port, "SELECT 1")
    monkeypatch.setenv("TEST_DATABASE_PASSWORD", PASSWORD)
    assert await databases.query(ADDRESS, port, "SELECT 1")


async def test_an_error_of_the_server_that_is_not_known() -> None:
    with pytest.raises(NotUnderstood, match="1235"):
        await replication(World(trouble=SqlError(1235, "not simulated")))


def exceptions_of_the_library() -> list[type[Exception]]:
    classes = (thing for _, thing in inspect.getmembers(pymysql.err, inspect.isclass))
    return [cls for cls in classes if issubclass(cls, Exception) and issubclass(cls, pymysql.err.MySQLError)]


def test_the_library_has_exceptions() -> None:
    assert pymysql.err.OperationalError in exceptions_of_the_library()
    assert len(exceptions_of_the_library()) >= 11


@pytest.mark.parametrize("cls", exceptions_of_the_library())
@pytest.mark.parametrize("number", [0, 1045, 1227, 2003, 2013, 1064, 9999, -3])
def test_every_exception_of_the_library_is_mapped(cls: type[Exception], number: int) -> None:
    error = cls(number, "words of the server")
    assert isinstance(error, CAUGHT)
    trouble = translated("m", "SHOW PROCESSLIST", error, "PROCESS")
    expected: type[SystemTrouble] = NotUnderstood
    if number in DENIED | PRIVILEGE:
        expected = Rejected
    elif number in PASSING or issubclass(cls, pymysql.err.InterfaceError):
        expected = Transient
    assert type(trouble) is expected
    assert "words of the server" in trouble.seen


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), Transient),
        (ConnectionResetError(104, "reset"), Transient),
        (asyncio.IncompleteReadError(b"", 4), Transient),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), Rejected),
        (ssl.SSLError(1, "handshake failure"), Rejected),
        (struct.error("unpack requires a buffer of 4 bytes"), NotUnderstood),
        (IndexError("index out of range"), NotUnderstood),
        (AssertionError("Result length not requested length"), NotUnderstood),
        (ValueError("invalid literal for int()"), NotUnderstood),
        (RuntimeError("'cryptography' package is required"), NotUnderstood),
        (pymysql.err.OperationalError(), NotUnderstood),
        (pymysql.err.OperationalError("text alone"), NotUnderstood),
    ],
)
def test_exceptions_of_the_network_and_of_other_protocols(error: Exception, kind: type[SystemTrouble]) -> None:
    assert isinstance(error, CAUGHT)
    assert type(translated("m", "connect", error)) is kind


# --- cutting connections ----------------------------------------------------------------------------------------------

CUTTER = ALL | {"CONNECTION ADMIN"}
NOT_CUT = [
    Process(4, "event_scheduler", "localhost", "Daemon", 4000),
    *replication_threads(10, 11, io_state="Waiting for master to send event"),
    binlog_dump(40, "10.0.0.8:50000"),
    Process(50, "haproxy_check", "10.0.0.7:1", "Sleep"),
    Process(51, "acd", "10.0.0.9:1", "Sleep"),
    Process(52, "failover", "10.0.0.5:1", "Query"),
]
APP = [Process(number, "acd", f"10.0.0.1:{number}", "Sleep") for number in range(100, 170)]


async def cut(world: World) -> str:
    async with serving(world) as server:
        return await Databases(cluster(server.endpoint.port)).end_connections(EndConnections(machine=MASTER))


async def test_all_that_counts_as_a_session_is_cut_and_nothing_else() -> None:
    """Also those beyond the fifty that a fact shows; never another worker of this product."""
    world = World(CUTTER, threads=[*NOT_CUT, *APP])
    said = await cut(world)
    assert world.killed == [thread.thread_id for thread in APP]
    assert world.threads == NOT_CUT
    assert said.startswith("cut 70 of 71: 100 (acd@10.0.0.1:100), 101")


async def test_what_has_ended_meanwhile_is_no_trouble() -> None:
    world = World(CUTTER, threads=APP[:3], gone_with={100: (101,)})
    assert (await cut(world)).startswith("cut 2 of 3")
    assert world.threads == []
    assert await cut(World(CUTTER)) == "cut none of 0"


async def test_without_the_privilege_it_says_which() -> None:
    world = World(ALL, threads=APP[:2])
    with pytest.raises(Rejected) as refused:
        await cut(world)
    assert "You are not owner of thread 100" in refused.value.seen
    assert refused.value.next_step.startswith("GRANT CONNECTION ADMIN (MySQL: CONNECTION_ADMIN; SUPER before MariaDB")
    assert world.killed == []
