"""Probes, against real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from activities.errors import Rejected
from activities.probes import MAX_BODY, ProbeSystem
from inventory.models import Inventory
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint, HttpListener, free_port
from procedure.facts import ProbeFact
from procedure.subjects import ProbeOf
from tests.activities.cluster import reference

LOCAL = "127.0.0.1"


class Portal:
    """A web server whose answer is set."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.text = 200, "please login"
        self.peers: list[object] = []
        self.listener = HttpListener(Endpoint(LOCAL), self._serve, tls=tls)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.peers.append(request.transport.get_extra_info("peername") if request.transport else None)
        return web.Response(status=self.status, text=self.text, headers={"Location": "/elsewhere"})


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    made = Portal()
    await made.listener.start()
    yield made
    await made.listener.stop()


def inventory(**probe: object) -> Inventory:
    def change(raw: dict[str, Any]) -> None:
        raw["timings"]["connect"] = "500ms"
        raw["probes"] = [{"name": "it", **probe}]

    return reference(change)


class Elsewhere:
    """What answers commands and queries."""

    def __init__(self, why_not: str = "") -> None:
        self.why_not = why_not
        self.asked: list[tuple[object, ...]] = []

    async def __call__(self, *asked: object) -> str:
        self.asked.append(asked)
        return self.why_not


async def probed(elsewhere: Elsewhere | None = None, **probe: object) -> tuple[ProbeFact, str]:
    answers = elsewhere or Elsewhere()
    system = ProbeSystem(inventory(**probe), answers, answers)
    try:
        fact, source = await system.observe(ProbeOf(name="it"))
        assert isinstance(fact, ProbeFact)
        assert fact.ok is (not fact.detail)
        return fact, source
    finally:
        await system.close()


def url(portal: Portal, path: str = "/login") -> str:
    return f"http://{portal.listener.endpoint}{path}"


@pytest.mark.parametrize(
    ("status", "text", "expected", "detail"),
    [
        (200, "please login", {}, ""),
        (200, "please login", {"contains": "login"}, ""),
        (404, "", {"status": 404}, ""),
        (503, "sorry", {}, "status 503, expected 200"),
        (302, "", {}, "status 302, expected 200"),
        (200, "maintenance", {"contains": "login"}, "the page does not contain 'login'"),
        (503, "login", {"contains": "login"}, "status 503, expected 200"),
        (200, "x" * MAX_BODY + "login", {"contains": "login"}, "the page does not contain 'login'"),
    ],
)
async def test_http(portal: Portal, status: int, text: str, expected: dict[str, object], detail: str) -> None:
    portal.status, portal.text = status, text
    fact, _ = await probed(None, kind="http", url=url(portal), **expected)
    assert fact.detail == detail
    assert fact.milliseconds > 0


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "base64", "rot13", "no-such"])
async def test_http_a_charset_that_is_none(charset: str) -> None:
    async def serve(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"please login", headers={"Content-Type": f"text/html; charset={charset}"})

    listener = HttpListener(Endpoint(LOCAL), serve)
    await listener.start()
    fact, _ = await probed(None, kind="http", url=f"http://{listener.endpoint}/", contains="login")
    await listener.stop()
    assert fact.ok


async def test_http_nobody_there() -> None:
    fact, _ = await probed(kind="http", url=f"http://{LOCAL}:{free_port(LOCAL)}/")
    assert not fact.ok
    assert fact.detail.startswith("ConnectError")


async def test_http_no_answer(portal: Portal) -> None:
    portal.listener.gate.close()
    fact, _ = await probed(kind="http", url=url(portal))
    assert not fact.ok
    assert fact.milliseconds >= 400
    portal.listener.gate.open()


async def test_http_an_address_that_is_none() -> None:
    fact, _ = await probed(kind="http", url="http://nowhere:port/")
    assert not fact.ok
    assert "InvalidURL" in fact.detail


async def test_http_each_time_anew(portal: Portal) -> None:
    system = ProbeSystem(inventory(kind="http", url=url(portal)), Elsewhere(), Elsewhere())
    for _ in range(3):
        await system.observe(ProbeOf(name="it"))
    await system.close()
    assert len(set(portal.peers)) == 3, "an old connection ends at the host it began at"


async def test_http_certificates_are_verified(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    portal = Portal(tls=authority.issue(LOCAL, name="portal.example.com").server_context())
    await portal.listener.start()
    address = f"https://{portal.listener.endpoint}/"
    assert (await probed(kind="http", url=address, tls={"ca": str(authority.ca_file)}))[0].ok
    named = {"ca": str(authority.ca_file), "server_name": "portal.example.com"}
    assert (await probed(kind="http", url=address, tls=named))[0].ok
    other = {"ca": str(authority.ca_file), "server_name": "other.example.com"}
    assert "certificate" in (await probed(kind="http", url=address, tls=other))[0].detail
    assert "certificate" in (await probed(kind="http", url=address))[0].detail
    await portal.listener.stop()


async def test_http_the_source_holds_neither_user_nor_query(portal: Portal) -> None:
    address = f"http://user:hunter2@{portal.listener.endpoint}/login?token=hunter2"
    _, source = await probed(kind="http", url=address)
    assert source == f"probe it: GET http://{portal.listener.endpoint}/login"


async def test_tcp() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), LOCAL, 0)
    port = server.sockets[0].getsockname()[1]
    assert (await probed(kind="tcp", address=LOCAL, port=port))[0].ok
    server.close()
    await server.wait_closed()
    fact, source = await probed(kind="tcp", address=LOCAL, port=port)
    assert not fact.ok
    assert source == f"probe it: connect to {LOCAL} port {port}"


async def test_command() -> None:
    elsewhere = Elsewhere()
    fact, _ = await probed(elsewhere, kind="command", machine="acd-store1", command=["testparm", "-s"])
    assert fact.ok
    assert elsewhere.asked == [("acd-store1", ("testparm", "-s"))]
    fact, _ = await probed(Elsewhere("exit 1: no"), kind="command", machine="acd-store1", command=["testparm"])
    assert fact.detail == "exit 1: no"


async def test_sql() -> None:
    elsewhere = Elsewhere()
    fact, _ = await probed(elsewhere, kind="sql", address=LOCAL, port=3306)
    assert fact.ok
    assert elsewhere.asked == [(LOCAL, 3306, "SELECT 1")]


async def test_a_probe_that_cannot_be_made_is_unknown() -> None:
    class Denied(Elsewhere):
        async def __call__(self, *asked: object) -> str:
            raise Rejected("database", "access denied")

    with pytest.raises(Rejected):
        await probed(Denied(), kind="sql", address=LOCAL, port=3306)


async def test_what_takes_too_long_is_not_ok() -> None:
    class Hanging(Elsewhere):
        async def __call__(self, *asked: object) -> str:
            await asyncio.Event().wait()
            return ""

    fact, _ = await probed(Hanging(), kind="sql", address=LOCAL, port=3306)
    assert fact.detail == "no answer within 0.5 s"
