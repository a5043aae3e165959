"""Whole runs on paper, for either host: what is done, what is told, what is found in Temporal."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client

from procedure import failover
from procedure.reports import Outcome, RunOutcome
from tests.workflows.driving import Run, running
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.status import RunReport, StepState


def assert_vacated(world: PaperWorld, vacate: str) -> None:
    cluster = world.cluster
    assert world.violations == []
    assert cluster.off == world.machines_of(vacate)
    assert not set(cluster.primary.values()) & cluster.off
    assert len(cluster.daemon) == 1
    assert cluster.silenced() == cluster.off


@pytest.mark.parametrize("vacate", ["vm-host-1", "vm-host-2"])
async def test_either_host_is_vacated(client: Client, world: PaperWorld, vacate: str) -> None:
    async with running(client, world, vacate) as run:
        await run.approve_all()
        report = await run.result()

        assert report.outcome is RunOutcome.COMPLETED
        assert_vacated(world, vacate)
        await assert_told(run, report, vacate)
        await assert_found_in_temporal(run, report)


async def assert_told(run: Run, report: RunReport, vacate: str) -> None:
    assert (report.vacated, report.reason, report.requested_by) == (vacate, "new memory", "ada")
    assert [d.about for d in report.decisions if d.accepted] == ["before_start", "before_power_off", "functionality"]
    assert {record.state for record in report.steps} == {StepState.ENDED}
    assert all(record.outcome in (Outcome.DONE, Outcome.UNCHANGED, Outcome.NOT_APPLICABLE) for record in report.steps)
    assert all(record.report for record in report.steps if record.kind not in ("gate", "observe"))
    assert report.outage is not None
    assert report.outage.duration == timedelta(seconds=9)
    assert report.as_found is not None
    assert report.as_found.observed
    assert report.next_steps == ()
    plan = await run.plan()
    assert plan is not None
    assert plan.digest == report.plan_digest
    assert [stage.number for stage in report.stages] == [stage.number for stage in failover.STAGES]
    assert {stage.state for stage in report.stages} == {"ended"}
    asked: RunReport = await run.handle.query(names.REPORT_QUERY, result_type=RunReport)
    assert asked.model_copy(update={"ended": None}) == report.model_copy(update={"ended": None})
    assert "Ended: completed" in await run.details()


async def assert_found_in_temporal(run: Run, report: RunReport) -> None:
    found = (await run.handle.describe()).typed_search_attributes
    assert found[names.STAGE] == "ended: completed"
    assert found[names.WAITING] == "nothing"
    history = await run.handle.fetch_history()
    scheduled = [e for e in history.events if e.HasField("activity_task_scheduled_event_attributes")]
    ids = {e.activity_task_scheduled_event_attributes.activity_id for e in scheduled}
    steps = {record.id for record in report.steps if record.kind != "gate"}
    # What the first gate shows was seen by the health check; each is looked at once more before it opens.
    gates = {record.id for record in report.steps if record.kind == "gate"}
    looks = {f"{gate}.facts" for gate in gates} | {f"{gate}.facts.2" for gate in gates if not gate.startswith("0-")}
    assert steps | looks | {"watch-the-outage", "draw-up-the-failover"} == ids
    assert all(e.user_metadata.HasField("summary") for e in scheduled)
    assert "3-stop-wildfly-acd-jb1" in ids
    assert len(history.events) < 2000


async def test_no_step_begins_before_what_it_waits_for_is_over(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve_all()
        report, plan = await run.result(), await run.plan()

    assert plan is not None
    at = {record.id: (record.began, record.ended) for record in report.steps}
    for step in plan.steps:
        began = at[step.id][0]
        for before in step.after:
            ended = at[before][1]
            assert began is not None
            assert ended is not None
            assert ended <= began, (step.id, before)


async def test_before_the_health_check_is_over_there_is_no_plan(client: Client, world: PaperWorld) -> None:
    held = world.hold("0-observe-acd-jb1")
    async with running(client, world) as run:
        await held.reached.wait()
        assert await run.plan() is None
        status = await run.status()
        assert status.phase.startswith("00 Health check")
        assert status.waits == ()
        held.go.set()
        await run.at_gate("before_start")
        assert await run.plan() is not None
        await run.say("abort", {"by": "ada", "reason": "enough seen"})
        await run.result()
