"""SSH: commands on Linux machines and hypervisors.

One connection per machine and worker, opened when first needed, shared by concurrent steps, opened again when lost.
Host keys are always checked; there are no passwords, no agent forwarding and no settings from a user's own files.

A command is a list of words, quoted here once. It runs as ``env LC_ALL=C sudo -n WORDS``: `env` stands before `sudo`
because `sudo env …` would need a sudoers rule for every command at once, and because sshd refuses most variables that
a client asks for. sudo passes LC_ALL on by default (sudoers(5), env_check). `sudo -n` fails where it would prompt.

Cancelling, and a time-out, end the remote command: TERM, after `GRACE` KILL, then the channel is closed. OpenSSH
delivers signals since 7.9, with the rights of the login user, so a command that runs as root through sudo only notices
the closed channel. Whatever was started is therefore observed before anything is repeated.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncssh

from activities.completed import Completed
from activities.errors import Rejected, Transient
from activities.hands import Act, Observe
from activities.secrets import resolve
from activities.shell import MONITORING_SERVER
from activities.ssh_trouble import CAUGHT, HostKeys, sudo_refusal, translated
from inventory.models import CommandPower, Inventory, NagiosMonitoring, SshConnection
from procedure.instructions import RunOn

__all__ = ["KEEP", "Completed", "Ssh"]

KEEP = 65536
"""Characters kept of each of stdout and stderr: the longest answer of a pair or a balancer is a tenth of it."""
CHANNELS = 8
"""Commands at the same time on one connection; sshd allows 10 by default (MaxSessions)."""
ROOM_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""A command that found no room on its connection has not begun, and is sent again after so long: sshd counts one that
has ended until it has cleared it away, which may be after the next one came."""
NO_ROOM = (asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE)
"""What a server says that has no room: OpenSSH, beyond MaxSessions, the first ("open failed"), others the second."""
CIPHERS = "^aes128-gcm@openssh.com"
"""Before all others: processors and OpenSSL have it ready, so a packet costs a fifth of what ChaCha20 costs here."""
KEEPALIVES = 3
"""Unanswered keepalives, one every `timings.connect`, after which a silent connection counts as lost."""
GRACE = timedelta(seconds=2)
"""Between TERM and KILL for a command that is no longer wanted."""


@dataclass(frozen=True)
class _Target:
    name: str
    address: str
    port: int
    connection: SshConnection


@dataclass(frozen=True)
class _Request:
    command: str
    limit: timedelta
    stdin: str | None
    detached: bool
    keep: int


@dataclass
class _Line:
    """The connection to one target."""

    target: _Target
    opening: asyncio.Task[asyncssh.SSHClientConnection] | None = None
    channels: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHANNELS))
    connection: asyncssh.SSHClientConnection | None = None
    users: Counter[asyncssh.SSHClientConnection] = field(default_factory=Counter)

    def retire(self, connection: asyncssh.SSHClientConnection) -> None:
        """Take no further command to it; those that it carries go on."""
        if self.connection is connection:
            self.connection = None

    def leave(self, connection: asyncssh.SSHClientConnection) -> None:
        """A command is over; the last one closes a connection that was retired."""
        self.users[connection] -= 1
        if self.users[connection] == 0:
            del self.users[connection]
            if connection is not self.connection:
                connection.close()


