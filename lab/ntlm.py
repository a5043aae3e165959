"""HTTP authentication as a Windows host's WinRM listener does it: Negotiate (NTLM) bound to a connection, and Basic.

NTLM itself, and the sealing of messages, is pyspnego's. Message framing: [MS-WSMV] 2.2.9.1.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

_BOUNDARY = b"--Encrypted Boundary"
_PROTOCOL = "application/HTTP-SPNEGO-session-encrypted"
ENCRYPTED_CONTENT_TYPE = f'multipart/encrypted;protocol="{_PROTOCOL}";boundary="Encrypted Boundary"'
_OCTETS = b"\tContent-Type: application/octet-stream\r\n"


class AuthenticationError(Exception):
    """The client did not prove who it is. Answered with 401."""


class SealError(Exception):
    """An encrypted message was malformed, of the wrong length or tampered with."""


@dataclass(frozen=True)
class Account:
    """A local account of a simulated Windows machine."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        # pyspnego reads accounts from a colon-separated file, one a line.
        if re.search(r"[:\r\n]", self.user + self.password):
            raise ValueError(f"account {self.user!r}: the lab's accounts can't hold a colon or a line break")


class CredentialFile:
    """The accounts in the file format that pyspnego's acceptor wants, readable by the owner only."""

    def __init__(self, accounts: list[Account], computer_name: str) -> None:
        domains = ("", ".", computer_name)
        lines = [f"{domain}:{account.user}:{account.password}\n" for account in accounts for domain in domains]
        descriptor, name = tempfile.mkstemp(prefix="lab-ntlm-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
        self._path = Path(name)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Name this file to pyspnego, which takes it from the environment only. Never await inside."""
        before = os.environ.get("NTLM_USER_FILE")
        os.environ["NTLM_USER_FILE"] = str(self._path)
        try:
            yield
        finally:
            if before is None:
                del os.environ["NTLM_USER_FILE"]
            else:
                os.environ["NTLM_USER_FILE"] = before

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)


class NtlmConnection:
    """The NTLM state of one TCP connection: not begun, challenged, or authenticated."""

    def __init__(self, credentials: CredentialFile, channel_binding: bytes | None) -> None:
        self._credentials = credentials
        self._bindings = GssChannelBindings(application_data=channel_binding) if channel_binding else None
        self._context: spnego.ContextProxy | None = None

    @property
    def authenticated(self) -> bool:
        """Whether the handshake on this connection is complete."""
        return self._context is not None and self._context.complete

    @property
    def user(self) -> str | None:
        """The account that authenticated, with its domain if the client named one."""
        return self._context.client_principal if self._context else None

    def step(self, token: bytes) -> bytes | None:
        """Take the client's message; returns the challenge to send, or None when it is authenticated.

        Raises:
            AuthenticationError: unknown user, wrong password or a malformed message. The handshake begins anew.
        """
        if self._context is None or self._context.complete:
            self._context = None
        try:
            with self._credentials.active():
                if self._context is None:
                    self._context = spnego.server(
                        protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm, channel_bindings=self._bindings
                    )
                return self._context.step(token)
        # Besides its own errors pyspnego lets those of struct and slicing through for a malformed token.
        except (SpnegoError, ValueError, struct.error, IndexError) as error:
            self._context = None
            raise AuthenticationError("NTLM handshake failed") from error

    def unseal(self, body: bytes) -> bytes:
        """Decrypt the message in a `multipart/encrypted` body.

        Raises:
            SealError: no context, wrong framing, length or signature.
        """
        if self._context is None:
            raise SealError("no authenticated context on this connection")
        header, _, payload = body.removeprefix(_BOUNDARY + b"\r\n").partition(_BOUNDARY + b"\r\n" + _OCTETS)
        length = re.search(rb"Length=(\d+)", header)
        sealed = payload.removesuffix(_BOUNDARY + b"--\r\n")
        if length is None or len(sealed) < 4:
            raise SealError("not a sealed message")
        try:
            message: bytes = self._context.unwrap(sealed[4:]).data
        except SpnegoError as error:
            raise SealError("signature does not match") from error
        if len(message) != int(length.group(1)):
            raise SealError("length does not match")
        return message

    def seal(self, message: bytes) -> bytes:
        """Encrypt a message into a `multipart/encrypted` body."""
        if self._context is None:
            raise SealError("no authenticated context on this connection")
        sealed = self._context.wrap_winrm(message)
        parts = [
            _BOUNDARY + b"\r\n",
            f"\tContent-Type: {_PROTOCOL}\r\n".encode(),
            f"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={len(message)}\r\n".encode(),
            _BOUNDARY + b"\r\n" + _OCTETS,
            struct.pack("<i", len(sealed.header)) + sealed.header + sealed.data,
            _BOUNDARY + b"--\r\n",
        ]
        return b"".join(parts)


def basic_user(token: str, accounts: list[Account]) -> str:
    """The user of a Basic authorization header's value.

    Raises:
        AuthenticationError: malformed, unknown user or wrong password.
    """
    try:
        user, _, password = _text(base64.b64decode(token, validate=True)).partition(":")
    except binascii.Error as error:
        raise AuthenticationError("malformed Basic credentials") from error
    for account in accounts:
        # Windows account names ignore case, passwords do not.
        if account.user.casefold() == user.casefold() and hmac.compare_digest(
            account.password.encode(), password.encode()
        ):
            return account.user
    raise AuthenticationError("wrong user name or password")


def _text(credentials: bytes) -> str:
    # RFC 7617 leaves the encoding open: browsers and curl send UTF-8, requests sends Latin-1.
    try:
        return credentials.decode("utf-8")
    except UnicodeDecodeError:
        return credentials.decode("latin-1")
