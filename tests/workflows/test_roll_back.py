"""An aborted run takes back what it has done: from any point, in the reverse order, to the state as found."""

from __future__ import annotations

import asyncio
from copy import deepcopy

import pytest
from temporalio.client import Client

from inventory.models import Inventory
from procedure import failover
from procedure.as_found import AsFound
from procedure.plan import Gate, Observe
from procedure.reports import Outcome, RunOutcome
from procedure.situation import Situation
from tests.workflows.conftest import skipping_server
from tests.workflows.driving import Run, own, running, step_of
from tests.workflows.paper_world import PaperWorld, failure
from workflows.status import RunReport, StepState

BACK = {"by": "ada", "reason": "the other site burns", "roll_back": True}
AT_ONCE = 4
"""Runs beside each other: each waits for its worker most of the time."""


def truth(world: PaperWorld) -> dict[str, object]:
    """All that the cluster is, but what passes with time."""
    known = deepcopy(vars(world.cluster))
    return {name: value for name, value in known.items() if name not in ("inventory", "now", "extended")}


def points(inventory: Inventory, host: str) -> tuple[str, ...]:
    """Every step that a run may be in before machines are switched off."""
    plan = failover.plan(Situation(inventory, host), AsFound.normal(inventory), "test")
    steps = (step for step in plan.in_order() if step.stage < 9 and not isinstance(step.action, Observe | Gate))
    return tuple(step.id for step in steps if not step.id.startswith("8-start-daemon"))


async def rolled_back(run: Run) -> RunReport:
    """Wait for the gate of the roll-back, open it, wait for the end."""
    await run.approve("roll_back")
    return await run.result()


async def rolled_back_from(client: Client, world: PaperWorld, host: str, step: str) -> RunReport:
    held = world.hold(step)
    async with running(client, world, host) as run:
        await run.approve("before_start")
        await held.reached.wait()
        await run.say("abort", BACK)
        await run.until(lambda s: any(d.signal == "abort" for d in s.decisions))
        held.go.set()
        return await rolled_back(run)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("host", ["vm-host-1", "vm-host-2"])
async def test_from_every_step_everything_is_as_it_was_found(reference: Inventory, host: str) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def try_at(step: str) -> str:
        async with room, skipping_server() as server:
            world = PaperWorld(own(reference), server.get_current_time)
            before = truth(world)
            report = await rolled_back_from(server.client, world, host, step)
            wrong = [] if report.outcome is RunOutcome.ROLLED_BACK else [f"{report.outcome}: {report.outcome_reason}"]
            wrong += [f"{name} is {now}" for name, now in truth(world).items() if now != before[name]]
            return f"{step}: {wrong + world.violations}" if wrong or world.violations else ""

    found = await asyncio.gather(*(try_at(step) for step in points(reference, host)))

    assert list(filter(None, found)) == []


async def test_at_the_last_gate_before_the_power_off(client: Client, world: PaperWorld) -> None:
    before = truth(world)
    async with running(client, world) as run:
        await run.approve("before_start")
        wait = await run.at_gate("before_power_off")
        assert wait.gate
        await run.say("abort", BACK)
        gate = await run.at_gate("roll_back")
        assert gate.text.startswith("Roll back what this failover has done?")
        assert "Stop software" in gate.text
        details = await run.details()
        report = await rolled_back(run)

    assert "Roll back what this failover has done?" in details
    assert report.outcome is RunOutcome.ROLLED_BACK
    assert report.outcome_reason == (
        "Aborted by ada: the other site burns. Everything is as it was found before the run."
    )
    assert report.rolled_back_by == "ada"
    assert report.next_steps == ()
    assert truth(world) == before
    assert world.violations == []
    assert report.outage is not None
    assert not any(record.state in (StepState.RUNNING, StepState.WAITING) for record in report.steps)


async def test_what_would_undo_a_step_is_written_down_before_it_acts(client: Client, world: PaperWorld) -> None:
    held = world.hold("5-move-storage")
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        moving = step_of(await run.status(), "5-move-storage")
        assert moving.state is StepState.RUNNING
        await run.handle.terminate("seen")
        held.go.set()

    assert moving.undo == (
        "Let acd-store1 stand by in the storage pair again: ssh acd-store2 sudo -n pcs node unstandby acd-store1",
        "Move the storage pair to acd-store1: ssh acd-store1 sudo -n pcs node standby acd-store2",
        "Let acd-store2 stand by in the storage pair again: ssh acd-store1 sudo -n pcs node unstandby acd-store2",
    )


