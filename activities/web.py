"""HTTP: one way to ask a web service: TLS verified, nothing taken from the environment, every error mapped."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import httpx

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient, shortened
from inventory.values import Tls

CAUGHT: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError)
"""The roots of all exceptions of httpx; a test keeps them complete."""
PERMANENT: Final = (
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.DecodingError,
    httpx.TooManyRedirects,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
)
"""What the same request would meet again."""
MAX_CONNECTIONS: Final = 10
"""To one service at the same time; more would be an attack."""
CHUNK: Final = 65536
"""Bytes that are read at a time."""
REDIRECTED: Final = range(300, 400)
BUSY: Final = (408, 425, 429)
"""Request Timeout, Too Early, Too Many Requests (RFC 9110, RFC 8470, RFC 6585): asked to come back later."""


def tls_context(service: str, tls: Tls | None) -> ssl.SSLContext:
    """A context that verifies, by the system's authorities or by the one the inventory names.

    Raises:
        Rejected: the authority's file can't be read.
    """
    ca = tls.ca if tls else None
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise Rejected(service, f"the certificate authority {ca} can't be read: {reason}", "check the file") from None


def client(
    service: str,
    *,
    tls: Tls | None,
    timeout: timedelta,
    auth: tuple[str, str] | None = None,
    keep_connections: bool = True,
) -> httpx.AsyncClient:
    """A client that takes nothing from the environment and follows no redirect.

    Args:
        service: for messages.
        tls: how its certificate is verified.
        timeout: for each of: connect, write, and each part of the answer.
        auth: user and password.
        keep_connections: whether connections are used again.

    Raises:
        Rejected: the authority's file can't be read.
    """
    return httpx.AsyncClient(
        verify=tls_context(service, tls),
        auth=httpx.BasicAuth(*auth) if auth else None,
        timeout=timeout.total_seconds(),
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=None if keep_connections else 0),
    )


def extensions(tls: Tls | None) -> dict[str, str]:
    """For a request: the name in the certificate, where it is not the address."""
    return {"sni_hostname": tls.server_name} if tls and tls.server_name else {}


@contextmanager
def translating(service: str, asked: str) -> Iterator[None]:
    """Turn the exceptions of httpx, and a time-out around all of it, into this room's.

    Raises:
        Transient: no connection, or no answer.
        Rejected: the certificate is not trusted.
        NotUnderstood: no answer of HTTP, or none that the same question could get another time.
    """
    try:
        yield
    except (*CAUGHT, TimeoutError) as error:
        # Without the cause: the request in it holds the password.
        raise translated(service, asked, error) from None


def translated(service: str, asked: str, error: Exception) -> SystemTrouble:
    """This room's trouble for an exception of httpx."""
    words = f"{asked}: {reason(error)}"
    if untrusted(error):
        return Rejected(service, words, "check its certificate, and the authority (tls.ca) in the inventory")
    if isinstance(error, PERMANENT):
        return NotUnderstood(service, words, "check the address in the inventory")
    return Transient(service, words, "check that it runs and can be reached")


def reason(error: Exception) -> str:
    """What an exception of httpx says, or its kind where it says nothing; a time-out says nothing."""
    kind = type(error).__name__
    return f"{kind}: {shortened(str(error))}" if str(error) else kind


async def beginning(answer: httpx.Response, limit: int) -> bytes:
    """The beginning of an answer that is streamed: one without end must not fill the worker.

    Returns:
        At most one byte more than the limit, which tells that there was more.
    """
    body = bytearray()
    async for chunk in answer.aiter_bytes(CHUNK):
        body += chunk[: limit + 1 - len(body)]
        if len(body) > limit:
            break
    return bytes(body)


def decoded(content: bytes, charset: str | None) -> str:
    """A body as text. A charset that is no text encoding (hex, idna) or none at all counts as UTF-8."""
    try:
        return content.decode(charset or "utf-8", errors="replace")
    except (LookupError, ValueError):
        return content.decode(errors="replace")


def refuse_status(service: str, asked: str, answer: httpx.Response) -> None:
    """Raise unless the answer is a success.

    Raises:
        Rejected: 401, 403, 407.
        Transient: busy, or an error of the server.
        NotUnderstood: a redirect, or another error.
    """
    if answer.is_success:
        return
    words = f"{asked}: status {answer.status_code} {shortened(answer.text)}"
    if answer.status_code in (401, 403, 407):
        raise Rejected(service, words, "check user, password or secret in the inventory")
    if answer.is_server_error or answer.status_code in BUSY:
        raise Transient(service, words, "look at its log")
    hint = "check the address: it redirects" if answer.status_code in REDIRECTED else "check its version and address"
    raise NotUnderstood(service, words, hint)


def untrusted(error: BaseException | None) -> bool:
    """Whether a certificate was refused; httpx tells it by the chain of causes only."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
