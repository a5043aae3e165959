"""A real SSH server in this process, whose commands are answered by functions of the test."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from inventory.models import Inventory
from tests.activities.cluster import machine, reference

MACHINE = "acd-jb1"
PREFIX = ["env", "LC_ALL=C"]
SUDO = [*PREFIX, "sudo", "-n"]


class Command(asyncssh.SSHServerSession[str]):
    """A command on its way: its words, what it got and what became of it."""

    def __init__(self, server: SshServer) -> None:
        self.server = server
        self.line = ""
        self.stdin = ""
        self.signals: list[str] = []
        self.read_all = asyncio.Event()
        self.signalled = asyncio.Event()
        self.closed = asyncio.Event()

    @property
    def words(self) -> list[str]:
        """Without the prefix every command has."""
        words = shlex.split(self.line)
        for prefix in (SUDO, PREFIX):
            if words[: len(prefix)] == prefix:
                return words[len(prefix) :]
        return words

    def connection_made(self, chan: asyncssh.SSHServerChannel[str]) -> None:
        self.channel = chan

    def exec_requested(self, command: str) -> bool:
        self.line = command
        return True

    def session_started(self) -> None:
        self.server.commands.append(self)
        self.server.came.set()
        task = asyncio.create_task(self._answered())
        self.server.tasks.add(task)
        task.add_done_callback(self.server.tasks.discard)

    async def _answered(self) -> None:
        await self.server.answer(self)

    def data_received(self, data: str, datatype: int | None) -> None:
        self.stdin += data

    def eof_received(self) -> bool:
        self.read_all.set()
        return True

    def signal_received(self, signal: str) -> None:
        self.signals.append(signal)
        self.signalled.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def exits(self, status: int, stdout: str = "", stderr: str = "") -> None:
        """Print and exit."""
        self.channel.write(stdout)
        self.channel.write_stderr(stderr)
        self.channel.exit(status)


Answer = Callable[[Command], Awaitable[None]]


async def echo(command: Command) -> None:
    """Print its own words, one a line."""
    command.exits(0, "\n".join(command.words))


def answering(answers: dict[str, tuple[int, str, str]]) -> Answer:
    """Answers by the first words of the command; any other command is not found."""

    async def answer(command: Command) -> None:
        line = shlex.join(command.words)
        known = next((answers[start] for start in answers if line.startswith(start)), None)
        command.exits(*(known or (127, "", f"bash: {line}: command not found")))

    return answer


@dataclass
class SshServer:
    """One server: who may log in, what is answered, and what was asked."""

    directory: Path
    answer: Answer = echo
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    user_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    commands: list[Command] = field(default_factory=list)
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    full: int = 0
    """So many sessions are refused, as by one that has MaxSessions of them."""
    refusal: int = asyncssh.OPEN_CONNECT_FAILED
    """The code it says then: this is OpenSSH's."""
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    listener: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        self.listener = await asyncssh.create_server(
            lambda: _Access(self), "127.0.0.1", self.port, server_host_keys=[self.host_key]
        )
        self.port = self.listener.get_port()
        self.trust(self.host_key)
        self._write("key", self.user_key.export_private_key())

    async def stop(self) -> None:
        assert self.listener
        self.listener.close()
        self.cut()
        await self.listener.wait_closed()
        for task in self.tasks:
            task.cancel()

    async def got(self, count: int) -> None:
        """Wait until so many commands have come."""
        async with asyncio.timeout(5):
            while len(self.commands) < count:
                self.came.clear()
                await self.came.wait()

    def cut(self) -> None:
        """Cut every connection as a failing network would."""
        for connection in self.connections:
            connection.abort()

    def trust(self, *keys: asyncssh.SSHKey) -> None:
        """Fill the client's known_hosts."""
        lines = [f"[127.0.0.1]:{self.port} ".encode() + key.export_public_key() for key in keys]
        self._write("known_hosts", b"".join(lines))

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)

    def inventory(self, change: Callable[[dict[str, Any]], None] = lambda raw: None, **timings: str) -> Inventory:
        """The reference cluster, where acd-jb1 and the hypervisor of vm-host-1 are this server."""
        connection = {
            "kind": "ssh",
            "user": "failover",
            "key": f"file:{self.directory}/key",
            "known_hosts": f"{self.directory}/known_hosts",
        }

        def changed(raw: dict[str, Any]) -> None:
            raw["timings"].update(timings)
            raw["connections"]["linux"] = raw["connections"]["hypervisor"] = connection
            machine(raw, MACHINE).update(address="127.0.0.1", port=self.port)
            raw["vm_hosts"][0]["power"].update(address="127.0.0.1", port=self.port)
            change(raw)

        return reference(changed)


class _Access(asyncssh.SSHServer):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._server.connections.append(conn)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "failover" and key == self._server.user_key.convert_to_public()

    def session_requested(self) -> Command | bool:
        if self._server.full > 0:
            self._server.full -= 1
            self._server.refused.set()
            raise asyncssh.ChannelOpenError(self._server.refusal, "open failed")
        return Command(self._server)
