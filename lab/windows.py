"""A simulated Windows machine behind WinRM: services by PowerShell or `sc.exe`, AcdGroupDistribute, shutdown.

PowerShell is not interpreted: a script is recognised by what it asks for. What is not recognised fails and is recorded.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from inventory.models import CommandProbe, DaemonCommands
from lab.machines import Service
from lab.world import World
from lab.wsman import CommandResult, clixml_error

_NUMBERS = {"stopped": 1, "failed": 1, "starting": 2, "stopping": 3, "running": 4}
_ALREADY_RUNNING, _NOT_ACTIVE, _CANNOT_NOW, _NO_ANSWER = 1056, 1062, 1061, 1053
_LITERAL = r"'((?:[^']|'')*)'"
# How a script names the service it is about.
_NAMED = re.compile(rf"(?:\$\w+\s*=\s*|-(?:Display)?Name\s+|(?:Display)?Name\s*=\s*\"?){_LITERAL}", re.IGNORECASE)
_ACTION = re.compile(r"\b(?:sc(?:\.exe)?\s+(start|stop)\b|(Start|Stop)-Service\b)", re.IGNORECASE)
_FINDS = re.compile(r"Get-Service|Win32_Service", re.IGNORECASE)

# What a command leaves whose connection is cut: nobody hears it.
_UNHEARD = CommandResult(exit_code=1)


class _DroppedError(Exception):
    """A fault: the connections are cut before anything is carried out."""


class SimulatedWindows:
    """What runs the commands that come over WinRM. `cut` drops all connections of the machine."""

    def __init__(self, world: World, machine: str, cut: Callable[[], Awaitable[None]]) -> None:
        self._world = world
        self._state = world.machines[machine]
        self._cut = cut
        # Commands whose answer a fault loses.
        self._losing: WeakSet[asyncio.Task[object]] = WeakSet()

    async def run(self, command: str, arguments: list[str], stdin: bytes) -> CommandResult:
        """Run a command to its end."""
        del stdin
        try:
            result = await self._run(command, arguments)
        except _DroppedError:
            await self._cut()
            return _UNHEARD
        if asyncio.current_task() in self._losing:
            await self._cut()
        return result

    async def _run(self, command: str, arguments: list[str]) -> CommandResult:
        if command == "powershell" and arguments:
            return await self._powershell(arguments[0])
        words = [command, *arguments]
        commands = self._world.inventory.daemon.commands
        for name in ("status", "start", "stop"):
            if commands and _same(words, getattr(commands, name)):
                return await self._daemon(name, commands)
        for probe in self._world.inventory.probes:
            if isinstance(probe, CommandProbe) and probe.machine == self._state.name and _same(words, probe.command):
                return CommandResult()
        if re.fullmatch(r"shutdown(\.exe)?", command, re.IGNORECASE) and {"/s", "-s"} & {w.lower() for w in arguments}:
            return await self._shutdown()
        return self._unknown(" ".join(words), 9009)

    # --- services ----------------------------------------------------------------------------------------------------

    async def _powershell(self, script: str) -> CommandResult:
        if re.search(r"\bStop-Computer\b|\bshutdown(\.exe)?\s+[/-]s", script, re.IGNORECASE):
            return await self._shutdown()
        named = _NAMED.findall(script)
        # Settings such as $ErrorActionPreference = 'Stop' are assignments too.
        names = [name.replace("''", "'") for name in named if name not in ("Stop", "SilentlyContinue", "Continue")]
        if not names or not _FINDS.search(script):
            return self._unknown(script, 1)
        action = _ACTION.search(script)
        verb = (action[1] or action[2]).lower() if action else ""
        return await self._service(names[0], verb, waits=bool(action and action[2]))

    async def _service(self, name: str, verb: str, *, waits: bool) -> CommandResult:
        operation = f"{verb.capitalize() or 'Get'}-Service {name}"
        fault = await self._struck(operation)
        service = self._found(name)
        number: int | None = None
        if service is not None and verb:
            number = {"": None, "lie": 0, "refuse": _NO_ANSWER}[fault] if fault else self._act(service, verb)
            if waits:
                await self._world.until(lambda: service.status not in ("starting", "stopping"))
        elif fault == "refuse":
            return CommandResult(b"", clixml_error("Get-Service : Access is denied"), 1)
        return _answer(service, number, seen=len(self._state.services) + 120)

    def _found(self, name: str) -> Service | None:
        wanted = name.casefold()
        services = list(self._state.services.values())
        by_key = [service for service in services if service.name.casefold() == wanted]
        by_display = [service for service in services if service.display.casefold() == wanted]
        return next(iter(by_key or by_display), None)

    def _act(self, service: Service, verb: str) -> int:
        if verb == "stop":
            if service.status in ("starting", "stopping"):
                return _CANNOT_NOW
            effect = self._world.stop_service(self._state.name, service.name)
            return 0 if effect == "done" else _NOT_ACTIVE
        if service.status == "stopping":
            return _CANNOT_NOW
        effect = self._world.start_service(self._state.name, service.name)
        return 0 if effect == "done" else _ALREADY_RUNNING

    # --- AcdGroupDistribute and the machine --------------------------------------------------------------------------

    async def _daemon(self, verb: str, commands: DaemonCommands) -> CommandResult:
        fault = await self._struck(f"AcdGroupDistribute {verb}")
        if fault == "refuse":
            return CommandResult(b"", b"ERROR: refused (simulated fault)\r\n", 1)
        if verb == "status":
            running = self._state.daemon in ("running", "stopping")
            stopped = commands.stopped or _other_than(commands.running)
            return CommandResult(f"{commands.running if running else stopped}\r\n".encode())
        if fault != "lie":
            act = self._world.start_daemon if verb == "start" else self._world.stop_daemon
            act(self._state.name)
            await self._world.until(lambda: self._state.daemon not in ("starting", "stopping"))
        return CommandResult(b"OK\r\n")

    async def _shutdown(self) -> CommandResult:
        fault = await self._struck("shutdown")
        await self._world.look_first()
        if fault == "refuse":
            return CommandResult(b"", b"Access is denied.(5)\r\n", 5)
        if fault != "lie" and self._world.shut_down(self._state.name) == "unchanged":
            return CommandResult(b"", b"A system shutdown is in progress.(1115)\r\n", 1115)
        return CommandResult()

    async def _struck(self, operation: str) -> str:
        """Let a fault happen; `refuse` and `lie` are left to the operation."""
        fault = self._world.faults.strikes(self._state.name, operation)
        if fault is None:
            return ""
        if fault.kind == "slow":
            await self._world.sleep(fault.seconds)
            return ""
        if fault.kind == "lose" and (task := asyncio.current_task()):
            self._losing.add(task)
            return ""
        if fault.kind == "drop":
            raise _DroppedError
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        self._world.journal.write(self._state.name, operation, f"fault: {fault.kind}")
        return fault.kind

    def _unknown(self, text: str, code: int) -> CommandResult:
        self._world.unknown_commands.append((self._state.name, text))
        words = f"'{text[:80]}' is not recognized as an internal or external command (not simulated).\r\n"
        return CommandResult(b"", words.encode(), code)


def _answer(service: Service | None, number: int | None, *, seen: int) -> CommandResult:
    found = [{"name": service.name, "status": _NUMBERS[service.status]}] if service else []
    answer = {"services": found, "seen": seen, "hidden": 0, "exit": number}
    return CommandResult(json.dumps(answer, separators=(",", ":")).encode() + b"\r\n")


def _same(words: list[str], wanted: tuple[str, ...]) -> bool:
    # Windows ignores the case of programs and paths.
    return [word.casefold() for word in words] == [word.casefold() for word in wanted]


def _other_than(running: str) -> str:
    """What the status command prints while it does not run: never what it prints while it does."""
    return "STOPPED" if running.upper() != "STOPPED" else "DOWN"
