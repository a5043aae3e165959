"""A plan: all that a run does, as one value that can be printed, compared, approved by its digest and replayed.

A plan is a graph. A step starts when the steps it names in `after` are over, not when the stage before it is; stages
are what a person reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from inventory.approval import GateName
from procedure.commands import AnyCommand
from procedure.commands.base import Command
from procedure.subjects import Subject
from procedure.values import Value

StepId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=200)]
Direction = Literal["failover", "failback", "maintenance", "roll-back"]


class Gate(Value):
    """Where a person decides. It never opens by itself: at its deadline the run stays where it is and says so."""

    kind: Literal["gate"] = "gate"
    name: GateName
    question: str
    deadline: timedelta
    vouched: tuple[str, ...] = ()
    """What the approver vouches for, because no provider can tell."""
    checklist: tuple[str, ...] = ()
    """What the approver has tried before saying yes."""
    watches: tuple[Subject, ...] = ()
    """What approvals are bound to: they are void when it has changed since it was shown."""


class Opposite(Value):
    """What a person does to take back what a person did."""

    title: str
    instructions: str


class OperatorTask(Value):
    """What only a person can do. The run waits for the confirmation and then looks, where it can."""

    kind: Literal["operator_task"] = "operator_task"
    target: str
    """The machine, or the service, it is about."""
    instructions: str
    check: AnyCommand | None = None
    """Whose wanted state must hold after the confirmation; None: the person's word is all there is."""
    expected: timedelta
    opposite: Opposite | None = None
    """None: nothing needs to be taken back."""


class Observe(Value):
    """One machine, or one system, of the health check."""

    kind: Literal["observe"] = "observe"
    target: str
    subjects: tuple[Subject, ...]


class ChildRun(Value):
    """A run of its own, which this one begins and waits for."""

    kind: Literal["child_run"] = "child_run"
    direction: Literal["failover", "failback"]
    host: str
    """VM-Host that goes down, or comes back."""
    expected_outage: timedelta = timedelta(0)

    @property
    def target(self) -> str:
        """The VM-Host."""
        return self.host


Action = Annotated[AnyCommand | Gate | OperatorTask | Observe | ChildRun, Field(discriminator="kind")]


class Step(Value):
    """One action on one target."""

    id: StepId
    """Readable and unique, for example `3-stop-wildfly-acd-jb1`."""
    stage: int
    title: str
    action: Action
    after: tuple[StepId, ...] = ()
    """Steps that must be over before this one starts."""
    expected: timedelta = timedelta(0)
    """How long it usually takes; a gate counts nothing, since a person's time can't be planned."""

    @property
    def mutates(self) -> bool:
        """Whether it changes a system: a gate and an observation don't; most commands, tasks and runs do."""
        if isinstance(self.action, Command):
            return self.action.mutates
        return isinstance(self.action, OperatorTask | ChildRun)


class Stage(Value):
    """A stage of the procedure."""

    number: int
    label: str
    """As in the source, for example "step 3"."""
    title: str
    note: str = ""
    """Why it has no step here, or what of it is inferred and not in the source."""


class Upkeep(Value):
    """What is repeated in the background while a run lasts, for example extending silences."""

    command: AnyCommand
    every: timedelta
    after: tuple[StepId, ...] = ()
    """Begins when these steps are over."""
    until: tuple[StepId, ...] = ()
    """Ends when one of these steps is over, at the latest with the run."""


class Plan(Value):
    """A whole run.

    Raises:
        ValueError: step ids are not unique, a predecessor or a stage does not exist, or the steps wait in a circle.
    """

    direction: Direction
    cluster: str
    vacated: str
    """VM-Host that goes down (failover), comes back (failback), or does both (maintenance)."""
    surviving: str
    reference: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Names the run in backups, snapshots and silences."""
    stages: tuple[Stage, ...]
    steps: tuple[Step, ...]
    upkeep: tuple[Upkeep, ...] = ()
    outage_from: int = 3
    """The outage is measured from the first changing step of this stage on,"""
    outage_until: int = 13
    """until this stage is over but for its gates."""
    on_abort: tuple[Step, ...] = ()
    """Done when a run is aborted that has changed something: nothing stays silenced that is not off on purpose."""

    @model_validator(mode="after")
    def _is_a_graph(self) -> Plan:
        _check_ids((*self.steps, *self.on_abort))
        _check_predecessors(self.steps)
        _check_predecessors(self.on_abort)
        _check_upkeep(self.upkeep, {step.id for step in self.steps})
        numbers = {stage.number for stage in self.stages}
        for step in (*self.steps, *self.on_abort):
            if step.stage not in numbers:
                raise ValueError(f"step {step.id} belongs to stage {step.stage}, which the plan does not have")
        return self

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ when anything in the plan does."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def step(self, step_id: str) -> Step:
        """The step of that id, those on abort included.

        Raises:
            KeyError: there is none.
        """
        for step in (*self.steps, *self.on_abort):
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def steps_of(self, stage: int) -> tuple[Step, ...]:
        """The steps of a stage, in the order they are shown."""
        return tuple(step for step in self.steps if step.stage == stage)

    def in_order(self) -> tuple[Step, ...]:
        """All steps, each behind its predecessors."""
        by_id = {step.id: step for step in self.steps}
        return tuple(by_id[step_id] for step_id in _sorter(self.steps).static_order())


def _check_ids(steps: Iterable[Step]) -> None:
    seen: set[str] = set()
    for step in steps:
        if step.id in seen:
            raise ValueError(f"two steps are called {step.id}")
        seen.add(step.id)


def _check_predecessors(steps: tuple[Step, ...]) -> None:
    known = {step.id for step in steps}
    for step in steps:
        missing = sorted(set(step.after) - known)
        if missing:
            raise ValueError(f"step {step.id} waits for {', '.join(missing)}, which the plan does not have")
    try:
        _sorter(steps).prepare()
    except CycleError as cycle:
        raise ValueError(f"steps wait for each other in a circle: {' -> '.join(cycle.args[1])}") from cycle


def _check_upkeep(upkeep: Iterable[Upkeep], known: set[str]) -> None:
    for each in upkeep:
        missing = [step for step in (*each.after, *each.until) if step not in known]
        if missing:
            raise ValueError(f"upkeep {each.command.kind} refers to {', '.join(missing)}, which the plan does not have")


def _sorter(steps: Iterable[Step]) -> TopologicalSorter[str]:
    return TopologicalSorter({step.id: step.after for step in steps})
