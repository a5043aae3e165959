"""What reaches the simulated world, what becomes of it, and who sees all of it."""

from __future__ import annotations

from typing import Literal, Protocol

Operation = Literal["shutdown", "power_cut", "power_on", "leave_primary", "service", "daemon", "other"]
Effect = Literal["done", "unchanged", "missing", "refused"]


class Watcher(Protocol):
    """Sees everything: auditors, and the lab that follows with its servers."""

    def before(self, operation: Operation, machine: str) -> None:
        """An operation has arrived and will be carried out now."""

    def after(self, machine: str, what: str) -> None:
        """Something has changed."""
