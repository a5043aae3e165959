"""Health endpoint: /healthz (the process and its loop are alive), /readyz (it can take on steps). JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

MAX_LAG = 5.0
"""Seconds the event loop may be late: heartbeats of 5 s would be missed then, and steps would run twice."""
_TICK = 0.5
_REQUEST_TIMEOUT = 5.0  # a client that says nothing is not waited for

Ready = Callable[[], Awaitable[dict[str, object]]]
"""Tells why it is ready or not; the key `ready` holds the answer."""


@dataclass
class Loop:
    """How late the event loop was lately, in seconds. One that hangs does not answer at all."""

    lag: float = 0.0

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_TICK)
            # It decays, so that one slow moment is seen by the next look and forgotten afterwards.
            self.lag = max(loop.time() - before - _TICK, self.lag * 0.8)


@dataclass(frozen=True)
class Health:
    """Answers two questions over HTTP."""

    loop: Loop
    ready: Ready

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen.

        Raises:
            OSError: the address is taken or not ours.
        """
        return await asyncio.start_server(self._answer, host, port)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                request = (await reader.readuntil(b"\r\n")).split()
                status, body = await self._look(request[1].decode("latin-1") if len(request) > 1 else "")
            payload = json.dumps(body).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode() + payload)
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked went away or does not speak HTTP
        finally:
            writer.close()

    async def _look(self, path: str) -> tuple[HTTPStatus, dict[str, object]]:
        if path not in ("/healthz", "/readyz"):
            return HTTPStatus.NOT_FOUND, {"allowed": ["/healthz", "/readyz"]}
        alive = self.loop.lag < MAX_LAG
        body: dict[str, object] = {"alive": alive, "loop_lag_seconds": round(self.loop.lag, 3)}
        good = alive
        if path == "/readyz":
            body |= await self.ready()
            good = alive and bool(body["ready"])
        return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body
