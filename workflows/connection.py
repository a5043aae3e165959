"""How a process of the product reaches the Temporal server: one way, for workers and for starters.

Address, namespace, TLS and API key come from the profiles that Temporal's own command line uses: a file
(`TEMPORAL_CONFIG_FILE`, `TEMPORAL_PROFILE`), overridden by environment variables (`TEMPORAL_ADDRESS`, …).
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import Runtime

from workflows.converter import DATA_CONVERTER

DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"
CONNECT = timedelta(seconds=10)
"""For one attempt. The SDK's own time-out covers the TCP connection alone: a port that accepts and says nothing
holds it for 30 s."""
START_A_SERVER = "temporal server start-dev"
_LONGEST_REASON = 300  # of the SDK's own words: the rest is nesting
_INNERMOST = re.compile(r'(?:message|error): "([^"]+)"')
_PLACE = re.compile(r"line \d+, column \d+")
_QUOTED = re.compile(r"""\"[^\"]*\"?|`[^`]*`?""")
_REFUSALS = ("PermissionDenied", "Unauthenticated", "InvalidArgument", "Unimplemented")
"""Answers of a server that is there; trying again changes nothing."""
_NO_TLS = re.compile(
    r"(?:InvalidCertificate|InvalidContentType|PrivateKeyParseError|CertificateParseError"
    r"|AlertReceived\((?!InternalError|UserCanceled|CloseNotify))[\w(]*"
)
"""What rustls and tonic, the SDK's libraries, say of a TLS that never comes about: a certificate, a name, an authority
is not accepted, no TLS is spoken there, a key is none. A mistake in settings, on either side. A server may send the
alerts that are left out while it stops."""


class ConnectionTrouble(Exception):
    """There is no connection to the Temporal server."""


class BadProfile(ConnectionTrouble):
    """The profile, or the environment, can't be used: nothing was tried."""


class ServerAway(ConnectionTrouble):
    """Nobody answers there. Trying again may help."""


class ServerRefuses(ConnectionTrouble):
    """A server answers and does not let this process in."""


@dataclass(frozen=True)
class Profile:
    """Where the server is and how to prove who we are."""

    options: ClientConnectConfig

    @property
    def address(self) -> str:
        """As `host:port`."""
        return self.options.get("target_host", DEFAULT_ADDRESS)

    @property
    def namespace(self) -> str:
        """The Temporal namespace."""
        return self.options.get("namespace", DEFAULT_NAMESPACE)

    @property
    def text(self) -> str:
        """For messages; holds no secret."""
        return f"Temporal server {self.address}, namespace {self.namespace}"


def load_profile() -> Profile:
    """The connection as the environment and the profile file say it.

    Raises:
        BadProfile: unknown profile, unreadable file or certificate, keys nobody knows.
    """
    try:
        return Profile(ClientConfig.load_client_connect_config(config_file_strict=True))
    except (RuntimeError, OSError, ValueError) as error:
        # Without the cause: its text repeats the line of the file, which may be the one with the API key.
        raise BadProfile(
            f"The Temporal profile can't be used: {_without_content(str(error))}\n"
            "Allowed: a TOML file with [profile.NAME] sections, named by TEMPORAL_CONFIG_FILE and TEMPORAL_PROFILE, "
            "or TEMPORAL_ADDRESS and its relatives in the environment. `temporal config list` shows what is set."
        ) from None


def identity(role: str) -> str:
    """Shown in the Web UI as who did something: host, role, process."""
    return f"{socket.gethostname()}/{role}/{os.getpid()}"


async def connect(profile: Profile, who: str, *, runtime: Runtime | None = None, within: timedelta = CONNECT) -> Client:
    """One attempt to connect.

    Raises:
        ServerAway: no answer in time, or nobody listens.
        ServerRefuses: it answers, and refuses.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await _connect(profile, who, runtime)
    except TimeoutError:
        raise ServerAway(f"{profile.text}: no answer within {within.total_seconds():.0f} s") from None
    except (RuntimeError, ValueError) as error:
        raise _judged(profile, str(error)) from error


async def _connect(profile: Profile, who: str, runtime: Runtime | None) -> Client:
    options = profile.options
    return await Client.connect(
        profile.address,
        namespace=profile.namespace,
        api_key=options.get("api_key"),
        tls=options.get("tls"),
        rpc_metadata=options.get("rpc_metadata", {}),
        identity=who,
        runtime=runtime,
        data_converter=DATA_CONVERTER,
    )


def _judged(profile: Profile, said: str) -> ServerAway | ServerRefuses:
    tls = _NO_TLS.search(said)
    if tls:
        return ServerRefuses(
            f"{profile.text}: no TLS between us ({tls.group().replace('(', ': ')}); compare TEMPORAL_TLS and the "
            "certificates of the profile with what the server uses"
        )
    kind = ServerRefuses if any(refusal in said for refusal in _REFUSALS) else ServerAway
    return kind(f"{profile.text}: {_innermost(said)}")


def _innermost(text: str) -> str:
    """The SDK nests an error of the operating system five deep; the innermost is what a person understands."""
    found = _INNERMOST.findall(text)
    return found[-1] if found else shortened(text)


def _without_content(text: str) -> str:
    """What the SDK says about a profile, without what stands in it: where, and what was expected there."""
    told = text.split("\n")
    if len(told) == 1:
        return shortened(_QUOTED.sub("…", text))
    place = _PLACE.search(told[0])
    # What is expected are names of the SDK; what was found may be a secret that stands in the wrong place.
    found, expected, wanted = [line for line in told if line.strip()][-1].partition("expected ")
    words = shortened(_QUOTED.sub("…", found) + expected + wanted)
    return f"no TOML of a profile at {place.group()}: {words}" if place else words


def shortened(text: str) -> str:
    """An error of the SDK on one line, without the endless tail."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_REASON else flat[:_LONGEST_REASON] + "…"
