"""The health check decides whether anything begins at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError

from procedure.facts import Facts
from procedure.orders import DRAW_UP
from procedure.reports import Outcome, RunOutcome
from procedure.subjects import DrbdOn
from procedure.verdicts import Answer
from tests.procedure.altered import drbd_with, unseen
from tests.workflows.driving import running, step_of, worker_for
from tests.workflows.paper_world import PaperWorld, failure, transient
from workflows import names
from workflows.health_rounds import LOOK_AGAIN
from workflows.messages import HealthRequest
from workflows.status import HealthReport, StepState


def split_brain(facts: Facts) -> Facts:
    return drbd_with(facts, "acd-store2", connection="StandAlone") if facts.drbd("acd-store2") else facts


def without_the_last(facts: Facts) -> Facts:
    return facts.model_copy(update={"observations": facts.observations[:-1] or facts.observations})


async def test_a_cluster_that_is_not_well_is_not_touched(client: Client, world: PaperWorld) -> None:
    world.seen = split_brain
    async with running(client, world) as run:
        report = await run.result()
        details = await run.details()

    assert report.outcome is RunOutcome.FAILED
    assert "Nothing was touched" in report.outcome_reason
    assert world.orders == []
    assert any("acd-store2" in step and "StandAlone" in step for step in report.next_steps)
    assert all(step.rstrip()[-1] == "." for step in report.next_steps)
    assert "StandAlone" in details
    assert report.waits == ()
    looks = 1 + len(LOOK_AGAIN)
    assert (world.attempts["0-observe-acd-store2"], world.attempts[DRAW_UP]) == (looks, looks)


@pytest.mark.parametrize("looks", [2, 4])
async def test_what_is_over_in_a_moment_stops_no_run(looks: int, client: Client, world: PaperWorld) -> None:
    world.seen = lambda facts: split_brain(facts) if world.attempts["0-observe-acd-store2"] < looks else facts
    async with running(client, world) as run:
        await run.at_gate("before_start")
        assert (world.attempts["0-observe-acd-store2"], world.attempts[DRAW_UP]) == (looks, looks)
        status = await run.status()
        assert all(verdict.allows for verdict in status.health)
        assert [("StandAlone" in note, "Not so at first" in note) for note in status.notes] == [(True, True)]
        await run.say("abort", {"by": "ada", "reason": "seen"})
        await run.result()


async def test_an_abort_does_not_wait_for_the_next_look(client: Client, world: PaperWorld) -> None:
    hourly = world.inventory.timings.model_copy(update={"poll": timedelta(hours=1)})
    world.inventory = world.inventory.model_copy(update={"timings": hourly})
    world.seen = split_brain
    async with running(client, world) as run:
        await run.until(lambda s: any(not verdict.allows for verdict in s.health))
        await run.say("abort", {"by": "ada", "reason": "wrong host"})
        report = await run.result()
    assert report.outcome_reason == "Aborted by ada: wrong host. Nothing was touched."
    looked = step_of(report, "0-observe-acd-store2")
    assert (looked.state, looked.outcome, looked.attempts) == (StepState.ENDED, Outcome.DONE, 1)
    assert world.attempts["0-observe-acd-store2"] == 1


async def test_what_could_not_be_seen_is_not_looked_at_again_for_what_is_not_well(
    client: Client, world: PaperWorld
) -> None:
    world.trouble("0-observe-acd-jb1", failure("rejected", "another inventory"))
    world.seen = split_brain
    async with running(client, world) as run:
        report = await run.result()
    assert {verdict.answer for verdict in report.health if not verdict.allows} == {Answer.FAIL, Answer.UNKNOWN}
    assert world.attempts[DRAW_UP] == 1


async def test_it_looks_again_only_when_a_pause_is_over(client: Client, world: PaperWorld) -> None:
    held = world.hold(DRAW_UP)
    world.seen = lambda facts: split_brain(facts) if world.attempts["0-observe-acd-store2"] < 2 else facts
    async with running(client, world) as run:
        await held.reached.wait()
        await run.say("pause", {"by": "ada", "reason": "lunch"})
        await run.until(lambda s: s.paused)
        held.go.set()
        await run.until(lambda s: any(not verdict.allows for verdict in s.health))
        await asyncio.sleep(1.5)  # it looks again after a second
        assert world.attempts["0-observe-acd-store2"] == 1
        await run.say("resume", {"by": "ada"})
        await run.at_gate("before_start")
        await run.say("abort", {"by": "ada", "reason": "seen"})
        await run.result()


@pytest.mark.parametrize("ill", [True, False])
@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_an_abort_while_the_plan_is_drawn_up(how: str, ill: bool, client: Client, world: PaperWorld) -> None:
    held = world.hold(DRAW_UP)
    world.seen = split_brain if ill else world.seen
    async with running(client, world) as run:
        await held.reached.wait()
        if how == "abort":
            await run.say("abort", {"by": "ada", "reason": "wrong host"})
        else:
            await run.handle.cancel()
        held.go.set()
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason.endswith("Nothing was touched.")
    assert world.orders == []


async def test_a_health_check_alone_looks_again_too(client: Client, world: PaperWorld) -> None:
    world.seen = lambda facts: split_brain(facts) if world.attempts["0-observe-acd-store2"] < 2 else facts
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        assert (await checked(client, world)).healthy
    assert world.attempts["0-observe-acd-store2"] == 2


async def test_what_can_not_be_seen_is_no_health(client: Client, world: PaperWorld) -> None:
    world.seen = lambda facts: unseen(facts, DrbdOn(machine="acd-store1")) if facts.drbd("acd-store1") else facts
    async with running(client, world) as run:
        report = await run.result()
    assert report.outcome is RunOutcome.FAILED
    assert any("connection lost" in step for step in report.next_steps)
    assert world.attempts[DRAW_UP] == 1, "it was tried again already, and is not looked at again"


async def test_a_lost_connection_is_tried_again(client: Client, world: PaperWorld) -> None:
    world.trouble("0-observe-acd-jb1", transient())
    async with running(client, world) as run:
        await run.at_gate("before_start")
        assert world.attempts["0-observe-acd-jb1"] == 2
        await run.say("abort", {"by": "ada", "reason": "seen"})
        await run.result()


async def test_a_worker_that_refuses_to_observe_leaves_it_unknown(client: Client, world: PaperWorld) -> None:
    world.trouble("0-observe-acd-jb1", failure("rejected", "another inventory"))
    async with running(client, world) as run:
        report = await run.result()
    assert report.outcome is RunOutcome.FAILED
    assert step_of(report, "0-observe-acd-jb1").outcome is Outcome.UNKNOWN
    assert any("another inventory" in step for step in report.next_steps)


async def test_a_round_that_lacks_a_subject_is_unknown(client: Client, world: PaperWorld) -> None:
    world.seen = without_the_last
    async with running(client, world) as run:
        report = await run.result()
    assert report.outcome is RunOutcome.FAILED
    assert step_of(report, "0-observe-acd-jb1").outcome is Outcome.UNKNOWN


async def test_an_abort_interrupts_it(client: Client, world: PaperWorld) -> None:
    held = world.hold("0-observe-acd-jb1")
    async with running(client, world) as run:
        await held.reached.wait()
        await run.say("abort", {"by": "ada", "reason": "wrong host"})
        report = await run.result()

    assert held.cancelled.is_set()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason == "Aborted by ada: wrong host. Nothing was touched."
    assert world.orders == []


async def test_a_health_check_that_is_cancelled_says_nothing_about_the_cluster(
    client: Client, world: PaperWorld
) -> None:
    held, queue = world.hold("0-observe-acd-jb1"), names.task_queue(world.inventory.cluster)
    async with worker_for(client, world, queue):
        request = HealthRequest(inventory=world.inventory)
        handle = await client.start_workflow(
            names.HEALTH_CHECK, request, id=queue, task_queue=queue, result_type=HealthReport
        )
        await held.reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)


async def checked(client: Client, world: PaperWorld, **asked: str) -> HealthReport:
    queue = names.task_queue(world.inventory.cluster)
    request = HealthRequest(inventory=world.inventory, **asked)
    report: HealthReport = await client.execute_workflow(
        names.HEALTH_CHECK, request, id=queue, task_queue=queue, result_type=HealthReport
    )
    return report


async def test_a_cluster_of_which_one_host_is_vacated_is_healthy_for_its_return_alone(
    client: Client, world: PaperWorld
) -> None:
    async with running(client, world, "vm-host-1") as run:
        whole = await checked(client, world)
        too_early = await checked(client, world, returning="vm-host-1")
        await run.approve_all()
        await run.result()
        vacated = await checked(client, world)
        returning = await checked(client, world, returning="vm-host-1")

    assert (whole.direction, whole.vacated, whole.healthy) == ("failover", "vm-host-1", True)
    assert not too_early.healthy
    assert not vacated.healthy
    assert (returning.direction, returning.vacated) == ("failback", "vm-host-1")
    assert returning.healthy, [v.text for v in returning.verdicts if not v.allows]
