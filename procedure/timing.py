"""How long a plan is expected to take: from what each step usually takes and what it waits for.

A person's time at gates counts nothing: nobody can plan it.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import timedelta

from procedure.plan import ChildRun, Gate, Plan
from procedure.values import Value

_NOTHING = timedelta(0)
_OUTAGE_ENDS = {"failover": 11, "failback": 12, "maintenance": 0, "roll-back": 0}
"""The stage that starts the software again: with its last step the outage is over. A maintenance has none: its runs
have outages of their own; nor has a roll-back, which ends the one of its run."""


class Path(Value):
    """Steps that wait for each other, and how long they take together."""

    steps: tuple[str, ...]
    duration: timedelta


class Span(Value):
    """When a step begins and ends, counted from the beginning of the run."""

    begins: timedelta
    ends: timedelta


def spans(plan: Plan) -> dict[str, Span]:
    """When each step begins and ends, if every one takes as long as usual and starts as soon as it may."""
    found: dict[str, Span] = {}
    for step in plan.in_order():
        begins = max((found[before].ends for before in step.after), default=_NOTHING)
        found[step.id] = Span(begins=begins, ends=begins + step.expected)
    return found


def expected_duration(plan: Plan) -> timedelta:
    """From the first step to the last, without the time that persons take at gates."""
    return max((span.ends for span in spans(plan).values()), default=_NOTHING)


def expected_outage(plan: Plan) -> timedelta:
    """From the first stop of stage 3 until all software that starts again is healthy.

    What the probes measure ends there too; they only look on for longer, to see that it stays so. Of a maintenance it
    is the outages of all its runs together.
    """
    if plan.direction == "maintenance":
        return sum((s.action.expected_outage for s in plan.steps if isinstance(s.action, ChildRun)), _NOTHING)
    found = spans(plan)
    stopped = [found[step.id].begins for step in plan.steps_of(plan.outage_from) if step.mutates]
    started = [found[step.id].ends for step in plan.steps_of(_OUTAGE_ENDS[plan.direction])]
    return max(started) - min(stopped) if started and stopped else _NOTHING


def is_out(plan: Plan, *, begun: Container[str], over: Container[str]) -> bool:
    """Whether nobody is served: the first stop of stage 3 has begun, and not all software that starts again is over."""
    stops = any(step.id in begun for step in plan.steps_of(plan.outage_from) if step.mutates)
    starts = plan.steps_of(_OUTAGE_ENDS[plan.direction])
    return stops and not all(step.id in over for step in starts)


def gates_within_outage(plan: Plan) -> tuple[str, ...]:
    """Gates that open while nobody is served: the time that persons take there makes the outage longer."""
    ends = tuple(step.id for step in plan.steps_of(_OUTAGE_ENDS[plan.direction]))
    waited_for = _ancestors(plan, ends)
    stages = range(plan.outage_from, _OUTAGE_ENDS[plan.direction] + 1)
    gates = (step for step in plan.steps if isinstance(step.action, Gate))
    return tuple(gate.id for gate in gates if gate.stage in stages and gate.id in waited_for)


def _ancestors(plan: Plan, steps: tuple[str, ...]) -> set[str]:
    found, left = set[str](), list(steps)
    while left:
        before = set(plan.step(left.pop()).after) - found
        found |= before
        left += before
    return found


def critical_path(plan: Plan) -> Path:
    """The chain of steps that decides how long the run takes: any delay in one of them delays the end."""
    found = spans(plan)
    steps: list[str] = []
    last = max(found, key=lambda step: found[step].ends, default=None)
    while last is not None:
        steps.insert(0, last)
        last = max(plan.step(last).after, key=lambda step: found[step].ends, default=None)
    return Path(steps=tuple(steps), duration=expected_duration(plan))


def at_the_same_time(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Groups of steps of a stage that wait for the same and so run at the same time; at least two in each."""
    groups: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for step in plan.steps:
        groups.setdefault((step.stage, step.after), []).append(step.id)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
