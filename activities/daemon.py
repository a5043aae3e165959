"""AcdGroupDistribute, of which exactly one runs: seen by the site's own command, or only by a person."""

from __future__ import annotations

import re
from typing import Any, Final

from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected
from activities.hands import Act, Observe, Observed
from activities.shell import NO_SUCH_COMMAND, Shell
from activities.windows import COMMAND_NOT_FOUND, Windows
from inventory.models import DaemonCommands, Inventory
from procedure.facts import DaemonFact
from procedure.subjects import DaemonOn

_TOLD: Final = (0, 3)
"""Exit codes of a status that was told: 3 is "not running" (LSB 5.0, init script actions)."""


class Daemon:
    """Observes AcdGroupDistribute; moving it are instructions of WinRM and SSH."""

    def __init__(self, inventory: Inventory, ssh: Shell, windows: Windows) -> None:
        self._inventory = inventory
        self._ssh = ssh
        self._windows = windows

    def observers(self) -> dict[type[Any], Observe]:
        """`DaemonOn`."""
        return {DaemonOn: self.daemon}

    def actors(self) -> dict[type[Any], Act]:
        """None of its own."""
        return {}

    async def close(self) -> None:
        """Nothing is its own."""

    async def daemon(self, subject: DaemonOn) -> Observed:
        """Whether it runs on a telephony machine.

        Raises:
            SystemTrouble: it can't be told.
        """
        commands = self._inventory.daemon.commands
        if commands is None:
            return DaemonFact(state="by_hand"), "the inventory: only a person can see it"
        on_windows = self._inventory.machine(subject.machine).os == "windows"
        run = self._windows.run if on_windows else self._ssh.run
        completed = await run(subject.machine, commands.status)
        way = "winrm" if on_windows else "ssh"
        return read_status(completed, commands), f"{way} {subject.machine}: {' '.join(commands.status)}"


def read_status(completed: Completed, commands: DaemonCommands) -> DaemonFact:
    """The state that the site's command tells.

    Raises:
        Rejected: there is no such command there.
        NotUnderstood: it printed nothing but an error, or neither of the two words, or both.
    """
    if completed.exit_status in (*NO_SUCH_COMMAND, COMMAND_NOT_FOUND):
        raise Rejected(completed.machine, f"`{completed.command}`: {completed.words}", "install the command there")
    printed = completed.stdout
    runs = _says(printed, commands.running)
    if commands.stopped:
        stopped = _says(printed, commands.stopped)
    else:
        # Without a word for it, not running is what it says otherwise, if it did not fail: one may run all the same.
        stopped = not runs and bool(printed.strip()) and completed.exit_status in _TOLD
    if runs == stopped or completed.truncated:
        raise NotUnderstood(completed.machine, f"`{completed.command}`: {completed.words}", "look at its script")
    return DaemonFact(state="running" if runs else "stopped")


def _says(printed: str, word: str) -> bool:
    """Whether it says so: the word as a whole, and not that it is *not* so."""
    whole = rf"(?<!\w){re.escape(word)}(?!\w)"
    return bool(re.search(whole, re.sub(rf"(?i)\bnot\s+{whole}", "", printed)))
