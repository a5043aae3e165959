"""The health endpoint over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from worker.health import MAX_LAG, Health, Loop


@asynccontextmanager
async def serving(loop: Loop, *, ready: bool = True) -> AsyncIterator[int]:
    async def tell() -> dict[str, object]:
        return {"ready": ready, "cluster": "acd"}

    server = await Health(loop, tell).serve("127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int, request: bytes) -> tuple[int, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


async def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    return await ask(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_ready_and_alive() -> None:
    async with serving(Loop()) as port:
        assert await get(port, "/healthz") == (200, {"alive": True, "loop_lag_seconds": 0.0})
        assert await get(port, "/readyz") == (
            200,
            {"alive": True, "loop_lag_seconds": 0.0, "ready": True, "cluster": "acd"},
        )


async def test_alive_but_not_ready() -> None:
    async with serving(Loop(), ready=False) as port:
        assert (await get(port, "/healthz"))[0] == 200
        assert (await get(port, "/readyz"))[0] == 503


async def test_a_loop_that_lags_is_neither() -> None:
    async with serving(Loop(lag=MAX_LAG + 1)) as port:
        assert (await get(port, "/healthz"))[0] == 503
        assert (await get(port, "/readyz"))[0] == 503


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\n", b"\r\n", b"GET\r\n", b"\xff\xfe /x\r\n"])
async def test_anything_else_is_not_found(request_line: bytes) -> None:
    async with serving(Loop()) as port:
        assert (await ask(port, request_line + b"\r\n"))[0] == 404


async def test_who_goes_away_or_never_ends_does_no_harm() -> None:
    async with serving(Loop()) as port:
        _, gone = await asyncio.open_connection("127.0.0.1", port)
        gone.write(b"GET /heal")
        gone.close()
        endless, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 200_000)
        with contextlib.suppress(ConnectionResetError):  # the server hung up on unread data
            assert await endless.read() == b""
        writer.close()
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_blocked_loop_is_noticed() -> None:
    loop = Loop()
    watching = asyncio.create_task(loop.watch())
    await asyncio.sleep(0)
    time.sleep(0.8)  # noqa: ASYNC251 - blocking the loop is what is tested
    async with asyncio.timeout(5):
        while loop.lag == 0.0:  # noqa: ASYNC110 - a measurement, it has no event
            await asyncio.sleep(0.01)
    watching.cancel()
    assert loop.lag > 0.2
