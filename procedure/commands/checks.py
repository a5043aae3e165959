"""Checks of the cluster while one side is off (the procedure, stage 10) and probes of its functions (stage 13)."""

from __future__ import annotations

from typing import ClassVar, Literal

from procedure.commands.base import Command
from procedure.commands.pairs import PairName


class CheckPair(Command):
    """One machine of a pair is primary and the other is off."""

    kind: Literal["check_pair"] = "check_pair"
    mutates: ClassVar[bool] = False
    pair: PairName
    primary: str
    offline: str


class CheckReplication(Command):
    """A database machine waits for the sources that are off, and replicates from those that are not."""

    kind: Literal["check_replication"] = "check_replication"
    mutates: ClassVar[bool] = False
    machine: str
    away: tuple[str, ...] = ()
    """Sources that are off: replication from them must read "connecting"."""


class RunProbe(Command):
    """A functionality probe of the inventory answers as it should."""

    kind: Literal["run_probe"] = "run_probe"
    mutates: ClassVar[bool] = False
    name: str