class Ssh:
    """Runs commands on the machines and hypervisors of an inventory. Also the system that carries out `RunOn`."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._lines: dict[str, _Line] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of an instruction, a value
        stdin: str | None = None,
        detached: bool = False,
        keep: int = KEEP,
    ) -> Completed:
        """Run a command and wait for it.

        Args:
            machine: a machine with an SSH connection, a VM-Host whose power provider is `command`, or the monitoring
                server whose provider is `nagios`.
            argv: its words, which reach the command as they are.
            sudo: with root's rights, unless the connection's own user has them (`sudo: false` in the inventory).
            timeout: None: `timings.command`.
            stdin: what it reads; None: nothing.
            detached: the connection may end before it answers.
            keep: characters kept of each of stdout and stderr.

        Raises:
            Transient: no connection, or nobody knows whether it was done.
            Rejected: host key, credentials or sudo refuse.
        """
        line = self._line(machine)
        limit = timeout or self._inventory.timings.command
        request = _Request(_command(line.target, argv, sudo), limit, stdin, detached, keep)
        # Before a place is waited for, so that all who would wait for one hear at once that there is no connection.
        await self._connected(line)
        await line.channels.acquire()
        # Given back when the channel is closed, which may be later than the answer: sshd counts them so too.
        place = ExitStack()
        place.callback(line.channels.release)
        with place:
            connection = await self._connected(line)
            line.users[connection] += 1
            place.callback(line.leave, connection)
            completed = await self._carried_out(line, connection, request, place)
        if sudo and (refusal := sudo_refusal(completed.exit_status, completed.stderr)):
            raise Rejected(
                machine,
                f"sudo refused `{shlex.join(argv)}`: {refusal}",
                f"allow user {line.target.connection.user} there to run it with NOPASSWD (sudoers)",
            )
        return completed

    async def carry_out(self, instruction: RunOn) -> str:
        """Carry out an instruction; its answer.

        Raises:
            Transient: it failed, or nobody knows: observe, then try again.
            Rejected: there is no such command there.
        """
        completed = await self.run(
            instruction.machine,
            instruction.argv,
            sudo=instruction.sudo,
            timeout=instruction.timeout,
            detached=instruction.detached,
        )
        if completed.exit_status in (126, 127):
            raise Rejected(instruction.machine, f"`{instruction.text}`: {completed.words}", "install the command there")
        if completed.exit_status not in (0, None):
            raise Transient(instruction.machine, f"`{instruction.text}`: {completed.words}")
        return completed.words

    def observers(self) -> dict[type[Any], Observe]:
        """None: what is seen through SSH belongs to other systems."""
        return {}

    def actors(self) -> dict[type[Any], Act]:
        """`RunOn`."""
        return {RunOn: self.carry_out}

    async def close(self) -> None:
        """End what still runs and close all connections."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=3 * GRACE.total_seconds())
        for line in self._lines.values():
            if line.opening:
                line.opening.cancel()
        connections = {c for line in self._lines.values() for c in (line.connection, *line.users) if c}
        for connection in connections:
            connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE.total_seconds()):
                await asyncio.gather(*(connection.wait_closed() for connection in connections))
        self._lines.clear()

    def _line(self, machine: str) -> _Line:
        if machine not in self._lines:
            self._lines[machine] = _Line(self._target(machine))
        return self._lines[machine]

    def _target(self, name: str) -> _Target:
        for machine in self._inventory.machines:
            if machine.name == name:
                return self._reached_by(name, machine.address, machine.port, machine.connection)
        for host in self._inventory.vm_hosts:
            if host.name == name and isinstance(host.power, CommandPower):
                return self._reached_by(name, host.power.address, host.power.port, host.power.connection)
        monitoring = self._inventory.monitoring
        if name == MONITORING_SERVER and isinstance(monitoring, NagiosMonitoring):
            return self._reached_by(name, monitoring.address, monitoring.port, monitoring.connection)
        raise Rejected(name, "the inventory knows no way to run a command there", "give it an SSH connection")

    def _reached_by(self, name: str, address: str, port: int | None, connection: str) -> _Target:
        way = self._inventory.connections[connection]
        if not isinstance(way, SshConnection):
            raise Rejected(name, f"its connection {connection} is not SSH", "give it an SSH connection")
        return _Target(name, address, port or way.port, way)

    async def _connected(self, line: _Line) -> asyncssh.SSHClientConnection:
        if line.connection is not None and not line.connection.is_closed():
            return line.connection
        if line.opening is None:
            line.opening = asyncio.create_task(self._open(line))
        # All who wait share one attempt and its failure; one who is cancelled leaves it to the others.
        return await asyncio.shield(line.opening)

    async def _open(self, line: _Line) -> asyncssh.SSHClientConnection:
        try:
            line.connection = await self._connect(line.target)
        finally:
            line.opening = None
        return line.connection

    async def _connect(self, target: _Target) -> asyncssh.SSHClientConnection:
        way = target.connection
        keys = HostKeys.read(target.name, target.address, target.port, way.known_hosts)
        patience = self._inventory.timings.connect.total_seconds()
        async with _identity(target) as identity:
            try:
                connection, _ = await asyncssh.create_connection(
                    keys.watching_client,
                    target.address,
                    target.port,
                    username=way.user,
                    client_keys=identity,
                    agent_path=None,
                    known_hosts=keys.known,
                    config=None,
                    preferred_auth="publickey",
                    agent_forwarding=False,
                    gss_host=None,
                    connect_timeout=patience,
                    login_timeout=patience,
                    keepalive_interval=patience,
                    keepalive_count_max=KEEPALIVES,
                    encryption_algs=CIPHERS,
                )
            except CAUGHT as error:
                raise translated(target.name, f"{target.address} port {target.port}", error, keys) from error
        return connection

    async def _carried_out(
        self, line: _Line, connection: asyncssh.SSHClientConnection, request: _Request, place: ExitStack
    ) -> Completed:
        machine, command, seconds = line.target.name, request.command, request.limit.total_seconds()
        try:
            async with asyncio.timeout(seconds), self._started(connection, request, place) as process:
                out, err = await asyncio.gather(
                    _kept(process.stdout, request.keep), _kept(process.stderr, request.keep)
                )
                await process.wait_closed()
        except CAUGHT as error:
            if request.detached and connection.is_closed():
                return Completed(machine, command, None, "", "")
            if isinstance(error, TimeoutError) and not isinstance(error, asyncssh.Error):
                # It may be half open: nothing arrives any more, and nobody has said that it ended.
                line.retire(connection)
                raise _no_answer(machine, command, f"no answer within {seconds:g} s") from error
            raise translated(machine, f"`{command}`", error) from error
        status = process.exit_status
        if status is None and not request.detached:
            signal = process.exit_signal
            raise _no_answer(machine, command, f"ended by signal {signal[0]}" if signal else "the connection was lost")
        return Completed(machine, command, status, out[0], err[0], out[1] or err[1])

    @asynccontextmanager
    async def _started(
        self, connection: asyncssh.SSHClientConnection, request: _Request, place: ExitStack
    ) -> AsyncIterator[asyncssh.SSHClientProcess[str]]:
        """The command, which is ended when this context is left before it is over."""
        creating = await self._created(connection, request.command, place)
        process = creating.result()
        try:
            if request.stdin is not None:
                process.stdin.write(request.stdin)
            process.stdin.write_eof()
            yield process
        except BaseException:
            self._end_later(creating, place.pop_all())
            raise

    async def _created(
        self, connection: asyncssh.SSHClientConnection, command: str, place: ExitStack
    ) -> asyncio.Future[asyncssh.SSHClientProcess[str]]:
        pauses = iter(ROOM_SECONDS)
        while True:
            creating = asyncio.ensure_future(connection.create_process(command, encoding="utf-8", errors="replace"))
            try:
                # Shielded: cancelled in between, the command would run on without anyone who knows of it.
                await asyncio.shield(creating)
            except asyncio.CancelledError:
                self._end_later(creating, place.pop_all())
                raise
            except asyncssh.ChannelOpenError as error:
                pause = next(pauses, None) if error.code in NO_ROOM else None
                if pause is None or connection.is_closed():
                    raise
                # Nothing has begun, and whoever gives it up in this pause has it not sent again.
                await asyncio.sleep(pause)
            else:
                return creating

    def _end_later(self, creating: asyncio.Future[asyncssh.SSHClientProcess[str]], place: ExitStack) -> None:
        task = asyncio.create_task(_end(creating, place))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _command(target: _Target, argv: Sequence[str], sudo: bool) -> str:
    # `env` and `sudo` would read these as their own options and assignments.
    if not argv or argv[0].startswith("-") or "=" in argv[0]:
        raise ValueError(f"{list(argv)!r} does not begin with a command")
    prefix = ("sudo", "-n") if sudo and target.connection.sudo else ()
    return shlex.join(("env", "LC_ALL=C", *prefix, *argv))


