"""What the systems behind SSH need of it: a way to run a command on a machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected

MONITORING_SERVER = "monitoring server"
"""Stands for its name, which the inventory does not give; no machine can be called so, with a blank."""
KEEP = 65536
"""Characters kept of each of stdout and stderr, unless more is asked for."""
NO_SUCH_COMMAND = (126, 127)
"""Exit statuses of a POSIX shell for what it can't run or can't find."""


class Shell(Protocol):
    """Runs commands on machines; `activities.ssh.Ssh` is one."""

    async def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of an instruction, a value
        stdin: str | None = None,
        keep: int = KEEP,
    ) -> Completed:
        """Run a command and wait for it.

        Raises:
            SystemTrouble: no connection, no answer, or access denied.
        """


def answer(completed: Completed, *accepted: int) -> str:
    """What a command printed, whole, if it exited with one of `accepted`.

    Raises:
        Rejected: there is no such command there.
        NotUnderstood: another exit status, or more was printed than was kept.
    """
    if completed.exit_status in NO_SUCH_COMMAND:
        raise Rejected(completed.machine, f"`{completed.command}`: {completed.words}", "install the command there")
    if completed.exit_status not in accepted:
        raise NotUnderstood(completed.machine, f"`{completed.command}`: {completed.words}")
    if completed.truncated:
        raise NotUnderstood(completed.machine, f"`{completed.command}` printed more than can be read at once")
    return completed.stdout
