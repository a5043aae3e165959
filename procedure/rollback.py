"""The roll-back: what a run has done is taken back, in the reverse order of its plan.

Possible until machines are about to be switched off (failover) or on (failback): from then on the way back is a run of
its own. Read `plan` from top to bottom. It is drawn up from what was really done, so a step that changed nothing has
nothing to be taken back; and it is a plan like any other: each step looks first, and its outcome is observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from inventory.models import CommandPower, Role
from inventory.values import show_duration
from procedure import failback, failover, timing, watching, who
from procedure import shared_stages as shared
from procedure.as_found import AsFound, ComponentFound
from procedure.commands import (
    AnyCommand,
    CutPower,
    DeleteSnapshot,
    LiftSilence,
    LookAgainAlone,
    MovePair,
    RemoveBackup,
    SetMaintenance,
    ShutDownMachine,
    SilenceMonitoring,
    StartDaemon,
    StartMachine,
    StopComponent,
    StopDaemon,
)
from procedure.commands.base import Command
from procedure.draft import BY_HAND, Draft, Over
from procedure.facts import Facts
from procedure.plan import Gate, OperatorTask, Opposite, Plan, Stage, Step
from procedure.reports import Outcome
from procedure.situation import Situation
from procedure.values import Value
from procedure.who import PairName

DECIDE = 20
"""First stage of a roll-back: no stage of a failover or failback has so high a number, so one record holds both."""
DAEMON, MONITORING, CHECK, BACKUPS = 40, 41, 42, 43
"""Its last stages; in between there is one for each stage that is taken back, the latest first."""
NOT_MEASURED = 100
"""The outage was begun by the run that is taken back, or there is none: no stage of a roll-back begins one."""
Action = AnyCommand | Opposite


class Begun(Value):
    """What is known of a step that was begun."""

    step: str
    outcome: Outcome
    attempts: int
    """Times it was handed to a worker; 0: only a person was asked."""


class Undo(Value):
    """What is to be taken back."""

    run: Plan
    begun: tuple[Begun, ...]


def ends_the_way_back(step: Step) -> bool:
    """Whether there is no roll-back any more once this step was begun, or, if it is a gate, passed."""
    action = step.action
    if isinstance(action, Gate):
        return action.name == "before_power_off"
    command = action.check if isinstance(action, OperatorTask) else action
    return isinstance(command, ShutDownMachine | CutPower | StartMachine)


def ways_back(situation: Situation, as_found: AsFound, run: Plan) -> dict[str, tuple[str, ...]]:
    """What would take back each step that changes something, with what is sent: kept with it from its beginning on."""
    found = as_found if run.direction == "failover" else None
    back = {step.id: _back(step, situation, found, silences=True) for step in run.steps if step.mutates}
    return {step: tuple(_in_words(action, situation) for action in actions) for step, actions in back.items()}


def _in_words(action: Action, situation: Situation) -> str:
    if isinstance(action, Opposite):
        return f"{action.title}: {action.instructions}"
    sent = "; ".join(each.text for each in action.instructions(situation, Facts()))
    title = _title(situation, action) or action.title
    return f"{title}: {sent}" if sent else title


def plan(situation: Situation, as_found: AsFound, undo: Undo) -> Plan:
    """The roll-back of a run.

    Args:
        situation: of that run.
        as_found: what the cluster was before it.
        undo: its plan, and what of it was begun.
    """
    undone = tuple(_taken_back(situation, as_found, undo))
    # Backups are kept until all is well, and the daemon comes last.
    in_service = tuple(each for each in undone if not each.is_backup and not isinstance(each.step.action, StopDaemon))
    draft = Draft(situation, as_found, undo.run.reference, tuple(_stages(undo.run, in_service)))

    approved = approve(draft, undo.run, undone)
    taken_back = take_back(draft, undo.run, in_service, after=approved)
    up = await_servers_up(draft, undo.run, in_service, after=taken_back)
    daemon = restore_daemon(draft, undo.run, undone, after=taken_back)
    alarmed = restore_monitoring(draft, undo.run, after=up + daemon)
    restored = check_restored(draft, undo.run, after=alarmed)
    remove_backups(draft, undone, after=restored)

    drawn = draft.plan("roll-back", outage_until=CHECK)
    return drawn.model_copy(update={"outage_from": NOT_MEASURED, "steps": _saying_how_long(drawn)})


# --- what was done ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """A step that is taken back, and by what."""

    step: Step
    back: tuple[Action, ...]

    @property
    def is_backup(self) -> bool:
        """Whether it has made a backup, which is kept until all is well."""
        return any(isinstance(action, RemoveBackup | DeleteSnapshot) for action in self.back)


def _taken_back(situation: Situation, as_found: AsFound, undo: Undo) -> Iterator[Taken]:
    """Steps that may have changed something which can be taken back, the latest first."""
    begun = {each.step: each for each in undo.begun}
    # A failback knows what was before the failover that it undoes, and not what was just before itself.
    found = as_found if undo.run.direction == "failover" else None
    ran = found.running if found is not None and found.observed else None
    for step in reversed(undo.run.in_order()):
        known, back = begun.get(step.id), _back(step, situation, found)
        if known is not None and back and may_have_acted(step, known, ran):
            yield Taken(step, back)


def _back(step: Step, situation: Situation, found: AsFound | None, *, silences: bool = False) -> tuple[Action, ...]:
    """What takes a step back, in order. Of silences only if asked for: a roll-back restores monitoring as a whole."""
    action = step.action
    if isinstance(action, SilenceMonitoring | LiftSilence) and not silences:
        return ()
    if isinstance(action, OperatorTask) and action.opposite is not None:
        return (action.opposite,)
    command = action.check if isinstance(action, OperatorTask) else action
    back = cast("tuple[Action, ...]", command.compensation()) if isinstance(command, Command) else ()
    if isinstance(command, MovePair) and command.to == _primary_before(command.pair, situation, found):
        return back[:1]  # It was there already: only what keeps the other machine away is to end.
    return back


def _primary_before(name: PairName, situation: Situation, found: AsFound | None) -> str:
    if found is None:
        return situation.survivor_of(who.pair(situation.inventory, name))
    return found.storage if name == "storage" else found.load_balancer


def may_have_acted(step: Step, begun: Begun, ran: tuple[ComponentFound, ...] | None = None) -> bool:
    """Whether a step may have changed something. One that failed may have; taking it back looks first.

    Args:
        step: of the run.
        begun: how far it came.
        ran: what ran before the run; None: not known.
    """
    if isinstance(step.action, OperatorTask):
        # A person who was asked may have begun, and one who skips a task has not done it.
        return begun.outcome is not Outcome.SKIPPED or begun.attempts > 0
    if begun.attempts == 0 or begun.outcome is Outcome.NOT_APPLICABLE:
        return False
    if isinstance(step.action, StopComponent) and ran is not None:
        # By what was found, and not by the outcome: a worker that dies may take with it that it was the one.
        return ComponentFound(machine=step.action.machine, component=step.action.component) in ran
    # At a second attempt "unchanged" may be the work of the first.
    return begun.outcome is not Outcome.UNCHANGED or begun.attempts > 1


# --- 20: a person decides ---------------------------------------------------------------------------------------------


def _stages(run: Plan, undone: tuple[Taken, ...]) -> Iterator[Stage]:
    yield Stage(number=DECIDE, label="roll-back", title="Decide about the roll-back")
    titles = {stage.number: stage.title for stage in run.stages}
    for of_run, number in _numbers(undone).items():
        yield Stage(number=number, label=f"undoes stage {of_run}", title=f"Undo: {titles[of_run]}")
    yield Stage(
        number=DAEMON,
        label="undoes stage 8",
        title="Start the daemon",
        note="AcdGroupDistribute is a script of the 8-Server: it is started when the software of its machine runs.",
    )
    yield Stage(number=MONITORING, label="undoes stage 2", title="Restore monitoring")
    yield Stage(number=CHECK, label="roll-back", title="Check that all is as found")
    yield Stage(number=BACKUPS, label="undoes stage 1", title="Remove backups", note="They are kept until all is well.")


def _numbers(undone: tuple[Taken, ...]) -> dict[int, int]:
    """Of stages of the run: the number of the stage that takes them back."""
    stages = sorted({each.step.stage for each in undone}, reverse=True)
    return dict(zip(stages, range(DECIDE + 1, DAEMON), strict=False))


def approve(draft: Draft, run: Plan, undone: tuple[Taken, ...]) -> Over:
    """A person sees what would be taken back, and decides. Without a yes the run ends where it stands."""
    counts = Counter(each.step.stage for each in undone)
    parts = [f"{stage.title} ({counts[stage.number]})" for stage in reversed(run.stages) if counts[stage.number]]
    told = [
        f"Roll back what this {run.direction} has done?",
        f"Taken back is, with the number of steps: {', '.join(parts) or 'nothing but silences'}.",
        "If it is rejected, the run ends where it stands.",
    ]
    watched = watching.without_software if run.direction == "failover" else watching.one_side
    return draft.gate(DECIDE, "roll_back", "\n".join(told), after=(), watches=watched(draft.situation))


def _saying_how_long(drawn: Plan) -> tuple[Step, ...]:
    spans = timing.spans(drawn)
    checked = max(spans[step.id].ends for step in drawn.steps_of(CHECK))
    text = f"\nIt takes about {show_duration(checked)} until all is checked."
    return tuple(
        step.model_copy(update={"action": step.action.model_copy(update={"question": step.action.question + text})})
        if isinstance(step.action, Gate)
        else step
        for step in drawn.steps
    )


# --- 21 …: in reverse order -------------------------------------------------------------------------------------------


def take_back(draft: Draft, run: Plan, undone: tuple[Taken, ...], *, after: Over) -> Over:
    """Each step as soon as all that came after it in the run is taken back; what none waits for is handed on."""
    numbers, later = _numbers(undone), _next_undone(run, undone)
    over: dict[str, Over] = {}
    for each in undone:
        before = tuple(done for step in later[each.step.id] for done in over[step]) or after
        over[each.step.id] = take_back_one(draft, numbers[each.step.stage], each, after=before)
    waited_for = {step for each in undone for step in later[each.step.id]}
    return tuple(done for each in undone if each.step.id not in waited_for for done in over[each.step.id]) or after


def _next_undone(run: Plan, undone: tuple[Taken, ...]) -> dict[str, tuple[str, ...]]:
    """For each step those that came next in the run and are taken back, whatever came between them."""
    followers: dict[str, list[str]] = {step.id: [] for step in run.steps}
    for step in run.steps:
        for before in step.after:
            followers[before].append(step.id)
    taken_back = {each.step.id for each in undone}
    found: dict[str, tuple[str, ...]] = {}
    for step in reversed(run.in_order()):
        nearest = ((each,) if each in taken_back else found[each] for each in followers[step.id])
        found[step.id] = tuple(dict.fromkeys(each for several in nearest for each in several))
    return found


def take_back_one(draft: Draft, stage: int, taken: Taken, *, after: Over) -> Over:
    """One step: a pair is moved back by three commands, each when the one before it has worked."""
    step, name = taken.step, f"undo-{taken.step.id.partition('-')[2]}"
    for action in taken.back:
        if isinstance(action, StartMachine):
            after = switch_on(draft, stage, name, action, after=after)
        elif isinstance(action, Opposite):
            target = getattr(step.action, "target", "")
            task = OperatorTask(target=target, instructions=action.instructions, expected=step.expected)
            after = draft.ask(stage, name, task, after=after, title=action.title)
        else:
            after = draft.do(stage, name, action, after=after, title=_title(draft.situation, action))
    return after


def switch_on(draft: Draft, stage: int, name: str, command: StartMachine, *, after: Over) -> Over:
    """By its VM-Host where that can, else by a person. No roll-back has it, but the way back after a power-off."""
    machine = draft.inventory.machine(command.machine)
    if isinstance(draft.inventory.vm_host(machine.host).power, CommandPower):
        return draft.do(stage, name, command, after=after)
    task = failback.switch_on_by_hand(draft.inventory, machine)
    return draft.ask(stage, name, task, after=after, title=f"Start {machine.name} by hand")


def _title(situation: Situation, command: AnyCommand) -> str:
    """Shorter than the command's own, which names each machine."""
    if isinstance(command, SetMaintenance):
        return f"Set all servers of {situation.vacated} to {command.state.upper()} on {command.balancer}"
    return ""


