"""How long a run took against its own critical path: the longest chain of steps as long as each of them really took.

What is above 1 is the price of durability and of people at gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """Seconds, from the first step's begin to the last step's end."""

    run: float
    path: float

    @classmethod
    def of(cls, plan: Mapping[str, Any], status: Mapping[str, Any]) -> Ratio:
        """From the answers to the queries `plan` and `status` of a run that has ended."""
        steps = {step["id"]: step for step in status["steps"]}
        seconds = {name: _seconds(steps.get(name, {})) for name in (step["id"] for step in plan["steps"])}
        return cls(_between(status["began"], status["ended"]), _longest(plan, seconds))

    @property
    def text(self) -> str:
        """For people."""
        if not self.path:
            return f"{self.run:.1f} s"
        return (
            f"{self.run:.1f} s; critical path {self.path:.1f} s; run time over critical path {self.run / self.path:.2f}"
        )


def _seconds(step: Mapping[str, Any]) -> float:
    """What the worker needed for it; a person's time at a gate does not count."""
    report = step.get("report")
    if report:
        return _between(report["began"], report["ended"])
    return _between(step.get("began"), step.get("ended")) if step.get("kind") == "observe" else 0.0


def _between(began: str | None, ended: str | None) -> float:
    if not began or not ended:
        return 0.0
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def _longest(plan: Mapping[str, Any], seconds: Mapping[str, float]) -> float:
    after = {step["id"]: tuple(step["after"]) for step in plan["steps"]}
    until: dict[str, float] = {}
    for name in TopologicalSorter(after).static_order():
        until[name] = seconds[name] + max((until[before] for before in after[name]), default=0.0)
    return max(until.values(), default=0.0)
