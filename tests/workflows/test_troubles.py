"""A step that does not end well stops what depends on it, and waits for a person; everything else goes on."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from procedure.plan import Plan
from procedure.reports import Outcome, RunOutcome, StepReport
from tests.workflows.driving import running, step_of
from tests.workflows.paper_world import Kind, PaperWorld, Silent, failure, transient
from workflows.status import Status, StepState

STOP = "3-stop-wildfly-acd-jb1"
SHUT_DOWN = "9-shut-down-acd-jb1"


def behind(plan: Plan, step: str) -> set[str]:
    """All steps that wait for a step, directly or not."""
    found = {step}
    for each in plan.in_order():
        if set(each.after) & found:
            found.add(each.id)
    return found - {step}


async def everything_else_is_over(status: Status, plan: Plan, step: str) -> None:
    dependent = behind(plan, step)
    assert dependent
    for record in status.steps:
        if record.id in dependent:
            assert record.state is StepState.PENDING, record.id
        elif record.id != step:
            assert record.state is StepState.ENDED, record.id


@pytest.mark.parametrize("kind", ["failed", "refused", "rejected", "unknown"])
async def test_it_stops_only_what_depends_on_it_and_goes_on_after_a_retry(
    client: Client, world: PaperWorld, kind: Kind
) -> None:
    world.trouble(STOP, failure(kind, "still running"))
    async with running(client, world) as run:
        await run.approve("before_start")
        plan = await run.plan()
        assert plan is not None
        others = {s.id for s in plan.steps} - behind(plan, STOP) - {STOP}
        status = await run.until(lambda s: s.waits and all(r.is_over for r in s.steps if r.id in others))
        await everything_else_is_over(status, plan, STOP)
        (wait,) = status.waits
        assert (wait.step, wait.kind, wait.can_force) == (STOP, "problem", False)
        assert "still running" in wait.text
        found = step_of(status, STOP).problem
        assert found is not None
        assert found.kind == kind
        assert world.attempts[STOP] == 1

        await run.say("retry", {"step": STOP, "by": "ada"})
        await run.approve("before_power_off", "functionality")
        report = await run.result()

    assert report.outcome is RunOutcome.COMPLETED
    record = step_of(report, STOP)
    assert (record.outcome, record.attempts, record.decided_by) == (Outcome.DONE, 2, "ada")
    assert record.problem is None
    assert world.violations == []


async def test_skipped_steps_are_named_to_the_end(client: Client, world: PaperWorld) -> None:
    world.trouble("1-snapshot-acd-dbm1", failure("failed", "no room"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting("1-snapshot-acd-dbm1")
        await run.say("skip", {"step": "1-snapshot-acd-dbm1", "by": "ada", "reason": "we have tapes"})
        await run.approve("before_power_off", "functionality")
        report = await run.result()
        details = await run.details()
    assert report.outcome is RunOutcome.COMPLETED_WITH_SKIPS
    record = step_of(report, "1-snapshot-acd-dbm1")
    assert (record.outcome, record.reason, record.decided_by) == (Outcome.SKIPPED, "we have tapes", "ada")
    assert record.problem is not None
    assert any("Skipped by ada (we have tapes)" in step for step in report.next_steps)
    assert "Skipped by ada" in details


async def test_force_is_used_once_and_only_when_said(client: Client, world: PaperWorld) -> None:
    world.trouble(SHUT_DOWN, failure("failed", "on"), failure("failed", "the hypervisor is busy"))
    async with running(client, world) as run:
        await run.approve("before_start", "before_power_off")
        status = await run.waiting(SHUT_DOWN)
        assert next(w for w in status.waits if w.step == SHUT_DOWN).can_force
        assert "needs a reason" in (await run.decide("retry", step=SHUT_DOWN, by="ada", force=True)).text
        assert (await run.decide("retry", step=SHUT_DOWN, by="ada", force=True, reason="it hangs")).accepted
        await run.until(lambda s: step_of(s, SHUT_DOWN).attempts == 2 and s.waits)
        assert (await run.decide("retry", step=SHUT_DOWN, by="ada")).accepted
        await run.approve("functionality")
        report = await run.result()
    kinds = [order.command.kind for order in world.orders if order.step_id == SHUT_DOWN]
    assert kinds == ["shut_down_machine", "cut_power", "shut_down_machine"]
    assert report.outcome is RunOutcome.COMPLETED
    assert world.violations == []


async def test_a_lost_connection_is_tried_again_and_asks_nobody(client: Client, world: PaperWorld) -> None:
    world.trouble(STOP, transient())
    async with running(client, world) as run:
        await run.approve_all()
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert world.attempts[STOP] == 2
    assert step_of(report, STOP).attempts == 1


async def test_a_connection_that_stays_lost_is_unknown(client: Client, world: PaperWorld) -> None:
    world.trouble(STOP, transient(), transient())
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.waiting(STOP)
        found = step_of(status, STOP).problem
        assert found is not None
        assert (found.kind, found.seen) == ("unknown", "connection lost")
        await run.say("abort", {"by": "ada", "reason": "seen"})
        await run.result()


async def test_a_worker_that_stops_answering_leaves_the_step_unknown(client: Client, world: PaperWorld) -> None:
    world.trouble(STOP, Silent(), Silent())
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.waiting(STOP)
        found = step_of(status, STOP).problem
        assert found is not None
        assert found.kind == "unknown"
        assert "stopped answering, several times" in found.seen
        assert world.attempts[STOP] == 2
        await run.say("retry", {"step": STOP, "by": "ada"})
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN, Outcome.SKIPPED])
async def test_a_report_that_says_it_is_not_done_is_a_problem(
    client: Client, world: PaperWorld, outcome: Outcome
) -> None:
    now = world.cluster.now
    world.trouble(STOP, StepReport(outcome=outcome, seen="odd", began=now, ended=now))
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.waiting(STOP)
        assert "odd" in status.waits[0].text
        await run.say("abort", {"by": "ada", "reason": "seen"})
        report = await run.result()
    assert step_of(report, STOP).outcome in (Outcome.FAILED, Outcome.UNKNOWN)
