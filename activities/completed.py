"""What a command on a machine answered, over SSH or WinRM."""

from __future__ import annotations

from dataclasses import dataclass

from activities.errors import shortened


@dataclass(frozen=True)
class Completed:
    """What a command answered. An exit status is no proof that anything was done."""

    machine: str
    command: str
    """As sent."""
    exit_status: int | None
    """None: detached, and the connection ended before it answered."""
    stdout: str
    stderr: str
    truncated: bool = False
    """More was printed than was kept; what was kept is the beginning."""

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_status == 0

    @property
    def words(self) -> str:
        """Exit status and output on one line, shortened, for evidence and messages."""
        status = "no answer, the connection ended" if self.exit_status is None else f"exit {self.exit_status}"
        return shortened(" ".join(part for part in (f"{status}:", self.stdout, self.stderr) if part).rstrip(": "))
