"""A plan for a person to read and to approve, or for a program as JSON. Both say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby

from inventory.values import show_duration
from procedure import timing
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.plan import ChildRun, Gate, Observe, OperatorTask, Plan, Stage, Step
from procedure.situation import Situation
from procedure.values import Value
from procedure.verdicts import Answer

_PAPER = Facts()
"""A plan on paper knows no facts: conditions are shown in words, not answered."""


class Told(Value):
    """A step in words."""

    id: str
    stage: int
    kind: str
    target: str
    title: str
    commands: tuple[str, ...] = ()
    """Exactly what is sent, in order."""
    looks_at: tuple[str, ...] = ()
    """What a step that changes nothing observes until it is as wanted."""
    wanted: str = ""
    only_if: tuple[str, ...] = ()
    undo: str = ""
    by_force: str = ""
    """Only ever with the operator's word."""
    details: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    expected_seconds: float = 0.0
    deadline_seconds: float | None = None


def told(step: Step, situation: Situation) -> Told:
    """A step in words."""
    common = Told(
        id=step.id,
        stage=step.stage,
        kind=step.action.kind,
        target=getattr(step.action, "target", ""),
        title=step.title,
        after=step.after,
        expected_seconds=step.expected.total_seconds(),
    )
    return common.model_copy(update=_particulars(step, situation))


def _particulars(step: Step, situation: Situation) -> dict[str, object]:
    action = step.action
    if isinstance(action, Command):
        return _command(action, situation)
    if isinstance(action, Gate):
        vouched = tuple(f"vouched for: {item}" for item in action.vouched)
        checklist = tuple(f"[ ] {item}" for item in action.checklist)
        return {"details": (*vouched, *checklist), "deadline_seconds": action.deadline.total_seconds()}
    if isinstance(action, OperatorTask):
        check = action.check.wanted(situation, _PAPER).condition if action.check else ""
        return {"details": tuple(action.instructions.splitlines()), "wanted": check}
    if isinstance(action, ChildRun):
        return {
            "details": (f"a {action.direction} as if it were started by itself: plan, gates and report are its own",)
        }
    return {"details": tuple(subject.key for subject in action.subjects)}


def _command(command: Command, situation: Situation) -> dict[str, object]:
    conditions = command.conditions(situation, _PAPER)
    force = command.forced()
    subjects = () if command.mutates else command.observes(situation)
    return {
        "looks_at": tuple(subject.key for subject in subjects),
        "commands": tuple(instruction.text for instruction in command.instructions(situation, _PAPER)),
        "wanted": command.wanted(situation, _PAPER).condition,
        "only_if": tuple(
            v.condition + (f" [invariant {v.invariant}]" if v.invariant else "")
            for v in conditions
            if v.answer is not Answer.NOT_APPLICABLE
        ),
        "undo": "; then ".join(undo.title for undo in command.compensation()),
        "by_force": _by_force(force) if force else "",
        "deadline_seconds": command.deadline(situation.inventory).total_seconds(),
    }


def _by_force(command: Command) -> str:
    return command.title + (f", after the gate {command.approval.replace('_', ' ')}" if command.approval else "")


# --- text -------------------------------------------------------------------------------------------------------------


def as_text(plan: Plan, situation: Situation) -> str:
    """The plan as readable text."""
    lines = [*_head(plan)]
    for stage in plan.stages:
        lines += ["", *_stage(plan, stage, situation)]
    lines += ["", *_background(plan), *_on_abort(plan, situation), "", *_totals(plan)]
    return "\n".join(lines) + "\n"


def _head(plan: Plan) -> Iterator[str]:
    verbs = {
        "failover": "is vacated",
        "failback": "returns",
        "maintenance": "is vacated and returns",
        "roll-back": "is as it was before",
    }
    what = f"{plan.vacated} {verbs[plan.direction]}, {plan.surviving} goes on"
    yield f"{plan.direction.capitalize()} of cluster {plan.cluster}: {what}"
    yield f"Plan {plan.digest}, reference {plan.reference}"
    yield ""
    yield "A step starts when what it waits for is over. All steps of one group run at the same time."
    yield 'Each is looked at first: what is as wanted already is left alone. "only if" is checked just before it acts.'


def _stage(plan: Plan, stage: Stage, situation: Situation) -> Iterator[str]:
    source = "" if plan.direction == "roll-back" else "in the source: "
    heading = f"Stage {stage.number}: {stage.title}  ({source}{stage.label})"
    yield heading
    yield "-" * len(heading)
    if stage.note:
        yield f"  {stage.note}"
    steps = plan.steps_of(stage.number)
    if not steps:
        yield "  No step."
    for after, group in groupby(steps, key=lambda step: step.after):
        yield from _group(plan, after, tuple(group), situation)


