"""A real HAProxy, read and set by its admin page and by its runtime socket."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.completed import Completed
from activities.errors import NotUnderstood, Permanent, Rejected, SystemTrouble, Transient
from activities.haproxy import MAX_SERVERS, SHOWN, HaproxySystem, bounded, forms
from activities.haproxy_answers import read_servers_state, read_stat
from activities.shell import KEEP
from inventory.models import Inventory
from lab.balancer import AdminPage, Backend, Balancer, BalancerConfig, Server
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint, free_port
from procedure.facts import BalancerFact, ServerState
from procedure.instructions import EndServerSessions, SetServers
from procedure.subjects import BalancerOn
from tests.activities.cluster import machine, reference

ADDRESS = "127.77.3.1"
LB = "acd-lb1"
PASSWORD = "PAGE-SECRET-93"
BACKENDS = {"web": [f"acd-jb{number}" for number in range(1, 7)], "db": ["acd-dbm1", "acd-dbm2"]}


class Machine:
    """Stands for SSH on the load balancer: socat on the real socket, and systemctl as the process is."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.asked: list[str] = []
        self.trouble: SystemTrouble | None = None

    async def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - the signature of the real one
        stdin: str | None = None,
        keep: int = KEEP,
    ) -> Completed:
        line = " ".join(argv)
        self.asked.append(line)
        if self.trouble:
            raise self.trouble
        if argv[0] == "systemctl":
            active = self.balancer.running
            return Completed(machine, line, 0 if active else 3, "active\n" if active else "inactive\n", "")
        return await self._socat(machine, line, argv[-1].partition(":")[2], stdin or "")

    async def _socat(self, machine: str, line: str, path: str, stdin: str) -> Completed:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError as error:
            return Completed(machine, line, 1, "", f"socat: {errno.errorcode[error.errno or 0]} {error.strerror}\n")
        writer.write(stdin.encode())
        out = (await reader.read()).decode()
        writer.close()
        return Completed(machine, line, 0, out, "")


