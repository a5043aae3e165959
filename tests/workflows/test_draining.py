"""The wait for sessions to end: seen while it lasts, and its deadline is in people's hands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client

from inventory.approval import Approval
from inventory.models import Inventory
from procedure.commands import AwaitDrained
from procedure.facts import Session, SessionCount
from procedure.plan import Step
from procedure.reports import Outcome, RunOutcome, StepProblem, StepReport
from procedure.verdicts import failed, unknown
from tests.workflows.driving import own, running, step_of
from tests.workflows.paper_world import PaperWorld, failure
from workflows.draining import LONGEST_SLICE, Drain, left, overdue
from workflows.ledger import Ledger
from workflows.status import StepRecord, StepState

DRAIN = "4-drain-sessions"
NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
COMMAND = AwaitDrained(balancer="acd-lb1", master="acd-dbm1")
WAITING = Step(id=DRAIN, stage=4, title=COMMAND.title, action=COMMAND)
STUCK = Session(id=77, user="app", address="10.77.0.81:40000", command="Sleep")
PROBLEM = StepProblem(kind="failed", machine="acd-dbm1", expected="none", seen="1", next_step="wait")
EXTEND: dict[str, object] = {"step": DRAIN, "minutes": 30, "by": "ada", "reason": "the last callers"}


def left_over(count: int, at: datetime = NOW) -> StepReport:
    sessions = (
        SessionCount(kind="load balancer", machine="acd-jb1", count=2),
        SessionCount(kind="database", machine="acd-lb1", user="app", count=count),
    )
    seen = failed("no session is active", f"{count} from app", "They end when their program ends. Then retry.")
    return StepReport(outcome=Outcome.NOT_YET, verdicts=(seen,), sessions=sessions, began=at, ended=at)


# --- pure -------------------------------------------------------------------------------------------------------------


def test_slices_grow_and_half_an_hour_of_them_is_a_small_part_of_a_history() -> None:
    drain, now, slices = half_an_hour(), NOW, 0
    while not drain.is_late(now):
        length = drain.next_slice(now)
        assert timedelta(0) < length <= LONGEST_SLICE
        now, slices = now + length, slices + 1
    assert now == drain.deadline
    assert slices * 6 < 250  # an activity is three events, and so is the workflow task after it


def half_an_hour() -> Drain:
    record = StepRecord(id=DRAIN, stage=4, title=COMMAND.title)
    return Drain(record, since=NOW, deadline=NOW + timedelta(minutes=30))


def test_what_was_seen_last_and_the_pace_are_told() -> None:
    drain = half_an_hour()
    drain.tell()
    assert drain.record.progress is None
    for i, count in enumerate((64, 32, 16)):
        drain.take(left_over(count, NOW + timedelta(seconds=10 * i)))
    told = drain.record.progress
    assert told is not None
    assert told.total == 18
    assert left(told.sessions) == "load balancer: 2 acd-jb1; database: 16 from app on acd-lb1"
    assert told.expected_end is not None
    assert told.deadline == drain.deadline


def test_a_count_that_nobody_is_sure_of_says_nothing_about_the_pace() -> None:
    drain = half_an_hour()
    drain.take(blind_at(left_over(5)))
    assert drain.counts == []


def test_a_wait_that_sees_nothing_for_long_is_told_before_its_deadline() -> None:
    drain, minute = half_an_hour(), timedelta(minutes=1)
    for i, count in enumerate((3, None, None, 2, None, None)):
        report = left_over(count or 0, NOW + i * minute)
        drain.take(report if count else blind_at(report))
        assert not drain.is_blind(minute), "somebody answers again in between"
    drain.take(blind_at(left_over(0, NOW + 6 * minute)))
    assert drain.is_blind(minute)


def test_a_pause_is_no_blindness(ledger: Ledger) -> None:
    drain, minute = ledger.drains.begin(ledger.records[DRAIN], timedelta(minutes=30), NOW), timedelta(minutes=1)
    drain.take(blind_at(left_over(0, NOW)))
    ledger.hear("pause", {"by": "ada", "reason": "x"}, NOW)
    ledger.hear("resume", {"by": "ada"}, NOW + 60 * minute)
    drain.take(blind_at(left_over(0, NOW + 60 * minute)))
    assert not drain.is_blind(minute)
    drain.take(blind_at(left_over(0, NOW + 62 * minute)))
    assert drain.is_blind(minute)


def blind_at(report: StepReport) -> StepReport:
    return report.model_copy(update={"verdicts": (unknown("no session", "connection lost"),)})


def test_at_the_deadline_a_person_reads_what_was_seen_last() -> None:
    problem = overdue(left_over(3), COMMAND)
    assert problem.text == (
        "acd-dbm1: failed, the wanted state did not come. Expected: no session is active. Seen: 3 from app. "
        "Next: They end when their program ends. Then retry."
    )
    blind = left_over(3).model_copy(update={"verdicts": (unknown("no session", "connection lost", "Look there."),)})
    assert overdue(blind, COMMAND).kind == "unknown"
    assert overdue(blind, COMMAND).next_step == "Look there. Then retry."
    assert overdue(left_over(3).model_copy(update={"verdicts": ()}), COMMAND).kind == "unknown"


@pytest.fixture
def ledger() -> Ledger:
    book = Ledger(Approval())
    book.plan((WAITING,))
    return book


def test_a_wait_that_lasts_is_moved_and_one_that_stopped_is_begun_again(ledger: Ledger) -> None:
    drain = ledger.drains.begin(ledger.records[DRAIN], timedelta(minutes=30), NOW)
    answer = ledger.hear("extend", EXTEND, NOW)
    assert answer.text.startswith("30 minutes more for: Wait until no session is left on acd-lb1 and acd-dbm1.")
    assert answer.text.endswith("It waits until 03:00:00 UTC.")
    assert drain.deadline == NOW + timedelta(hours=1)
    ledger.drains.stop(DRAIN)

    ledger.wait_with_problem(WAITING, PROBLEM, can_force=False, now=NOW, can_extend=True)
    assert [hint.signal for hint in ledger.waits[DRAIN].hints][:3] == ["retry", "extend", "skip"]
    assert ledger.hear("extend", EXTEND, NOW).accepted
    assert ledger.resolved(DRAIN)
    assert "already decided upon" in ledger.hear("extend", EXTEND, NOW).text


def test_a_pause_moves_the_deadline_of_a_wait(ledger: Ledger) -> None:
    drain = ledger.drains.begin(ledger.records[DRAIN], timedelta(minutes=30), NOW)
    ledger.hear("pause", {"by": "ada", "reason": "x"}, NOW + timedelta(minutes=10))
    drain.take(left_over(3))
    assert drain.record.progress is not None
    assert drain.record.progress.deadline is None
    assert ledger.hear("extend", EXTEND, NOW).text.endswith("acd-dbm1.")
    ledger.hear("resume", {"by": "ada"}, NOW + timedelta(hours=2))
    assert drain.deadline == NOW + timedelta(hours=2, minutes=50)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"minutes": 0}, "minutes: Input should be greater than or equal to 1"),
        ({"minutes": 481}, "minutes: Input should be less than or equal to 480"),
        ({"minutes": "30"}, "minutes: Input should be a valid integer"),
        ({"minutes": True}, "minutes: Input should be a valid integer"),
        ({"reason": " "}, "reason: String should have at least 1 character"),
        ({"until": "noon"}, "until: Extra inputs are not permitted"),
        (
            {"step": "5-move"},
            "does not wait for sessions to end; steps that could be told to extend now: none",
        ),
        ({}, "does not wait for sessions to end"),
    ],
)
def test_what_is_not_understood_is_answered(ledger: Ledger, change: dict[str, object], part: str) -> None:
    answer = ledger.hear("extend", {**EXTEND, **change}, NOW)
    assert not answer.accepted
    assert part in answer.text


def test_a_step_of_another_kind_is_not_extended(ledger: Ledger) -> None:
    ledger.wait_with_problem(WAITING, PROBLEM, can_force=True, now=NOW)
    assert not ledger.hear("extend", EXTEND, NOW).accepted


# --- in a run ---------------------------------------------------------------------------------------------------------


def with_drain(inventory: Inventory, seconds: float) -> PaperWorld:
    timings = inventory.timings.model_copy(update={"drain": timedelta(seconds=seconds), "attempts": 2})
    world = PaperWorld(own(inventory).model_copy(update={"timings": timings}))
    world.cluster.stuck.append(STUCK)
    return world


async def test_sessions_left_are_shown_while_they_are_waited_for(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference))
    at = datetime.now(UTC)
    reports = [left_over(64 >> i, at + timedelta(seconds=10 * i)) for i in range(3)]
    world.trouble(DRAIN, *reports)
    last = world.hold(DRAIN)
    async with running(client, world) as run:
        await run.approve("before_start")
        await last.reached.wait()
        status = await run.until(lambda s: step_of(s, DRAIN).progress)
        details = await run.details()
        last.go.set()
        await run.approve("before_power_off", "functionality")
        report = await run.result()
    progress = step_of(status, DRAIN).progress
    assert progress is not None
    assert progress.total == 18
    assert progress.expected_end is not None
    assert "18 left at" in details
    assert "database: 16 from app on acd-lb1" in details
    assert f"None left, at the observed pace: about {progress.expected_end:%H:%M} UTC; waits until" in details
    assert report.outcome is RunOutcome.COMPLETED
    assert step_of(report, DRAIN).attempts == 1
    assert step_of(report, DRAIN).progress is None


async def test_who_answers_no_more_is_told_of_before_the_deadline(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference))
    at = datetime.now(UTC)
    world.trouble(DRAIN, *(blind_at(left_over(0, at + timedelta(minutes=i))) for i in range(3)))
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.waiting(DRAIN)
        wait = next(w for w in status.waits if w.step == DRAIN)
        assert "nobody can tell" in wait.text
        assert "connection lost" in wait.text
        assert not wait.can_extend, "more time would not help"
        await run.say("retry", {"step": DRAIN, "by": "ada"})
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_at_the_deadline_the_operator_gives_more_time(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 1)
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.waiting(DRAIN)
        wait = next(w for w in status.waits if w.step == DRAIN)
        assert wait.can_extend
        assert "no session is active on acd-lb1 and acd-dbm1" in wait.text
        assert "1 from app@10.77.0.81" in wait.text
        progress = step_of(status, DRAIN).progress
        assert progress is not None
        assert (progress.total, progress.deadline) == (1, None)

        answer = await run.decide("extend", **EXTEND)
        assert answer.text == f"will be waited for again: {COMMAND.title}"
        await run.until(lambda s: step_of(s, DRAIN).state is StepState.RUNNING)
        world.cluster.stuck.clear()
        await run.approve("before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert step_of(report, DRAIN).attempts == 2
    assert world.violations == []


async def test_a_deadline_is_moved_while_it_is_waited_for(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 3)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.until(lambda s: step_of(s, DRAIN).state is StepState.RUNNING)
        answer = await run.decide("extend", **EXTEND)
        assert "It waits until" in answer.text
        status = await run.until(lambda s: step_of(s, DRAIN).progress)
        assert status.waits == ()
        progress = step_of(status, DRAIN).progress
        assert progress is not None
        assert progress.deadline is not None
        assert progress.deadline - progress.at > timedelta(minutes=29)
        world.cluster.stuck.clear()
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_an_abort_interrupts_a_slice(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 600)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.until(lambda s: step_of(s, DRAIN).state is StepState.RUNNING)
        await run.say("abort", {"by": "ada", "reason": "enough"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert step_of(report, DRAIN).outcome is Outcome.UNKNOWN


async def test_a_paused_run_begins_no_slice_and_its_deadline_waits(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 2)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.until(lambda s: step_of(s, DRAIN).state is StepState.RUNNING)
        await run.say("pause", {"by": "ada", "reason": "wait"})
        status = await run.until(lambda s: step_of(s, DRAIN).progress)
        progress = step_of(status, DRAIN).progress
        assert progress is not None
        assert progress.deadline is None
        assert status.waits == ()
        slices = world.attempts[DRAIN]
        world.cluster.stuck.clear()
        assert world.attempts[DRAIN] == slices
        await run.say("resume", {"by": "ada"})
        await run.approve("before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert world.attempts[DRAIN] == slices + 1


# --- cutting who is left ----------------------------------------------------------------------------------------------

ENDING = "4-drain-sessions-gate-end-sessions"
FORCE: dict[str, object] = {"step": DRAIN, "by": "ada", "force": True, "reason": "it hangs"}


async def test_who_is_left_is_cut_only_after_a_gate_of_its_own(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 1)
    async with running(client, world) as run:
        await run.approve("before_start")
        status = await run.waiting(DRAIN)
        assert next(w for w in status.waits if w.step == DRAIN).can_force
        assert "needs a reason" in (await run.decide("retry", **{**FORCE, "reason": ""})).text
        await run.say("retry", FORCE)
        wait = await run.at_gate("end_sessions")
        assert (wait.step, wait.title) == (ENDING, "End the sessions that are left on acd-lb1 and acd-dbm1?")
        assert "They are cut off" in wait.text
        assert "1 from app@10.77.0.81 (acd-lb1, Sleep)" in wait.text
        ways = ["go on", "do not do it", "take back what was done, after a gate"]
        assert [hint.meaning for hint in wait.hints] == ways
        assert world.cluster.stuck == [STUCK]
        details = await run.details()
        assert f'"gate": "end_sessions", "seen": "{wait.code}"' in details

        await run.approve("end_sessions", "before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert world.cluster.stuck == []
    kinds = [order.command.kind for order in world.orders if order.step_id == DRAIN]
    assert kinds == ["await_drained", "end_sessions"]
    assert step_of(report, DRAIN).outcome is Outcome.DONE
    assert (step_of(report, ENDING).outcome, step_of(report, ENDING).decided_by) == (Outcome.DONE, "ada")
    assert world.violations == []


async def test_who_says_no_is_asked_again_what_to_do(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 1)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(DRAIN)
        await run.say("retry", FORCE)
        wait = await run.at_gate("end_sessions")
        no = await run.decide("reject", gate="end_sessions", seen=wait.code, by="bob", comment="a caller is on")
        assert no.text == "rejected, it is not done: End the sessions that are left on acd-lb1 and acd-dbm1?"
        status = await run.waiting(DRAIN)
        assert status.outcome is None
        assert world.cluster.stuck == [STUCK]
        late = await run.decide("approve", gate="end_sessions", seen=wait.code, by="ada")
        assert late.text == "gate end_sessions was already rejected by bob"

        await run.say("retry", FORCE)
        again = await run.at_gate("end_sessions")
        assert again.step == f"{ENDING}.2"
        assert again.code != wait.code
        await run.approve("end_sessions", "before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert (step_of(report, ENDING).outcome, step_of(report, ENDING).reason) == (None, "a caller is on")


async def test_sessions_that_do_not_even_end_by_force_wait_for_people(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 1)
    world.cluster.stuck[:] = [STUCK.model_copy(update={"user": "hung"})]
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(DRAIN)
        await run.say("retry", FORCE)
        world.trouble(DRAIN, failure("failed", "1 from hung"))
        await run.approve("end_sessions")
        status = await run.until(lambda s: any(w.step == DRAIN for w in s.waits) and len(world.orders) > 1)
        wait = next(w for w in status.waits if w.step == DRAIN)
        assert (wait.can_force, wait.can_extend) == (True, True)
        await run.say("skip", {"step": DRAIN, "by": "ada", "reason": "harmless"})
        await run.until(lambda s: any(w.step == "5-move-storage" for w in s.waits))
        await run.say("abort", {"by": "ada", "reason": "enough"})
        assert (await run.result()).outcome is RunOutcome.ABORTED


async def test_an_abort_at_that_gate_ends_the_run(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 1)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(DRAIN)
        await run.say("retry", FORCE)
        await run.at_gate("end_sessions")
        await run.say("abort", {"by": "ada", "reason": "enough"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert step_of(report, ENDING).state is StepState.NOT_STARTED
    assert step_of(report, DRAIN).outcome is Outcome.FAILED
    assert world.cluster.stuck == [STUCK]


async def test_approved_in_a_pause_it_waits_for_the_end_of_it(client: Client, reference: Inventory) -> None:
    world = with_drain(reference, 1)
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(DRAIN)
        await run.say("retry", FORCE)
        await run.at_gate("end_sessions")
        await run.say("pause", {"by": "ada", "reason": "wait"})
        await run.approve("end_sessions")
        await run.until(lambda s: step_of(s, ENDING).outcome is Outcome.DONE)
        assert world.cluster.stuck == [STUCK]
        await run.say("resume", {"by": "ada"})
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED
