"""The window of a run: after its end nothing more is changed until people have agreed. Pure: no clock, no Temporal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from procedure import timing
from procedure.plan import Gate, Plan
from workflows.status import StepRecord, StepState

_NONE = timedelta(0)


@dataclass
class Window:
    """When a run should be over, and whether people have agreed that it may take longer."""

    ends: datetime | None = None
    asked: bool = False
    """Whether they were asked."""
    unlimited: bool = False
    """Whether they have agreed."""

    def is_over(self, now: datetime) -> bool:
        """Whether nothing more may be changed."""
        return self.ends is not None and not self.unlimited and now >= self.ends


def question(ends: datetime, plan: Plan, records: Mapping[str, StepRecord]) -> str:
    """What people are asked at the end of the window: how far the run is, and who pays for the time they take."""
    left = [s for s in plan.steps if not records[s.id].is_over and not isinstance(s.action, Gate)]
    changing = sum(step.mutates for step in left)
    begun = {name for name, record in records.items() if record.state is not StepState.PENDING}
    over = {name for name, record in records.items() if record.is_over}
    if timing.is_out(plan, begun=begun, over=over):
        service = "Nobody is served at this moment: the time taken here makes the outage longer."
    elif any(step.mutates and step.id in begun for step in plan.steps):
        service = "There is no outage at this moment."
    else:
        service = "Nothing was touched yet."
    return (
        f"The window has ended, at {ends:%d %b %H:%M} UTC. {len(left)} steps are left, {changing} of them change "
        f"something. {service} Approved, the run goes on without a limit; rejected, it ends where it stands."
    )


def too_short(ends: datetime | None, plan: Plan, now: datetime) -> str:
    """A warning where a plan that begins now would not be done in time; empty: it would."""
    if ends is None:
        return ""
    needed, left = timing.expected_duration(plan), ends - now
    if needed <= left:
        return ""
    when = f"in {_minutes(left)}" if left > _NONE else "which has passed"
    return (
        f"The window is too short: the plan takes about {_minutes(needed)} without the time people take at gates, and "
        f"the window ends at {ends:%d %b %H:%M} UTC, {when}."
    )


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:.0f} min"
