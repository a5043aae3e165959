"""AcdGroupDistribute, of which exactly one runs: seen by the site's own command, or only by a person."""

from __future__ import annotations

from typing import Any

from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected
from activities.hands import Act, Observe, Observed
from activities.shell import NO_SUCH_COMMAND, Shell
from activities.windows import COMMAND_NOT_FOUND, Windows
from inventory.models import DaemonCommands, Inventory
from procedure.facts import DaemonFact
from procedure.subjects import DaemonOn


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
    runs = commands.running in printed
    # Without a word for it, not running is what it says otherwise; but only an error is no answer, and one may run
    # all the same.
    stopped = commands.stopped in printed if commands.stopped else not runs and bool(printed.strip())
    if runs == stopped:
        raise NotUnderstood(completed.machine, f"`{completed.command}`: {completed.words}", "look at its script")
    return DaemonFact(state="running" if runs else "stopped")
