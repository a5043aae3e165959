"""Adopting a run that ended in the middle: another one goes on with its plan, from what is there now.

What the earlier run had done is *unchanged*: because it still is as that run left it, or because later steps of it
went on from there (what was stopped was started again, a machine whose software was stopped was shut down). Everything
else is done as in any run, each step looking first.
"""

from __future__ import annotations

from collections.abc import Iterator

from inventory.models import Inventory, Role
from procedure import who
from procedure.as_found import AsFound
from procedure.commands import MovePair, RejoinNode, ShutDownMachine, StartMachine
from procedure.commands.base import Command
from procedure.facts import DaemonFact, Facts
from procedure.health_check import backends_match, reachable, round_of, subjects_of
from procedure.invariants import SPLIT_BRAIN_NEXT, not_seen, one_primary, servers_cross
from procedure.material import is_material
from procedure.plan import Gate, Observe, OperatorTask, Plan, Step
from procedure.reports import Outcome
from procedure.situation import Situation
from procedure.subjects import AutostartOf, DaemonOn, DrbdOn, PowerOf, ReplicationOn, Silences, Subject
from procedure.values import Value
from procedure.verdicts import Answer, Verdict, failed, not_applicable, passed, warned

WENT_WELL = (Outcome.DONE, Outcome.UNCHANGED, Outcome.NOT_APPLICABLE)
MOST_NAMED = 6
"""Steps named in a question; the plan has them all."""


class Begun(Value):
    """What is known of a step that the earlier run had begun."""

    step: str
    outcome: Outcome | None = None
    """None: it was under way when that run ended."""
    words: str = ""
    """Who skipped or confirmed it, and why."""


class Adopted(Value):
    """A run that ended in the middle, as its own status tells it."""

    workflow_id: str
    run_id: str
    as_found: AsFound
    plan: Plan
    begun: tuple[Begun, ...]

    def outcome_of(self, step: str) -> Outcome | None:
        """How a step ended; None: it did not."""
        return next((each.outcome for each in self.begun if each.step == step), None)

    def has_begun(self, step: str) -> bool:
        """Whether a step was begun, however it ended."""
        return any(each.step == step for each in self.begun)


class Already(Value):
    """A step that is not done again."""

    step: str
    outcome: Outcome
    """Unchanged, or skipped as in the earlier run."""
    reason: str


# --- the health check -------------------------------------------------------------------------------------------------


def rounds(situation: Situation, adopted: Adopted) -> tuple[Step, ...]:
    """What is observed: machines that may be off on purpose are asked nothing, only their VM-Host is."""
    machines = tuple(
        round_of(m.name, _power(m.name) if may_be_off(adopted, m.name) else subjects_of(situation.inventory, m))
        for m in situation.inventory.machines
    )
    return (*machines, round_of("monitoring", (Silences(),)))


def _power(machine: str) -> tuple[Subject, ...]:
    return (PowerOf(machine=machine), AutostartOf(machine=machine))


def may_be_off(adopted: Adopted, machine: str) -> bool:
    """Whether the earlier run had begun to shut a machine down, or has not yet seen it started."""
    for step in adopted.plan.steps:
        command = _command_of(step)
        if isinstance(command, ShutDownMachine) and command.machine == machine:
            return adopted.has_begun(step.id)
        if isinstance(command, StartMachine) and command.machine == machine:
            return adopted.outcome_of(step.id) not in WENT_WELL
    return False


def judge(situation: Situation, adopted: Adopted, facts: Facts) -> tuple[Verdict, ...]:
    """Only what makes going on unsafe is against it; that software is stopped or a server in MAINT is explained."""
    inventory = situation.inventory
    on = [m for m in inventory.machines if not may_be_off(adopted, m.name)]
    balancers = [b for b in inventory.pairs.load_balancer.machines if not may_be_off(adopted, b)]
    return (
        *(reachable(inventory, machine, facts) for machine in on),
        *(one_primary(inventory, name, facts) for name in who.PAIR_NAMES),
        *_no_split_brain(inventory, adopted, facts),
        *_replication_goes_on(inventory, adopted, facts),
        *(verdict for balancer in balancers for verdict in _balancer(inventory, balancer, facts)),
        _one_daemon(inventory, adopted, facts),
        _monitoring(facts),
        _explained(adopted),
    )


