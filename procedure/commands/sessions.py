"""Sessions that must end by themselves before anything moves."""

from __future__ import annotations

from typing import ClassVar, Literal

from procedure.commands.base import Command


class AwaitDrained(Command):
    """Wait until nobody is connected any more: neither at the active load balancer nor at the active master."""

    kind: Literal["await_drained"] = "await_drained"
    mutates: ClassVar[bool] = False
    balancer: str
    """The active load balancer."""
    master: str
    """The master that takes writes."""
