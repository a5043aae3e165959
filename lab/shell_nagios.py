"""The command line of a monitoring server with Nagios: its status file is read, its command file is written to."""

from __future__ import annotations

import asyncio

from inventory.models import NagiosMonitoring
from lab.nagios import Nagios
from lab.shell import Answer, Call, Handler, Shell, needs_root

_BLOCK = 4096


class NagiosCommands:
    """`cat` of the status file, and `dd` into the command file behind `timeout`."""

    def __init__(self, shell: Shell, nagios: Nagios, settings: NagiosMonitoring) -> None:
        self._shell = shell
        self._nagios = nagios
        self._settings = settings

    def handlers(self) -> dict[str, Handler]:
        """By name. Both files are for Nagios and its web server, as Debian has it."""
        denied = "Permission denied\n"
        command_file, status_file = self._settings.command_file, self._settings.status_file
        return {
            "timeout": self._timeout,
            "cat": needs_root(self._cat, Answer(1, stderr=f"cat: {status_file}: {denied}")),
            "dd": needs_root(self._dd, Answer(1, stderr=f"dd: failed to open '{command_file}': {denied}")),
        }

    async def _timeout(self, call: Call) -> Answer:
        limit, *command = call.args
        try:
            async with asyncio.timeout(float(limit)):
                return await self._shell.dispatch(Call(command, call.root, call.stdin))
        except TimeoutError:
            return Answer(124)

    async def _cat(self, call: Call) -> Answer:
        text = self._nagios.status_file()
        if call.args != [self._settings.status_file] or text is None:
            return Answer(1, stderr=f"cat: {call.args[-1]}: No such file or directory\n")
        return Answer(stdout=text)

    async def _dd(self, call: Call) -> Answer:
        wanted = {f"bs={_BLOCK}", "iflag=fullblock", "conv=nocreat,notrunc", "status=none"}
        given = set(call.args)
        target = next((word.partition("=")[2] for word in given if word.startswith("of=")), "")
        if given - {f"of={target}"} != wanted:
            return self._shell.unknown(call.text, "dd: other operands than these are not simulated")
        if target != self._settings.command_file or not self._nagios.has_command_file:
            return Answer(1, stderr=f"dd: failed to open '{target}': No such file or directory\n")
        text = await call.stdin()
        if len(text) > _BLOCK:
            return self._shell.unknown(call.text, "dd: more than one block is not simulated: it could be torn")
        self._nagios.take(text.decode())
        return Answer()
