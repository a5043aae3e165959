"""A maintenance whose gate is open for two months: silences hold, reminders come, histories stay small."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from inventory.notifications import Notifications, Webhook
from procedure.reports import RunOutcome
from tests.workflows.brief_runs import QUICK, BriefFailback, BriefFailover
from tests.workflows.driving import Run, own, start_maintenance, worker_for
from tests.workflows.paper_world import PaperWorld, failure
from workflows import names
from workflows.maintenance import RENEWED_AFTER, Maintenance

GATE = "maintenance_finished"
BUDGET = 500  # events a week
WEEK = timedelta(days=7)
WEEKS = 60 / 7


@asynccontextmanager
async def at_the_gate(skipping: WorkflowEnvironment, world: PaperWorld) -> AsyncIterator[Run]:
    """A maintenance that waits at its gate."""
    queue = names.task_queue(world.inventory.cluster)
    async with worker_for(skipping.client, world, queue, (BriefFailover, BriefFailback, Maintenance)):
        run = await start_maintenance(skipping.client, world, reason=QUICK)
        await run.at_gate(GATE)
        await run.until(lambda s: all(r.is_over for r in s.steps if "keep-silent" in r.id))
        yield run


async def histories(client: Client, run_id: str, workflow_id: str) -> list[list[HistoryEvent]]:
    """The events of a maintenance, run by run."""
    found: list[list[HistoryEvent]] = []
    while run_id:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        found.append(list(history.events))
        run_id = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return found


def uncovered(world: PaperWorld, began: datetime, ended: datetime) -> list[str]:
    """Times in which a machine that is off was not silenced."""
    lasts = world.inventory.monitoring.maintenance
    silences = sorted(world.cluster.extended, key=lambda silence: silence.until)
    assert {frozenset(silence.machines) for silence in silences} == {frozenset(world.machines_of("vm-host-1"))}
    gaps = [f"{a.until} to {b.until - lasts}" for a, b in pairwise(silences) if b.until - lasts > a.until]
    first, last = silences[0].until - lasts, silences[-1].until
    return [*gaps, *([f"until {first}"] if first > began else []), *([f"from {last}"] if last < ended else [])]


async def test_a_gate_that_is_open_for_sixty_days(skipping: WorkflowEnvironment, reference: Inventory) -> None:
    world = PaperWorld(own(reference), skipping.get_current_time)
    async with at_the_gate(skipping, world) as run:
        began, first = await skipping.get_current_time(), await run.status()
        wait = await run.at_gate(GATE)
        await skipping.sleep(timedelta(days=60))
        ended, last = await skipping.get_current_time(), await run.status()

        assert last.began == first.began
        assert (await run.at_gate(GATE)).since == wait.since
        assert (await run.at_gate(GATE)).overdue
        assert last.run_id != first.run_id
        await run.say("approve", {"gate": GATE, "seen": wait.code, "by": "ada"})
        report = await run.result()
        chain = await histories(skipping.client, first.run_id, run.handle.id)

    assert report.outcome is RunOutcome.COMPLETED
    assert [r.direction for r in report.runs] == ["failover", "failback"]
    assert report.runs[1].outcome is RunOutcome.COMPLETED
    assert len(chain) >= int(timedelta(days=60) / RENEWED_AFTER)
    assert sum(map(len, chain)) / WEEKS < BUDGET
    assert max(map(len, chain)) < BUDGET
    assert uncovered(world, began, ended) == []


async def test_people_are_told_once_and_reminded_daily_for_as_long(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    targets = tuple(Webhook(name=name, url="https://hooks.example.com") for name in ("on-call", "channel"))
    world = PaperWorld(own(reference, notifications=Notifications(targets=targets)), skipping.get_current_time)
    async with at_the_gate(skipping, world) as run:
        first = await run.status()
        await skipping.sleep(timedelta(days=60))
        await run.approve(GATE)
        report = await run.result()
        chain = await histories(skipping.client, first.run_id, run.handle.id)

    assert report.notes == ()
    notices = [order.notice for order in world.told if order.target == "on-call"]
    assert Counter(notice.event.value for notice in notices if "still waits" not in notice.headline) == {
        "gate": 1,
        "reminder": 1,  # its deadline
        "end": 1,
    }
    moments = [notice.at for notice in notices if "still waits" in notice.headline]
    assert len(moments) == 64
    assert max(later - earlier for earlier, later in pairwise(moments)) < timedelta(days=1, minutes=1)
    assert len({notice.id for notice in notices}) == len(notices)
    assert all(f"--cluster {world.inventory.cluster} --maintenance" in notice.next_step for notice in notices)
    assert sum(map(len, chain)) / WEEKS < BUDGET


async def test_two_extensions_that_fail_leave_time_for_another_one(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(own(reference), skipping.get_current_time)
    async with at_the_gate(skipping, world) as run:
        began = await skipping.get_current_time()
        for _ in range(6):
            away = failure("failed", "the monitoring server is away")
            world.trouble("upkeep-silence-monitoring", away, away)
            await skipping.sleep(timedelta(hours=22))  # it is tried every 7.2 h
        ended = await skipping.get_current_time()
        assert uncovered(world, began, ended) == []
        assert "is away" in (await run.status()).notes[0]
        await run.approve(GATE)
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED


async def test_what_people_said_and_what_went_wrong_is_taken_along(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(own(reference), skipping.get_current_time)
    async with at_the_gate(skipping, world) as run:
        before = await run.status()
        await run.say("approve", {"gate": GATE, "seen": "guess", "by": "eve"})
        world.trouble("upkeep-silence-monitoring", failure("failed", "the monitoring server is away"))
        await skipping.sleep(WEEK + timedelta(days=1))
        after = await run.status()
        assert after.run_id != before.run_id
        assert [(d.by, d.accepted) for d in after.decisions] == [("eve", False)]
        assert "is away" in after.notes[0]
        assert after.plan_digest == before.plan_digest
        described = await run.handle.describe()
        attributes = described.typed_search_attributes
        assert attributes.get(names.CLUSTER) == world.inventory.cluster
        assert "Maintenance of vm-host-1" in str(attributes.get(names.STAGE))
        await run.approve(GATE)
        report = await run.result()
    assert [d.accepted for d in report.decisions] == [False, True]


async def test_an_abort_after_weeks(skipping: WorkflowEnvironment, reference: Inventory) -> None:
    world = PaperWorld(own(reference), skipping.get_current_time)
    async with at_the_gate(skipping, world) as run:
        await skipping.sleep(3 * WEEK)
        await run.say("abort", {"by": "ada", "reason": "it stays off"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert "vm-host-1 stays vacated" in report.outcome_reason
