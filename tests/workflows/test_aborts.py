"""An abort ends the run where it stands: what waits ends, what changes something ends by itself, nothing begins."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from procedure.reports import Outcome, RunOutcome
from tests.workflows.driving import GATES, running, step_of
from tests.workflows.paper_world import PaperWorld, failure
from workflows.status import RunReport, StepState

STOP = "3-stop-wildfly-acd-jb1"
ABORT = {"by": "ada", "reason": "the other site burns"}
LIFTED = ("on-abort-lift-silence-vm-host-1", "on-abort-lift-silence-vm-host-2")


def assert_aborted(world: PaperWorld, report: RunReport) -> None:
    assert report.outcome is RunOutcome.ABORTED
    assert world.violations == []
    assert report.waits == ()
    assert world.cluster.silenced() == world.cluster.off
    assert not any(record.state in (StepState.RUNNING, StepState.WAITING) for record in report.steps)


@pytest.mark.parametrize("gate", GATES)
async def test_at_each_gate(client: Client, world: PaperWorld, gate: str) -> None:
    async with running(client, world) as run:
        await run.approve(*GATES[: GATES.index(gate)])
        await run.at_gate(gate)
        done = world.done()
        await run.say("abort", ABORT)
        report = await run.result()

    assert_aborted(world, report)
    owed = [] if gate == "before_start" else [f"12-{step}" for step in LIFTED]
    assert set(world.done()) == {*done, *owed}
    left = "Nothing was touched." if gate == "before_start" else "Nothing was rolled back."
    assert report.outcome_reason == f"Aborted by ada: the other site burns. {left}"
    assert report.next_steps
    assert (report.outage is None) is (gate == "before_start")


async def test_a_rejected_gate_ends_the_run_like_an_abort(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve("before_start")
        code = (await run.at_gate("before_power_off")).code
        await run.say("reject", {"gate": "before_power_off", "seen": code, "by": "ada", "comment": "too late today"})
        report = await run.result()
    assert_aborted(world, report)
    assert "gate before_power_off rejected: too late today" in report.outcome_reason
    assert world.cluster.off == set()


async def test_in_the_middle_a_change_ends_by_itself_and_nothing_begins(client: Client, world: PaperWorld) -> None:
    held = world.hold(STOP)
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        await run.say("abort", ABORT)
        await run.until(lambda s: s.decisions)
        done = world.done()
        assert "4-drain-sessions" not in done
        held.go.set()
        report = await run.result()

    assert_aborted(world, report)
    assert not held.cancelled.is_set()
    assert step_of(report, STOP).outcome is Outcome.DONE
    assert step_of(report, "4-drain-sessions").state is StepState.NOT_STARTED
    assert world.outage_ended.is_set()


async def test_what_waits_for_a_state_is_interrupted(client: Client, world: PaperWorld) -> None:
    held = world.hold("4-drain-sessions")
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        await run.say("abort", ABORT)
        report = await run.result()
    assert_aborted(world, report)
    assert held.cancelled.is_set()
    assert step_of(report, "4-drain-sessions").outcome is Outcome.UNKNOWN


async def test_a_change_that_fails_during_the_abort_asks_nobody(client: Client, world: PaperWorld) -> None:
    held = world.hold(STOP, then=failure("failed", "it has died"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        await run.say("abort", ABORT)
        await run.until(lambda s: s.decisions)
        held.go.set()
        report = await run.result()
    assert_aborted(world, report)
    assert step_of(report, STOP).outcome is Outcome.FAILED
    assert any("Look at this first: Stop Wildfly on acd-jb1" in s and "it has died" in s for s in report.next_steps)


async def test_what_waits_for_a_person_is_left(client: Client, world: PaperWorld) -> None:
    world.trouble(STOP, failure("failed", "still running"))
    world.trouble("1-snapshot-acd-dbm1", failure("unknown", "no answer"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting("1-snapshot-acd-dbm1")
        assert (await run.decide("abort", **ABORT)).accepted
        report = await run.result()
    assert_aborted(world, report)
    assert step_of(report, "1-snapshot-acd-dbm1").outcome is Outcome.UNKNOWN
    assert any("Take a snapshot" in s or "snapshot" in s for s in report.next_steps)


async def test_a_retry_just_before_the_abort_begins_nothing(client: Client, world: PaperWorld) -> None:
    world.trouble("1-snapshot-acd-dbm1", failure("failed", "no room"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting("1-snapshot-acd-dbm1")
        handle = run.handle
        # Both are there when the next workflow task begins, at least most of the time.
        await handle.signal("retry", {"step": "1-snapshot-acd-dbm1", "by": "ada"})
        await handle.signal("abort", ABORT)
        report = await run.result()
    assert_aborted(world, report)


async def test_silences_that_can_not_be_lifted_wait_for_a_person_also_after_the_abort(
    client: Client, world: PaperWorld
) -> None:
    owed = f"12-{LIFTED[1]}"
    world.trouble(owed, failure("failed", "the monitoring server is away"), failure("failed", "still away"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", ABORT)
        status = await run.waiting(owed)
        assert [hint.signal for hint in status.waits[0].hints] == ["retry", "skip"]
        assert "already being aborted" in (await run.decide("abort", **ABORT)).text
        assert (await run.decide("retry", step=owed, by="ada")).accepted
        await run.until(lambda s: step_of(s, owed).attempts == 2 and s.waits)
        assert (await run.decide("skip", step=owed, by="ada", reason="lifted by hand")).accepted
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert any("lifted by hand" in step for step in report.next_steps)


@pytest.mark.parametrize("when", ["at a gate", "in the middle"])
async def test_a_cancellation_from_temporals_side_is_an_abort(client: Client, world: PaperWorld, when: str) -> None:
    held = world.hold(STOP)
    async with running(client, world) as run:
        if when == "in the middle":
            await run.approve("before_start")
            await held.reached.wait()
        else:
            await run.at_gate("before_start")
        await run.handle.cancel()
        await run.until(lambda s: s.outcome or not s.waits)
        held.go.set()
        report = await run.result()
        described = await run.handle.describe()
    assert_aborted(world, report)
    assert report.outcome_reason.startswith("Aborted by Temporal: the workflow was cancelled.")
    assert not held.cancelled.is_set()
    assert described.status is WorkflowExecutionStatus.COMPLETED
    if when == "in the middle":
        assert step_of(report, STOP).outcome is Outcome.DONE
