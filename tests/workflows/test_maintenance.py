"""A whole maintenance: its runs, its gate, and what becomes of it when one of its runs does not end well."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError

from procedure.reports import Outcome, RunOutcome
from tests.workflows.brief_runs import QUICK, BriefFailback, BriefFailover
from tests.workflows.driving import Run, start, start_maintenance, step_of, worker_for
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.maintenance import Maintenance
from workflows.status import RunReport, RunView

GATE = "maintenance_finished"
FAILOVER, FAILBACK = "1-failover-vm-host-1", "3-failback-vm-host-1"


@asynccontextmanager
async def maintained(
    client: Client, world: PaperWorld, reason: str = "new memory", *, both: bool = False
) -> AsyncIterator[Run]:
    """A maintenance whose runs are stand-ins."""
    workflows = (BriefFailover, BriefFailback, Maintenance)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster), workflows):
        yield await start_maintenance(client, world, reason=reason, both=both)


async def child(client: Client, run: Run, number: int) -> WorkflowHandle[Any, RunReport]:
    """The run that the maintenance has begun as its n-th, while it is under way."""
    status = await run.until(lambda s: len(s.runs) == number and not s.runs[-1].is_over)
    view = status.runs[-1]
    assert view.workflow_id == names.workflow_id(status.cluster)
    return client.get_workflow_handle(view.workflow_id, run_id=view.run_id, result_type=RunReport)


async def end(client: Client, run: Run, number: int, outcome: RunOutcome, reason: str = "so it is") -> RunReport:
    handle = await child(client, run, number)
    await handle.signal("end", args=[outcome.value, reason])
    return await handle.result()


async def request_of(run: WorkflowHandle[Any, RunReport]) -> dict[str, Any]:
    history = await run.fetch_history()
    asked = history.events[0].workflow_execution_started_event_attributes.input.payloads[0]
    told: dict[str, Any] = json.loads(asked.data)
    return told


async def test_a_window_limits_the_first_failover_and_nothing_after_it(client: Client, world: PaperWorld) -> None:
    workflows = (BriefFailover, BriefFailback, Maintenance)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster), workflows):
        ends = datetime.now(UTC) + timedelta(hours=3)
        run = await start_maintenance(client, world, window_ends=ends)
        failover = await child(client, run, 1)
        assert datetime.fromisoformat((await request_of(failover))["window_ends"]) == ends
        assert (await run.status()).window_ends is None
        await end(client, run, 1, RunOutcome.COMPLETED)
        await run.approve(GATE)
        failback = await child(client, run, 2)
        assert (await request_of(failback))["window_ends"] is None
        await end(client, run, 2, RunOutcome.COMPLETED)
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_failover_gate_failback(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        failover = await end(client, run, 1, RunOutcome.COMPLETED)
        wait = await run.at_gate(GATE)
        assert "vm-host-1 finished" in wait.text
        assert any("still off" in item for item in wait.vouched)
        status = await run.status()
        assert len(status.runs) == 1, "nothing comes back before a person says so"
        assert world.cluster.silenced() == world.machines_of("vm-host-1")
        await run.approve(GATE)
        failback = await end(client, run, 2, RunOutcome.COMPLETED)
        report = await run.result()

    assert (failover.reason, failover.requested_by) == ("new memory", "ada")
    assert failback.notes == (f"undoes {failover.run_id}",)
    assert report.outcome is RunOutcome.COMPLETED
    assert "is back" in report.outcome_reason
    assert [run.name for run in report.runs] == ["the failover of vm-host-1", "the failback of vm-host-1"]
    assert report.next_steps == ()


async def test_both_hosts_one_after_the_other(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world, QUICK, both=True) as run:
        await run.approve(GATE)
        await run.until(lambda s: len(s.runs) == 3)
        wait = await run.at_gate(GATE)
        assert "vm-host-2" in wait.title
        await run.approve(GATE)
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert [(r.direction, r.vacated) for r in report.runs] == [
        (direction, host) for host in ("vm-host-1", "vm-host-2") for direction in ("failover", "failback")
    ]
    assert "vm-host-1 and then vm-host-2" in report.outcome_reason


async def test_a_failover_that_fails_waits_and_is_begun_again(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        await end(client, run, 1, RunOutcome.FAILED, "Not started, since DRBD is not connected.")
        status = await run.waiting(FAILOVER)
        assert "DRBD is not connected" in status.waits[0].text
        assert status.runs[0].run_id in status.waits[0].text
        await run.say("retry", {"step": FAILOVER, "by": "ada"})
        await end(client, run, 2, RunOutcome.COMPLETED_WITH_SKIPS, "Skipped: a snapshot.")
        await run.approve(GATE)
        await end(client, run, 3, RunOutcome.COMPLETED)
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert [r.outcome for r in report.runs if r.direction == "failover"] == [
        RunOutcome.FAILED,
        RunOutcome.COMPLETED_WITH_SKIPS,
    ]
    assert any("Skipped: a snapshot." in note for note in report.notes)


async def test_a_run_that_dies_without_a_report_waits_too(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        await (await child(client, run, 1)).signal("die")
        status = await run.waiting(FAILOVER)
        assert "without a report" in status.waits[0].text
        await run.say("retry", {"step": FAILOVER, "by": "ada"})
        await (await child(client, run, 2)).terminate("a test")
        await run.waiting(FAILOVER)
        await run.say("abort", {"by": "ada", "reason": "enough"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert "did not complete" in report.outcome_reason
    assert report.runs[-1].run_id in report.next_steps[0]


async def test_a_failback_that_was_done_by_hand_is_skipped(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        await end(client, run, 1, RunOutcome.COMPLETED)
        await run.approve(GATE)
        await end(client, run, 2, RunOutcome.FAILED)
        await run.waiting(FAILBACK)
        await run.say("skip", {"step": FAILBACK, "by": "ada", "reason": "done by hand"})
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED_WITH_SKIPS
    assert step_of(report, FAILBACK).outcome is Outcome.SKIPPED
    assert "Failback: vm-host-1 returns" in report.next_steps[0]
    assert not any("is vacated" in step for step in report.next_steps)


async def test_a_failover_that_is_aborted_ends_the_maintenance_with_its_reason(
    client: Client, world: PaperWorld
) -> None:
    async with maintained(client, world) as run:
        await (await child(client, run, 1)).signal("abort", {"by": "ada", "reason": "not tonight"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason == "The failover of vm-host-1 was aborted. Aborted by ada: not tonight."
    assert step_of(report, FAILBACK).began is None


async def test_a_run_that_was_rolled_back_ends_it_as_rolled_back(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        await end(client, run, 1, RunOutcome.ROLLED_BACK, "All is as it was.")
        report = await run.result()
    assert report.outcome is RunOutcome.ROLLED_BACK
    assert "All is as it was." in report.outcome_reason


async def test_a_failback_that_was_not_approved_ends_it_and_it_says_how_the_host_comes_back(
    client: Client, world: PaperWorld
) -> None:
    """Whoever only meant "not now" learns that nobody cares for the silence any more, and how to begin again."""
    async with maintained(client, world) as run:
        await end(client, run, 1, RunOutcome.COMPLETED)
        await run.approve(GATE)
        await end(client, run, 2, RunOutcome.ABORTED, "Aborted by ada: not now. Nothing was touched.")
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert report.runs[-1].run_id in report.next_steps[0]
    assert "vm-host-1 is not back" in report.next_steps[1]
    assert "python -m starters.failback" in report.next_steps[1]


async def test_an_abort_is_told_to_the_run_that_is_under_way(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        handle = await child(client, run, 1)
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        told = await handle.result()
        report = await run.result()
    assert told.outcome_reason == "Aborted by ada: not tonight."
    assert report.outcome is RunOutcome.ABORTED


async def test_a_pause_is_told_to_the_run_that_is_under_way(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        other = Run(await child(client, run, 1), world)
        await run.say("pause", {"by": "ada", "reason": "wait for the phone"})
        await other.until(lambda s: s.notes[1:] == ("paused by ada",))
        await run.say("resume", {"by": "bob"})
        await other.until(lambda s: s.notes[1:] == ("paused by ada", "resumed by bob"))
        await run.say("abort", {"by": "ada", "reason": "enough"})
        await run.result()


async def test_an_abort_at_the_gate_leaves_the_host_vacated_and_says_so(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        await end(client, run, 1, RunOutcome.COMPLETED)
        await run.at_gate(GATE)
        await run.say("abort", {"by": "ada", "reason": "the memory does not come"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert "vm-host-1 stays vacated" in report.outcome_reason
    assert "python -m starters.failback" in report.next_steps[0]
    assert world.cluster.silenced() == world.machines_of("vm-host-1"), "they are off on purpose"


async def test_a_cancelled_maintenance_cancels_its_run_and_waits_for_it(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        handle = await child(client, run, 1)
        await run.handle.cancel()
        told = await handle.result()
        report = await run.result()
    assert told.outcome_reason == "Aborted by Temporal: the workflow was cancelled."
    assert report.outcome is RunOutcome.ABORTED


async def test_its_run_outlives_a_maintenance_that_is_terminated(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        handle = await child(client, run, 1)
        await run.handle.terminate("a test")
        await handle.signal("end", args=["completed", "by itself"])
        assert (await handle.result()).outcome is RunOutcome.COMPLETED


async def test_another_run_of_the_cluster_is_never_run_into(client: Client, world: PaperWorld) -> None:
    workflows = (BriefFailover, BriefFailback, Maintenance)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster), workflows):
        other = await start(client, world)
        run = await start_maintenance(client, world)
        status = await run.waiting(FAILOVER)
        assert "another run" in status.waits[0].text
        assert status.runs == ()
        await other.handle.signal("end", args=["aborted", "out of the way"])
        await other.handle.result()
        await run.say("retry", {"step": FAILOVER, "by": "ada"})
        await end(client, run, 1, RunOutcome.COMPLETED)
        await run.at_gate(GATE)
        await run.say("abort", {"by": "ada", "reason": "enough"})
        await run.result()


async def test_a_cluster_has_one_maintenance(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        await child(client, run, 1)
        try:
            await start_maintenance(client, world)
        except WorkflowAlreadyStartedError:
            return
    raise AssertionError("two maintenances of one cluster")


async def test_the_web_ui_shows_runs_and_gate(client: Client, world: PaperWorld) -> None:
    async with maintained(client, world) as run:
        handle = await child(client, run, 1)
        details = await run.details()
        assert handle.id in details
        described = await handle.describe()
        assert described.typed_search_attributes.get(names.CLUSTER) == world.inventory.cluster
        assert await described.static_summary() == f"Failover of {world.inventory.cluster}: vacate vm-host-1"
        assert "Part of the maintenance" in str(await described.static_details())
        assert described.parent_id == names.maintenance_workflow_id(world.inventory.cluster)
        await end(client, run, 1, RunOutcome.COMPLETED)
        await run.at_gate(GATE)
        details = await run.details()
        assert "vm-host-1 is vacated and returns" in details
        assert '"gate": "maintenance_finished"' in details
        await run.say("abort", {"by": "ada", "reason": "enough"})
        await run.result()


def test_a_view_of_a_run_is_read_from_its_report(world: PaperWorld) -> None:
    assert set(RunView.model_fields) <= set(RunReport.model_fields)
