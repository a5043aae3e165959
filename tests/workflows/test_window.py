"""A run begins when it is scheduled, and after its window it changes nothing more until people have agreed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from procedure import failover
from procedure.as_found import AsFound
from procedure.plan import Plan
from procedure.reports import Outcome, RunOutcome
from procedure.situation import Situation
from tests.workflows.driving import own, start, step_of, worker_for
from tests.workflows.paper_world import PaperWorld, failure
from tests.workflows.test_background import without_outage_probes
from tests.workflows.test_draining import DRAIN, FORCE, with_drain
from workflows import names
from workflows.ledger import Ledger
from workflows.messages import FailoverRequest
from workflows.status import StepState
from workflows.window import Window, question, too_short

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
STOP = "3-stop-wildfly-acd-jb1"
ABORT = {"by": "ada", "reason": "not tonight"}


# --- pure -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(reference: Inventory) -> Plan:
    return failover.plan(Situation(reference, "vm-host-1"), AsFound.normal(reference), "a-run")


@pytest.fixture
def ledger(plan: Plan, reference: Inventory) -> Ledger:
    book = Ledger(reference.approval)
    book.plan(plan.steps)
    return book


def test_a_window_is_over_at_its_end_unless_people_have_agreed() -> None:
    window = Window(NOW)
    assert not window.is_over(NOW - timedelta(seconds=1))
    assert window.is_over(NOW)
    window.unlimited = True
    assert not window.is_over(NOW)
    assert not Window().is_over(NOW)


def test_people_are_told_how_far_it_is_and_who_pays_for_their_time(plan: Plan, ledger: Ledger) -> None:
    changing = sum(step.mutates for step in plan.steps)
    asked = question(NOW, plan, ledger.records)
    assert asked.startswith("The window has ended, at 01 Mar 02:00 UTC. ")
    assert f"steps are left, {changing} of them change something. Nothing was touched yet." in asked

    ledger.begin("1-back-up-acd-dbm1", NOW)
    ledger.end("1-back-up-acd-dbm1", Outcome.DONE, NOW)
    assert f"{changing - 1} of them change something. There is no outage" in question(NOW, plan, ledger.records)
    ledger.begin(STOP, NOW)
    assert "Nobody is served at this moment" in question(NOW, plan, ledger.records)
    for step in plan.steps_of(11):
        ledger.end(step.id, Outcome.DONE, NOW)
    assert "There is no outage at this moment" in question(NOW, plan, ledger.records)


def test_a_window_that_is_too_short_is_warned_of(plan: Plan) -> None:
    assert too_short(None, plan, NOW) == ""
    assert too_short(NOW + timedelta(hours=5), plan, NOW) == ""
    warning = too_short(NOW + timedelta(minutes=5), plan, NOW)
    assert warning.startswith("The window is too short: the plan takes about")
    assert warning.endswith("the window ends at 01 Mar 02:05 UTC, in 5 min.")
    assert too_short(NOW - timedelta(minutes=5), plan, NOW).endswith("which has passed.")


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"start_at": "2026-03-01T02:00:00"}, "should have timezone info"),
        ({"window_ends": "tomorrow"}, "valid datetime"),
        (
            {"start_at": "2026-03-01T02:00:00Z", "window_ends": "2026-03-01T03:00:00+01:00"},
            "the window ends before the run starts",
        ),
    ],
)
def test_times_that_make_no_sense_are_refused(reference: Inventory, times: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FailoverRequest.model_validate({"inventory": reference, "vacate": "vm-host-1", **times})


def test_times_of_any_zone_are_told_in_one(reference: Inventory) -> None:
    request = FailoverRequest.model_validate(
        {"inventory": reference, "vacate": "vm-host-1", "start_at": "2026-03-01T03:00:00+01:00"}
    )
    assert request.start_at is not None
    assert f"{request.start_at:%H:%M %Z}" == "02:00 UTC"


# --- scheduled --------------------------------------------------------------------------------------------------------


async def test_it_begins_when_it_is_scheduled_and_holds_the_cluster_until_then(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(without_outage_probes(reference), skipping.get_current_time)
    begins = await skipping.get_current_time() + timedelta(hours=9)
    async with worker_for(skipping.client, world, names.task_queue(world.inventory.cluster)):
        run = await start(skipping.client, world, start_at=begins)
        status = await run.until(lambda s: s.phase.startswith("scheduled for"))
        assert status.scheduled == begins
        assert f"scheduled for {begins:%d %b %H:%M} UTC" in await run.details()
        assert world.attempts == {}
        await run.say("retry", {"step": "nothing", "by": "ada"})  # a signal does not end the waiting
        await skipping.sleep(timedelta(hours=8))
        assert (await run.status()).scheduled is not None
        await run.say("pause", {"by": "ada", "reason": "the vendor is late"})
        await skipping.sleep(timedelta(hours=2))
        status = await run.until(lambda s: s.scheduled is None)
        assert world.attempts == {}
        await run.say("resume", {"by": "ada"})
        await run.at_gate("before_start")
        await run.say("abort", ABORT)
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED


async def test_what_is_scheduled_can_be_aborted(client: Client, world: PaperWorld) -> None:
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, start_at=datetime.now(UTC) + timedelta(days=3))
        await run.until(lambda s: s.scheduled)
        await run.say("abort", ABORT)
        report = await run.result()
    assert report.outcome_reason == "Aborted by ada: not tonight. Nothing was touched."
    assert world.attempts == {}


async def test_a_request_that_makes_no_sense_fails_at_once(client: Client, world: PaperWorld) -> None:
    request = {"inventory": world.inventory, "vacate": "vm-host-1", "start_at": "2026-03-01 02:00"}
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        handle = await client.start_workflow(
            names.FAILOVER,
            request,
            id=names.workflow_id(world.inventory.cluster),
            task_queue=names.task_queue(world.inventory.cluster),
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert "start_at: Input should have timezone info" in str(failed.value.cause)


# --- the end of the window --------------------------------------------------------------------------------------------


async def test_after_the_window_nothing_is_changed_until_people_agree(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(without_outage_probes(reference), skipping.get_current_time)
    ends = await skipping.get_current_time() + timedelta(hours=3)
    async with worker_for(skipping.client, world, names.task_queue(world.inventory.cluster)):
        run = await start(skipping.client, world, window_ends=ends)
        gate = await run.at_gate("before_start")
        assert f"Window: until {ends:%d %b %H:%M} UTC" in await run.details()
        assert not (await run.status()).notes
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await skipping.sleep(timedelta(hours=4))
        done = world.done()
        await run.approve("before_power_off")
        gate = await run.at_gate("after_window")
        assert gate.step == "9-gate-after-window"
        assert "steps are left" in gate.text
        assert "Nobody is served at this moment" in gate.text
        status = await run.until(lambda s: not any(r.state is StepState.RUNNING for r in s.steps))
        assert [w.gate for w in status.waits] == ["after_window"]
        assert world.done() == done

        await run.approve("after_window", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert [r.id for r in report.steps if "after-window" in r.id] == ["9-gate-after-window"]
    assert world.violations == []


async def test_who_does_not_agree_ends_the_run(client: Client, world: PaperWorld) -> None:
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, window_ends=datetime.now(UTC) - timedelta(minutes=1))
        gate = await run.at_gate("before_start")
        notes = (await run.status()).notes
        assert any("The window is too short" in note and "which has passed" in note for note in notes)
        await run.approve("before_start")
        gate = await run.at_gate("after_window")
        assert "Nothing was touched yet." in gate.text
        await run.say("reject", {"gate": "after_window", "seen": gate.code, "by": "bob", "comment": "tomorrow"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert "gate after_window rejected: tomorrow" in report.outcome_reason
    assert world.orders == []


async def test_a_retry_after_the_window_waits_too_and_clean_up_does_not(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference))
    world.trouble(STOP, failure("failed"), failure("failed"))
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        # Long enough to come to the stop, and over soon.
        run = await start(client, world, window_ends=datetime.now(UTC) + timedelta(seconds=8))
        await run.approve("before_start")
        await run.waiting(STOP)
        await run.until(lambda s: s.window_ends is not None and datetime.now(UTC) > s.window_ends)
        await run.say("retry", {"step": STOP, "by": "ada"})
        gate = await run.at_gate("after_window")
        assert (gate.step, world.attempts[STOP]) == ("3-gate-after-window", 1)
        await run.approve("after_window")
        await run.until(lambda s: world.attempts[STOP] == 2 and any(w.step == STOP for w in s.waits))
        await run.say("abort", ABORT)
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert world.cluster.silenced() == set()


async def test_an_abort_at_the_end_of_the_window_lifts_silences_without_asking(
    client: Client, reference: Inventory
) -> None:
    world = PaperWorld(own(reference))
    world.trouble(STOP, failure("failed"))
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, window_ends=datetime.now(UTC) + timedelta(seconds=8))
        await run.approve("before_start")
        await run.waiting(STOP)
        await run.until(lambda s: s.window_ends is not None and datetime.now(UTC) > s.window_ends)
        await run.say("retry", {"step": STOP, "by": "ada"})
        await run.at_gate("after_window")
        await run.say("abort", ABORT)
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert step_of(report, STOP).outcome is Outcome.FAILED
    assert world.attempts[STOP] == 1
    assert world.cluster.silenced() == set()


async def test_agreed_in_a_pause_it_waits_for_the_end_of_it(client: Client, world: PaperWorld) -> None:
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, window_ends=datetime.now(UTC) - timedelta(minutes=1))
        await run.approve("before_start")
        await run.at_gate("after_window")
        await run.say("pause", {"by": "ada", "reason": "wait"})
        await run.approve("after_window")
        await run.until(lambda s: not s.waits)
        assert world.orders == []
        await run.say("resume", {"by": "ada"})
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_what_was_done_is_taken_back_without_a_window_and_may_be_paused(
    client: Client, world: PaperWorld
) -> None:
    world.trouble(STOP, failure("failed"))
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, window_ends=datetime.now(UTC) + timedelta(seconds=8))
        await run.approve("before_start")
        await run.waiting(STOP)
        await run.until(lambda s: s.window_ends is not None and datetime.now(UTC) > s.window_ends)
        await run.say("retry", {"step": STOP, "by": "ada"})
        await run.at_gate("after_window")
        await run.say("abort", {**ABORT, "roll_back": True})
        await run.at_gate("roll_back")
        await run.say("pause", {"by": "ada", "reason": "a look"})
        await run.approve("roll_back")
        await run.until(lambda s: not s.waits)
        done = world.done()
        await run.say("resume", {"by": "ada"})
        report = await run.result()
    assert report.outcome is RunOutcome.ROLLED_BACK
    assert len(world.done()) > len(done)
    assert [r.id for r in report.steps if "after-window" in r.id] == ["3-gate-after-window"]


async def test_a_window_that_ends_in_a_pause_is_asked_about_before_sessions_are_ended_by_force(
    client: Client, reference: Inventory
) -> None:
    world = with_drain(reference, 1)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, window_ends=datetime.now(UTC) + timedelta(seconds=15))
        await run.approve("before_start")
        await run.waiting(DRAIN)
        await run.say("retry", FORCE)
        await run.at_gate("end_sessions")
        await run.say("pause", {"by": "ada", "reason": "wait"})
        await run.approve("end_sessions")
        await run.until(lambda s: s.window_ends is not None and datetime.now(UTC) > s.window_ends)
        assert not [order for order in world.orders if order.command.kind == "end_sessions"]
        await run.say("resume", {"by": "ada"})
        await run.at_gate("after_window")
        assert not [order for order in world.orders if order.command.kind == "end_sessions"]
        await run.say("abort", ABORT)
        assert (await run.result()).outcome is RunOutcome.ABORTED
