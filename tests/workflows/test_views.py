"""Stages as a person reads them: also those in which there is nothing to do."""

from __future__ import annotations

from datetime import UTC, datetime

from inventory.approval import Approval
from inventory.models import Inventory
from procedure import failback
from procedure.as_found import AsFound
from procedure.plan import Plan
from procedure.reports import Outcome
from procedure.situation import Situation
from workflows.ledger import Ledger
from workflows.views import stage_views

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def planned(inventory: Inventory) -> tuple[Plan, Ledger]:
    """The standby side comes back: both pairs stay where they were found, on the other."""
    plan = failback.plan(Situation(inventory, "vm-host-2"), AsFound.normal(inventory), "ref")
    ledger = Ledger(Approval())
    ledger.plan(plan.steps)
    return plan, ledger


def test_a_stage_without_steps_is_not_needed_from_the_beginning_to_the_end(reference: Inventory) -> None:
    plan, ledger = planned(reference)
    begun = {stage.number: stage.state for stage in stage_views((plan,), ledger, ended=False)}
    assert {number for number, state in begun.items() if state == "not needed"} == {9, 10}
    assert {state for number, state in begun.items() if number not in (9, 10)} == {"pending"}
    for step in plan.steps:
        ledger.end(step.id, Outcome.DONE, NOW)
    ended = {stage.number: stage.state for stage in stage_views((plan,), ledger, ended=True)}
    assert ended == {number: "not needed" if number in (9, 10) else "ended" for number in range(17)}


def test_before_there_is_a_plan_there_is_the_health_check_alone() -> None:
    assert [(s.number, s.state) for s in stage_views((), Ledger(Approval()), ended=False)] == [(0, "pending")]
