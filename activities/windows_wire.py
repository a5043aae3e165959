"""The HTTP connections of WinRM calls: they can be cut from another thread, and answers are bounded.

requests offers neither: its time-outs are for the pause between two bytes, and it reads an answer to its end.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from winrm.transport import Transport

MAX_ANSWER: Final = 4_000_000
"""Bytes of one answer; WinRM sends at most 500 KiB in one (MaxEnvelopeSizekb)."""


class Wire(HTTPAdapter):
    """Carries the requests of one call after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._cut = False
        # Copies: TLS takes the socket it wraps away, and a copy shuts down the same connection.
        self._sockets: list[socket.socket] = []

    @property
    def connections(self) -> int:
        """How many were made; all of them are open for the other side until `close`."""
        return len(self._sockets)

    def carry(self, transport: Transport) -> None:
        """Carry all that a transport of pywinrm sends, from its first request on."""
        send = transport._send_message_request

        def carried(session: requests.Session, request: requests.PreparedRequest) -> requests.Response:
            session.mount("http://", self)
            session.mount("https://", self)
            return send(session, request)

        # pywinrm makes its session itself, and sends with it before it hands it out.
        transport._send_message_request = carried  # type: ignore[method-assign,assignment]  # see above

    def cut(self) -> None:
        """Shut down what is open, and whatever is opened from now on."""
        with self._lock:
            self._cut = True
            for each in self._sockets:
                with suppress(OSError):  # it has ended by itself
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close everything."""
        super().close()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def get_connection_with_tls_context(self, *asked: Any, **how: Any) -> Any:  # noqa: ANN401 - as in requests
        """The pool for a request; its connections are known here."""
        pool = super().get_connection_with_tls_context(*asked, **how)
        if not getattr(pool.ConnectionCls, "known_to_wire", False):
            pool.ConnectionCls = self._known(pool.ConnectionCls)
        return pool

    def send(self, *sent: Any, **how: Any) -> requests.Response:  # noqa: ANN401 - as in requests
        """Send a request; reading its answer ends with an exception where it gets longer than `MAX_ANSWER`."""
        answer = super().send(*sent, **how)
        # Not read here: the authentication looks at the connection of an answer that was not read yet.
        answer.iter_content = _bounded(answer.iter_content)  # type: ignore[method-assign]  # of this one answer
        return answer

    def _known(self, kind: type[Any]) -> type[Any]:
        wire = self

        class Known(kind):  # type: ignore[misc]  # plain or TLS, as the pool has it
            known_to_wire = True

            def _new_conn(self) -> socket.socket:
                made: socket.socket = super()._new_conn()
                wire._opened(made)
                return made

        return Known

    def _opened(self, made: socket.socket) -> None:
        with self._lock:
            self._sockets.append(made.dup())
            if self._cut:
                made.shutdown(socket.SHUT_RDWR)


def _bounded(read: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    def reading(*how: Any, **more: Any) -> Iterator[bytes]:  # noqa: ANN401 - as in requests
        size = 0
        for chunk in read(*how, **more):
            size += len(chunk)
            if size > MAX_ANSWER:
                raise requests.RequestException(f"an answer of more than {MAX_ANSWER} bytes")
            yield chunk

    return reading
