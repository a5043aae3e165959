"""Power of machines."""

from __future__ import annotations

from typing import Literal

from procedure.commands.base import Command


class ShutDownMachine(Command):
    """Shut a machine down in order, by its own operating system."""

    kind: Literal["shut_down_machine"] = "shut_down_machine"
    machine: str


class CutPower(Command):
    """Cut the power of a machine that does not shut down. Only ever with the operator's word."""

    kind: Literal["cut_power"] = "cut_power"
    machine: str
