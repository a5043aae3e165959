"""SSH of simulated machines: a real server (asyncssh) for each, with its own host key, in front of a model's shell."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import asyncssh

from lab.listening import Endpoint, Gate, listening_socket
from lab.shell import Answer, Dropped, Shell, Stdin

_LOG = logging.getLogger(__name__)


class SshServer:
    """One machine's SSH server. Only the lab's key and the inventory's user are let in."""

    def __init__(
        self,
        endpoint: Endpoint,
        shell: Shell,
        *,
        user: str,
        client_key: asyncssh.SSHKey,
        host_key: asyncssh.SSHKey | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._shell = shell
        self._user = user
        self._client_key = client_key
        self._own_key = host_key or asyncssh.generate_private_key("ssh-ed25519")
        self._host_key = self._own_key
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self.gate = Gate()
        self.refuses_all = False
        """A fault: the key is not accepted any more."""
        self.logins = 0

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; a chosen port is known after the first start."""
        return self._endpoint

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""
        return self._acceptor is not None

    @property
    def known_hosts_line(self) -> str:
        """The line for a known_hosts file."""
        key = self._host_key.export_public_key().decode().split()
        return f"[{self._endpoint.address}]:{self._endpoint.port} {key[0]} {key[1]}\n"

    def show_host_key(self, *, its_own: bool) -> None:
        """From the next start on show its own key, or another, as a machine that was installed anew does."""
        self._host_key = self._own_key if its_own else asyncssh.generate_private_key("ssh-ed25519")

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        if self._acceptor is not None:
            return
        sock = listening_socket(self._endpoint)
        self._endpoint = Endpoint(self._endpoint.address, sock.getsockname()[1])
        self._acceptor = await asyncssh.listen(
            sock=sock,
            server_factory=lambda: _Server(self),
            server_host_keys=[self._host_key],
            encoding=None,
            password_auth=False,
            kbdint_auth=False,
            agent_forwarding=False,
            allow_pty=False,
            login_timeout=600,
            # Commands answer with little text: compression would cost more than it saves.
            compression_algs=None,
        )

    async def stop(self) -> None:
        """Refuse new connections and cut the open ones; what they run is killed."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for connection in list(self._connections):
            connection.abort()

    def admits(self, user: str, key: asyncssh.SSHKey) -> bool:
        """Whether a user with this key is let in."""
        return not self.refuses_all and user == self._user and key == self._client_key.convert_to_public()

    def opened(self, connection: asyncssh.SSHServerConnection) -> None:
        """A client has connected."""
        self._connections.add(connection)

    def closed(self, connection: asyncssh.SSHServerConnection | None) -> None:
        """A client has gone."""
        if connection is not None:
            self._connections.discard(connection)

    async def run(self, command: str, stdin: Stdin) -> Answer:
        """Run a command line of a client.

        Raises:
            Dropped: the connection is to be cut.
        """
        try:
            await self.gate.passed()
            answer = await self._shell.run(command, stdin)
            # A machine that hangs since the command began answers nothing either.
            await self.gate.passed()
        except (Dropped, asyncio.CancelledError):
            raise
        except Exception:
            # A defect of the simulation must show as a failed command, not as a machine that hangs.
            _LOG.exception("the simulation of %r failed", command)
            return Answer(255, stderr="the simulation itself has failed\n")
        return answer


class _Session(asyncssh.SSHServerSession[bytes]):
    """One command of a client. It is killed by a signal and by the end of its channel."""

    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._command = ""
        self._input = bytearray()
        self._eof = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        self._running = asyncio.ensure_future(self._run())

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        del datatype
        self._input += data

    def eof_received(self) -> bool:
        self._eof.set()
        # The channel stays open for the answer.
        return True

    def signal_received(self, signal: str) -> None:
        if self._running is not None and not self._running.done() and self._channel is not None:
            self._running.cancel()
            self._channel.exit_with_signal(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._running is not None:
            self._running.cancel()

    async def _stdin(self) -> bytes:
        await self._eof.wait()
        return bytes(self._input)

    async def _run(self) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            answer = await self._server.run(self._command, self._stdin)
        except Dropped:
            channel.get_connection().abort()
            return
        with contextlib.suppress(OSError, asyncssh.Error):
            channel.write(answer.stdout if isinstance(answer.stdout, bytes) else answer.stdout.encode())
            channel.write_stderr(answer.stderr.encode())
            channel.exit(answer.code)


class _Server(asyncssh.SSHServer):
    """Authentication of one connection."""

    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.opened(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.closed(self._connection)

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Session(self._server)

    async def begin_auth(self, username: str) -> bool:
        del username
        await self._server.gate.passed()
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._server.admits(username, key)

    def auth_completed(self) -> None:
        self._server.logins += 1
