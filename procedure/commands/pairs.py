"""The two Pacemaker pairs: storage and load balancer."""

from __future__ import annotations

from typing import Literal

from procedure.commands.base import Command

PairName = Literal["storage", "load_balancer"]


class MovePair(Command):
    """Move a pair to one of its machines."""

    kind: Literal["move_pair"] = "move_pair"
    pair: PairName
    to: str
    """The machine that becomes primary."""
    leaver: str
    """The machine that is left."""


class RejoinNode(Command):
    """Take a machine of a pair out of standby, so that it stands by again."""

    kind: Literal["rejoin_node"] = "rejoin_node"
    pair: PairName
    machine: str
