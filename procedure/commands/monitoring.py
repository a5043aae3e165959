"""Silences at the monitoring server."""

from __future__ import annotations

from typing import Literal

from procedure.commands.base import Command


class SilenceMonitoring(Command):
    """Silence machines, or make their silence last longer."""

    kind: Literal["silence_monitoring"] = "silence_monitoring"
    machines: tuple[str, ...]
    comment: str


class LiftSilence(Command):
    """End the silence of machines."""

    kind: Literal["lift_silence"] = "lift_silence"
    machines: tuple[str, ...]
