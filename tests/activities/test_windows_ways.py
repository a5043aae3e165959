from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from winrm.protocol import Protocol

from activities.errors import Rejected
from activities.windows import Windows
from activities.windows_ways import KeptWays, Way
from lab.certificates import CertificateAuthority
from lab.winrm import WinRmServer
from tests.activities.windows_server import MACHINE, WindowsSite, WindowsWithServices


@dataclass
class Entered:
    """A Windows machine, its server, and the product's way to it."""

    site: WindowsSite
    server: WinRmServer
    windows: Windows

    async def state(self) -> str:
        return (await self.windows.service(MACHINE, "robot5")).state


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=["ntlm", "basic", "ntlm over HTTP"])
async def entered(
    request: pytest.FixtureRequest, tmp_path: Path, authority: CertificateAuthority
) -> AsyncIterator[Entered]:
    machine = WindowsWithServices({"robot5": ("8-Server", 4)})
    transport, _, over_http = request.param.partition(" ")
    site = WindowsSite(tmp_path, authority, machine, https=not over_http, transport=transport)
    server = site.server()
    await server.start()
    windows = Windows(site.inventory(server.endpoint.port))
    yield Entered(site, server, windows)
    await windows.close()
    await server.stop()


async def test_one_call_after_the_other(entered: Entered) -> None:
    for state, number in (("running", 4), ("running", 4), ("stopped", 1)):
        entered.site.machine.services["robot5"] = ("8-Server", number)
        assert await entered.state() == state
    assert (entered.server.connections, entered.server.open_shells) == (1, 0)
    await asyncio.gather(*(entered.state() for _ in range(3)))
    assert entered.server.connections == 3


async def test_one_that_has_ended_meanwhile_is_made_anew(entered: Entered) -> None:
    await entered.state()
    await entered.server.stop()
    await entered.server.start()
    entered.site.machine.ran.clear()
    assert await entered.state() == "running"
    assert len(entered.site.machine.ran) == 1


async def test_a_changed_password_counts_at_once(entered: Entered) -> None:
    await entered.state()
    entered.site.inventory(entered.server.endpoint.port, password="another")
    with pytest.raises(Rejected):
        await entered.state()
    entered.site.inventory(entered.server.endpoint.port)
    assert await entered.state() == "running"


async def test_a_logon_that_is_refused_is_not_tried_again(entered: Entered) -> None:
    """An account may be locked after a few of them."""
    await entered.state()
    await entered.server.stop()
    entered.server = entered.site.server(port=entered.server.endpoint.port, password="another")
    await entered.server.start()
    with pytest.raises(Rejected):
        await entered.state()
    by_kept = entered.server.rejected
    with pytest.raises(Rejected):
        await entered.state()
    assert entered.server.rejected == 2 * by_kept


async def test_one_whose_call_was_given_up_is_not_used_again(entered: Entered) -> None:
    machine = entered.site.machine
    machine.hangs = True
    running = asyncio.create_task(entered.state())
    await machine.started.wait()
    running.cancel()
    await asyncio.wait([running])
    await asyncio.wait_for(machine.ended.wait(), 20)
    machine.hangs = False
    assert await entered.state() == "running"
    assert entered.server.connections == 2


def _way(closed: asyncio.Event) -> Way:
    way = Way(Protocol("http://127.0.0.1/wsman", transport="ntlm", username="failover", password="known"))
    way.close = closed.set  # type: ignore[method-assign]  # seen instead of done
    return way


async def test_one_that_waits_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.windows_ways.KEPT", timedelta(0))
    ways, closed = KeptWays(), asyncio.Event()
    ways.keep(MACHINE, _way(closed))
    await asyncio.wait_for(closed.wait(), 5)
    assert ways.take(MACHINE, "known") is None


async def test_one_that_comes_when_all_are_closed_is_closed_too() -> None:
    ways, before, after = KeptWays(), asyncio.Event(), asyncio.Event()
    ways.keep(MACHINE, _way(before))
    ways.close()
    ways.keep(MACHINE, _way(after))
    assert before.is_set()
    assert after.is_set()
