"""A paused run begins nothing; what runs ends, deadlines wait, silences are extended, and an abort works."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from inventory.approval import Approval
from inventory.models import Inventory
from procedure.facts import Facts, Observation
from procedure.plan import Gate, Step
from procedure.reports import Outcome, RunOutcome
from tests.workflows.driving import running, step_of
from tests.workflows.paper_world import PaperWorld, failure
from tests.workflows.test_background import without_outage_probes
from workflows import names
from workflows.ledger import Ledger
from workflows.status import StepState

STOP = "3-stop-wildfly-acd-jb1"
DRAIN = "4-drain-sessions"
PAUSE = {"by": "ada", "reason": "the vendor calls"}
RESUME = {"by": "bob", "comment": "go on"}
NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
GATE = Gate(name="before_start", question="Start?", deadline=timedelta(hours=1))
AT_GATE = Step(id="0-gate", stage=0, title="Before anything is touched", action=GATE)


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Ledger:
    book = Ledger(Approval())
    book.plan((AT_GATE,))
    book.wait_at_gate(AT_GATE, GATE, "abc123", NOW)
    return book


def test_a_deadline_waits_and_goes_on_where_it_was(ledger: Ledger) -> None:
    ledger.hear("pause", PAUSE, NOW + timedelta(minutes=20))
    shown = ledger.open_waits[0]
    assert (shown.deadline, shown.left) == (None, timedelta(minutes=40))
    assert ledger.hear("resume", RESUME, NOW + timedelta(hours=3)).text == "the run goes on"
    assert ledger.open_waits[0].deadline == NOW + timedelta(hours=3, minutes=40)
    assert ledger.open_waits[0].left is None


def test_a_gate_reached_in_a_pause_waits_only_for_the_rest_of_it() -> None:
    book = Ledger(Approval())
    book.plan((AT_GATE,))
    book.hear("pause", PAUSE, NOW)
    book.wait_at_gate(AT_GATE, GATE, "abc123", NOW + timedelta(hours=2))
    assert book.open_waits[0].left == timedelta(hours=1)
    book.hear("resume", RESUME, NOW + timedelta(hours=5))
    assert book.open_waits[0].deadline == NOW + timedelta(hours=6)


def test_a_deadline_that_had_passed_stays_passed(ledger: Ledger) -> None:
    ledger.overdue(AT_GATE.id)
    ledger.hear("pause", PAUSE, NOW + timedelta(hours=2))
    assert ledger.open_waits[0].deadline == NOW + timedelta(hours=1)
    ledger.hear("resume", RESUME, NOW + timedelta(hours=3))
    assert ledger.open_waits[0].deadline == NOW + timedelta(hours=1)
    assert ledger.open_waits[0].overdue


@pytest.mark.parametrize(
    ("signal", "said", "part"),
    [
        ("pause", {"by": "ada"}, "pause not understood (reason: Field required)"),
        ("pause", {"by": " ", "reason": "x"}, "by: String should have at least 1 character"),
        ("pause", {**PAUSE, "until": "noon"}, "until: Extra inputs are not permitted"),
        ("pause", None, "takes one JSON object with the fields by, reason"),
        ("resume", {}, "resume not understood (by: Field required)"),
        ("resume", "now", "takes one JSON object with the fields by, comment"),
        ("resume", RESUME, "the run is not paused"),
    ],
)
def test_what_is_not_understood_is_answered(ledger: Ledger, signal: str, said: object, part: str) -> None:
    answer = ledger.hear(signal, said, NOW)
    assert not answer.accepted
    assert part in answer.text
    assert ledger.paused is None


def test_pausing_twice_is_answered_with_who_did_it_before(ledger: Ledger) -> None:
    assert ledger.hear("pause", PAUSE, NOW).accepted
    again = ledger.hear("pause", {"by": "bob", "reason": "too"}, NOW)
    assert again.text == "the run is already paused, by ada since 02:00:00 UTC"


def test_an_aborted_run_is_paused_no_longer_and_can_not_be(ledger: Ledger) -> None:
    ledger.hear("pause", PAUSE, NOW)
    ledger.hear("abort", {"by": "ada", "reason": "enough"}, NOW)
    assert ledger.paused is None
    assert "already being aborted" in ledger.hear("pause", PAUSE, NOW).text
    assert "already being aborted" in ledger.hear("resume", RESUME, NOW).text


def test_only_named_people_pause_and_resume() -> None:
    book = Ledger(Approval(approvers=("ada",)))
    assert "allowed are: ada" in book.hear("pause", {**PAUSE, "by": "eve"}, NOW).text
    book.hear("pause", PAUSE, NOW)
    assert "allowed are: ada" in book.hear("resume", RESUME, NOW).text


# --- what a run does --------------------------------------------------------------------------------------------------


async def test_what_runs_ends_nothing_begins_and_a_gate_may_be_approved(client: Client, world: PaperWorld) -> None:
    held = world.hold(STOP)
    async with running(client, world) as run:
        await run.approve("before_start")
        await held.reached.wait()
        await run.say("pause", PAUSE)
        status = await run.until(lambda s: s.paused)
        assert status.paused is not None
        assert (status.paused.by, status.paused.reason) == ("ada", "the vendor calls")
        assert "waits for: resume, paused by ada" in status.phase
        held.go.set()
        # All of the stage were begun together, and each ends by itself.
        status = await run.until(lambda s: all(r.state is StepState.ENDED for r in s.steps if r.stage == 3))
        assert step_of(status, DRAIN).state is StepState.PENDING
        details = await run.details()
        assert "**Paused by ada since" in details
        assert '`resume` – go on, with what was decided meanwhile: `{"by": "YOUR NAME"}`' in details
        attributes = (await run.handle.describe()).typed_search_attributes
        assert attributes.get(names.WAITING) == "resume, paused by ada"

        assert (await run.decide("resume", by="bob")).accepted
        await run.at_gate("before_power_off")
        await run.say("pause", PAUSE)
        await run.approve("before_power_off")
        status = await run.until(lambda s: not s.waits)
        assert DRAIN in world.done()
        assert not [
            record
            for record in status.steps
            if record.stage == 9 and record.kind == "shut_down_machine" and record.began
        ]

        await run.say("resume", RESUME)
        await run.approve("functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.paused is None
    assert world.violations == []


async def test_an_answer_given_in_a_pause_takes_effect_when_it_ends(client: Client, world: PaperWorld) -> None:
    world.trouble(STOP, failure("failed"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(STOP)
        await run.say("pause", PAUSE)
        answer = await run.decide("retry", step=STOP, by="ada")
        assert answer.accepted
        assert answer.text.endswith("takes effect when the run is resumed")
        assert "already decided" in (await run.decide("skip", step=STOP, by="ada", reason="x")).text
        status = await run.status()
        assert status.waits == ()
        assert world.attempts[STOP] == 1
        await run.say("resume", RESUME)
        await run.approve("before_power_off", "functionality")
        report = await run.result()
    assert world.attempts[STOP] == 2
    assert report.outcome is RunOutcome.COMPLETED


async def test_a_paused_run_can_be_aborted(client: Client, world: PaperWorld) -> None:
    world.trouble(STOP, failure("failed"))
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.waiting(STOP)
        await run.say("pause", PAUSE)
        await run.decide("retry", step=STOP, by="ada")
        await run.say("abort", {"by": "ada", "reason": "enough"})
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert world.attempts[STOP] == 1
    assert step_of(report, STOP).outcome is Outcome.FAILED
    assert world.cluster.silenced() == set()


async def test_the_health_check_looks_again_only_after_a_pause(client: Client, world: PaperWorld) -> None:
    jb1 = "0-observe-acd-jb1"
    held = world.hold(jb1)
    once = [True]

    def lost(facts: Facts) -> Facts:
        if held.go.is_set() and once:
            once.clear()
            return Facts(observations=tuple(_not_seen(seen) for seen in facts.observations))
        return facts

    world.seen = lost
    async with running(client, world) as run:
        await held.reached.wait()
        await run.until(lambda s: sum(record.state is StepState.RUNNING for record in s.steps) == 1)
        await run.say("pause", PAUSE)
        await run.until(lambda s: s.paused)
        held.go.set()
        await asyncio.sleep(1.5)  # the pause between two attempts is one second
        assert world.attempts[jb1] == 1
        await run.say("resume", RESUME)
        await run.approve_all()
        report = await run.result()
    assert world.attempts[jb1] == 2
    assert report.outcome is RunOutcome.COMPLETED


def _not_seen(observation: Observation) -> Observation:
    return observation.model_copy(update={"fact": None, "trouble": "transient", "problem": "connection lost"})


async def test_silences_are_extended_and_the_gate_is_not_overdue_after_a_long_pause(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(without_outage_probes(reference), skipping.get_current_time)
    async with running(skipping.client, world) as run:
        await run.approve("before_start")
        gate = await run.at_gate("before_power_off")
        await run.say("pause", PAUSE)
        await run.until(lambda s: s.paused)
        await skipping.sleep(timedelta(hours=20))
        world.cluster.now = await skipping.get_current_time()
        assert world.cluster.silenced() == world.machines_of("vm-host-1") | world.machines_of("vm-host-2")
        status = await run.status()
        assert not status.waits[0].overdue
        assert status.waits[0].left is not None
        assert timedelta(hours=11) < status.waits[0].left <= timedelta(hours=12)
        assert "its deadline waits too" in await run.details()

        await run.say("resume", RESUME)
        again = await run.at_gate("before_power_off")
        assert gate.deadline is not None
        assert again.deadline is not None
        assert again.deadline - gate.deadline > timedelta(hours=20)
        await skipping.sleep(timedelta(hours=12))
        await run.until(lambda s: s.waits[0].overdue)
        await run.say("abort", {"by": "ada", "reason": "enough"})
        assert (await run.result()).outcome is RunOutcome.ABORTED
