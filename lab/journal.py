"""The journal: every mutating operation that reached the simulated world, to prove that nothing was done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Entry:
    """One operation that changed, or would have changed, the world.

    Attributes:
        at: simulated seconds since the beginning.
        machine: where it arrived.
        operation: what was asked, in the words of the machine (`systemctl stop wildfly`).
        effect: `done`, `unchanged` (it was so already), or why it had no effect.
    """

    at: float
    machine: str
    operation: str
    effect: str = "done"


class Journal:
    """What was asked of the world, in order."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.entries: list[Entry] = []

    def write(self, machine: str, operation: str, effect: str = "done") -> None:
        """Add an operation."""
        self.entries.append(Entry(round(self._now(), 3), machine, operation, effect))

    def count(self, machine: str, operation: str, effect: str = "done") -> int:
        """How often an operation had this effect; `operation` may be its beginning."""
        return sum(
            entry.machine == machine and entry.operation.startswith(operation) and entry.effect == effect
            for entry in self.entries
        )

    def as_dicts(self) -> list[dict[str, object]]:
        """For the control endpoint."""
        return [asdict(entry) for entry in self.entries]
