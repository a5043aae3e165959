"""Roll-backs that are ended before their end, what is told of them, and those of adopted runs and of failbacks."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from inventory.models import Inventory
from procedure.orders import DRAW_UP
from procedure.plan import Plan
from procedure.reports import Outcome, RunOutcome
from tests.outcomes import why
from tests.workflows.driving import Run, running, step_of
from tests.workflows.paper_world import PaperWorld, failure
from tests.workflows.test_carrying_on import carried_on, found_for, terminated_at
from tests.workflows.test_operator_tasks import by_hand
from tests.workflows.test_roll_back import BACK, truth
from workflows import names
from workflows.messages import FailbackRequest, Restored
from workflows.status import RunReport, StepState

STOP = "3-stop-wildfly-acd-jb1"


async def at_power_off(run: Run) -> None:
    await run.approve("before_start")
    await run.at_gate("before_power_off")


@pytest.mark.parametrize("when", ["before it", "while it is drawn up", "at its gate", "in the middle"])
async def test_a_cancellation_is_an_abort_without_roll_back(client: Client, world: PaperWorld, when: str) -> None:
    held = world.hold(STOP if when == "before it" else "22-undo-move-load-balancer-2")
    async with running(client, world) as run:
        await run.approve("before_start")
        if when == "before it":
            await held.reached.wait()
        else:
            await run.at_gate("before_power_off")
        if when == "while it is drawn up":
            held = world.hold(DRAW_UP)
        await run.say("abort", BACK)
        await run.until(lambda s: any(d.signal == "abort" for d in s.decisions))
        if when == "at its gate":
            await run.at_gate("roll_back")
        elif when == "in the middle":
            await run.approve("roll_back")
        if when not in ("before it", "at its gate"):
            await held.reached.wait()
        await run.handle.cancel()
        await run.until(lambda s: not s.waits)
        held.go.set()
        report = await run.result()

    assert report.outcome is RunOutcome.ABORTED
    assert "Temporal: the workflow was cancelled" in report.outcome_reason
    assert world.cluster.silenced() == set()
    assert world.violations == []
    assert world.outage_ended.is_set() or when == "before it"
    assert not held.cancelled.is_set()


async def test_a_second_abort_ends_it_where_it_stands(client: Client, world: PaperWorld) -> None:
    held = world.hold("23-undo-move-storage-2")
    async with running(client, world) as run:
        await at_power_off(run)
        await run.say("abort", BACK)
        await run.approve("roll_back")
        await held.reached.wait()
        assert not (await run.decide("abort", **BACK)).accepted
        assert (await run.decide("abort", by="bert", reason="wait")).accepted
        held.go.set()
        report = await run.result()

    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason.endswith("The roll-back was ended by bert: wait. It stands where it was then.")
    assert step_of(report, "23-undo-move-storage-2").outcome is Outcome.DONE
    assert step_of(report, "23-undo-move-storage-3").state is StepState.NOT_STARTED
    assert world.cluster.silenced() == set()
    assert world.violations == []
    assert report.ways is not None
    assert report.ways.back[0].startswith("Let acd-store2 stand by in the storage pair again: ssh acd-store1")
    assert report.ways.on == ()
    assert report.ways.on_command in " ".join(report.next_steps)


async def test_an_abort_gives_up_a_roll_back_that_has_not_begun(client: Client, world: PaperWorld) -> None:
    held = world.hold(STOP)
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        assert (await run.decide("abort", **BACK)).accepted
        assert "already being aborted" in (await run.decide("abort", **BACK)).text
        assert (await run.decide("abort", by="bert", reason="leave it")).accepted
        held.go.set()
        report = await run.result()
    assert report.outcome_reason == "Aborted by bert: leave it. Nothing was rolled back."
    assert world.outage_ended.is_set()
    assert report.ways is not None
    assert any(line.startswith("Start Wildfly on acd-jb1: ssh acd-jb1") for line in report.ways.back)


async def test_without_a_plan_for_it_the_run_ends_where_it_stands(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await at_power_off(run)
        world.trouble(DRAW_UP, failure("refused", "the inventory has changed"))
        await run.say("abort", BACK)
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason.endswith("Nothing was rolled back.")
    assert any("the inventory has changed" in note for note in report.notes)
    assert world.cluster.silenced() == set()
    assert world.outage_ended.is_set()


async def test_where_nothing_was_touched_there_is_nothing_to_take_back(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        assert not gate.can_roll_back
        await run.say("abort", BACK)
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason.endswith("Nothing was touched.")
    assert report.ways is None
    assert not [order for order in world.orders if order.stage > 0]


async def test_the_outage_is_measured_until_all_is_checked(client: Client, world: PaperWorld) -> None:
    held = world.hold("42-check-restored")
    async with running(client, world) as run:
        await at_power_off(run)
        await run.say("abort", BACK)
        await run.approve("roll_back")
        await held.reached.wait()
        assert not world.outage_ended.is_set()
        held.go.set()
        report = await run.result()
    assert world.outage_ended.is_set()
    assert report.outage is not None


async def test_while_it_lasts_people_see_it_and_not_what_it_ends(client: Client, world: PaperWorld) -> None:
    held = world.hold("23-undo-move-storage")
    drained = world.hold("4-drain-sessions")
    async with running(client, world) as run:
        await run.approve("before_start")
        await drained.reached.wait()
        drained.go.set()
        gate = await run.at_gate("before_power_off")
        assert [hint.payload.get("roll_back") for hint in gate.hints] == [None, None, True]
        await run.say("abort", BACK)
        back = await run.at_gate("roll_back")
        assert not back.can_roll_back
        await run.approve("roll_back")
        await held.reached.wait()
        status = await run.until(lambda s: s.phase.startswith("23 "))
        assert status.phase == "23 Undo: Move storage"
        states = {stage.number: stage.state for stage in status.stages}
        assert (states[3], states[9], states[11], states[23], states[24]) == (
            "ended",
            "not started",
            "not started",
            "running",
            "pending",
        )
        held.go.set()
        report = await run.result()
    assert report.next_steps == ()


async def test_a_move_that_moved_nothing_is_not_taken_back_as_one(client: Client, world: PaperWorld) -> None:
    """The storage was on the surviving side already: only the standby of the other machine is to end."""
    held = world.hold("5-move-storage")
    async with running(client, world, "vm-host-2") as run:
        await run.approve("before_start")
        await held.reached.wait()
        undo = step_of(await run.status(), "5-move-storage").undo
        await run.handle.terminate("seen")
        held.go.set()
    assert undo == (
        "Let acd-store2 stand by in the storage pair again: ssh acd-store1 sudo -n pcs node unstandby acd-store2",
    )


async def test_what_a_person_did_has_its_way_back_before_he_is_asked(client: Client, reference: Inventory) -> None:
    world = PaperWorld(by_hand(reference))
    task = "3-stop-8-server-acd-tel1"
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting("2-silence-by-hand")
        await run.say("confirm", {"step": "2-silence-by-hand", "by": "ada"})
        status = await run.waiting(task)
        assert [line.split(":")[0] for line in step_of(status, task).undo] == ["Start 8-Server on acd-tel1 by hand"]
        wait = next(w for w in status.waits if w.step == task)
        assert wait.can_roll_back
        await run.say("abort", BACK)
        await run.at_gate("roll_back")
        plan = await run.handle.query(names.ROLL_BACK_QUERY, result_type=Plan)
        await run.handle.terminate("seen")
    assert "Start 8-Server on acd-tel1 by hand" in [step.title for step in plan.steps]


async def test_what_an_adopted_run_has_done_is_taken_back_too(client: Client, world: PaperWorld) -> None:
    """Also what it was in the middle of, and what this run has not begun again."""
    before = truth(world)
    async with running(client, world) as run:
        await terminated_at(run, "5-move-storage")
        await run.until(lambda _: world.cluster.standby)
        again = await carried_on(client, world, await found_for(client, world))
        gate = await again.at_gate("before_start")
        assert gate.can_roll_back
        await again.say("abort", BACK)
        await again.approve("roll_back")
        report = await again.result()

    assert report.outcome is RunOutcome.ROLLED_BACK, why(report)
    assert truth(world) == before
    assert world.violations == []


async def failback_after(client: Client, run: Run) -> Run:
    """A failback of a failover that completes first."""
    await run.approve_all()
    failover = await run.result()
    assert failover.as_found is not None
    inventory = run.world.inventory
    restored = Restored(
        workflow_id=failover.workflow_id,
        run_id=failover.run_id,
        reference=failover.reference,
        as_found=failover.as_found,
    )
    handle = await client.start_workflow(
        names.FAILBACK,
        FailbackRequest(inventory=inventory, returning="vm-host-1", of=restored, requested_by="ada"),
        id=names.workflow_id(inventory.cluster),
        task_queue=names.task_queue(inventory.cluster),
        result_type=RunReport,
    )
    return Run(handle, run.world)


async def test_a_failback_is_rolled_back_until_machines_start(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        back = await failback_after(client, run)
        await back.at_gate("before_start")
        before = truth(world)
        held = world.hold("4-drain-sessions")
        await back.approve("before_start")
        await held.reached.wait()
        await back.say("abort", BACK)
        await back.approve("roll_back")
        report = await back.result()

    assert report.outcome is RunOutcome.ROLLED_BACK, why(report)
    now = truth(world)
    # Which silences there are has changed; who is silenced has not.
    assert {n: now[n] for n in now if n != "silences"} == {n: before[n] for n in before if n != "silences"}
    assert world.cluster.silenced() == world.cluster.off
    assert world.violations == []


async def test_a_failback_has_no_roll_back_once_a_machine_starts(client: Client, world: PaperWorld) -> None:
    held = world.hold("5-start-acd-store1")
    async with running(client, world) as run:
        back = await failback_after(client, run)
        await back.approve("before_start")
        await held.reached.wait()
        answer = await back.decide("abort", **BACK)
        assert not answer.accepted
        assert "there is no roll-back any more since 'Start acd-store1'" in answer.text
        await back.say("abort", {"by": "ada", "reason": "not tonight"})
        held.go.set()
        report = await back.result()

    assert report.ways is not None
    assert report.ways.on_command.startswith("python -m starters.failback --inventory FILE --adopt ")
    assert report.ways.back[0].startswith("Shut down acd-store1")
