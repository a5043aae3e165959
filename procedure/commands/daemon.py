"""AcdGroupDistribute.r5, of which exactly one runs."""

from __future__ import annotations

from typing import Literal

from procedure.commands.base import Command


class StopDaemon(Command):
    """Stop AcdGroupDistribute on a telephony machine."""

    kind: Literal["stop_daemon"] = "stop_daemon"
    machine: str


class StartDaemon(Command):
    """Start AcdGroupDistribute on a telephony machine."""

    kind: Literal["start_daemon"] = "start_daemon"
    machine: str
