"""Software on the machines: the procedure, section 2."""

from __future__ import annotations

from typing import Literal

from procedure.commands.base import Command


class StopComponent(Command):
    """Stop a component of a machine."""

    kind: Literal["stop_component"] = "stop_component"
    machine: str
    component: str


class StartComponent(Command):
    """Start a component of a machine."""

    kind: Literal["start_component"] = "start_component"
    machine: str
    component: str
