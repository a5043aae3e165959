"""HAProxy on the load balancers: by its admin page (HTTP), or by its runtime socket through SSH.

What a change is answered is never trusted, not even DONE: the state is read again. That HAProxy does not run is seen,
not assumed: nothing accepts on the page's port (or the socket), and systemd says that its unit is not active.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from activities import web
from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.hands import Act, Observe, Observed
from activities.haproxy_answers import read_both, read_form_answer, read_socket_answer, read_stat
from activities.secrets import resolve
from activities.shell import Shell, answer
from inventory.models import AdminPage, Haproxy, Inventory, RuntimeSocket
from inventory.values import RESOURCE_NAME
from procedure import who
from procedure.facts import BalancerFact, ServerState
from procedure.instructions import EndServerSessions, SetServers
from procedure.subjects import BalancerOn

SERVICE: Final = "HAProxy's admin page"
MAX_STATISTICS: Final = 4_000_000
"""Characters of statistics that are read: some 15,000 servers."""
MAX_FORM: Final = 2000
"""Bytes of a form: HAProxy reads it into one buffer of 16 KiB with its headers (EXCD)."""
AT_ONCE: Final = 20
"""Socket commands on one line, for the same reason."""
READ: Final = "show stat;show servers state\n"
NOT_ACTIVE: Final = ("inactive", "failed")


SHOWN = 20
"""Servers of other backends of each kind that matters."""
MAX_SERVERS = 1000
"""Of the backends that the inventory names: none of them may be left out."""


class NotListening(Transient):
    """Nobody accepts there: HAProxy may be stopped, or starting."""


class HaproxySystem:
    """Observes and sets the servers of both load balancers' HAProxy."""

    def __init__(self, inventory: Inventory, shell: Shell) -> None:
        self._inventory = inventory
        self._shell = shell
        settings = inventory.haproxy
        self._page = Page(inventory, settings.admin_page) if settings.admin_page else None
        self._socket = Socket(shell, settings.socket) if settings.socket else None

    async def observe(self, subject: BalancerOn) -> Observed:
        """Every server of every backend, or that HAProxy does not run there.

        Raises:
            SystemTrouble: not reached, access denied, not understood, or without a server of the inventory.
        """
        machine = subject.machine
        try:
            servers, source = await self._read(machine)
        except NotListening as nobody:
            return await self._stopped(machine, nobody)
        refuse_missing(machine, self._inventory.haproxy, servers)
        return bounded(machine, self._inventory, servers), source

    async def _read(self, machine: str) -> tuple[tuple[ServerState, ...], str]:
        if self._page:
            return read_stat(machine, await self._page.read(machine)), self._page.source(machine)
        return await self._read_socket(machine)

    async def _read_socket(self, machine: str) -> tuple[tuple[ServerState, ...], str]:
        if self._socket is None:
            raise NotUnderstood(machine, "the inventory names no access to HAProxy", "haproxy.admin_page or .socket")
        return read_both(machine, await self._socket.ask(machine, READ)), f"ssh {machine}: {self._socket.path}"

    async def _stopped(self, machine: str, nobody: NotListening) -> Observed:
        """Nobody accepts: confirmed by systemd it is a fact, else it stays unknown."""
        unit = self._inventory.haproxy.service
        try:
            completed = await self._shell.run(machine, ("systemctl", "is-active", unit))
        except SystemTrouble as trouble:
            raise Transient(machine, f"{nobody.seen}; and {trouble.seen}", trouble.next_step) from trouble
        state = completed.stdout.strip()
        if state in NOT_ACTIVE:
            return BalancerFact(running=False), f"ssh {machine}: systemctl is-active {unit}"
        if self._page and self._socket and state == "active":
            # It runs, but its page is bound to another address, perhaps the one that moves.
            servers, source = await self._read_socket(machine)
            refuse_missing(machine, self._inventory.haproxy, servers)
            return bounded(machine, self._inventory, servers), source
        raise Transient(machine, f"{nobody.seen}; but `systemctl is-active {unit}` says {completed.words}")

    async def set_servers(self, instruction: SetServers) -> str:
        """Set servers of one backend; what HAProxy said, which proves nothing.

        Raises:
            SystemTrouble: access denied, no such server, or nobody knows whether it was done.
        """
        line = f"set server {{}} state {instruction.state}"
        return await self._change(instruction, instruction.state, line)

    async def end_sessions(self, instruction: EndServerSessions) -> str:
        """Cut all sessions with servers of one backend; what HAProxy said, which proves nothing.

        Raises:
            SystemTrouble: access denied, no such server, or nobody knows whether it was done.
        """
        return await self._change(instruction, "shutdown", "shutdown sessions server {}")

    async def _change(self, instruction: SetServers | EndServerSessions, action: str, line: str) -> str:
        machine, backend, servers = instruction.balancer, instruction.backend, instruction.servers
        if self._inventory.haproxy.change_by == "admin_page" and self._page:
            return await self._page.change(machine, backend, servers, action)
        if self._socket:
            return await self._socket.change(machine, backend, servers, line)
        raise NotUnderstood(machine, "the inventory names no access to change HAProxy", "haproxy.change_by")

    def observers(self) -> dict[type[Any], Observe]:
        """`BalancerOn`."""
        return {BalancerOn: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """`SetServers` and `EndServerSessions`."""
        return {SetServers: self.set_servers, EndServerSessions: self.end_sessions}

    async def close(self) -> None:
        """Close connections."""
        if self._page:
            await self._page.close()


def refuse_missing(machine: str, settings: Haproxy, servers: Sequence[ServerState]) -> None:
    """Every server of the inventory must be listed: one that is not would silently be left out.

    Raises:
        NotUnderstood: some are not.
    """
    listed = {(server.backend, server.server) for server in servers}
    wanted = {(backend.name, server) for backend in settings.backends for server in backend.servers}
    missing = sorted("/".join(pair) for pair in wanted - listed)
    if missing:
        raise NotUnderstood(
            machine,
            f"HAProxy does not list {', '.join(missing)}",
            "compare backends and servers of the inventory with haproxy.cfg there",
        )


def bounded(machine: str, inventory: Inventory, servers: tuple[ServerState, ...]) -> BalancerFact:
    """What a run's history can hold: all servers of the inventory's backends, and some of each kind of the others.

    A server that is busy, or down, or set to something else than ready decides something in any backend; so if one
    is left out, others of its kind are there.

    Raises:
        NotUnderstood: a backend of the inventory has far more servers than it names.
    """
    known = {backend.name for backend in inventory.haproxy.backends}
    if sum(server.backend in known for server in servers) > MAX_SERVERS:
        raise NotUnderstood(machine, f"HAProxy lists more than {MAX_SERVERS} servers in the backends of the inventory")
    idle = inventory.sessions.ignore_backends
    others = [server for server in servers if server.backend not in known]
    kinds = (
        [s for s in others if (s.sessions or s.queued) and s.backend not in idle],
        [s for s in others if not s.up or s.admin != "ready"],
        others,
    )
    kept = {(s.backend, s.server) for kind in kinds for s in kind[:SHOWN]}
    shown = tuple(s for s in servers if s.backend in known or (s.backend, s.server) in kept)
    return BalancerFact(servers=shown, left_out=len(servers) - len(shown))


class Page:
    """The statistics page with administration switched on."""

    def __init__(self, inventory: Inventory, page: AdminPage) -> None:
        self._inventory = inventory
        self._page = page
        self._client: httpx.AsyncClient | None = None

    def source(self, machine: str) -> str:
        """What is read."""
        return f"GET {who.admin_page_url(self._inventory, machine)};csv"

    async def read(self, machine: str) -> str:
        """The statistics as CSV.

        Raises:
            SystemTrouble: no answer, or not the statistics.
        """
        response = await self._ask(machine, "GET", f"{who.admin_page_url(self._inventory, machine)};csv")
        web.refuse_status(machine, self.source(machine), response)
        return response.text

    async def change(self, machine: str, backend: str, servers: Sequence[str], action: str) -> str:
        """Send the form, for the named servers only.

        Raises:
            SystemTrouble: see `read_form_answer`.
        """
        said = []
        for form in forms(backend, servers, action):
            response = await self._ask(machine, "POST", who.admin_page_url(self._inventory, machine), form)
            said.append(read_form_answer(machine, response.status_code, response.headers.get("location", "")))
        return ", ".join(said)

    async def close(self) -> None:
        """Close connections."""
        if self._client:
            await self._client.aclose()

    async def _ask(self, machine: str, method: str, url: str, form: str | None = None) -> httpx.Response:
        patience = self._inventory.timings.command.total_seconds()
        # One request a connection: HAProxy may close an idle one at the moment it is used again.
        headers = {"Connection": "close"} | ({"Content-Type": "application/x-www-form-urlencoded"} if form else {})
        secret = resolve(self._page.password, machine)
        try:
            async with (
                asyncio.timeout(patience),
                self._opened(machine).stream(
                    method,
                    url,
                    content=form,
                    headers=headers,
                    auth=httpx.BasicAuth(self._page.user, secret.get_secret_value()),
                    extensions=web.extensions(self._page.tls),
                ) as response,
            ):
                return await _read(machine, response)
        except web.CAUGHT as error:
            trouble = web.translated(machine, f"{method} {url}", error)
            if _nobody_listens(error):
                raise NotListening(machine, trouble.seen, "start HAProxy there, or wait") from None
            # Without the cause: the request in it holds the password.
            raise trouble from None
        except TimeoutError:
            raise Transient(machine, f"{method} {url}: no answer within {patience:g} s") from None

    def _opened(self, machine: str) -> httpx.AsyncClient:
        if self._client is None:
            self._client = web.client(machine, tls=self._page.tls, timeout=self._inventory.timings.connect)
        return self._client


async def _read(machine: str, response: httpx.Response) -> httpx.Response:
    """The response with its body, which must end."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_STATISTICS:
            raise NotUnderstood(machine, f"{SERVICE} answers more than {MAX_STATISTICS} bytes")
    headers = {name: value for name, value in response.headers.items() if name in ("location", "content-type")}
    # Without its request, which holds the password.
    return httpx.Response(response.status_code, headers=headers, content=bytes(body))


def forms(backend: str, servers: Sequence[str], action: str) -> Iterator[str]:
    """The forms for the named servers of one backend: one, or several short ones."""
    end = urlencode({"action": action, "b": backend})
    fields: list[str] = []
    for server in servers:
        field = urlencode({"s": server})
        if fields and len("&".join((*fields, field, end))) > MAX_FORM:
            yield "&".join((*fields, end))
            fields = []
        fields.append(field)
    if fields:
        yield "&".join((*fields, end))


def _nobody_listens(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return True
        error = error.__cause__ or error.__context__
    return False


class Socket:
    """The runtime socket, reached with socat through SSH."""

    def __init__(self, shell: Shell, socket: RuntimeSocket) -> None:
        self._shell = shell
        self.path = socket.path

    async def ask(self, machine: str, line: str) -> str:
        """Send one line of commands; all that is answered.

        Raises:
            NotListening: there is no such socket, or nobody behind it.
            Rejected: no access to it, or no socat there.
            NotUnderstood: socat says something else.
        """
        argv = ("socat", "-", f"UNIX-CONNECT:{self.path}")
        completed = await self._shell.run(machine, argv, sudo=True, stdin=line, keep=MAX_STATISTICS)
        if completed.exit_status == 0:
            return answer(completed, 0)
        raise self._trouble(machine, completed)

    def _trouble(self, machine: str, completed: Completed) -> SystemTrouble:
        said = f"HAProxy's socket {self.path}: {completed.words}"
        if completed.exit_status in (126, 127):
            return Rejected(machine, said, "install socat there")
        if "No such file or directory" in completed.stderr or "Connection refused" in completed.stderr:
            return NotListening(machine, said, "start HAProxy there, or wait")
        if "Permission denied" in completed.stderr:
            return Rejected(machine, said, "let the user of the connection open it, or allow sudo for socat")
        return NotUnderstood(machine, said)

    async def change(self, machine: str, backend: str, servers: Sequence[str], line: str) -> str:
        """Send one command for each server.

        Args:
            machine: the load balancer.
            backend: of the servers.
            servers: their names.
            line: the command, with `{}` where the server stands.

        Raises:
            SystemTrouble: see `read_socket_answer`.
        """
        for name in (backend, *servers):
            # On the socket a blank or a semicolon would begin another word or command.
            if not RESOURCE_NAME.fullmatch(name):
                raise NotUnderstood(machine, f"{name!r} is no name of a backend or server")
        commands = [line.format(f"{backend}/{server}") for server in servers]
        for start in range(0, len(commands), AT_ONCE):
            together = ";".join(commands[start : start + AT_ONCE]) + "\n"
            read_socket_answer(machine, await self.ask(machine, together))
        return "done"