def _no_split_brain(inventory: Inventory, adopted: Adopted, facts: Facts) -> Iterator[Verdict]:
    for name in who.PAIR_NAMES:
        pair = who.pair(inventory, name)
        for machine in pair.machines if pair.drbd else ():
            condition = f"DRBD on {machine} suspects no split brain"
            fact = facts.drbd(machine)
            if may_be_off(adopted, machine):
                continue
            if fact is None:
                yield not_seen(condition, [DrbdOn(machine=machine)], facts, invariant=4)
            elif fact.connection == "StandAlone":
                yield failed(condition, "it is StandAlone", SPLIT_BRAIN_NEXT, invariant=4)
            else:
                yield passed(condition, fact.connection or "down, as on a node in standby", invariant=4)


def _replication_goes_on(inventory: Inventory, adopted: Adopted, facts: Facts) -> Iterator[Verdict]:
    for machine in inventory.with_role(Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        if may_be_off(adopted, machine.name):
            continue
        condition = f"no replication of {machine.name} has stopped with an error"
        fact = facts.replication(machine.name)
        if fact is None:
            yield not_seen(condition, [ReplicationOn(machine=machine.name)], facts, invariant=5)
            continue
        stopped = [f"from {c.source_host}: {c.sql_error or 'stopped'}" for c in fact.channels if c.sql != "Yes"]
        step = f"Look at Last_SQL_Error in SHOW REPLICA STATUS on {machine.name} and mend it; then try again."
        if stopped:
            yield failed(condition, "; ".join(stopped), step, invariant=5)
        else:
            yield passed(condition, invariant=5)


def _balancer(inventory: Inventory, name: str, facts: Facts) -> Iterator[Verdict]:
    yield servers_cross(inventory, name, facts)
    fact = facts.balancer(name)
    if fact is not None and fact.running:
        yield backends_match(inventory, name, fact)


def _one_daemon(inventory: Inventory, adopted: Adopted, facts: Facts) -> Verdict:
    condition = "AcdGroupDistribute does not run on two telephony machines"
    machines = [m.name for m in inventory.with_role(Role.TELEPHONY) if not may_be_off(adopted, m.name)]
    seen: dict[str, DaemonFact] = {m: fact for m in machines if (fact := facts.daemon(m)) is not None}
    if len(seen) < len(machines):
        return not_seen(condition, [DaemonOn(machine=m) for m in machines if m not in seen], facts, invariant=7)
    running = [m for m, fact in seen.items() if fact.state == "running"]
    if len(running) > 1:
        step = "Stop it on all but one of them by hand; then try again."
        return failed(condition, f"it runs on {' and '.join(running)}", step, invariant=7)
    return passed(condition, f"it runs on {running[0] if running else 'none'}", invariant=7)


def _monitoring(facts: Facts) -> Verdict:
    condition = "monitoring can be silenced"
    fact = facts.silences()
    if fact is None:
        return not_seen(condition, [Silences()], facts)
    if fact.by_hand:
        return not_applicable(condition, "a person does it")
    return passed(condition, f"{len(fact.silences)} silences are there")


def _explained(adopted: Adopted) -> Verdict:
    """What is not as in a normal state is told as what it is, and not as an illness."""
    done = [step for step in adopted.plan.steps if step.mutates and adopted.outcome_of(step.id) is Outcome.DONE]
    under_way = [each.step for each in adopted.begun if each.outcome not in (*WENT_WELL, Outcome.SKIPPED)]
    seen = f"it had done {len(done)} steps that change something"
    if under_way:
        seen += f"; it was in the middle of, or had trouble with {_some(under_way)}"
    return warned(f"the cluster is where run {adopted.run_id} left it", seen, "The approver sees what remains.")


# --- the plan ---------------------------------------------------------------------------------------------------------


def plan(situation: Situation, adopted: Adopted, facts: Facts) -> tuple[Plan, tuple[Already, ...]]:
    """The plan of the adopted run, asked about anew, and what of it is not done again."""
    already = tuple(_already(situation, adopted, facts))
    over = {each.step for each in already}
    first = [s for s in adopted.plan.steps if isinstance(s.action, Gate) and s.action.name == "before_start"]
    gates = tuple(gate.id for gate in first)
    left = (step for step in adopted.plan.in_order() if step.id not in over and not isinstance(step.action, Observe))
    remaining = [step for step in left if step.id not in gates]
    asked = _question(adopted, len(over), remaining)

    def again(step: Step) -> Step:
        if step.id in gates and isinstance(step.action, Gate):
            gate = step.action.model_copy(update={"question": asked, "watches": _watched(situation, adopted)})
            return step.model_copy(update={"title": asked, "action": gate})
        if step in remaining:
            # What it waited for may be over: then it must itself wait for the gate, and for what is looked at again.
            before = _before(adopted.plan, step)
            first = tuple(each.id for each in remaining if each.id in before)
            return step.model_copy(update={"after": tuple(dict.fromkeys((*step.after, *gates, *first)))})
        return step

    steps = tuple(again(step) for step in adopted.plan.steps)
    return adopted.plan.model_copy(update={"steps": steps}), already


def _watched(situation: Situation, adopted: Adopted) -> tuple[Subject, ...]:
    """What the decision is bound to: all that the health check looked at."""
    looked = (step.action for step in rounds(situation, adopted))
    subjects = (s for action in looked if isinstance(action, Observe) for s in action.subjects)
    return tuple(subject for subject in subjects if is_material(subject))


def _question(adopted: Adopted, done: int, remaining: list[Step]) -> str:
    again = sum(adopted.outcome_of(step.id) in WENT_WELL for step in remaining)
    coming = [step.title for step in remaining if adopted.outcome_of(step.id) not in WENT_WELL]
    looked = f", {again} that it had done are looked at again" if again else ""
    left = f"{len(coming)} remain: {_some(coming)}" if coming else "nothing remains"
    return f"Go on with run {adopted.run_id}? {done} steps are over{looked}; {left}"


def _some(words: list[str]) -> str:
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _already(situation: Situation, adopted: Adopted, facts: Facts) -> Iterator[Already]:
    looked = {step.id for step in rounds(situation, adopted)}
    for step in adopted.plan.in_order():
        if step.id in looked:
            continue
        reason = _why_not_again(situation, adopted, facts, step)
        if reason:
            skipped = adopted.outcome_of(step.id) is Outcome.SKIPPED
            outcome = Outcome.SKIPPED if skipped else Outcome.UNCHANGED
            yield Already(step=step.id, outcome=outcome, reason=reason)


def _why_not_again(situation: Situation, adopted: Adopted, facts: Facts, step: Step) -> str:
    """Why a step is not done again; empty: it is."""
    outcome, action = adopted.outcome_of(step.id), step.action
    by = f"by run {adopted.run_id}"
    if isinstance(action, Observe):
        return f"observed {by}"
    if outcome not in (*WENT_WELL, Outcome.SKIPPED) or (isinstance(action, Gate) and action.name == "before_start"):
        return ""
    if not isinstance(action, Command) or outcome is Outcome.SKIPPED:
        words = next((f": {each.words}" for each in adopted.begun if each.step == step.id and each.words), "")
        return f"{'skipped' if outcome is Outcome.SKIPPED else 'decided or confirmed'} {by}{words}"
    if went_on(adopted, step):
        return f"done {by}, which went on from there"
    wanted = action.wanted(situation, facts)
    return f"done {by}, and still so: {wanted.text}" if wanted.answer in (Answer.PASS, Answer.WARN) else ""


def went_on(adopted: Adopted, step: Step) -> bool:
    """Whether later steps of the run have used what this one brought about, or taken it back themselves."""
    command = step.action
    if not isinstance(command, Command):
        return False
    later = [s for s in adopted.plan.steps if s.id != step.id and adopted.has_begun(s.id)]
    if not command.mutates:
        return any(step.id in _before(adopted.plan, s) for s in later if s.mutates)
    return any(_goes_on(command, _command_of(s)) for s in later if step.id in _before(adopted.plan, s))


def _goes_on(earlier: Command, later: Command | None) -> bool:
    if isinstance(later, ShutDownMachine) and later.machine == earlier.target:
        return True  # A machine that is shut down keeps nothing of what was done on it.
    if isinstance(earlier, RejoinNode) and isinstance(later, MovePair):
        return earlier.pair == later.pair  # From the move on the other machine stands by, with DRBD down.
    return later in earlier.compensation()


def _command_of(step: Step) -> Command | None:
    action = step.action.check if isinstance(step.action, OperatorTask) else step.action
    return action if isinstance(action, Command) else None


def _before(plan: Plan, step: Step) -> set[str]:
    """All that comes before a step."""
    found: set[str] = set()
    left = list(step.after)
    while left:
        before = left.pop()
        if before not in found:
            found.add(before)
            left += plan.step(before).after
    return found
