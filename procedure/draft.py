"""A plan while it is drawn up: stages write their steps into it and hand on what the next ones wait for."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Literal

from inventory.approval import GateName
from inventory.models import Component, Machine
from procedure.as_found import AsFound
from procedure.commands import AnyCommand, StartComponent, StopComponent
from procedure.conditions import is_service
from procedure.plan import ChildRun, Direction, Gate, OperatorTask, Opposite, Plan, Stage, Step, Upkeep
from procedure.situation import Situation
from procedure.subjects import Subject

Over = tuple[str, ...]
"""Ids of steps that must be over: what a stage hands to those that wait for it."""


BY_HAND = timedelta(minutes=2)
"""For a person to do one thing at a screen that is open already."""


def by_hand(component: Component, machine: Machine, verb: Literal["stop", "start"]) -> Opposite:
    """How a person stops or starts what is no service."""
    title = f"{verb.capitalize()} {component.name} on {machine.name} by hand"
    text = component.stop_by_hand if verb == "stop" else component.start_by_hand
    return Opposite(title=title, instructions=text or f"{title}, as usual here.")


class Draft:
    """Collects the steps of a plan. Used while a plan is drawn up, and thrown away."""

    def __init__(self, situation: Situation, as_found: AsFound, reference: str, stages: tuple[Stage, ...]) -> None:
        self.situation = situation
        self.inventory = situation.inventory
        self.as_found = as_found
        self.reference = reference
        self._stages = {stage.number: stage for stage in stages}
        self._steps: list[Step] = []
        self._on_abort: list[Step] = []
        self._upkeep: list[Upkeep] = []
        self._ids: set[str] = set()

    def note(self, stage: int, text: str) -> None:
        """Say something about a stage, for example why it has no step."""
        found = self._stages[stage]
        self._stages[stage] = found.model_copy(update={"note": f"{found.note} {text}".strip()})

    def add(self, step: Step) -> Over:
        """Take over a step that is complete."""
        self._ids.add(step.id)
        self._steps.append(step)
        return (step.id,)

    def do(self, stage: int, name: str, command: AnyCommand, *, after: Over, title: str = "") -> Over:
        """A command as a step."""
        return self.add(self._command_step(stage, name, command, after, title))

    def ask(self, stage: int, name: str, task: OperatorTask, *, after: Over, title: str) -> Over:
        """A task for a person as a step."""
        return self.add(self._task_step(stage, name, task, after, title))

    def gate(
        self,
        stage: int,
        name: GateName,
        question: str,
        *,
        after: Over,
        vouched: Over = (),
        checklist: Over = (),
        watches: tuple[Subject, ...] = (),
    ) -> Over:
        """A gate as a step; where the inventory switches it off, a task with what a person would have looked at there.

        Nobody is asked whether the run goes on then. But what no one else can tell is still asked of a person. The
        first line of the question is its title.
        """
        policy = self.inventory.approval.at(name)
        if not policy.enabled:
            words = name.replace("_", " ")
            self.note(stage, f"The gate {words} is switched off in the inventory.")
            items = (*vouched, *checklist)
            task = OperatorTask(target="cluster", instructions="\n".join(items), expected=BY_HAND)
            title = f"See for yourself, instead of the gate {words}"
            return self.ask(stage, f"instead-of-gate-{name}", task, after=after, title=title) if items else after
        action = Gate(
            name=name,
            question=question,
            deadline=policy.deadline,
            vouched=vouched,
            checklist=checklist,
            watches=watches,
        )
        gate_id = self._id(stage, f"gate-{name}")
        return self.add(Step(id=gate_id, stage=stage, title=question.partition("\n")[0], action=action, after=after))

    def run(self, stage: int, name: str, child: ChildRun, *, after: Over, title: str, expected: timedelta) -> Over:
        """A run of its own as a step."""
        step_id = self._id(stage, name)
        return self.add(Step(id=step_id, stage=stage, title=title, action=child, after=after, expected=expected))

    def steps_on(self, stage: int, target: str) -> Over:
        """Steps of a stage that are about a target."""
        return tuple(s.id for s in self._steps if s.stage == stage and getattr(s.action, "target", "") == target)

    def on_abort(self, stage: int, name: str, command: AnyCommand) -> None:
        """A command that is carried out when the run is aborted."""
        self._on_abort.append(self._command_step(stage, name, command, (), ""))

    def ask_on_abort(self, stage: int, name: str, task: OperatorTask, *, title: str) -> None:
        """A task for a person when the run is aborted."""
        self._on_abort.append(self._task_step(stage, name, task, (), title))

    def keep_up(self, command: AnyCommand, *, every: timedelta, after: Over, until: Over = ()) -> None:
        """Repeat a command in the background, from some steps on until others are over."""
        self._upkeep.append(Upkeep(command=command, every=every, after=after, until=until))

    def plan(self, direction: Direction, *, outage_until: int = 13) -> Plan:
        """The plan, checked; the outage is measured until a stage is over."""
        return Plan(
            direction=direction,
            cluster=self.inventory.cluster,
            vacated=self.situation.vacated,
            surviving=self.situation.surviving,
            reference=self.reference,
            stages=tuple(self._stages.values()),
            steps=tuple(self._steps),
            upkeep=tuple(self._upkeep),
            on_abort=tuple(self._on_abort),
            outage_until=outage_until,
        )

    def software(
        self, stage: int, verb: Literal["stop", "start"], machine: Machine, *, after: Over, but: Collection[str] = ()
    ) -> Over:
        """Stop or start all that is installed on a machine, but for some of it.

        In its order where it has one, else at the same time.
        """
        ids: dict[str, Over] = {}
        components = {c.name: c for c in self.inventory.components_on(machine) if c.name not in but}
        first = {name: [f for f in c.start_after if f in components] for name, c in components.items()}
        if verb == "stop":
            first = {name: [n for n, c in components.items() if name in c.start_after] for name in components}
        waiting = list(components)
        while waiting:
            name = next((n for n in waiting if all(f in ids for f in first[n])), waiting[0])
            waiting.remove(name)
            before = tuple(step for f in first[name] for step in ids.get(f, ())) or after
            ids[name] = self._one_component(stage, verb, machine, name, before)
        return tuple(step for over in ids.values() for step in over)

    def _one_component(
        self, stage: int, verb: Literal["stop", "start"], machine: Machine, name: str, after: Over
    ) -> Over:
        component = self.inventory.component(machine.name, name)
        step_name = f"{verb}-{name}-{machine.name}"
        if is_service(component, machine.name):
            command = StopComponent if verb == "stop" else StartComponent
            return self.do(stage, step_name, command(machine=machine.name, component=name), after=after)
        expected = component.expected_stop if verb == "stop" else component.expected_start
        how = by_hand(component, machine, verb)
        back = by_hand(component, machine, "start" if verb == "stop" else "stop")
        task = OperatorTask(target=machine.name, instructions=how.instructions, expected=expected, opposite=back)
        return self.ask(stage, step_name, task, after=after, title=how.title)

    def _command_step(self, stage: int, name: str, command: AnyCommand, after: Over, title: str) -> Step:
        return Step(
            id=self._id(stage, name),
            stage=stage,
            title=title or command.title,
            action=command,
            after=after,
            expected=command.expected(self.inventory),
        )

    def _task_step(self, stage: int, name: str, task: OperatorTask, after: Over, title: str) -> Step:
        step_id = self._id(stage, name)
        return Step(id=step_id, stage=stage, title=title, action=task, after=after, expected=task.expected)

    def _id(self, stage: int, name: str) -> str:
        base = f"{stage}-{re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')}"
        found, count = base, 2
        while found in self._ids:
            found, count = f"{base}-{count}", count + 1
        self._ids.add(found)
        return found
