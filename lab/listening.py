"""Listening sockets of simulated machines: each has its own loopback address, and opens and cuts at once.

All of 127.0.0.0/8 is local on Linux, so a machine's address needs no set-up and no privileges.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

# What a listen queue holds before connects are refused; Linux' own default (net.core.somaxconn before 5.4).
_BACKLOG = 128

HttpHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Endpoint:
    """A loopback address and a TCP port. Port 0 asks for a free one."""

    address: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def listening_socket(endpoint: Endpoint) -> socket.socket:
    """Bind `endpoint` without listening yet.

    Raises:
        OSError: the port is taken or the address is not local.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((endpoint.address, endpoint.port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def free_port(address: str) -> int:
    """A port nobody listens on at `address` now, for programs that can't choose one themselves."""
    with listening_socket(Endpoint(address)) as sock:
        port: int = sock.getsockname()[1]
    return port


class Gate:
    """Lets pass while open. A machine that hangs is one whose gates are closed: it accepts and never answers."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether requests pass now."""
        return self._open.is_set()

    def open(self) -> None:
        """Let everything pass, also what waits."""
        self._open.set()

    def close(self) -> None:
        """Hold what comes from now on."""
        self._open.clear()

    async def passed(self) -> None:
        """Return as soon as the gate is open."""
        await self._open.wait()


class Silence:
    """A port that says nothing at all, as each port of a machine that is off.

    On loopback a port nobody listens on refuses. One whose listen queue is full drops what comes, so it is silent.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._sockets: list[socket.socket] = []

    @property
    def listening(self) -> bool:
        """Whether the port is kept silent."""
        return bool(self._sockets)

    async def start(self) -> None:
        """Keep it silent.

        Raises:
            OSError: the port is taken.
        """
        deaf = listening_socket(self._endpoint)
        deaf.listen(0)
        self._sockets.append(deaf)
        # A queue of length 0 holds one connection; the second is there in case a kernel holds one more.
        for _ in range(2):
            filling = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filling.setblocking(False)
            filling.connect_ex((self._endpoint.address, self._endpoint.port))
            self._sockets.append(filling)

    async def stop(self) -> None:
        """Refuse again, or leave the port to others."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()


class HttpListener:
    """An HTTP or HTTPS server on one endpoint that starts and stops like a service: at once, any number of times.

    The port chosen for port 0 is kept over restarts, as a service keeps its own.
    """

    def __init__(self, endpoint: Endpoint, handler: HttpHandler, *, tls: ssl.SSLContext | None = None) -> None:
        self._endpoint = endpoint
        self._handler = handler
        self._tls = tls
        self._protocols: web.Server | None = None
        self._server: asyncio.Server | None = None
        self.gate = Gate()

    @property
    def endpoint(self) -> Endpoint:
        """Address and port; the port is 0 until the first start if it was asked to be free."""
        return self._endpoint

    @property
    def listening(self) -> bool:
        """Whether connects are accepted."""
        return self._server is not None

    @property
    def connections(self) -> int:
        """How many TCP connections are open."""
        return len(self._protocols.connections) if self._protocols else 0

    async def start(self) -> None:
        """Listen. Does nothing if it listens already.

        Raises:
            OSError: the port is taken.
        """
        if self._server is not None:
            return
        sock = listening_socket(self._endpoint)
        self._endpoint = Endpoint(self._endpoint.address, sock.getsockname()[1])
        # Requests carry credentials in their headers: no access log.
        self._protocols = web.Server(self._serve, access_log=None)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocols, sock=sock, ssl=self._tls, backlog=_BACKLOG)

    async def stop(self) -> None:
        """Refuse new connections and cut the open ones, as the end of the process would."""
        server, protocols = self._server, self._protocols
        self._server = self._protocols = None
        if server is not None:
            server.close()
        if protocols is not None:
            for protocol in list(protocols.connections):
                if protocol.transport is not None:
                    protocol.transport.abort()
            await protocols.shutdown(0)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        await self.gate.passed()
        return await self._handler(request)