async def test_once_machines_may_go_off_there_is_no_roll_back_but_both_ways_are_told(
    client: Client, world: PaperWorld
) -> None:
    held = world.hold("9-shut-down-acd-dbs1")
    async with running(client, world) as run:
        await run.approve("before_start", "before_power_off")
        await held.reached.wait()
        answer = await run.decide("abort", **BACK)
        assert not answer.accepted
        assert "there is no roll-back any more since" in answer.text
        await run.say("abort", {"by": "ada", "reason": "the other site burns"})
        held.go.set()
        report = await run.result()

    assert report.outcome is RunOutcome.ABORTED
    assert report.ways is not None
    assert f"--adopt {report.workflow_id}/{report.run_id}" in report.ways.on_command
    assert report.ways.on[0].startswith("Shut down acd-dbm1: ssh acd-dbm1 sudo -n shutdown -h now")
    back = list(report.ways.back)
    started = [line for line in back if "virsh" in line and " start " in line]
    assert {line.split(":")[0] for line in started} == {f"Start {machine}" for machine in world.cluster.off}
    assert back.index(started[0]) < next(i for i, line in enumerate(back) if line.startswith("Start Wildfly"))


async def test_a_roll_back_that_is_rejected_ends_the_run_where_it_stands(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", BACK)
        gate = await run.at_gate("roll_back")
        done = len(world.orders)
        await run.say("reject", {"gate": "roll_back", "seen": gate.code, "by": "ada", "comment": "leave it"})
        report = await run.result()

    assert report.outcome is RunOutcome.ABORTED
    assert "The roll-back was ended by ada: gate roll_back rejected: leave it" in report.outcome_reason
    assert {order.step_id for order in world.orders[done:]} == {
        "12-on-abort-lift-silence-vm-host-1",
        "12-on-abort-lift-silence-vm-host-2",
    }
    assert world.cluster.silenced() == set()
    assert len(set(world.cluster.primary.values()) & {"acd-store2", "acd-lb2"}) == 2


async def test_a_roll_back_has_troubles_like_any_run(client: Client, world: PaperWorld) -> None:
    before = truth(world)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", BACK)
        await run.at_gate("roll_back")
        stuck = next(
            r.id for r in (await run.status()).steps if r.title == "Start Wildfly on acd-jb1" and r.stage >= 20
        )
        world.trouble(stuck, failure("failed", "it does not start"))
        await run.approve("roll_back")
        await run.waiting(stuck)
        again = await run.decide("abort", **BACK)
        assert not again.accepted
        assert "the run is being rolled back already, as ada wished" in again.text
        await run.say("retry", {"step": stuck, "by": "ada"})
        report = await run.result()

    assert report.outcome is RunOutcome.ROLLED_BACK
    assert truth(world) == before


async def test_what_was_skipped_is_not_called_rolled_back(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", BACK)
        await run.at_gate("roll_back")
        steps = (await run.status()).steps
        stuck = next(r.id for r in steps if r.title == "Start Wildfly on acd-jb1" and r.stage >= 20)
        world.trouble(stuck, failure("failed", "it does not start"))
        await run.approve("roll_back")
        await run.waiting(stuck)
        await run.say("skip", {"step": stuck, "by": "ada", "reason": "its disk is broken"})
        status = await run.until(lambda s: any(w.kind == "problem" for w in s.waits) or s.outcome)
        for wait in status.waits:
            await run.say("skip", {"step": wait.step, "by": "ada", "reason": "since its disk is broken"})
        while (status := await run.until(lambda s: s.waits or s.outcome)).outcome is None:
            for wait in status.waits:
                await run.say("skip", {"step": wait.step, "by": "ada", "reason": "since its disk is broken"})
        report = await run.result()

    assert report.outcome is RunOutcome.FAILED
    assert "It was rolled back, but not with: Start Wildfly on acd-jb1" in report.outcome_reason
    assert step_of(report, stuck).outcome is Outcome.SKIPPED


async def test_a_cancellation_ends_a_roll_back_where_it_stands(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", BACK)
        await run.at_gate("roll_back")
        await run.handle.cancel()
        report = await run.result()

    assert report.outcome is RunOutcome.ABORTED
    assert "the workflow was cancelled" in report.outcome_reason
    assert world.cluster.silenced() == set()


async def test_a_cancellation_ends_a_roll_back_that_was_only_wished(client: Client, world: PaperWorld) -> None:
    held = world.hold("5-move-storage")
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        await run.say("abort", BACK)
        await run.until(lambda s: any(d.signal == "abort" for d in s.decisions))
        await run.handle.cancel()
        # The run has taken notice once it is asked about something after the cancellation.
        await run.status()
        held.go.set()
        report = await run.result()

    assert report.outcome is RunOutcome.ABORTED
    assert "the workflow was cancelled" in report.outcome_reason
    assert not [step for step in report.steps if step.stage >= 20]
    assert world.cluster.silenced() == set()
