"""The engine: how each step ends, told by what the world does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from activities.engine import MAX_EVIDENCE, PASSING_POLLS, StepInterrupted, StepStopped, carry_out
from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.reports import Outcome, StepProblem, StepReport
from procedure.situation import Situation
from procedure.subjects import Subject
from procedure.verdicts import Answer
from tests.activities.small_world import MACHINE, AwaitIt, Look, SmallWorld, State, StopIt, small_inventory

SITUATION = Situation(small_inventory(), "vm-host-1")
LOST = Transient(MACHINE, "connection lost", "look at the network")
DENIED = Rejected(MACHINE, "permission denied", "mend the key")
GIBBERISH = NotUnderstood(MACHINE, "an answer nobody knows")
LONG = timedelta(seconds=5)


def nothing() -> None:
    """An instruction that has no effect."""


def raising(trouble: SystemTrouble, world: SmallWorld | None = None) -> Callable[[], None]:
    """An instruction that ends in trouble, after it worked if a world is given."""

    def act() -> None:
        if world:
            world.stop()
        raise trouble

    return act


def times(look: Look, count: int = 900) -> list[Look]:
    """The same at each look."""
    return [look] * count


async def carried_out(
    command: Command, world: SmallWorld, *, acted_before: bool = False, verify_only: bool = False
) -> StepReport:
    return await carry_out(command, SITUATION, world.hands, acted_before=acted_before, verify_only=verify_only)


async def problem_of(command: Command, world: SmallWorld, *, verify_only: bool = False) -> tuple[StepProblem, bool]:
    """The problem a step ends with, and whether it is tried again."""
    with pytest.raises(StepStopped) as stopped:
        await carried_out(command, world, verify_only=verify_only)
    return stopped.value.problem, isinstance(stopped.value, StepInterrupted)


@dataclass
class Good:
    """A step that ends well."""

    what: str
    outcome: Outcome
    sent: int
    state: State = "running"
    looks: list[Look] = field(default_factory=list)
    command: Command = field(default_factory=lambda: StopIt(patience=LONG))


@pytest.mark.parametrize(
    "case",
    [
        Good("done", Outcome.DONE, sent=1),
        Good("already so", Outcome.UNCHANGED, sent=0, state="stopped"),
        Good("no such thing", Outcome.NOT_APPLICABLE, sent=0, state="missing"),
        Good("slow", Outcome.DONE, sent=1, looks=[None, "stopping", "stopping", "stopping"]),
        Good("connection lost while verifying", Outcome.DONE, sent=1, looks=[None, LOST, LOST, "stopping"]),
        Good("refused for a moment while verifying", Outcome.DONE, sent=1, looks=[None, *[DENIED] * 5]),
        Good("not understood for a moment while verifying", Outcome.DONE, sent=1, looks=[None, GIBBERISH]),
        Good(
            "refused for a moment",
            Outcome.DONE,
            sent=1,
            looks=["stopping", "stopping", None],
            command=StopIt(allowed="at rest", patience=LONG),
        ),
        Good(
            "so by itself in the moment it was refused",
            Outcome.UNCHANGED,
            sent=0,
            looks=["stopping", "stopped"],
            command=StopIt(allowed="at rest"),
        ),
        Good(
            "gone while it was refused for a moment",
            Outcome.NOT_APPLICABLE,
            sent=0,
            looks=["stopping", "missing"],
            command=StopIt(allowed="at rest"),
        ),
        Good("gone afterwards", Outcome.DONE, sent=1, looks=[None, "missing"]),
        Good(
            "waited for",
            Outcome.DONE,
            sent=0,
            looks=["running", LOST, "stopping", "stopped"],
            command=AwaitIt(patience=LONG),
        ),
        Good("nothing to wait for", Outcome.NOT_APPLICABLE, sent=0, state="missing", command=AwaitIt()),
    ],
    ids=lambda case: case.what,
)
async def test_ends_well(case: Good) -> None:
    world = SmallWorld(case.state)
    world.looks = case.looks

    report = await carried_out(case.command, world)

    assert report.outcome is case.outcome
    assert len(world.sent) == case.sent
    assert report.began <= report.ended
    assert report.seen
    assert not world.looks, "not everything happened that the case is about"


@dataclass
class Bad:
    """A step that does not."""

    what: str
    kind: str
    retry: bool = False
    sent: int = 0
    looks: list[Look] = field(default_factory=list)
    act: Callable[[], None] = nothing
    command: Command = field(default_factory=StopIt)
    seen: str = ""


@pytest.mark.parametrize(
    "case",
    [
        Bad("condition fails", "refused", command=StopIt(allowed="no"), seen="asked: no"),
        Bad(
            "condition unknown though all was seen", "refused", command=StopIt(allowed="unknown"), seen="asked: unknown"
        ),
        Bad(
            "refused for longer than a moment",
            "refused",
            looks=times("stopping", 1 + PASSING_POLLS),
            command=StopIt(allowed="at rest"),
            seen="asked: at rest",
        ),
        Bad(
            "lost after it was refused for a moment",
            "unknown",
            retry=True,
            looks=["stopping", LOST],
            command=StopIt(allowed="at rest"),
            seen="connection lost",
        ),
        Bad("lost at the first look", "unknown", retry=True, looks=[LOST], seen="connection lost"),
        Bad("denied at the first look", "rejected", looks=[DENIED], seen="permission denied"),
        Bad("not understood at the first look", "unknown", looks=[GIBBERISH], seen="nobody knows"),
        Bad("denied while acting", "rejected", sent=1, act=raising(DENIED), seen="permission denied"),
        Bad("not understood while acting", "unknown", sent=1, act=raising(GIBBERISH), seen="nobody knows"),
        Bad(
            "lost while acting", "unknown", retry=True, sent=1, act=raising(LOST), seen="connection lost. Afterwards: "
        ),
        Bad("lost while acting and after", "unknown", retry=True, sent=1, act=raising(LOST), looks=[None, LOST]),
        Bad("no effect", "failed", sent=1, seen="running"),
        Bad("stays on its way", "failed", sent=1, looks=[None, *times("stopping")], seen="stopping"),
        Bad("never seen again", "unknown", sent=1, looks=[None, *times(LOST)], seen="connection lost"),
        Bad(
            "denied for good while verifying",
            "rejected",
            sent=1,
            looks=[None, *times(DENIED)],
            command=StopIt(patience=LONG),
        ),
        Bad(
            "nonsense for good while verifying",
            "unknown",
            sent=1,
            looks=[None, *times(GIBBERISH)],
            command=StopIt(patience=LONG),
        ),
        Bad("seen, then lost", "unknown", sent=1, looks=[None, "stopping", *times(LOST)], seen="last seen: stopping"),
        Bad("waited in vain", "failed", command=AwaitIt(), seen="running"),
        Bad("waited blind", "unknown", command=AwaitIt(), looks=times(LOST), seen="connection lost"),
        Bad(
            "waited without access",
            "rejected",
            command=AwaitIt(patience=LONG),
            looks=times(DENIED),
            seen="permission denied",
        ),
    ],
    ids=lambda case: case.what,
)
async def test_ends_badly(case: Bad) -> None:
    world = SmallWorld()
    world.looks, world.on_act = list(case.looks), case.act

    problem, retry = await problem_of(case.command, world)

    assert (problem.kind, retry) == (case.kind, case.retry)
    assert len(world.sent) == case.sent
    assert case.seen in problem.seen
    assert problem.machine == MACHINE
    assert problem.expected
    assert problem.next_step
    assert problem.report is not None


async def test_an_unknown_state_is_never_acted_upon() -> None:
    for trouble in (LOST, DENIED, GIBBERISH):
        world = SmallWorld()
        world.looks = [trouble]
        await problem_of(StopIt(), world)
        assert world.sent == []


async def test_a_lost_answer_of_an_instruction_that_worked_is_done() -> None:
    for trouble in (LOST, DENIED, GIBBERISH):
        world = SmallWorld()
        world.on_act = raising(trouble, world)
        report = await carried_out(StopIt(), world)
        assert report.outcome is Outcome.DONE
        assert len(world.sent) == 1
        assert trouble.seen in report.evidence[0].answer


async def test_what_follows_a_lost_answer_is_not_sent() -> None:
    world = SmallWorld()
    world.on_act = raising(LOST)
    await problem_of(StopIt(times=3), world)
    assert len(world.sent) == 1


async def test_tried_again_after_a_lost_answer_it_is_done_once() -> None:
    world = SmallWorld()
    world.looks = [None, LOST]
    world.on_act = raising(LOST, world)
    _, retry = await problem_of(StopIt(), world)
    assert retry

    report = await carried_out(StopIt(), world, acted_before=True)

    assert report.outcome is Outcome.DONE, "it was this step's own work"
    assert len(world.sent) == 1


async def test_run_twice_it_changes_nothing_the_second_time() -> None:
    world = SmallWorld()
    first = await carried_out(StopIt(), world)
    second = await carried_out(StopIt(), world)
    assert (first.outcome, second.outcome) == (Outcome.DONE, Outcome.UNCHANGED)
    assert len(world.sent) == 1


class StopItOnceSeen(StopIt):
    """Nothing of it is asked at once."""

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        return ()

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        return super().observes(situation)


async def test_what_is_asked_after_the_first_look_counts_before_anything_is_sent() -> None:
    world = SmallWorld("stopped")
    assert (await carried_out(StopItOnceSeen(), world)).outcome is Outcome.UNCHANGED
    assert world.sent == []


async def test_verify_only_never_acts() -> None:
    world = SmallWorld()
    problem, _ = await problem_of(StopIt(), world, verify_only=True)
    assert problem.kind == "failed"
    world.looks = ["running", "stopped"]
    assert (await carried_out(StopIt(), world, verify_only=True)).outcome is Outcome.DONE
    assert world.sent == []


async def test_what_waiting_can_not_change_fails_at_once_but_only_after_it_acted() -> None:
    patient = StopIt(patience=timedelta(hours=1))
    world = SmallWorld("failed")
    assert (await carried_out(patient, world)).outcome is Outcome.DONE, "before it acts it is not in vain"

    world = SmallWorld()
    world.looks, world.on_act = [None, "stopping", "failed"], nothing
    async with asyncio.timeout(5):
        problem, retry = await problem_of(patient, world)
    assert (problem.kind, retry, problem.seen) == ("failed", False, "failed")
    assert len(world.sent) == 1


async def test_who_only_looks_does_not_wait_for_what_only_a_person_can_change() -> None:
    """A check may have hours for what takes hours; meanwhile nobody would be asked."""
    world = SmallWorld()
    world.looks = [None, LOST, "failed"]
    async with asyncio.timeout(5):
        problem, retry = await problem_of(AwaitIt(patience=timedelta(hours=1)), world)
    assert (problem.kind, retry, problem.seen) == ("failed", False, "failed")
    assert world.sent == []


async def test_who_is_silent_for_longer_than_any_command_takes_is_told_of_though_there_were_hours() -> None:
    inventory = SITUATION.inventory
    timings = inventory.timings.model_copy(update={"command": timedelta(milliseconds=200)})
    situation = Situation(inventory.model_copy(update={"timings": timings}), "vm-host-1")
    world, lost = SmallWorld(), times(LOST)
    # Twice nearly too long: whoever answers in between begins anew.
    world.looks = ["running", *lost[:3], "stopping", *lost[:3], "stopping", *lost]
    async with asyncio.timeout(10):
        with pytest.raises(StepStopped) as stopped:
            await carry_out(AwaitIt(patience=timedelta(hours=1)), situation, world.hands)
    problem = stopped.value.problem
    assert (problem.kind, problem.seen) == ("unknown", f"{MACHINE}: connection lost; last seen: stopping")
    assert world.looked > 9


async def test_the_first_look_after_acting_is_immediate() -> None:
    inventory = SITUATION.inventory
    slow = inventory.model_copy(update={"timings": inventory.timings.model_copy(update={"poll": timedelta(hours=1)})})
    async with asyncio.timeout(5):
        report = await carry_out(StopIt(patience=LONG), Situation(slow, "vm-host-1"), SmallWorld().hands)
    assert report.outcome is Outcome.DONE


async def test_tells_what_it_waits_for_and_whether_it_has_acted() -> None:
    world, told = SmallWorld(), list[tuple[str, bool]]()
    world.looks = [None, "stopping"]
    await carry_out(
        StopIt(patience=LONG), SITUATION, world.hands, progress=lambda text, acted: told.append((text, acted))
    )
    assert told == [
        ("observing: Stop Wildfly on acd-jb1", False),
        ("sending: ssh acd-jb1 sudo -n stop 0", True),
        ("waiting: stopping", True),
    ]


async def test_evidence_says_what_was_sent_and_how_it_was_seen() -> None:
    report = await carried_out(StopIt(), SmallWorld())
    assert [(e.instruction, e.answer) for e in report.evidence] == [
        ("ssh acd-jb1 sudo -n stop 0", "exit 0"),
        ("observed: ssh acd-jb1: systemctl show", '{"state":"stopped"}'),
    ]
    assert [verdict.answer for verdict in report.verdicts] == [Answer.PASS]


async def test_evidence_is_bounded() -> None:
    report = await carried_out(StopIt(times=3 * MAX_EVIDENCE), SmallWorld())
    assert len(report.evidence) == MAX_EVIDENCE
    assert report.evidence[-1].instruction.startswith("observed:")


async def test_cancelled_while_acting_it_ends_what_it_does() -> None:
    world = SmallWorld()
    world.hang = True
    step = asyncio.create_task(carried_out(StopIt(), world))
    await world.acting.wait()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert world.cancelled.is_set()


@pytest.mark.parametrize(
    ("looks", "answer", "reason"),
    [
        (times("stopping"), Answer.FAIL, "stopping"),
        (["stopping", *times(LOST)], Answer.UNKNOWN, "connection lost; last seen:"),
    ],
    ids=["seen", "lost meanwhile"],
)
async def test_a_slice_of_a_long_wait_ends_with_what_it_has_seen(
    looks: list[Look], answer: Answer, reason: str
) -> None:
    world = SmallWorld("running")
    world.looks = looks
    command = AwaitIt(patience=LONG)

    report = await carry_out(command, SITUATION, world.hands, patience=timedelta(milliseconds=60))

    assert report.outcome is Outcome.NOT_YET
    assert [verdict.answer for verdict in report.verdicts] == [answer]
    assert reason in report.verdicts[0].reason
    assert report.ended - report.began < LONG


async def test_in_a_slice_a_wait_ends_as_ever_when_it_is_so_or_access_stays_denied() -> None:
    world = SmallWorld("running")
    world.looks = ["running", "stopping", "stopped"]
    report = await carry_out(AwaitIt(patience=LONG), SITUATION, world.hands, patience=LONG)
    assert report.outcome is Outcome.DONE

    world.looks = times(DENIED)
    with pytest.raises(StepStopped) as stopped:
        await carry_out(AwaitIt(patience=LONG), SITUATION, world.hands, patience=LONG)
    assert stopped.value.problem.kind == "rejected"
