"""A real HAProxy of the lab: its states, its admin page and socket, its life and its end."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import select
import shutil
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lab.backends import HttpBackend, TcpBackend, VirtualAddress
from lab.balancer import AdminPage, Backend, Balancer, BalancerConfig, BalancerError, HealthCheck, Server
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint, free_port

BALANCER, WEB1, WEB2, DB1, DB2, VIP = (f"127.77.2.{n}" for n in (1, 11, 12, 21, 22, 100))
# Longer than any check needs; reached only when something is broken.
DEADLINE_SECONDS = 10.0
QUICK = HealthCheck(interval_ms=50)


@dataclass
class Site:
    balancer: Balancer
    web: list[HttpBackend]
    databases: list[TcpBackend]
    admin: AdminPage

    def bind(self, backend: str) -> Endpoint:
        return next(each.bind for each in self.balancer.config.backends if each.name == backend)

    async def states(self) -> dict[str, str]:
        text = await self.balancer.socket.command("show stat")
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return {f"{row['pxname']}/{row['svname']}": row["status"] for row in rows}

    async def reaches(self, server: str, wanted: Callable[[str], bool]) -> None:
        # HAProxy tells nobody when a state changes: it has to be asked.
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not wanted((await self.states())[server]):
            assert time.monotonic() < deadline, await self.states()


def config(web: list[HttpBackend], databases: list[TcpBackend], admin: AdminPage | None) -> BalancerConfig:
    return BalancerConfig(
        name="acd-lb1",
        admin_page=admin,
        check=QUICK,
        backends=[
            Backend(
                "web",
                Endpoint(BALANCER, free_port(BALANCER)),
                [Server(f"acd-jb{n}", backend.endpoint) for n, backend in enumerate(web, 1)],
            ),
            Backend(
                "db",
                Endpoint(BALANCER, free_port(BALANCER)),
                [Server(each.name, each.endpoint, backup=each.name == "acd-dbm2") for each in databases],
                mode="tcp",
            ),
        ],
    )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    web = [HttpBackend(Endpoint(WEB1), "jb1"), HttpBackend(Endpoint(WEB2), "jb2")]
    databases = [TcpBackend(Endpoint(DB1), "acd-dbm1"), TcpBackend(Endpoint(DB2), "acd-dbm2")]
    services: list[HttpBackend | TcpBackend] = [*web, *databases]
    for each in services:
        await each.start()
    admin = AdminPage(Endpoint(BALANCER, free_port(BALANCER)), "admin", 'p#ss w\\rd"$HOME')
    balancer = Balancer(config(web, databases, admin))
    await balancer.start()
    yield Site(balancer, web, databases, admin)
    await balancer.close()
    for each in services:
        await each.stop()


async def greeting(endpoint: Endpoint) -> str:
    reader, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
    line = await asyncio.wait_for(reader.readline(), DEADLINE_SECONDS)
    writer.close()
    return line.decode().strip()


def admin_client(site: Site) -> httpx.AsyncClient:
    auth = (site.admin.user, site.admin.password)
    return httpx.AsyncClient(base_url=f"http://{site.admin.bind}", auth=auth, trust_env=False)


async def test_requests_reach_the_servers_in_turn(site: Site) -> None:
    async with httpx.AsyncClient(base_url=f"http://{site.bind('web')}", trust_env=False) as client:
        answers = {(await client.get("/login", headers={"Connection": "close"})).text for _ in range(4)}
    assert answers == {"login jb1\n", "login jb2\n"}
    assert site.web[0].requests == 2


async def test_the_backup_takes_the_database_when_the_first_is_away(site: Site) -> None:
    assert await greeting(site.bind("db")) == "hello acd-dbm1"
    await site.databases[0].stop()
    await site.reaches("db/acd-dbm1", lambda status: status == "DOWN")
    assert await greeting(site.bind("db")) == "hello acd-dbm2"
    await site.databases[0].start()
    await site.reaches("db/acd-dbm1", lambda status: status == "UP")
    assert await greeting(site.bind("db")) == "hello acd-dbm1"


async def test_an_unhealthy_server_goes_down(site: Site) -> None:
    site.web[0].healthy = False
    await site.reaches("web/acd-jb1", lambda status: status == "DOWN")


async def test_the_socket_sets_maint_and_a_restart_forgets_it(site: Site) -> None:
    assert await site.balancer.socket.command("set server web/acd-jb1 state maint") == "\n"
    assert (await site.states())["web/acd-jb1"] == "MAINT"
    refused = await site.balancer.socket.command("set server web/nobody state maint")
    assert "No such server" in refused
    before = site.balancer.pid
    await site.balancer.restart()
    assert site.balancer.pid != before
    assert (await site.states())["web/acd-jb1"] != "MAINT"


async def test_the_admin_page_wants_its_password_and_sets_maint(site: Site) -> None:
    form = {"s": "acd-jb2", "action": "maint", "b": "web"}
    async with httpx.AsyncClient(base_url=f"http://{site.admin.bind}", trust_env=False) as stranger:
        assert (await stranger.get("/haproxy?stats;csv")).status_code == 401
    async with admin_client(site) as client:
        answer = await client.post("/haproxy?stats", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/haproxy?stats;st=DONE")
        csv_text = (await client.get("/haproxy?stats;csv")).text
    assert csv_text.startswith("# pxname,svname")
    assert (await site.states())["web/acd-jb2"] == "MAINT"


async def test_a_killed_balancer_refuses_and_comes_back(site: Site) -> None:
    await site.balancer.kill()
    assert not site.balancer.running
    with pytest.raises(ConnectionRefusedError):
        await greeting(site.bind("db"))
    with pytest.raises(OSError, match=r"refused|No such file"):
        await site.balancer.socket.command("show info")
    await site.balancer.start()
    assert await greeting(site.bind("db")) == "hello acd-dbm1"


async def test_a_graceful_end_waits_for_the_last_session(site: Site) -> None:
    reader, writer = await asyncio.open_connection(site.bind("db").address, site.bind("db").port)
    await reader.readline()
    ending = asyncio.create_task(site.balancer.end_gracefully())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await greeting(site.bind("db"))
            except OSError:
                break
    assert not ending.done()
    writer.write(b"still here\n")
    assert await reader.readline() == b"still here\n"
    writer.close()
    await asyncio.wait_for(ending, DEADLINE_SECONDS)
    assert not site.balancer.running


async def test_the_admin_page_over_tls(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    admin = AdminPage(Endpoint(BALANCER, free_port(BALANCER)), "admin", "secret", certificate=authority.issue(BALANCER))
    backend = TcpBackend(Endpoint(DB1, free_port(DB1)), "acd-dbm1")
    balancer = Balancer(config([HttpBackend(Endpoint(WEB1, free_port(WEB1)), "jb1")], [backend], admin))
    await balancer.start()
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    async with httpx.AsyncClient(verify=context, auth=("admin", "secret"), trust_env=False) as client:
        assert (await client.get(f"https://{admin.bind}/haproxy?stats;csv")).status_code == 200
    await balancer.close()


async def test_a_taken_port_is_named(site: Site) -> None:
    second = Balancer(site.balancer.config)
    with pytest.raises(BalancerError, match="cannot bind socket"):
        await second.start()
    await second.close()


async def test_a_password_that_can_t_be_written_is_refused() -> None:
    admin = AdminPage(Endpoint(BALANCER, 1), "admin", "it's")
    with pytest.raises(ValueError, match="single quote") as refused:
        config([], [], admin).text(Path("/tmp/x"))
    assert "it's" not in str(refused.value) + repr(admin)


async def test_files_are_gone_and_private(site: Site) -> None:
    directory = site.balancer.socket.path.parent
    assert len(str(site.balancer.socket.path)) < 100
    assert (directory / "haproxy.cfg").stat().st_mode & 0o077 == 0
    assert site.admin.password.encode() not in await asyncio.to_thread(command_line, site.balancer.pid)
    await site.balancer.close()
    assert not directory.exists()


def command_line(pid: int | None) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


ORPHAN = """
import asyncio, sys
from lab.balancer import *
from lab.listening import Endpoint, free_port
async def main():
    bind = Endpoint("127.77.2.1", free_port("127.77.2.1"))
    balancer = Balancer(BalancerConfig("orphan", [Backend("db", bind, [Server("a", bind)], mode="tcp")]))
    await balancer.start()
    print(balancer.pid, balancer.socket.path.parent, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_it_dies_with_its_parent_however_that_ends() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", ORPHAN, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    pid, directory = (await asyncio.wait_for(parent.stdout.readline(), DEADLINE_SECONDS)).split()
    handle = os.pidfd_open(int(pid))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    ended, _, _ = await asyncio.to_thread(select.select, [handle], [], [], DEADLINE_SECONDS)
    os.close(handle)
    await asyncio.to_thread(shutil.rmtree, directory)
    assert ended


async def test_the_virtual_address_follows_its_owner() -> None:
    first, second = TcpBackend(Endpoint(DB1), "first"), TcpBackend(Endpoint(DB2), "second")
    await first.start()
    await second.start()
    address = VirtualAddress(VIP, {"db": 0})
    service = address.endpoint("db")
    with pytest.raises(ConnectionRefusedError):
        await greeting(service)
    await address.move_to({"db": first.endpoint})
    reader, writer = await asyncio.open_connection(service.address, service.port)
    assert await reader.readline() == b"hello first\n"
    await address.move_to({"db": second.endpoint})
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert await greeting(service) == "hello second"
    await second.stop()
    reader2, writer2 = await asyncio.open_connection(service.address, service.port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader2.readexactly(1)
    await address.withdraw()
    with pytest.raises(ConnectionRefusedError):
        await greeting(service)
    assert not address.owned
    for each in (writer, writer2):
        each.close()
    await first.stop()


async def test_a_former_owner_may_keep_stale_connections() -> None:
    backend = TcpBackend(Endpoint(DB1), "first")
    await backend.start()
    address = VirtualAddress(VIP, {"db": 0})
    await address.move_to({"db": backend.endpoint})
    service = address.endpoint("db")
    reader, writer = await asyncio.open_connection(service.address, service.port)
    await reader.readline()
    await address.withdraw(leave_stale=True)
    assert (address.connections, address.stale_connections, backend.connections) == (0, 1, 1)
    address.close_stale()
    await asyncio.wait_for(backend.left_alone(), DEADLINE_SECONDS)
    writer.close()
    await backend.stop()
