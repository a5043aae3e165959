"""The configuration of a simulated load balancer's HAProxy, as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lab.certificates import ServerCertificate
from lab.listening import Endpoint

# Long enough that HAProxy never ends a session of a rehearsal by itself.
_SESSION_TIMEOUT = "1h"
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Server:
    """One server of a backend. A `backup` server gets traffic only when no other one is up."""

    name: str
    endpoint: Endpoint
    backup: bool = False
    weight: int = 1


@dataclass(frozen=True)
class Backend:
    """A backend and the frontend `fe_<name>` in front of it.

    In mode `http` servers are asked for `/health` and used in turn; in mode `tcp` they are checked by a connect and
    the first that is up gets everything (`balance first`), which is how one database master takes the writes.
    """

    name: str
    bind: Endpoint
    servers: Sequence[Server]
    mode: Literal["http", "tcp"] = "http"


@dataclass(frozen=True)
class AdminPage:
    """The stats page with `stats admin`; with a certificate it is served over TLS."""

    bind: Endpoint
    user: str
    password: str = field(repr=False)
    path: str = "/haproxy?stats"
    certificate: ServerCertificate | None = None


@dataclass(frozen=True)
class HealthCheck:
    """How servers are checked: every `interval_ms`, `fall` failures to be down, `rise` successes to be up.

    An answer may take `timeout_ms`: all simulated machines share one event loop, which may be busy for a while.
    """

    interval_ms: int = 200
    fall: int = 2
    rise: int = 2
    timeout_ms: int = 2000


@dataclass(frozen=True)
class BalancerConfig:
    """Everything one HAProxy is told."""

    name: str
    backends: Sequence[Backend]
    admin_page: AdminPage | None = None
    check: HealthCheck = field(default_factory=HealthCheck)

    def text(self, socket: Path) -> str:
        """The configuration file; `socket` is where the admin socket goes.

        Raises:
            ValueError: a name or credential that HAProxy's configuration can't hold.
        """
        sections = [_basics(self.name, socket)]
        for backend in self.backends:
            sections += [_frontend(backend), _backend(backend, self.check)]
        if self.admin_page is not None:
            sections.append(_admin_page(self.admin_page))
        return "\n".join(line for section in sections for line in section) + "\n"


def _basics(name: str, socket: Path) -> list[str]:
    return [
        "global",
        "  log stdout format raw local0",
        f"  stats socket {socket} mode 600 level admin",
        # A command that waits for its answer must not be cut while a rehearsal is slow.
        "  stats timeout 30s",
        "  nbthread 1",
        # Else two HAProxies could share a port and nobody would notice.
        "  noreuseport",
        "  maxconn 2000",
        f"  node {_checked(name)}",
        "defaults",
        "  log global",
        "  option dontlognull",
        "  timeout connect 2s",
        f"  timeout client {_SESSION_TIMEOUT}",
        f"  timeout server {_SESSION_TIMEOUT}",
    ]


def _frontend(backend: Backend) -> list[str]:
    return [
        f"frontend fe_{_checked(backend.name)}",
        f"  mode {backend.mode}",
        f"  bind {backend.bind}",
        f"  default_backend {backend.name}",
    ]


def _backend(backend: Backend, check: HealthCheck) -> list[str]:
    rules = ["balance first"] if backend.mode == "tcp" else ["balance roundrobin", "option httpchk GET /health"]
    servers = [_server(server) for server in backend.servers]
    timing = f"default-server inter {check.interval_ms}ms fall {check.fall} rise {check.rise}"
    lines = [f"mode {backend.mode}", *rules, f"timeout check {check.timeout_ms}ms", timing, *servers]
    return [f"backend {_checked(backend.name)}", *(f"  {line}" for line in lines)]


def _server(server: Server) -> str:
    weight = f" weight {server.weight}" if server.weight != 1 else ""
    return f"server {_checked(server.name)} {server.endpoint} check{weight}{' backup' if server.backup else ''}"


def _admin_page(page: AdminPage) -> list[str]:
    tls = f" ssl crt {page.certificate.pem}" if page.certificate else ""
    return [
        "listen stats",
        "  mode http",
        f"  bind {page.bind}{tls}",
        "  stats enable",
        f"  stats uri {_quoted(page.path)}",
        "  stats show-node",
        # Tells the address of each server, which proves which machine it is.
        "  stats show-legends",
        f"  stats auth {_quoted(f'{page.user}:{page.password}')}",
        "  stats admin if TRUE",
    ]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name HAProxy can hold: {name!r}")
    return name


def _quoted(text: str) -> str:
    # Single quotes protect everything but themselves and line ends.
    if re.search(r"['\r\n\0]", text):
        raise ValueError("HAProxy's configuration can't hold a single quote or a line break")
    return f"'{text}'"
