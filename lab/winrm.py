"""A WinRM listener of a simulated Windows machine: HTTPS or HTTP, Negotiate (NTLM) and Basic, remote shells.

Unmodified pywinrm talks to it. What is simulated is the machine behind it, not the protocol.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from aiohttp import web

from lab.certificates import ServerCertificate
from lab.listening import Endpoint, Gate, HttpListener
from lab.ntlm import (
    ENCRYPTED_CONTENT_TYPE,
    Account,
    AuthenticationError,
    CredentialFile,
    NtlmConnection,
    SealError,
    basic_user,
)
from lab.wsman import Answer, CommandResult, ShellService, WindowsMachine, clixml_error

__all__ = ["Account", "CommandResult", "WinRmServer", "WinRmSettings", "WindowsMachine", "clixml_error"]

_LOG = logging.getLogger(__name__)
_SOAP_TYPE = "application/soap+xml;charset=UTF-8"


@dataclass(frozen=True)
class WinRmSettings:
    """How a listener authenticates; the defaults are those of `winrm quickconfig` with Basic switched on.

    Attributes:
        computer_name: the machine's own name; accounts may be named with it as the domain.
        certificate: makes it an HTTPS listener, on which NTLM is bound to the TLS channel.
        basic: whether Basic is offered, over HTTPS or where plain messages are allowed.
        negotiate: whether Negotiate (NTLM) is offered.
        allow_unencrypted: whether plain messages are taken over HTTP; the real default is no.
    """

    computer_name: str = "WINDOWS"
    certificate: ServerCertificate | None = None
    basic: bool = True
    negotiate: bool = True
    allow_unencrypted: bool = False


class WinRmServer:
    """One machine's WinRM listener."""

    def __init__(
        self, endpoint: Endpoint, machine: WindowsMachine, accounts: list[Account], settings: WinRmSettings
    ) -> None:
        self._accounts = accounts
        self._settings = settings
        self._shells = ShellService(machine)
        self._credentials: CredentialFile | None = None
        self._connections: WeakKeyDictionary[asyncio.BaseTransport, NtlmConnection] = WeakKeyDictionary()
        certificate = settings.certificate
        self._binding = certificate.endpoint_binding() if certificate else None
        tls = certificate.server_context() if certificate else None
        self._listener = HttpListener(endpoint, self._serve, tls=tls)
        self.rejected = 0
        self.connections = 0
        """That have asked something so far."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; a chosen port is known after the first start."""
        return self._listener.endpoint

    @property
    def url(self) -> str:
        """The address for pywinrm."""
        return f"{'https' if self._settings.certificate else 'http'}://{self.endpoint}/wsman"

    @property
    def gate(self) -> Gate:
        """Close it and the listener hangs: it accepts connections and answers nothing."""
        return self._listener.gate

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""
        return self._listener.listening

    @property
    def open_shells(self) -> int:
        """Shells that clients opened and did not close."""
        return self._shells.open_shells

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        if self._credentials is None:
            self._credentials = CredentialFile(self._accounts, self._settings.computer_name)
        await self._listener.start()

    async def stop(self) -> None:
        """Cut all connections and end all shells, as a shutdown would. May be called by a running command."""
        await self._listener.stop()
        await self._shells.end()
        if self._credentials is not None:
            self._credentials.remove()
            self._credentials = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path.rstrip("/") != "/wsman":
            return web.Response(status=404)
        if request.method != "POST":
            return web.Response(status=405)
        connection = self._connection(request)
        try:
            challenge = self._authenticate(request, connection)
        except AuthenticationError:
            self.rejected += 1
            return self._unauthorized()
        if challenge is not None:
            return self._unauthorized(challenge)
        return await self._reply(request, connection, body)

    def _connection(self, request: web.BaseRequest) -> NtlmConnection:
        transport, credentials = request.transport, self._credentials
        if transport is None or credentials is None:
            raise ConnectionResetError("the connection is gone")
        if transport not in self._connections:
            self._connections[transport] = NtlmConnection(credentials, self._binding)
            self.connections += 1
        return self._connections[transport]

    def _authenticate(self, request: web.BaseRequest, connection: NtlmConnection) -> bytes | None:
        """Returns NTLM's challenge, or None when the request is authenticated."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and self._basic_offered:
            basic_user(token, self._accounts)
            return None
        if scheme in ("Negotiate", "NTLM") and self._settings.negotiate:
            return connection.step(_decoded(token))
        # NTLM authenticates the connection; later requests on it carry nothing.
        if not scheme and connection.authenticated:
            return None
        raise AuthenticationError("no acceptable credentials")

    @property
    def _plain_allowed(self) -> bool:
        return self._settings.certificate is not None or self._settings.allow_unencrypted

    @property
    def _basic_offered(self) -> bool:
        return self._settings.basic and self._plain_allowed

    def _unauthorized(self, challenge: bytes | None = None) -> web.Response:
        response = web.Response(status=401)
        if self._settings.negotiate:
            token = f" {base64.b64encode(challenge).decode()}" if challenge else ""
            response.headers.add("WWW-Authenticate", f"Negotiate{token}")
        if self._basic_offered and challenge is None:
            response.headers.add("WWW-Authenticate", 'Basic realm="WSMAN"')
        return response

    async def _reply(self, request: web.BaseRequest, connection: NtlmConnection, body: bytes) -> web.Response:
        if not body:
            # The empty message with which a client completes the handshake before it encrypts.
            return web.Response(status=200)
        if request.content_type == "multipart/encrypted":
            return await self._reply_sealed(connection, body)
        if not self._plain_allowed:
            _LOG.info("refused a plain message over HTTP")
            return web.Response(status=500)
        answer = await self._shells.answer(body)
        return _response(answer.status, answer.envelope, _SOAP_TYPE)

    async def _reply_sealed(self, connection: NtlmConnection, body: bytes) -> web.Response:
        try:
            answer: Answer = await self._shells.answer(connection.unseal(body))
            return _response(answer.status, connection.seal(answer.envelope), ENCRYPTED_CONTENT_TYPE)
        except SealError as error:
            _LOG.info("refused a sealed message: %s", error)
            return web.Response(status=400)


def _decoded(token: str) -> bytes:
    try:
        return base64.b64decode(token, validate=True)
    except binascii.Error as error:
        raise AuthenticationError("malformed token") from error


def _response(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": content_type})
