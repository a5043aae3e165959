"""People are told beside the run: at each moment that needs them, once, and never at the cost of the run."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from inventory.models import Inventory
from inventory.notifications import Email, Event, Notifications, Webhook
from procedure.notices import Notice
from procedure.orders import NOTIFY
from procedure.reports import RunOutcome
from tests.workflows.driving import Run, own, running
from tests.workflows.paper_world import PaperWorld, Silent, failure, transient
from tests.workflows.test_background import without_outage_probes
from worker.process import RESTRICTIONS
from workflows.controlled_failover import ControlledFailover
from workflows.converter import DATA_CONVERTER
from workflows.notifying import AT_THE_END, until_reminder

STOP = "3-stop-wildfly-acd-jb1"
WEBHOOK = Webhook(name="on-call", url="https://hooks.example.com/failover")
EMAIL = Email(
    name="operators",
    host="mail.example.com",
    sender="failover@example.com",
    to=("operators@example.com",),
    events=(Event.PROBLEM, Event.END),
)


def telling(inventory: Inventory, **changes: object) -> PaperWorld:
    return PaperWorld(own(inventory, notifications=Notifications(targets=(WEBHOOK, EMAIL)), **changes))


def told(world: PaperWorld, target: str = "on-call") -> list[Notice]:
    """What a target was told, each once, in order."""
    notices = {order.notice.id: order.notice for order in world.told if order.target == target}
    return list(notices.values())


def events(world: PaperWorld, target: str = "on-call") -> list[str]:
    return [notice.event.value for notice in told(world, target)]


async def test_each_target_is_told_what_it_asked_for(client: Client, reference: Inventory) -> None:
    world = telling(reference)
    world.trouble(STOP, failure("failed", "still running"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(STOP)
        await run.say("retry", {"step": STOP, "by": "ada"})
        await run.approve("before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.notes == ()
    assert events(world) == ["gate", "problem", "gate", "gate", "end"]
    assert events(world, "operators") == ["problem", "end"]

    gate, problem, *_, end = told(world)
    cluster = world.inventory.cluster
    assert gate.headline == "Gate before_start waits for a decision"
    assert f"python -m starters.approve --cluster {cluster}" in gate.next_step
    assert "still running" in problem.details
    assert f"python -m starters.retry --cluster {cluster} --step {STOP}" in problem.next_step
    assert (end.headline, end.direction) == ("Failover ended: completed", "failover")
    assert (end.workflow_id, end.run_id) == (report.workflow_id, report.run_id)
    await replay(run)


async def replay(run: Run) -> None:
    replayer = Replayer(
        workflows=[ControlledFailover],
        data_converter=DATA_CONVERTER,
        workflow_runner=SandboxedWorkflowRunner(restrictions=RESTRICTIONS),
    )
    await replayer.replay_workflow(await run.handle.fetch_history())


async def test_a_notice_does_not_hold_the_code_that_opens_the_gate(client: Client, reference: Inventory) -> None:
    world = telling(reference)
    async with running(client, world) as run:
        code = (await run.at_gate("before_start")).code
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        await run.result()
    assert code not in told(world)[0].model_dump_json()
    assert events(world) == ["gate", "end"]
    assert "not tonight" in told(world)[-1].details


async def test_what_only_a_person_can_do_is_told(client: Client, reference: Inventory) -> None:
    monitoring = {"provider": "manual"}
    changed = Inventory.model_validate(reference.model_dump() | {"monitoring": monitoring})
    world = telling(changed)
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.until(lambda s: any(w.kind == "operator task" for w in s.waits))
        task = next(wait for wait in status.waits if wait.kind == "operator task")
        await run.until(lambda _: "task" in events(world))
    notice = next(notice for notice in told(world) if notice.event is Event.TASK)
    assert notice.headline.endswith(task.title)
    assert notice.details == task.text
    assert f"--step {task.step}" in notice.next_step


async def test_a_target_that_hangs_holds_nothing_up_but_the_last_seconds(client: Client, reference: Inventory) -> None:
    world = telling(reference)
    world.trouble("on-call", *(Silent() for _ in range(9)))
    async with running(client, world) as run:
        await run.approve("before_start", "before_power_off", "functionality")
        report = await run.result()
        described = await run.handle.describe()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.ended is not None
    assert described.close_time is not None
    assert described.close_time - report.ended < AT_THE_END + timedelta(seconds=5)
    (note,) = report.notes
    assert note.startswith("webhook on-call was not told of 4 things, the last: “Failover ended: completed”")
    assert events(world, "operators") == ["end"]
    await replay(run)


async def test_a_run_that_is_cancelled_while_the_end_is_told_has_its_report(
    client: Client, reference: Inventory
) -> None:
    world = telling(reference)
    world.trouble("on-call", *(Silent() for _ in range(9)))
    async with running(client, world) as run:
        await run.at_gate("before_start")
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        await run.until(lambda s: s.ended)
        await run.handle.cancel()
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert "was not told" in report.notes[0]


async def test_what_is_refused_is_not_tried_again_but_noted(client: Client, reference: Inventory) -> None:
    world = telling(reference)
    world.trouble("on-call", *(failure("rejected", "status 400 no such channel") for _ in range(9)))
    async with running(client, world) as run:
        await run.at_gate("before_start")
        status = await run.until(lambda s: s.notes)
        assert status.notes[0] == (
            "webhook on-call was not told of 1 thing, the last: “Gate before_start waits for a decision”: "
            "status 400 no such channel"
        )
        await run.approve_all()
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert "of 4 things" in report.notes[0]
    assert len([order for order in world.told if order.target == "on-call"]) == 4


async def test_what_is_transient_is_tried_again_as_the_same_notice(client: Client, reference: Inventory) -> None:
    world = telling(reference)
    world.trouble("operators", transient(), transient())
    async with running(client, world) as run:
        await run.at_gate("before_start")
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        report = await run.result()
    assert report.notes == ()
    tries = [order.notice for order in world.told if order.target == "operators"]
    assert len(tries) == 3
    assert len({notice.id for notice in tries}) == 1


async def test_reminders_come_ever_more_seldom_until_someone_answers(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    changed = without_outage_probes(reference)
    world = PaperWorld(
        own(changed, notifications=Notifications(targets=(WEBHOOK,))),
        skipping.get_current_time,
    )
    async with running(skipping.client, world) as run:
        await run.at_gate("before_start")
        await skipping.sleep(timedelta(days=4))
        notices = told(world)
        moments = [n.at - notices[0].at for n in notices if "still waits" in n.headline]
        hours = [round(moment.total_seconds() / 3600, 1) for moment in moments]
        assert hours == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 55.5, 79.5]
        overdue = [notice for notice in notices if "past its deadline" in notice.headline]
        assert [notice.event for notice in overdue] == [Event.REMINDER]
        assert round((overdue[0].at - notices[0].at).total_seconds() / 3600, 1) == 12.0
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert events(world)[-1] == "end"
    await replay(run)


def test_when_the_next_reminder_comes_follows_from_how_long_it_was_waited() -> None:
    half, hour, day = timedelta(minutes=30), timedelta(hours=1), timedelta(days=1)
    assert until_reminder(half, timedelta(0)) == half
    assert until_reminder(half, half) == hour
    assert until_reminder(half, half + timedelta(minutes=20)) == timedelta(minutes=40)
    assert until_reminder(half, timedelta(days=20)) <= day
    assert until_reminder(3 * day, timedelta(0)) == until_reminder(3 * day, 3 * day) == 3 * day


async def test_where_nobody_is_to_be_told_nothing_is_begun(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve_all()
        await run.result()
        history = (await run.handle.fetch_history()).to_json()
    assert f'"{NOTIFY}"' not in history
    assert world.told == []


async def test_who_wants_no_reminders_costs_no_timer(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference, notifications=Notifications(targets=(EMAIL,))))
    async with running(client, world) as run:
        await run.at_gate("before_start")
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        await run.result()
        history = (await run.handle.fetch_history()).to_json()
    assert "next reminder" not in history
    assert events(world, "operators") == ["end"]