# --- the outage ends --------------------------------------------------------------------------------------------------


def await_servers_up(draft: Draft, run: Plan, undone: tuple[Taken, ...], *, after: Over) -> Over:
    """Where software was stopped: until the load balancer that was active before finds all its servers UP."""
    stage = _numbers(undone).get(run.outage_from)
    if stage is None:
        return after
    if run.direction == "failover":
        balancer, machines, whose = draft.as_found.load_balancer, draft.inventory.machines, "both sides"
    else:
        balancer = draft.situation.survivor_of(draft.inventory.pairs.load_balancer)
        machines, whose = draft.situation.surviving_side(), draft.situation.surviving
    return shared.await_servers_up(draft, stage, machines, balancer=balancer, whose=whose, after=after)


# --- 40: AcdGroupDistribute -------------------------------------------------------------------------------------------


def restore_daemon(draft: Draft, run: Plan, undone: tuple[Taken, ...], *, after: Over) -> Over:
    """Where it ran before, if anything of a telephony machine was stopped: it may have ended with its 8-Server."""
    telephony = {machine.name for machine in draft.inventory.with_role(Role.TELEPHONY)}
    home = failover.daemon_home(draft) if run.direction == "failback" else failback.daemon_home(draft)
    if home is None or not any(getattr(each.step.action, "target", "") in telephony for each in undone):
        return ()
    if draft.inventory.daemon.commands:
        numbers = range(DECIDE, DAEMON)
        after = tuple(step for number in numbers for step in draft.steps_on(number, home)) or after
        return draft.do(DAEMON, f"start-daemon-{home}", StartDaemon(machine=home), after=after)
    where = f"AcdGroupDistribute.r5 must run on the telephony machine where it ran before this {run.direction}"
    text = f"{where}, and nowhere else: start it there if it does not run. {draft.inventory.daemon.instructions}"
    task = OperatorTask(target=home, instructions=text, expected=BY_HAND)
    return draft.ask(DAEMON, "start-daemon", task, after=after, title="Start AcdGroupDistribute by hand")