class Site:
    """One load balancer with a real HAProxy, and the system that reads and sets it."""

    def __init__(self, directory: Path, *, tls: bool = False) -> None:
        self.authority = CertificateAuthority(directory)
        certificate = self.authority.issue(ADDRESS, name="lb.example.com") if tls else None
        self.port = free_port(ADDRESS)
        backends = [
            Backend(name, Endpoint(ADDRESS, free_port(ADDRESS)), servers, "tcp" if name == "db" else "http")
            for name, servers in self._servers().items()
        ]
        page = AdminPage(Endpoint(ADDRESS, self.port), "failover", PASSWORD, certificate=certificate)
        self.tls = tls
        self.balancer = Balancer(BalancerConfig(LB, backends, page))
        self.machine = Machine(self.balancer)

    def _servers(self) -> dict[str, list[Server]]:
        return {
            name: [Server(server, Endpoint(ADDRESS, free_port(ADDRESS)), server == "acd-dbm2") for server in servers]
            for name, servers in BACKENDS.items()
        }

    @asynccontextmanager
    async def session(self, server: str) -> AsyncIterator[asyncio.StreamReader]:
        """A client that stays connected to a server of the database backend."""
        backend = next(b for b in self.balancer.config.backends if b.name == "db")
        behind = next(s.endpoint for s in backend.servers if s.name == server)

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(hold, behind.address, behind.port):
            await self._until(server, lambda state: state.up)
            reader, writer = await asyncio.open_connection(backend.bind.address, backend.bind.port)
            await self._until(server, lambda state: state.sessions == 1)
            yield reader
            writer.close()

    async def _until(self, server: str, holds: Callable[[ServerState], bool]) -> None:
        async with asyncio.timeout(20):
            # HAProxy tells nobody: it is asked.
            while not any(holds(s) for s in await self.states() if s.server == server):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def states(self) -> tuple[ServerState, ...]:
        """What HAProxy itself says."""
        return read_stat(LB, await self.balancer.socket.command("show stat"))

    def inventory(self, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Inventory:
        def here(raw: dict[str, Any]) -> None:
            machine(raw, LB)["address"] = ADDRESS
            haproxy = raw["haproxy"]
            haproxy["backends"] = [b for b in haproxy["backends"] if b["name"] in BACKENDS]
            haproxy["admin_page"] |= {"port": self.port, "password": "env:TEST_HAPROXY_PASSWORD"}
            haproxy["admin_page"]["tls"] = {"ca": str(self.authority.ca_file)} if self.tls else None
            haproxy["socket"] = {"path": str(self.balancer.socket.path)}
            change(haproxy)

        return reference(here)

    @asynccontextmanager
    async def system(self, change: Callable[[dict[str, Any]], object] = lambda _: None) -> AsyncIterator[HaproxySystem]:
        system = HaproxySystem(self.inventory(change), self.machine)
        yield system
        await system.close()


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HAPROXY_PASSWORD", PASSWORD)


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    site = Site(tmp_path_factory.mktemp("haproxy"))
    await site.balancer.start()
    yield site
    await site.balancer.close()


@pytest.fixture(autouse=True)
async def _everything_ready(site: Site) -> None:
    await site.balancer.start()
    site.machine.asked.clear()
    site.machine.trouble = None
    for backend, servers in BACKENDS.items():
        for server in servers:
            await site.balancer.socket.command(f"set server {backend}/{server} state ready")


def by_page(raw: dict[str, Any]) -> None:
    raw["change_by"] = "admin_page"


def by_socket(raw: dict[str, Any]) -> None:
    raw["change_by"] = "socket"
    raw["admin_page"] = None


WAYS = pytest.mark.parametrize("way", [by_page, by_socket])
Way = Callable[[dict[str, Any]], None]


async def seen(system: HaproxySystem) -> BalancerFact:
    fact, _ = await system.observe(BalancerOn(machine=LB))
    assert isinstance(fact, BalancerFact)
    return fact


def set_to(state: str, *servers: str, backend: str = "web") -> SetServers:
    return SetServers.model_validate({"balancer": LB, "backend": backend, "servers": servers, "state": state})


@WAYS
async def test_every_server_of_every_backend_is_read(site: Site, way: Way) -> None:
    async with site.system(way) as system:
        fact, source = await system.observe(BalancerOn(machine=LB))
    assert isinstance(fact, BalancerFact)
    assert {name: [server.server for server in fact.of(name)] for name in BACKENDS} == BACKENDS
    assert [server.backup for server in fact.of("db")] == [False, True]
    assert {server.admin for server in fact.servers} == {"ready"}
    assert PASSWORD not in source


@WAYS
@pytest.mark.parametrize("state", ["maint", "drain", "ready"])
async def test_only_the_named_servers_are_set(site: Site, way: Way, state: str) -> None:
    async with site.system(way) as system:
        first = await system.set_servers(set_to(state, "acd-jb1", "acd-jb3"))
        fact = await seen(system)
        again = await system.set_servers(set_to(state, "acd-jb1", "acd-jb3"))
    assert await truth(site) == {
        (backend, server): state if server in ("acd-jb1", "acd-jb3") else "ready"
        for backend, servers in BACKENDS.items()
        for server in servers
    }
    assert first
    assert again
    if way is by_socket or state != "drain":
        # The page shows DOWN for a drained server that is down, and no server answers its checks here.
        assert {(s.backend, s.server): s.admin for s in fact.servers} == await truth(site)


async def truth(site: Site) -> dict[tuple[str, str], str]:
    """What HAProxy itself says was set."""
    states = read_servers_state(LB, await site.balancer.socket.command("show servers state"))
    return {server: admin for server, (admin, _) in states.items()}


async def test_many_servers_go_in_several_forms_that_haproxy_takes(site: Site) -> None:
    many = tuple(f"acd-jb{number}" for number in range(1, 7)) * 60
    assert len(list(forms("web", many, "maint"))) > 1
    async with site.system(by_page) as system:
        await system.set_servers(set_to("maint", *many))
        assert {server.admin for server in (await seen(system)).of("web")} == {"maint"}


def test_servers_of_other_backends_are_left_out_but_never_a_kind_of_them() -> None:
    inventory = reference(lambda _: None)
    own = ServerState(backend="web", server="acd-jb1", status="UP", admin="ready", up=True)
    other = [own.model_copy(update={"backend": "shop", "server": f"s{number}"}) for number in range(12_000)]
    other[-1] = other[-1].model_copy(update={"sessions": 1})
    other[-2] = other[-2].model_copy(update={"up": False, "status": "DOWN"})

    fact = bounded(LB, inventory, (*other, own))

    assert fact.of("web") == (own,)
    assert {s.server for s in fact.of("shop")} == {*(f"s{number}" for number in range(SHOWN)), "s11998", "s11999"}
    assert fact.left_out == 12_000 - SHOWN - 2


def test_no_server_of_a_backend_of_the_inventory_is_left_out() -> None:
    own = ServerState(backend="web", server="acd-jb1", status="UP", admin="ready", up=True)
    many = tuple(own.model_copy(update={"server": f"s{number}"}) for number in range(MAX_SERVERS))
    assert bounded(LB, reference(lambda _: None), many).servers == many
    with pytest.raises(NotUnderstood):
        bounded(LB, reference(lambda _: None), (*many, own))


def test_a_form_names_its_servers_one_backend_and_the_action() -> None:
    assert list(forms("web", ("acd-jb1", "acd-jb2"), "maint")) == ["s=acd-jb1&s=acd-jb2&action=maint&b=web"]
    assert list(forms("web", (), "maint")) == []


@WAYS
async def test_sessions_with_the_named_servers_are_cut_and_no_others(site: Site, way: Way) -> None:
    ends = EndServerSessions(balancer=LB, backend="db", servers=("acd-dbm1",))
    async with site.system(way) as system, site.session("acd-dbm1") as stuck:
        assert [s.server for s in (await seen(system)).servers if s.sessions] == ["acd-dbm1"]
        await system.end_sessions(ends.model_copy(update={"servers": ("acd-dbm2",)}))
        await system.end_sessions(ends.model_copy(update={"backend": "web", "servers": ("acd-jb1",)}))
        assert [s.server for s in (await seen(system)).servers if s.sessions] == ["acd-dbm1"]

        assert await system.end_sessions(ends)
        assert await asyncio.wait_for(stuck.read(), 5) == b""
        assert not [s for s in (await seen(system)).servers if s.sessions]
        with pytest.raises(Permanent):
            await system.end_sessions(ends.model_copy(update={"servers": ("nosuch",)}))


async def test_no_second_command_gets_onto_the_socket_with_sessions_to_cut(site: Site) -> None:
    ends = EndServerSessions(balancer=LB, backend="db", servers=("acd-dbm1;disable frontend db",))
    async with site.system(by_socket) as system:
        with pytest.raises(NotUnderstood):
            await system.end_sessions(ends)
    assert site.machine.asked == []


@WAYS
async def test_an_unknown_server_is_told(site: Site, way: Way) -> None:
    async with site.system(way) as system:
        with pytest.raises(Permanent):
            await system.set_servers(set_to("maint", "nosuch"))
        with pytest.raises(Permanent):
            await system.set_servers(set_to("maint", "acd-jb1", backend="nosuch"))


async def test_no_second_command_gets_onto_the_socket(site: Site) -> None:
    async with site.system(by_socket) as system:
        with pytest.raises(NotUnderstood):
            await system.set_servers(set_to("maint", "acd-jb1;shutdown frontend fe_web"))
    assert site.machine.asked == []


@WAYS
async def test_a_server_of_the_inventory_that_haproxy_does_not_list(site: Site, way: Way) -> None:
    def more(raw: dict[str, Any]) -> None:
        way(raw)
        raw["backends"][0]["servers"]["acd-jb9"] = "acd-jb1"

    async with site.system(more) as system:
        with pytest.raises(NotUnderstood, match="acd-jb9"):
            await seen(system)


@WAYS
async def test_a_stopped_haproxy_is_seen_as_stopped(site: Site, way: Way) -> None:
    await site.balancer.stop()
    async with site.system(way) as system:
        assert await seen(system) == BalancerFact(running=False)
        with pytest.raises(Transient):
            await system.set_servers(set_to("maint", "acd-jb1"))


@WAYS
async def test_nobody_listening_alone_proves_nothing(site: Site, way: Way) -> None:
    await site.balancer.stop()
    async with site.system(way) as system:
        site.machine.trouble = Transient(LB, "no SSH")
        with pytest.raises(Transient):
            await seen(system)


async def test_a_page_bound_elsewhere_is_read_by_the_socket(site: Site) -> None:
    def elsewhere(raw: dict[str, Any]) -> None:
        raw["admin_page"]["port"] = free_port(ADDRESS)

    async with site.system(elsewhere) as system:
        fact = await seen(system)
    assert fact.running
    assert fact.servers


async def test_a_running_unit_with_nobody_listening_is_unknown(site: Site) -> None:
    def elsewhere(raw: dict[str, Any]) -> None:
        raw["admin_page"]["port"] = free_port(ADDRESS)
        raw["socket"] = None

    async with site.system(elsewhere) as system:
        with pytest.raises(Transient, match="active"):
            await seen(system)


@pytest.mark.parametrize("act", [False, True])
async def test_a_wrong_password_is_rejected_and_never_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, act: bool
) -> None:
    monkeypatch.setenv("TEST_HAPROXY_PASSWORD", "WRONG-SECRET-77")
    async with site.system(by_page) as system:
        with pytest.raises(Rejected) as raised:
            await (system.set_servers(set_to("maint", "acd-jb1")) if act else seen(system))
    assert "password" in raised.value.next_step
    assert "WRONG-SECRET-77" not in str(raised.value)


