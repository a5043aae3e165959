"""The recordings of real systems, a shell that answers with them, and ways to mutilate them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from activities.completed import Completed
from activities.errors import SystemTrouble
from activities.shell import KEEP

RECORDINGS = Path(__file__).parents[1] / "recordings"


def recorded(*path: str) -> str:
    """The text of one recording."""
    return RECORDINGS.joinpath(*path).read_text()


Reply = str | tuple[int, str, str] | SystemTrouble
"""What a command prints on stdout, or exit status, stdout and stderr, or the trouble to reach the machine."""


@dataclass
class RecordedShell:
    """Answers each command by its first words, as real machines did; anything else is not there (127)."""

    replies: Mapping[str, Reply]
    asked: list[str] = field(default_factory=list)
    stdin: list[str | None] = field(default_factory=list)

    async def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - the signature of the real one
        stdin: str | None = None,
        keep: int = KEEP,
    ) -> Completed:
        line = " ".join(("sudo", *argv) if sudo else argv)
        self.asked.append(line)
        self.stdin.append(stdin)
        reply = next(
            (reply for words, reply in self.replies.items() if line.removeprefix("sudo ").startswith(words)), None
        )
        if isinstance(reply, SystemTrouble):
            raise reply
        if reply is None:
            reply = (127, "", f"{argv[0]}: command not found\n")
        status, out, err = (0, reply, "") if isinstance(reply, str) else reply
        return Completed(machine, line, status, out, err)
