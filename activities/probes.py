"""Probes: does the system work for those who use it?

A probe that gets no answer, or another one, is a fact: *not ok*, with the reason. It is unknown only where the probe
itself can't be made, for example without the password.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, assert_never

import httpx

from activities.errors import shortened
from activities.hands import Act, Observe, Observed
from activities.web import CAUGHT, beginning, client, decoded, extensions, reason, untrusted
from inventory.models import CommandProbe, HttpProbe, Inventory, Probe, SqlProbe, TcpProbe
from procedure.facts import ProbeFact
from procedure.subjects import ProbeOf

MAX_BODY: Final = 1_048_576
"""Bytes of a page in which the wanted text is looked for: a login page is a hundredth of it."""

_USER_OR_QUERY: Final = re.compile(r"(?<=//)[^/]*@|[?#].*", re.DOTALL)

RunCommand = Callable[[str, tuple[str, ...]], Awaitable[str]]
"""Runs a command on a machine. It returns why it did not exit with 0; empty if it did."""
RunQuery = Callable[[str, int, str], Awaitable[str]]
"""Runs a query at an address and port. It returns why there was no row; empty if there was one."""


class ProbeSystem:
    """The probes of an inventory."""

    def __init__(self, inventory: Inventory, run_command: RunCommand, run_query: RunQuery) -> None:
        self._inventory = inventory
        self._probes = {probe.name: probe for probe in inventory.probes}
        self._run_command = run_command
        self._run_query = run_query
        self._clients: dict[str, httpx.AsyncClient] = {}

    def observers(self) -> dict[type[Any], Observe]:
        """`ProbeOf`."""
        return {ProbeOf: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """None: a probe changes nothing."""
        return {}

    async def close(self) -> None:
        """Close connections."""
        for open_client in self._clients.values():
            await open_client.aclose()
        self._clients.clear()

    async def observe(self, subject: ProbeOf) -> Observed:
        """Probe once, for at most the inventory's time to connect.

        Raises:
            SystemTrouble: the probe can't be made.
        """
        probe = self._probes[subject.name]
        began = time.monotonic()
        patience = self._inventory.timings.connect.total_seconds()
        try:
            async with asyncio.timeout(patience):
                why_not = await self._why_not(probe)
        except TimeoutError:
            why_not = f"no answer within {patience:g} s"
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        fact = ProbeFact(ok=not why_not, detail=shortened(why_not), milliseconds=milliseconds)
        return fact, f"probe {probe.name}: {_asked(probe)}"

    async def _why_not(self, probe: Probe) -> str:
        """Why a probe is not as it should be; empty if it is."""
        match probe:
            case HttpProbe():
                return await self._http(probe)
            case TcpProbe():
                return await _tcp(probe)
            case SqlProbe():
                return await self._run_query(probe.address, probe.port, probe.query)
            case CommandProbe():
                return await self._run_command(probe.machine, probe.command)
            case _:
                assert_never(probe)

    async def _http(self, probe: HttpProbe) -> str:
        try:
            async with self._client(probe).stream("GET", probe.url, extensions=extensions(probe.tls)) as answer:
                if answer.status_code != probe.status:
                    return f"status {answer.status_code}, expected {probe.status}"
                if probe.contains is None:
                    return ""
                text = decoded((await beginning(answer, MAX_BODY))[:MAX_BODY], answer.charset_encoding)
        except CAUGHT as error:
            if untrusted(error):
                # Made anew at the next try: what it knows of certificates may have been corrected by then.
                self._clients.pop(probe.name, None)  # it keeps no connection
            return reason(error)
        return "" if probe.contains in text else f"the page does not contain {probe.contains!r}"

    def _client(self, probe: HttpProbe) -> httpx.AsyncClient:
        if probe.name not in self._clients:
            # A new connection each time, as a new caller would make: an old one still ends at the host it began at.
            self._clients[probe.name] = client(
                probe.name, tls=probe.tls, timeout=self._inventory.timings.connect, keep_connections=False
            )
        return self._clients[probe.name]


async def _tcp(probe: TcpProbe) -> str:
    try:
        _, writer = await asyncio.open_connection(probe.address, probe.port)
    except OSError as error:
        return error.strerror or type(error).__name__
    writer.close()
    return ""


def _asked(probe: Probe) -> str:
    """What is asked of whom, without what an address may hold besides: user, password, query."""
    match probe:
        case HttpProbe():
            return f"GET {_USER_OR_QUERY.sub('', probe.url)}"
        case TcpProbe():
            return f"connect to {probe.address} port {probe.port}"
        case SqlProbe():
            return f"{probe.query} at {probe.address} port {probe.port}"
        case CommandProbe():
            return f"{' '.join(probe.command)} on {probe.machine}"
        case _:
            assert_never(probe)
