"""What can go wrong with SSH, in the words of this product: every exception of asyncssh, host keys, sudo."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import asyncssh
from asyncssh.asn1 import ASN1Error
from asyncssh.gss import GSSError  # type: ignore[attr-defined]  # taken by it from a module of the platform
from asyncssh.misc import SoftEOFReceived
from asyncssh.packet import PacketDecodeError
from asyncssh.saslprep import SASLPrepError

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient

_KEYS = "check the authorized keys there and the key named in the connection"
_NETWORK = "check that the machine is on and that its address and port are right"
_SILENT = "look at its console: it may hang, be off or be cut off; then check that its address and port are right"
_CRYPTO = "compare the algorithms and host keys of the machine with those in known_hosts"

KINDS: dict[type[Exception], tuple[type[SystemTrouble], str]] = {
    # Derived classes stand for themselves; the nearest base class counts (the method resolution order).
    asyncssh.HostKeyNotVerifiable: (Rejected, "compare the host key at the machine's console, then renew known_hosts"),
    asyncssh.PermissionDenied: (Rejected, _KEYS),
    asyncssh.IllegalUserName: (Rejected, "check the user of the connection"),
    asyncssh.PasswordChangeRequired: (Rejected, "give the user a key; passwords are not used"),
    asyncssh.KeyExchangeFailed: (Rejected, _CRYPTO),
    asyncssh.ProtocolNotSupported: (Rejected, "check that an SSH server of protocol 2 listens on that port"),
    asyncssh.ServiceNotAvailable: (Rejected, "check the SSH server's configuration"),
    asyncssh.KeyImportError: (Rejected, _KEYS),
    asyncssh.KeyEncryptionError: (Rejected, _KEYS),
    asyncssh.KeyExportError: (Rejected, _KEYS),
    asyncssh.KeyGenerationError: (Rejected, _KEYS),
    asyncssh.ConfigParseError: (Rejected, "report it: no SSH configuration file should be read"),
    GSSError: (NotUnderstood, "report it: Kerberos is not used"),
    SASLPrepError: (Rejected, "check the user of the connection"),
    asyncssh.ConnectionLost: (Transient, _NETWORK),
    asyncssh.CompressionError: (Transient, _NETWORK),
    asyncssh.MACError: (Transient, _NETWORK),
    asyncssh.ProtocolError: (Transient, _NETWORK),
    asyncssh.DisconnectError: (Transient, _NETWORK),
    asyncssh.ChannelOpenError: (Transient, "check MaxSessions of the SSH server there"),
    asyncssh.ChannelListenError: (NotUnderstood, ""),
    asyncssh.SFTPError: (NotUnderstood, ""),
    asyncssh.ProcessError: (NotUnderstood, ""),
    asyncssh.TimeoutError: (Transient, ""),
    asyncssh.BreakReceived: (NotUnderstood, ""),
    asyncssh.SignalReceived: (NotUnderstood, ""),
    asyncssh.TerminalSizeChanged: (NotUnderstood, ""),
    SoftEOFReceived: (NotUnderstood, ""),
    ASN1Error: (NotUnderstood, ""),
    PacketDecodeError: (NotUnderstood, ""),
    asyncssh.Error: (NotUnderstood, ""),
    TimeoutError: (Transient, _SILENT),
    OSError: (Transient, _NETWORK),
}
CAUGHT = tuple(KINDS)


def translated(machine: str, tried: str, error: Exception, keys: HostKeys | None = None) -> SystemTrouble:
    """The trouble that an exception of asyncssh or of the network means, in the words of this product."""
    if keys and keys.refused is not None and isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Rejected(machine, f"{tried}: {keys.refusal()}", KINDS[asyncssh.HostKeyNotVerifiable][1])
    known = next(cls for cls in type(error).__mro__ if cls in KINDS)
    kind, next_step = KINDS[known]
    return kind(machine, f"{tried}: {_seen(error)}", next_step)


def _seen(error: Exception) -> str:
    if isinstance(error, asyncssh.DisconnectError | asyncssh.ChannelOpenError):
        return str(error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


@dataclass
class HostKeys:
    """The host keys that known_hosts holds for a machine, and the one that was refused."""

    known: asyncssh.SSHKnownHosts
    file: str
    expected: tuple[str, ...]
    """Fingerprints; empty: the machine is unknown."""
    refused: str | None = field(default=None)

    @classmethod
    def read(cls, machine: str, address: str, port: int, file: str) -> HostKeys:
        """Read the file anew, so that a corrected one counts at the next try.

        Raises:
            Rejected: it can't be read or is no known_hosts file.
        """
        try:
            known = asyncssh.read_known_hosts(file)
            trusted = known.match(address, address, None if port == 22 else port)[0]
        except (OSError, ValueError) as error:
            raise Rejected(
                machine, f"the known_hosts file {file} can't be used: {error}", "correct the file or its path"
            ) from error
        # The same key stands there by name and by address.
        return cls(known, file, tuple(dict.fromkeys(_described(key) for key in trusted)))

    def refusal(self) -> str:
        """Which key was expected and which was seen."""
        if not self.expected:
            return f"unknown host key: {self.file} holds no key of it; seen: {self.refused}"
        return f"changed host key: expected {' or '.join(self.expected)} ({self.file}); seen: {self.refused}"

    def watching_client(self) -> asyncssh.SSHClient:
        """A client that refuses every key known_hosts does not hold, and remembers it for the message."""
        return _Watching(self)


class _Watching(asyncssh.SSHClient):
    def __init__(self, keys: HostKeys) -> None:
        self._keys = keys

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Only asked when the key is not in known_hosts; always refuses."""
        self._keys.refused = _described(key)
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Only asked when the authority is not in known_hosts; always refuses."""
        self._keys.refused = f"authority {_described(key)}"
        return False


def _described(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


_SUDO = re.compile(
    r"^(?:sudo: .*(?:password is required|terminal is required|must have a tty|no tty present|not allowed"
    r"|authentication.*required)|.*is not allowed to (?:execute|run) |.*not in the sudoers file"
    r"|I'm sorry .*afraid I can't do that).*$",
    re.MULTILINE | re.IGNORECASE,
)


def sudo_refusal(exit_status: int | None, stderr: str) -> str:
    """The line with which sudo (or sudo-rs) refused; empty: it did not. It exits with 1 then."""
    found = _SUDO.search(stderr) if exit_status == 1 else None
    return found.group().strip() if found else ""
