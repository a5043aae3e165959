"""Drawing up a run: what the facts mean, how the cluster was found, and the plan that follows.

A worker does it once and its answer stays in the history of the run, so a run that is under way keeps its plan when a
later version of the product would draw up another.
"""

from __future__ import annotations

from procedure import adopting, failback, failover, health_check, maintenance, one_sided_check, rollback
from procedure.adopting import Adopted, Already
from procedure.as_found import AsFound
from procedure.facts import Facts
from procedure.material import Statement, statements
from procedure.plan import Direction, Gate, Plan, Step
from procedure.rollback import Undo
from procedure.situation import Situation
from procedure.values import Value
from procedure.verdicts import Verdict


class Intent(Value):
    """What a run is to do."""

    direction: Direction
    reference: str = ""
    """Names the run in backups, snapshots and silences."""
    as_found: AsFound | None = None
    """Failback and roll-back: the state that is restored. None: the normal state of the inventory."""
    earlier: str = ""
    """Failback: reference of the failover that is undone; empty: none is known."""
    both: bool = False
    """Maintenance: the other VM-Host afterwards, too."""
    adopted: Adopted | None = None
    """A run that ended in the middle, which this one carries on."""
    undo: Undo | None = None
    """Roll-back: what is taken back."""


class DrawnUp(Value):
    """What a run begins with. Without a plan nothing may be touched."""

    health: tuple[Verdict, ...] = ()
    as_found: AsFound | None = None
    plan: Plan | None = None
    problem: str = ""
    """Why there is no plan; empty where the health check says it, or where there is one."""
    plan_digest: str = ""
    """Of the plan, as it was when it was drawn up: another version of the product would write another plan down."""
    seen: tuple[Statement, ...] = ()
    """What the health check tells about all that the first gate watches."""
    already: tuple[Already, ...] = ()
    """Steps that an adopted run has done."""


def rounds(situation: Situation, intent: Intent) -> tuple[Step, ...]:
    """What the health check of the run observes."""
    if intent.adopted is not None:
        return adopting.rounds(situation, intent.adopted)
    return one_sided_check.rounds(situation) if intent.direction == "failback" else health_check.rounds(situation)


def judge(situation: Situation, intent: Intent, facts: Facts) -> tuple[Verdict, ...]:
    """What the health check of the run finds."""
    if intent.adopted is not None:
        return adopting.judge(situation, intent.adopted, facts)
    if intent.direction == "failback":
        return one_sided_check.judge(situation, facts)
    return health_check.judge(situation, facts)


def draw_up(situation: Situation, intent: Intent, facts: Facts) -> DrawnUp:
    """Judge the facts and, if they allow a run, make its plan.

    A maintenance touches nothing itself: its runs look. Nor is a roll-back judged: each of its steps looks, and what is
    not healthy is what it mends.
    """
    drawn_up = _judged(situation, intent, facts)
    if drawn_up.plan is None:
        return drawn_up
    gate = first_gate(drawn_up.plan)
    seen = statements(situation, facts, gate.watches) if gate else ()
    return drawn_up.model_copy(update={"plan_digest": drawn_up.plan.digest, "seen": seen})


def first_gate(plan: Plan) -> Gate | None:
    """The gate at which the facts of the health check may still be fresh."""
    return next((step.action for step in plan.steps if isinstance(step.action, Gate)), None)


def _judged(situation: Situation, intent: Intent, facts: Facts) -> DrawnUp:
    if intent.direction == "maintenance":
        return DrawnUp(plan=maintenance.plan(situation, intent.reference, both=intent.both))
    if intent.undo is not None:
        return DrawnUp(plan=rollback.plan(situation, _restored(situation, intent), intent.undo))
    if intent.adopted is not None:
        return _adopting(situation, intent, intent.adopted, facts)
    if intent.direction == "failback":
        return _failback(situation, intent, facts)
    return _failover(situation, intent, facts)


def _failover(situation: Situation, intent: Intent, facts: Facts) -> DrawnUp:
    health = judge(situation, intent, facts)
    if not all(verdict.allows for verdict in health):
        return DrawnUp(health=health)
    try:
        as_found = AsFound.from_facts(situation, facts)
    except ValueError as error:
        return DrawnUp(health=health, problem=str(error))
    return DrawnUp(health=health, as_found=as_found, plan=failover.plan(situation, as_found, intent.reference))


def _failback(situation: Situation, intent: Intent, facts: Facts) -> DrawnUp:
    health = judge(situation, intent, facts)
    if not all(verdict.allows for verdict in health):
        return DrawnUp(health=health)
    restored = _restored(situation, intent)
    plan = failback.plan(situation, restored, intent.reference, earlier=intent.earlier)
    return DrawnUp(health=health, as_found=restored, plan=plan)


def _adopting(situation: Situation, intent: Intent, adopted: Adopted, facts: Facts) -> DrawnUp:
    health = judge(situation, intent, facts)
    if not all(verdict.allows for verdict in health):
        return DrawnUp(health=health)
    plan, already = adopting.plan(situation, adopted, facts)
    return DrawnUp(health=health, as_found=adopted.as_found, plan=plan, already=already)


def _restored(situation: Situation, intent: Intent) -> AsFound:
    return intent.as_found or AsFound.normal(situation.inventory)
