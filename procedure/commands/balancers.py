"""HAProxy on the load balancers."""

from __future__ import annotations

from typing import ClassVar, Literal

from procedure.commands.base import Command


class SetMaintenance(Command):
    """Set machines to MAINT or READY on one HAProxy, in every backend they stand in."""

    kind: Literal["set_maintenance"] = "set_maintenance"
    balancer: str
    machines: tuple[str, ...]
    state: Literal["maint", "ready"] = "maint"


class AwaitServersUp(Command):
    """Wait until machines are UP on one HAProxy, in every backend they stand in."""

    kind: Literal["await_servers_up"] = "await_servers_up"
    mutates: ClassVar[bool] = False
    balancer: str
    machines: tuple[str, ...]
