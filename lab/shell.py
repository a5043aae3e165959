"""The command line of a simulated Linux machine or hypervisor: words, sudo, faults, and a table of what it knows.

Commands are words; there is no shell behind it. What it does not know is answered with 127 and recorded.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from lab.sudoers import May
from lab.world import World

# A login shell would read these outside of quotes.
_OPERATORS = re.compile(r"[;&|<>()$`\n*?]")
_QUOTED = re.compile(r"'[^']*'|\"[^\"$`\\]*\"|\\.", re.DOTALL)

Stdin = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True)
class Answer:
    """What a command leaves: exit status and both streams."""

    code: int = 0
    stdout: str | bytes = ""
    stderr: str = ""


class Dropped(Exception):
    """A fault: the connection is cut in the middle of the command."""


@dataclass(frozen=True)
class Call:
    """A command as it is to be carried out."""

    argv: list[str]
    root: bool
    stdin: Stdin

    @property
    def name(self) -> str:
        """The program's name without its path."""
        return self.argv[0].rpartition("/")[2]

    @property
    def args(self) -> list[str]:
        """Its arguments."""
        return self.argv[1:]

    @property
    def text(self) -> str:
        """As a person would type it, without sudo."""
        return " ".join([self.name, *self.args])

    def option(self, name: str) -> str | None:
        """The value of `--name=value` or `--name value`."""
        for position, word in enumerate(self.args):
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
            if word == name and position + 1 < len(self.args):
                return self.args[position + 1]
        return None

    def plain(self) -> list[str]:
        """Arguments that are no options."""
        return [word for word in self.args if not word.startswith("-")]


Handler = Callable[[Call], Awaitable[Answer]]


class Shell:
    """Runs command lines on one machine."""

    def __init__(self, world: World, machine: str, *, user_is_root: bool = False, may: May | None = None) -> None:
        self.world = world
        self.machine = machine
        self._user_is_root = user_is_root
        self._may = may
        """What sudo allows; None: everything, as it does root."""
        self._handlers: dict[str, Handler] = {"env": self._env, "sudo": self._sudo}
        self._exact: dict[tuple[str, ...], Handler] = {}

    def knows(self, handlers: dict[str, Handler]) -> None:
        """Add commands."""
        self._handlers.update(handlers)

    def knows_exactly(self, argv: Sequence[str], handler: Handler) -> None:
        """Add a site's own command, with exactly these words."""
        self._exact[tuple(argv)] = handler

    async def run(self, line: str, stdin: Stdin) -> Answer:
        """Run a command line.

        Raises:
            Dropped: the connection is to be cut.
        """
        if _OPERATORS.search(_QUOTED.sub("", line)):
            return self.unknown(line, "the simulation has no shell: only plain commands")
        try:
            argv = shlex.split(line)
        except ValueError as error:
            return self.unknown(line, str(error))
        if not argv:
            return Answer()
        return await self.dispatch(Call(argv, self._user_is_root, stdin))

    async def dispatch(self, call: Call) -> Answer:
        """Carry out a command that was found behind `env`, `sudo` or `flock`, or stands for itself."""
        if call.name in ("env", "sudo"):
            return await self._handlers[call.name](call)
        fault = self.world.faults.strikes(self.machine, call.text)
        if fault is not None and fault.kind == "slow":
            await self.world.sleep(fault.seconds)
        elif fault is not None and fault.kind != "lose":
            return await self._struck(fault.kind, call)
        handler = self._exact.get(tuple(call.argv)) or self._handlers.get(call.name)
        if handler is None:
            return self.unknown(call.text, f"{call.name}: command not found")
        answer = await handler(call)
        if fault is not None and fault.kind == "lose":
            raise Dropped
        return answer

    async def _struck(self, kind: str, call: Call) -> Answer:
        if kind == "hang":
            await asyncio.get_running_loop().create_future()
        if kind == "drop":
            raise Dropped
        self.world.journal.write(self.machine, call.text, f"fault: {kind}")
        if kind == "lie":
            return Answer()
        return Answer(1, stderr=f"{call.name}: operation refused (simulated fault)\n")

    def unknown(self, text: str, why: str) -> Answer:
        """What is not simulated: recorded, never a silent success."""
        self.world.unknown_commands.append((self.machine, text))
        return Answer(127, stderr=f"bash: {why}\n")

    async def _env(self, call: Call) -> Answer:
        rest = [*call.args]
        while rest and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", rest[0]):
            rest.pop(0)
        return await self.dispatch(Call(rest, call.root, call.stdin)) if rest else Answer()

    async def _sudo(self, call: Call) -> Answer:
        rest = [*call.args]
        asks = True
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)
            asks = asks and "n" not in option
            if option == "--":
                break
        if not rest:
            return Answer(1, stderr="usage: sudo -h | -K | -k | -V\n")
        name = rest[0].rpartition("/")[2]
        refused = self._may is not None and not self._user_is_root and not self._may(rest)
        if refused or self.world.faults.holds("sudo_denied", self.machine, name):
            problem = "a terminal is required to read the password" if asks else "a password is required"
            return Answer(1, stderr=f"sudo: {problem}\n")
        return await self.dispatch(Call(rest, root=True, stdin=call.stdin))


def needs_root(handler: Handler, refusal: Answer) -> Handler:
    """A command that refuses whoever is not root."""

    async def guarded(call: Call) -> Answer:
        return await handler(call) if call.root else refusal

    return guarded