# --- 41, 42, 43: as it was --------------------------------------------------------------------------------------------


def restore_monitoring(draft: Draft, run: Plan, *, after: Over) -> Over:
    """As after any abort: nothing stays silenced that is not off on purpose. Extended until then."""
    over: Over = ()
    for step in run.on_abort:
        name = step.id.partition("-")[2].removeprefix("on-abort-")
        if isinstance(step.action, OperatorTask):
            over += draft.ask(MONITORING, name, step.action, after=after, title=step.title)
        else:
            over += draft.do(MONITORING, name, cast("AnyCommand", step.action), after=after)
    for upkeep in run.upkeep:
        draft.keep_up(upkeep.command, every=upkeep.every, after=(), until=over)
    return over or after


def check_restored(draft: Draft, run: Plan, *, after: Over) -> Over:
    """The cluster is healthy and as it was found; of a failback, one side runs alone and well."""
    if run.direction == "failback":
        return draft.do(CHECK, "look-again", LookAgainAlone(), after=after)
    return failback.check_restored(draft, CHECK, after=after)


def remove_backups(draft: Draft, undone: tuple[Taken, ...], *, after: Over) -> Over:
    """Dump and snapshots of the run, the latest first: nothing has happened that they would be needed for."""
    for each in undone:
        if each.is_backup:
            after = take_back_one(draft, BACKUPS, each, after=after)
    return after
