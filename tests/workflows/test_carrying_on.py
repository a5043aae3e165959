"""A run that was terminated, or aborted where there was no way back, is carried on by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client

from inventory.models import Inventory
from procedure.adopting import Adopted
from procedure.reports import Outcome, RunOutcome
from starters.carrying_on import adopted, ended_in_the_middle
from starters.running import Stopped
from tests.outcomes import why
from tests.workflows.driving import Run, own, running, step_of, worker_for
from tests.workflows.paper_world import PaperWorld
from tests.workflows.test_roll_back import BACK, truth
from workflows import names
from workflows.messages import FailoverRequest, FormerRun
from workflows.status import RunReport, StepState

HOST = "vm-host-1"


async def terminated_at(run: Run, step: str) -> None:
    """Let the run come to a step, and end it there without its clean-up."""
    held = run.world.hold(step)
    for gate in ("before_start", "before_power_off"):
        await run.until(lambda s: held.reached.is_set() or any(w.kind == "gate" for w in s.waits))
        if held.reached.is_set():
            break
        await run.approve(gate)
    await held.reached.wait()
    await run.handle.terminate("the browser was open on the wrong page")
    held.go.set()


async def carried_on(client: Client, world: PaperWorld, found: Adopted | None, after: FormerRun | None = None) -> Run:
    inventory = world.inventory
    request = FailoverRequest(inventory=inventory, vacate=HOST, requested_by="ada", adopt=found, after=after)
    handle = await client.start_workflow(
        names.FAILOVER,
        request,
        id=names.workflow_id(inventory.cluster),
        task_queue=names.task_queue(inventory.cluster),
        result_type=RunReport,
    )
    return Run(handle, world)


async def found_for(client: Client, world: PaperWorld) -> Adopted:
    name = names.workflow_id(world.inventory.cluster)
    return await adopted(client, world.inventory, name, names.FAILOVER, HOST)


@pytest.mark.parametrize("step", ["3-stop-wildfly-acd-jb4", "5-move-storage", "7-maint-acd-lb2", "9-shut-down-acd-lb1"])
async def test_a_terminated_run_is_carried_on_to_its_end(client: Client, world: PaperWorld, step: str) -> None:
    async with running(client, world) as run:
        await terminated_at(run, step)
        found = await found_for(client, world)
        done_before = {order.step_id for order in world.orders}

        again = await carried_on(client, world, found)
        wait = await again.at_gate("before_start")
        assert wait.title.startswith(f"Go on with run {found.run_id}? ")
        # Silences that may run out are extended at once; everything else waits until a person has decided.
        assert {o.step_id for o in world.orders} - done_before <= {"upkeep-silence-monitoring"}
        await again.approve("before_start")
        while (status := await again.until(lambda s: s.waits or s.outcome)).outcome is None:
            await again.approve(*(w.gate for w in status.waits))
        report = await again.result()

    assert report.outcome is RunOutcome.COMPLETED, why(report)
    assert world.violations == []
    assert report.adopted == found.run_id
    assert world.cluster.off == {m.name for m in world.inventory.machines if m.host == HOST}
    assert step_of(report, step).outcome in (Outcome.DONE, Outcome.UNCHANGED)


async def test_software_that_runs_on_the_survivor_is_not_stopped_again(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await terminated_at(run, "11-await-servers-up-acd-lb2")
        before = len(world.orders)

        again = await carried_on(client, world, await found_for(client, world))
        await again.approve("before_start", "functionality")
        report = await again.result()

    assert report.outcome is RunOutcome.COMPLETED, why(report)
    sent = [order.step_id for order in world.orders[before:]]
    assert sent
    assert not [step for step in sent if step.startswith(("3-", "4-", "5-"))]
    stopped = step_of(report, "3-stop-wildfly-acd-jb4")
    assert stopped.outcome is Outcome.UNCHANGED
    assert "which went on from there" in stopped.reason


async def test_a_run_that_was_aborted_among_the_machines_is_carried_on(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        held = world.hold("9-shut-down-acd-dbs1")
        await run.approve("before_start", "before_power_off")
        await held.reached.wait()
        await run.say("abort", {"by": "ada", "reason": "a phone call"})
        held.go.set()
        assert (await run.result()).outcome is RunOutcome.ABORTED

        again = await carried_on(client, world, await found_for(client, world))
        await again.approve("before_start", "functionality")
        report = await again.result()

    assert report.outcome is RunOutcome.COMPLETED, why(report)
    assert world.violations == []


async def test_after_half_a_roll_back_nothing_counts_as_done_or_decided(client: Client, world: PaperWorld) -> None:
    found = truth(world)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", BACK)
        await run.at_gate("roll_back")
        back = next(s for s in (await run.status()).steps if s.title == "Start Wildfly on acd-jb1" and s.stage > 20)
        held = world.hold(back.id)
        await run.approve("roll_back")
        await held.reached.wait()
        await run.handle.terminate("seen")
        held.go.set()

        again = await carried_on(client, world, await found_for(client, world))
        await again.approve("before_start")
        # Software runs again in part: it is looked at before any of it is stopped once more, and a person is asked.
        await again.waiting("3-look-again")
        assert step_of(await again.status(), "3-stop-wildfly-acd-jb1").state is StepState.PENDING
        await again.say("abort", BACK)
        await again.approve("roll_back")
        report = await again.result()

    assert report.outcome is RunOutcome.ROLLED_BACK, why(report)
    assert truth(world) == found
    assert world.violations == []


@pytest.mark.parametrize("step", ["3-stop-wildfly-acd-jb4", "5-move-storage", "7-maint-acd-lb2"])
async def test_what_the_earlier_run_was_in_the_middle_of_is_rolled_back_too(
    client: Client, world: PaperWorld, step: str
) -> None:
    before = truth(world)
    async with running(client, world) as run:
        await terminated_at(run, step)
        again = await carried_on(client, world, await found_for(client, world))
        await again.at_gate("before_start")
        await again.say("abort", BACK)
        await again.approve("roll_back")
        report = await again.result()

    assert report.outcome is RunOutcome.ROLLED_BACK, why(report)
    assert truth(world) == before
    assert world.violations == []


async def test_what_turns_out_to_be_done_by_the_earlier_run_is_rolled_back_too(
    client: Client, world: PaperWorld
) -> None:
    before = truth(world)
    async with running(client, world) as run:
        await terminated_at(run, "7-maint-acd-lb2")
        again = await carried_on(client, world, await found_for(client, world))
        await again.approve("before_start")
        await again.at_gate("before_power_off")
        await again.say("abort", BACK)
        await again.approve("roll_back")
        report = await again.result()

    assert report.outcome is RunOutcome.ROLLED_BACK, why(report)
    assert truth(world) == before


@pytest.mark.parametrize("step", ["9-shut-down-acd-jb1", "9-shut-down-acd-lb1"])
async def test_where_the_earlier_run_was_past_the_way_back_there_is_none(
    client: Client, world: PaperWorld, step: str
) -> None:
    async with running(client, world) as run:
        await terminated_at(run, step)
        again = await carried_on(client, world, await found_for(client, world))
        await again.at_gate("before_start")
        answer = await again.decide("abort", **BACK)
        assert not answer.accepted
        assert "there is no roll-back any more since" in answer.text
        await again.say("abort", {"by": "ada", "reason": "enough"})
        await again.result()


async def test_the_next_run_says_that_an_earlier_one_can_be_carried_on(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await terminated_at(run, "5-move-storage")
        file = Path("cluster.yaml")
        after = await ended_in_the_middle(client, world.inventory.cluster, file)
        assert after is not None

        report = await (await carried_on(client, world, None, after)).result()

    assert report.outcome is RunOutcome.FAILED
    assert "Nothing was touched" in report.outcome_reason
    assert report.next_steps[0].startswith(f"Run {after.run_id} of this cluster has not ended by itself: it was termin")
    assert f"--adopt {after.workflow_id}/{after.run_id}" in report.next_steps[0]


async def test_what_can_not_be_carried_on_is_refused_with_words(
    client: Client, reference: Inventory, world: PaperWorld
) -> None:
    async with running(client, world) as run:
        with pytest.raises(Stopped, match="it is still under way"):
            await found_for(client, world)
        await run.at_gate("before_start")
        await run.handle.terminate("seen")
        name = names.workflow_id(world.inventory.cluster)
        for inventory, workflow, host, said in (
            (world.inventory, names.FAILBACK, HOST, r"use python -m starters\.failover"),
            (world.inventory, names.FAILOVER, "vm-host-2", "it is about vm-host-1, not about vm-host-2"),
            (world.inventory.model_copy(update={"checklist": ()}), names.FAILOVER, HOST, "with another inventory"),
        ):
            with pytest.raises(Stopped, match=said):
                await adopted(client, inventory, name, workflow, host)
        with pytest.raises(Stopped, match="is no run of cluster"):
            await adopted(client, world.inventory, "cluster-other", names.FAILOVER, HOST)
    other = PaperWorld(own(reference))
    async with worker_for(client, other, names.task_queue(other.inventory.cluster)):
        assert await ended_in_the_middle(client, other.inventory.cluster, Path("x.yaml")) is None
        with pytest.raises(Stopped, match="has no run"):
            await found_for(client, other)