def _group(plan: Plan, after: tuple[str, ...], steps: tuple[Step, ...], situation: Situation) -> Iterator[str]:
    count = f", {len(steps)} at the same time" if len(steps) > 1 else ""
    yield f"  After {waits_for(plan, after)}{count}:" if after else f"  At the beginning{count}:"
    for step in steps:
        yield from _step(told(step, situation), step)


def _step(words: Told, step: Step) -> Iterator[str]:
    if isinstance(step.action, Observe):
        yield f"    {words.id}: {_shortly(words.details, words.target)}"
        return
    yield f"    {words.id}  {_mark(step)}{words.title}{_usually(step.expected)}"
    yield from (f"        send: {command}" for command in words.commands)
    if words.looks_at:
        yield f"        look at: {_shortly(words.looks_at, words.target)}"
    yield from (f"        {detail}" for detail in words.details)
    if words.wanted:
        yield f"        until: {words.wanted}"
    yield from (f"        only if: {condition}" for condition in words.only_if)
    if words.undo:
        yield f"        undo: {words.undo}"
    if words.by_force:
        yield f"        by force, only with the operator's word: {words.by_force}"


def _mark(step: Step) -> str:
    if isinstance(step.action, Gate):
        return f"GATE, for {show_duration(step.action.deadline)}: "
    return "OPERATOR TASK: " if isinstance(step.action, OperatorTask) else ""


def _usually(expected: timedelta) -> str:
    return f"  (about {show_duration(expected)})" if expected else ""


def _shortly(keys: tuple[str, ...], target: str) -> str:
    """Subjects without the machine that the line names already."""
    return ", ".join(key.replace(f":{target}", "").replace(":", " ") for key in keys)


def waits_for(plan: Plan, after: tuple[str, ...]) -> str:
    """Predecessors in few words: whole stages by their number, many of a kind by their number, others by their id."""
    left, words = list(after), []
    for stage in plan.stages:
        whole = [step.id for step in plan.steps_of(stage.number) if not isinstance(step.action, Gate)]
        if len(whole) > 1 and set(whole) <= set(left):
            words.append(f"all of stage {stage.number}")
            left = [step for step in left if step not in whole]
    for kind, alike in groupby(left, key=lambda step: "-".join(step.split("-")[:2])):
        steps = tuple(alike)
        words.append(", ".join(steps) if len(steps) <= 2 else f"all {len(steps)} of {kind}-…")
    return ", ".join(words)


def _background(plan: Plan) -> Iterator[str]:
    if plan.upkeep:
        yield "While the run lasts:"
    for upkeep in plan.upkeep:
        until = f", until {', '.join(upkeep.until)}" if upkeep.until else ""
        yield f"  every {show_duration(upkeep.every)}: {upkeep.command.title}{until}"


def _on_abort(plan: Plan, situation: Situation) -> Iterator[str]:
    if plan.on_abort:
        yield "When the run is aborted:"
    for step in plan.on_abort:
        yield from _step(told(step, situation), step)


def _totals(plan: Plan) -> Iterator[str]:
    path = timing.critical_path(plan)
    tasks = [step.id for step in plan.steps if isinstance(step.action, OperatorTask)]
    gates = [step.id for step in plan.steps if isinstance(step.action, Gate)]
    yield f"Steps:             {len(plan.steps)}"
    yield f"Gates:             {', '.join(gates) or 'none'}"
    yield f"Operator tasks:    {', '.join(tasks) or 'none'}"
    yield f"Expected duration: {show_duration(timing.expected_duration(plan))}, without the time persons take at gates"
    yield f"Expected outage:   {show_duration(timing.expected_outage(plan))}{_outage_grows_by(plan)}"
    yield f"Critical path:     {show_duration(path.duration)}"
    spans = timing.spans(plan)
    for step in path.steps:
        yield f"  {show_duration(spans[step].begins):>8}  {step}"


def _outage_grows_by(plan: Plan) -> str:
    within = timing.gates_within_outage(plan)
    return f", and longer by the time persons take at {' and '.join(within)}, inside it" if within else ""


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_json(plan: Plan, situation: Situation) -> str:
    """The same as JSON: the plan itself, each step in words, and the times in seconds."""
    path = timing.critical_path(plan)
    document = {
        "digest": plan.digest,
        "plan": plan.model_dump(mode="json"),
        "steps": [told(step, situation).model_dump(mode="json") for step in plan.steps],
        "on_abort": [told(step, situation).model_dump(mode="json") for step in plan.on_abort],
        "at_the_same_time": timing.at_the_same_time(plan),
        "expected_duration_seconds": timing.expected_duration(plan).total_seconds(),
        "expected_outage_seconds": timing.expected_outage(plan).total_seconds(),
        "gates_within_outage": timing.gates_within_outage(plan),
        "critical_path": list(path.steps),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
