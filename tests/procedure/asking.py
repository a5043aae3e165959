"""What tests ask a command: what it would send, and what it refuses."""

from __future__ import annotations

from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.situation import Situation

PAPER = Facts()
"""Nobody has looked: as a plan on paper."""


def texts(command: Command, situation: Situation) -> list[str]:
    """What would be sent, as a person reads it."""
    return [instruction.text for instruction in command.instructions(situation, PAPER)]


def refused(command: Command, situation: Situation, facts: Facts) -> str:
    """What is against it; empty: nothing."""
    return "; ".join(v.text for v in command.conditions(situation, facts) if not v.allows)
