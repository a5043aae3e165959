"""An approval is bound to what was seen: when that has changed it is void, and the gate is shown anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from temporalio.client import Client

from inventory.approval import Approval, GatePolicy
from inventory.models import Inventory
from procedure.facts import Facts, PowerFact
from procedure.reports import RunOutcome
from tests.workflows.driving import Run, own, running, step_of
from tests.workflows.paper_world import PaperWorld, failure, transient
from workflows.status import StepState

FIRST = "0-gate-before-start"
LAST = "13-gate-functionality"


def power(machine: str, state: str | None) -> Callable[[Facts], Facts]:
    """What is seen of the power of a machine; None: nobody can tell."""

    def alter(facts: Facts) -> Facts:
        return Facts(
            observations=tuple(
                one.model_copy(
                    update={"fact": PowerFact(state=state) if state else None, "problem": "" if state else "lost"}
                )
                if one.subject.key == f"power:{machine}"
                else one
                for one in facts.observations
            )
        )

    return alter


def as_it_is(facts: Facts) -> Facts:
    return facts


async def ended(run: Run) -> None:
    await run.say("abort", {"by": "ada", "reason": "enough"})
    assert (await run.result()).outcome is RunOutcome.ABORTED


async def test_what_has_changed_since_it_was_shown_voids_the_approval(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        assert gate.bound is not None
        assert "storage pair: primary acd-store1" in gate.bound.facts
        assert "What matters now" in await run.details()
        world.seen = power("acd-jb2", "off")
        await run.approve("before_start")
        status = await run.until(lambda s: s.waits and s.waits[0].changes)

        again = status.waits[0]
        assert again.changes == ("acd-jb2: power was on, is off",)
        assert again.code != gate.code
        assert again.since > gate.since
        assert again.deadline == gate.deadline
        assert world.orders == []
        assert "void, since this has changed meanwhile: acd-jb2: power was on, is off" in status.notes[0]
        told = status.decisions[-1]
        assert (told.by, told.about, told.accepted) == ("ada", "before_start", False)
        assert "acd-jb2: power was on, is off" in await run.details()
        late = await run.decide("approve", gate="before_start", seen=gate.code, by="bob")
        assert "shows another code" in late.text

        await run.approve("before_start")  # as it is now
        await run.at_gate("before_power_off")
        assert world.attempts[f"{FIRST}.facts"] == world.attempts[f"{FIRST}.facts.2"] == 1
        await ended(run)


async def test_what_could_not_be_seen_is_shown_so_and_may_be_approved(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.at_gate("before_start")
        world.seen = power("acd-jb2", None)
        await run.approve("before_start")
        status = await run.until(lambda s: s.waits and s.waits[0].changes)
        assert status.waits[0].changes == ("acd-jb2: power was known, can't be told now",)
        assert status.waits[0].bound is not None
        assert "acd-jb2: power unknown" in status.waits[0].bound.facts
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await ended(run)


async def test_where_nobody_can_look_the_approval_does_not_stand(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.at_gate("before_start")
        world.trouble(f"{FIRST}.facts", failure("rejected", "another inventory"))
        await run.approve("before_start")
        status = await run.until(lambda s: s.waits and s.waits[0].changes)
        assert status.waits[0].changes == ("gate before_start: what is watched was known, can't be told now",)
        assert any("another inventory" in note for note in status.notes)
        # It can be looked at again: that is news too, so it is shown before it is approved.
        await run.approve("before_start")
        status = await run.until(lambda s: s.waits and "is known now" in s.waits[0].changes[0])
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await ended(run)


async def test_a_connection_that_was_lost_for_a_moment_voids_nothing(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.at_gate("before_start")
        world.trouble(f"{FIRST}.facts", transient())
        await run.approve_all()
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.notes == ()
    assert world.attempts[f"{FIRST}.facts"] == 2


async def test_all_of_several_approvals_are_void(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference, approval=Approval(before_start=GatePolicy(needed=2))))
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        world.seen = power("acd-jb2", "off")
        for by in ("ada", "bob"):
            await run.say("approve", {"gate": "before_start", "seen": gate.code, "by": by})
        status = await run.until(lambda s: s.waits and s.waits[0].changes)
        assert status.waits[0].approvals == ()
        assert "the approval of ada and bob is void" in status.notes[0]
        assert [d.by for d in status.decisions if not d.accepted] == ["ada", "bob"]
        await ended(run)


async def test_the_last_gate_notices_a_machine_that_was_switched_on(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve("before_start", "before_power_off")
        gate = await run.at_gate("functionality")
        assert gate.bound is not None
        assert any(line.startswith("power off: ") for line in gate.bound.facts)
        world.cluster.off.discard("acd-store1")
        await run.approve("functionality")
        status = await run.until(lambda s: s.waits and s.waits[0].changes)
        assert "acd-store1: power was off, is on" in status.waits[0].changes
        await run.approve("functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize("when", ["before it opens", "after it was approved"])
async def test_an_abort_ends_the_look_at_once(client: Client, world: PaperWorld, when: str) -> None:
    step = "9-gate-before-power-off"
    held = world.hold(f"{step}.facts" if when == "before it opens" else f"{step}.facts.2")
    async with running(client, world) as run:
        await run.approve("before_start")
        if when == "after it was approved":
            await run.approve("before_power_off")
        await asyncio.wait_for(held.reached.wait(), 30)
        status = await run.status()
        assert step_of(status, step).state is StepState.RUNNING
        assert not status.waits
        await run.say("abort", {"by": "ada", "reason": "enough"})
        report = await run.result()
    assert held.cancelled.is_set()
    assert report.outcome is RunOutcome.ABORTED
    assert step_of(report, step).state is StepState.NOT_STARTED
    assert "9-shut-down-acd-jb1" not in world.done()


async def test_while_it_is_looked_at_nobody_decides_again(client: Client, world: PaperWorld) -> None:
    held = world.hold(f"{FIRST}.facts")
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        answer = await run.decide("approve", gate="before_start", seen=gate.code, by="ada")
        assert "looked at once more" in answer.text
        await asyncio.wait_for(held.reached.wait(), 30)
        late = await run.decide("reject", gate="before_start", seen=gate.code, by="bob", comment="no")
        assert late.text == "gate before_start was already approved by ada"
        held.go.set()
        await run.at_gate("before_power_off")
        await ended(run)


async def test_what_the_health_check_saw_is_shown_only_while_it_is_fresh(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.at_gate("before_start")
        assert world.attempts[f"{FIRST}.facts"] == 0
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        assert world.attempts[f"{FIRST}.facts"] == 1
        assert world.attempts["9-gate-before-power-off.facts"] == 1
        await ended(run)
