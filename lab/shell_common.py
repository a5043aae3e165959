"""Small commands that every simulated Linux machine and hypervisor knows, and HAProxy's socket through socat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from inventory.models import CommandProbe, Role
from lab.shell import Answer, Call, Handler, Shell, needs_root

RuntimeSocket = Callable[[str, bytes], Awaitable[bytes]]
"""Machine and input to output, of the HAProxy there. Raises OSError where none runs."""


def common_handlers(shell: Shell) -> dict[str, Handler]:
    """Commands that need no machine behind them."""

    async def true(_: Call) -> Answer:
        return Answer()

    async def false(_: Call) -> Answer:
        return Answer(1)

    async def identity(call: Call) -> Answer:
        if call.args == ["-u"]:
            return Answer(stdout="0\n" if call.root else "1000\n")
        if call.args in (["-un"], ["-n", "-u"]):
            return Answer(stdout="root\n" if call.root else "failover\n")
        return shell.unknown(call.text, "id: only -u is simulated")

    async def hostname(_: Call) -> Answer:
        return Answer(stdout=f"{shell.machine}\n")

    async def echo(call: Call) -> Answer:
        return Answer(stdout=" ".join(call.args) + "\n")

    return {"true": true, "false": false, "id": identity, "hostname": hostname, "echo": echo}


class SiteCommands:
    """What the inventory itself names: AcdGroupDistribute's commands, and those of probes, which succeed."""

    def __init__(self, shell: Shell) -> None:
        self._world = shell.world
        self._machine = shell.machine
        commands = shell.world.inventory.daemon.commands
        if commands and shell.world.machines[shell.machine].machine.role == Role.TELEPHONY:
            shell.knows_exactly(commands.status, self._status)
            shell.knows_exactly(commands.start, self._start)
            shell.knows_exactly(commands.stop, self._stop)
        for probe in shell.world.inventory.probes:
            if isinstance(probe, CommandProbe) and probe.machine == shell.machine:
                shell.knows_exactly(probe.command, self._succeed)

    async def _status(self, _: Call) -> Answer:
        commands = self._world.inventory.daemon.commands
        running = self._world.machines[self._machine].daemon in ("running", "stopping")
        words = (commands.running, commands.stopped or "not there") if commands else ("", "")
        return Answer(stdout=f"{words[0 if running else 1]}\n")

    async def _start(self, _: Call) -> Answer:
        self._world.start_daemon(self._machine)
        return await self._settled()

    async def _stop(self, _: Call) -> Answer:
        self._world.stop_daemon(self._machine)
        return await self._settled()

    async def _settled(self) -> Answer:
        state = self._world.machines[self._machine]
        await self._world.until(lambda: state.daemon not in ("starting", "stopping"))
        return Answer()

    async def _succeed(self, _: Call) -> Answer:
        return Answer()


class UptimeCommand:
    """`uptime -s`."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def __call__(self, call: Call) -> Answer:
        """When the machine was booted."""
        if call.args != ["-s"]:
            return self._shell.unknown(call.text, "uptime: only -s is simulated")
        state = self._shell.world.machines[self._shell.machine]
        seconds = self._shell.world.clock.now() - state.booted
        return Answer(stdout=f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}\n")


class SocatCommand:
    """`socat - UNIX-CONNECT:PATH` towards HAProxy's runtime socket: what comes in is passed on to the real one."""

    def __init__(self, shell: Shell, path: str, socket: RuntimeSocket) -> None:
        self._shell = shell
        self._path = path
        self._socket = socket

    def handlers(self) -> dict[str, Handler]:
        """By name. The socket belongs to root."""
        denied = Answer(1, stderr=f'socat[812] E connect(5, AF=1 "{self._path}", 27): Permission denied\n')
        return {"socat": needs_root(self._socat, denied)}

    async def _socat(self, call: Call) -> Answer:
        ends = call.plain() if "-" not in call.args else ["-", *call.plain()]
        targets = [end for end in ends if end.lower() not in ("-", "stdio")]
        path = targets[0].partition(":")[2] or targets[0] if targets else ""
        if len(targets) != 1 or path.partition(",")[0] != self._path:
            return Answer(1, stderr=f'socat[812] E connect(5, AF=1 "{path}", 27): No such file or directory\n')
        request = await call.stdin()
        try:
            return Answer(stdout=await self._socket(self._shell.machine, request))
        except OSError:
            return Answer(1, stderr=f'socat[812] E connect(5, AF=1 "{path}", 27): Connection refused\n')
