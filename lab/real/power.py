"""The power controller of the real lab: what a VM-Host's hypervisor and the fence agents ask. It really cuts the power.

One line in, one line out: `status HOST`, `on HOST`, `cut HOST`, `ping`. It stands at the first site, beside the machine
itself: with the line between the sites cut, the second site can't reach it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

_PATIENCE_SECONDS = 30.0


class Powered(Protocol):
    """Something with a power supply."""

    @property
    def on(self) -> bool:
        """Whether it has power."""

    async def power_on(self) -> None:
        """Switch it on; returns when it boots."""

    async def cut(self) -> None:
        """Take its power away."""


class PowerController:
    """Listens for orders."""

    def __init__(self, address: str, port: int, outlets: Mapping[str, Powered]) -> None:
        self._address = address
        self._port = port
        self._outlets = outlets
        self._server: asyncio.Server | None = None
        self.orders: list[tuple[str, str]] = []
        """Peer and line of everything that changed something."""

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._serve, self._address, self._port)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str(writer.get_extra_info("peername")[0])
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                line = (await reader.readline()).decode(errors="replace").strip()
                writer.write(f"{await self._answer(peer, line)}\n".encode())
                await writer.drain()
        except (TimeoutError, OSError):
            pass  # Whoever asked no longer listens, and believes nothing without an answer.
        finally:
            writer.close()

    async def _answer(self, peer: str, line: str) -> str:
        order, _, name = line.partition(" ")
        if order == "ping":
            return "pong"
        outlet = self._outlets.get(name)
        if outlet is None:
            return "unknown"
        if order in ("on", "cut"):
            self.orders.append((peer, line))
            await (outlet.power_on() if order == "on" else outlet.cut())
        return "on" if outlet.on else "off"
