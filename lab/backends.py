"""Simulated services behind a load balancer, and the floating address in front of it.

They listen and stop like the service of a real machine: at once, and what was connected is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

from aiohttp import web

from lab.listening import Endpoint, Gate, HttpListener, free_port, listening_socket

# How often an agent's connection gets a line: shows a cut within this time, and costs next to nothing.
_BEAT_SECONDS = 0.1
_CHUNK_BYTES = 64 * 1024


class HttpBackend:
    """A Wildfly, chat or REST service: `/health`, `/login`, `/agent` (long-lived) and anything else (answers OK)."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._listener = HttpListener(endpoint, self._serve)
        self.name = name
        self.healthy = True
        self.requests = 0
        self.agents = 0
        self.agents_seen = 0

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; a chosen port is known after the first start."""
        return self._listener.endpoint

    @property
    def listening(self) -> bool:
        """Whether the service runs."""
        return self._listener.listening

    @property
    def connections(self) -> int:
        """Open TCP connections."""
        return self._listener.connections

    @property
    def gate(self) -> Gate:
        """Close it and the service hangs: it accepts connections and answers nothing."""
        return self._listener.gate

    async def start(self) -> None:
        """Start the service.

        Raises:
            OSError: the port is taken.
        """
        await self._listener.start()

    async def stop(self) -> None:
        """Stop the service; its sessions end with it."""
        await self._listener.stop()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(text="UP") if self.healthy else web.Response(status=503, text="DOWN")
        self.requests += 1
        if request.path == "/agent":
            return await self._agent(request, seconds=float(request.query.get("seconds", "inf")))
        page = "login" if request.path == "/login" else "ok"
        return web.Response(text=f"{page} {self.name}\n")

    async def _agent(self, request: web.BaseRequest, seconds: float) -> web.StreamResponse:
        """An agent at work for `seconds`: a line now and then, `end` when the work is over."""
        self.agents += 1
        self.agents_seen += 1
        try:
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == float("inf") else seconds):
                    await _beat(response)
            await response.write(b"end\n")
            await response.write_eof()
            return response
        finally:
            self.agents -= 1


class TcpBackend:
    """A service of which only the TCP connection matters: greets, then returns what it gets."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint = endpoint
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.name = name

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; a chosen port is known after the first start."""
        return self._endpoint

    @property
    def listening(self) -> bool:
        """Whether the service runs."""
        return self._server is not None

    @property
    def connections(self) -> int:
        """Open TCP connections, a balancer's health checks included."""
        return len(self._tasks)

    async def start(self) -> None:
        """Start the service.

        Raises:
            OSError: the port is taken.
        """
        if self._server is None:
            sock = listening_socket(self._endpoint)
            self._endpoint = Endpoint(self._endpoint.address, sock.getsockname()[1])
            self._server = await asyncio.start_server(self._serve, sock=sock)

    async def stop(self) -> None:
        """Stop the service; its connections end with it."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await _end(self._tasks)

    async def left_alone(self) -> None:
        """Wait until the connections that are open now have ended."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with _counted(self._tasks, writer):
            writer.write(f"hello {self.name}\n".encode())
            await _pump(reader, writer)


class VirtualAddress:
    """A floating address: whoever owns it gets its connections; while nobody does, connects are refused.

    `ports` are its services by name; a port of 0 asks for a free one.
    """

    def __init__(self, address: str, ports: Mapping[str, int]) -> None:
        self._endpoints = {name: Endpoint(address, port or free_port(address)) for name, port in ports.items()}
        self._targets: Mapping[str, Endpoint] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stale: list[asyncio.StreamWriter] = []
        self._leave_stale = False

    @property
    def owned(self) -> bool:
        """Whether somebody has the address."""
        return bool(self._servers)

    @property
    def connections(self) -> int:
        """Connections through the address now."""
        return len(self._tasks)

    @property
    def stale_connections(self) -> int:
        """Connections that only the former owner still believes in."""
        return len(self._stale)

    def endpoint(self, service: str) -> Endpoint:
        """Where clients connect for a service."""
        return self._endpoints[service]

    async def move_to(self, targets: Mapping[str, Endpoint], *, leave_stale: bool = False) -> None:
        """Give the address to an owner that has the services at `targets`; connections to the former one are cut.

        With `leave_stale` only the clients notice; the former owner keeps its half open, as a balancer does that
        loses the address without a word.

        Raises:
            OSError: a port is taken.
        """
        await self._cut(leave_stale=leave_stale)
        self._targets = dict(targets)
        if not self._servers:
            for service, endpoint in self._endpoints.items():
                self._servers.append(await self._listen(service, endpoint))

    async def withdraw(self, *, leave_stale: bool = False) -> None:
        """Take the address from its owner: connects are refused and connections are cut."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        self._targets = {}
        await self._cut(leave_stale=leave_stale)

    def close_stale(self) -> None:
        """End the halves that a former owner still holds, as its keep-alive would in the end."""
        stale, self._stale = self._stale, []
        for writer in stale:
            writer.transport.abort()

    async def _listen(self, service: str, endpoint: Endpoint) -> asyncio.Server:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with _counted(self._tasks, writer):
                await self._relay(self._targets.get(service), reader, writer)

        return await asyncio.start_server(relay, sock=listening_socket(endpoint))

    async def _relay(self, target: Endpoint | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if target is None:
            return
        inner_reader, inner_writer = await asyncio.open_connection(target.address, target.port)
        try:
            # Both directions end with the first that breaks; a mere end of one leaves the other open.
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
            inner_writer.close()
        except BaseException:
            if self._leave_stale:
                self._stale.append(inner_writer)
            else:
                inner_writer.transport.abort()
            raise

    async def _cut(self, *, leave_stale: bool) -> None:
        self._leave_stale = leave_stale
        await _end(self._tasks)
        self._leave_stale = False


async def _beat(response: web.StreamResponse) -> None:
    while True:
        await response.write(b"beat\n")
        await asyncio.sleep(_BEAT_SECONDS)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextlib.contextmanager
def _counted(tasks: set[asyncio.Task[None]], writer: asyncio.StreamWriter) -> Iterator[None]:
    """Keep the current task among `tasks`; a connection that is cut or breaks is aborted, else closed in order."""
    task = asyncio.current_task()
    if task is not None:
        tasks.add(task)
    try:
        yield
        writer.close()
    except (OSError, asyncio.CancelledError):
        writer.transport.abort()
    finally:
        if task is not None:
            tasks.discard(task)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    running = list(tasks)
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