@asynccontextmanager
async def _identity(target: _Target) -> AsyncIterator[list[asyncssh.SSHKeyPair | asyncssh.SSHKey]]:
    """The private key of the connection, or else the keys of the worker's agent; never a user's default keys."""
    if target.connection.key is not None:
        yield [_key(target, target.connection.key)]
        return
    hint = "start an agent with a key for the worker (SSH_AUTH_SOCK), or name a key file in the connection"
    try:
        agent = await asyncssh.connect_agent(os.environ.get("SSH_AUTH_SOCK", ""))
        keys = await agent.get_keys()
    except (OSError, ValueError) as error:
        raise Rejected(target.name, "no key in the inventory, and no SSH agent answers", hint) from error
    async with agent:
        if not keys:
            raise Rejected(target.name, "the SSH agent holds no key", hint)
        yield list(keys)


def _key(target: _Target, reference: str) -> asyncssh.SSHKey:
    secret = resolve(reference, target.name)
    try:
        return asyncssh.import_private_key(secret.get_secret_value())
    except ValueError as error:
        raise Rejected(
            target.name,
            f"{reference} is no private key that can be used: {error}",
            "name an OpenSSH private key without a passphrase, or use an agent",
        ) from None


def _no_answer(machine: str, command: str, why: str) -> Transient:
    hint = "look at its console: it may hang, or have more to do than it can"
    return Transient(machine, f"`{command}`: {why}", hint)


async def _kept(stream: asyncssh.SSHReader[str], keep: int) -> tuple[str, bool]:
    """The beginning of a stream, and whether there was more. All of it is read, so that the command never blocks."""
    kept: list[str] = []
    left, more = keep, False
    while chunk := await stream.read(KEEP):
        kept.append(chunk[:left])
        more = more or len(chunk) > left
        left -= len(kept[-1])
    return "".join(kept), more


async def _end(creating: asyncio.Future[asyncssh.SSHClientProcess[str]], place: ExitStack) -> None:
    """End a command nobody waits for any more. A connection that is gone by now ended it too."""
    with place, suppress(*CAUGHT):
        # However long that takes, or until the connection is lost: given up here, it would begin and run on.
        process = await creating
        try:
            process.terminate()
            await _closed(process)
        except TimeoutError:
            process.kill()
        finally:
            process.close()
            await _closed(process)


async def _closed(process: asyncssh.SSHClientProcess[str]) -> None:
    async with asyncio.timeout(GRACE.total_seconds()):
        await process.wait_closed()