async def test_another_page_is_not_understood(site: Site) -> None:
    def other(raw: dict[str, Any]) -> None:
        raw["admin_page"]["path"] = "/somewhere"

    async with site.system(other) as system:
        with pytest.raises(SystemTrouble) as raised:
            await seen(system)
    assert raised.value.trouble in ("transient", "not understood")


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that answers every connection with the same bytes, and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, ADDRESS, 0) as server:
        yield server.sockets[0].getsockname()[1]


BROKEN: dict[str, tuple[bytes, type[SystemTrouble]]] = {
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", SystemTrouble),
    "an empty page": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", NotUnderstood),
    "cut off": (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n# pxname,", Transient),
    "closed": (b"", Transient),
    "busy": (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", Transient),
    "forbidden": (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", Rejected),
    "elsewhere": (b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", NotUnderstood),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_page_that_is_broken(site: Site, what: str) -> None:
    answer, kind = BROKEN[what]
    async with answering(answer) as port, site.system(lambda raw: raw["admin_page"].update(port=port)) as system:
        with pytest.raises(kind):
            await seen(system)


async def test_a_page_without_end_is_not_read_to_the_end(site: Site) -> None:
    endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"x" * 5_000_000
    async with answering(endless) as port, site.system(lambda raw: raw["admin_page"].update(port=port)) as system:
        with pytest.raises(NotUnderstood, match="more than"):
            await seen(system)


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, tls=True)
    await site.balancer.start()
    yield site
    await site.balancer.close()


async def test_tls_is_verified_by_the_authority_and_the_name(
    encrypted: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = CertificateAuthority(tmp_path_factory.mktemp("other")).ca_file
    good: list[Callable[[dict[str, Any]], object]] = [
        lambda raw: None,
        lambda raw: raw["admin_page"]["tls"].update(server_name="lb.example.com"),
    ]
    bad: list[Callable[[dict[str, Any]], object]] = [
        lambda raw: raw["admin_page"]["tls"].update(ca=str(other)),
        lambda raw: raw["admin_page"]["tls"].update(server_name="other.example.com"),
    ]
    for change in good:
        async with encrypted.system(change) as system:
            assert (await seen(system)).servers
            await system.set_servers(set_to("maint", "acd-jb1"))
    for change in bad:
        async with encrypted.system(change) as system:
            with pytest.raises(Rejected, match="certificate"):
                await seen(system)


SOCAT: dict[str, tuple[tuple[int, str, str], type[SystemTrouble]]] = {
    "no socat": ((127, "", "bash: socat: command not found\n"), Rejected),
    "no rights": ((1, "", 'socat[1] E connect(5, AF=1 "/run/x", 20): Permission denied\n'), Rejected),
    "something else": ((1, "", "socat: E exactly 2 addresses required\n"), NotUnderstood),
    "nothing": ((0, "", ""), NotUnderstood),
}


@pytest.mark.parametrize("what", SOCAT)
async def test_what_socat_says(site: Site, what: str) -> None:
    (status, out, err), kind = SOCAT[what]

    class Saying(Machine):
        async def _socat(self, machine: str, line: str, path: str, stdin: str) -> Completed:
            return Completed(machine, line, status, out, err)

    system = HaproxySystem(site.inventory(by_socket), Saying(site.balancer))
    with pytest.raises(kind):
        await seen(system)
