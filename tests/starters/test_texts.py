"""Texts for people: durations, what waits, what a typed line means, what has changed, the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from procedure.as_found import AsFound
from procedure.reports import Evidence, Outage, Outcome, RunOutcome, Sample, StepReport
from procedure.verdicts import passed
from starters.changes import changes
from starters.exit_codes import ExitCode
from starters.outcomes import exit_code
from starters.report_text import report_text
from starters.running import Stopped
from starters.screens import status_lines
from starters.waits import commands, pick, wish_of
from starters.wording import printable, took
from workflows.messages import Decide
from workflows.status import DecisionRecord, RunReport, StageView, Status, StepRecord, StepState, Wait, Ways

AT = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
GATE = Wait(kind="gate", step="0-gate", title="Approve", text="Now?", gate="before_start", code="k7f2", since=AT)
PROBLEM = Wait(kind="problem", step="9-off-acd-jb1", title="Off", text="It is on.", since=AT, can_force=True)
TASK = Wait(kind="operator task", step="3-close", title="Close", text="Close it.", since=AT)


def status(*waits: Wait, **more: object) -> Status:
    told = {"cluster": "acd", "vacated": "a", "surviving": "b", "began": AT, "waits": waits, **more}
    return Status.model_validate(told)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(milliseconds=340), "0.3 s"),
        (timedelta(seconds=59.6), "1 min 00 s"),
        (timedelta(minutes=9, seconds=5), "9 min 05 s"),
        (timedelta(hours=2, minutes=3), "2 h 03 min"),
        (timedelta(seconds=-1), "0.0 s"),
        (None, ""),
    ],
)
def test_durations(duration: timedelta | None, text: str) -> None:
    assert took(duration) == text


def test_nothing_steers_the_terminal() -> None:
    assert printable("a\x1b[31mred\x07\nb\té") == "a�[31mred�\nb\té"


def test_the_only_wait_is_meant_and_a_named_one_too() -> None:
    assert pick(status(GATE, TASK), ("gate",), None) == GATE
    assert pick(status(GATE, TASK), ("gate",), "before_start") == GATE
    assert pick(status(PROBLEM, TASK), ("problem", "operator task"), "3-close") == TASK


def test_more_than_one_wait_needs_a_name() -> None:
    with pytest.raises(
        Stopped, match="Say which one:\n  --step 9-off-acd-jb1   Off\n  --step 3-close   Close"
    ) as stopped:
        pick(status(PROBLEM, TASK), ("problem", "operator task"), None)
    assert stopped.value.code == ExitCode.REFUSED


@pytest.mark.parametrize(
    ("line", "wait", "wish"),
    [
        ("approve before_start", GATE, {"gate": "before_start", "seen": "k7f2", "by": "ann", "comment": ""}),
        ("approve k7f2  all fine", GATE, {"gate": "before_start", "seen": "k7f2", "by": "ann", "comment": "all fine"}),
        (
            "  REJECT before_start not today ",
            GATE,
            {"gate": "before_start", "seen": "k7f2", "by": "ann", "comment": "not today"},
        ),
        ("retry", PROBLEM, {"step": "9-off-acd-jb1", "by": "ann", "reason": ""}),
        ("skip by hand", TASK, {"step": "3-close", "by": "ann", "reason": "by hand"}),
        ("abort enough", PROBLEM, {"by": "ann", "reason": "enough"}),
        (
            "extend 30 last callers",
            PROBLEM.model_copy(update={"can_extend": True}),
            {"step": "9-off-acd-jb1", "by": "ann", "minutes": 30, "reason": "last callers"},
        ),
        ("confirm", TASK, {"step": "3-close", "by": "ann", "comment": ""}),
    ],
)
def test_typed_lines(line: str, wait: Wait, wish: dict[str, str | int]) -> None:
    found = wish_of(line, wait, "ann")
    assert found == Decide(signal=line.split(maxsplit=1)[0].lower(), payload=wish)


def test_force_is_a_retry_with_a_reason() -> None:
    found = wish_of("force it hangs", PROBLEM, "ann")
    assert (found.signal, found.payload["force"], found.payload["reason"]) == ("retry", True, "it hangs")


@pytest.mark.parametrize(
    ("line", "wait"),
    [
        ("", GATE),
        ("yes", GATE),
        ("skip x", GATE),
        ("confirm", PROBLEM),
        ("skip", PROBLEM),
        ("reject before_start", GATE),
        ("extend 30 x", PROBLEM),
        ("extend soon x", PROBLEM.model_copy(update={"can_extend": True})),
        ("extend 30", PROBLEM.model_copy(update={"can_extend": True})),
    ],
)
def test_lines_that_mean_nothing_send_nothing(line: str, wait: Wait) -> None:
    with pytest.raises(Stopped):
        wish_of(line, wait, "ann")


@pytest.mark.parametrize("line", ["approve", "approve yes", "approve functionality", "reject too early"])
def test_a_gate_is_opened_only_by_its_own_name(line: str) -> None:
    with pytest.raises(Stopped, match="name the gate that is meant; allowed: approve before_start"):
        wish_of(line, GATE, "ann")
    with pytest.raises(Stopped):
        wish_of("approve", GATE.model_copy(update={"code": ""}), "ann")


def test_force_means_nothing_where_there_is_none() -> None:
    with pytest.raises(Stopped, match=r"'force' means nothing here; allowed: retry \| skip WHY \| abort WHY"):
        wish_of("force x", PROBLEM.model_copy(update={"can_force": False}), "ann")


def test_commands_name_the_very_wait() -> None:
    assert commands(GATE, "acd")[0] == "python -m starters.approve --cluster acd --gate before_start"
    assert 'python -m starters.retry --cluster acd --step 9-off-acd-jb1 --force --reason "WHY"' in commands(
        PROBLEM, "acd"
    )
    assert commands(TASK, "acd")[0] == "python -m starters.confirm --cluster acd --step 3-close"


def test_a_roll_back_is_named_while_it_is_possible() -> None:
    back = 'python -m starters.abort --cluster acd --reason "WHY" --roll-back'
    for wait in (GATE, PROBLEM, TASK):
        assert back not in commands(wait, "acd")
        assert commands(wait.model_copy(update={"can_roll_back": True}), "acd")[-1] == back


def test_the_report_has_both_ways_from_where_a_run_was_aborted() -> None:
    ways = Ways(on_command="python -m starters.failover … --adopt c/r", on=("Shut down b",), back=("Start a: virsh",))
    text = report_text(whole_report().model_copy(update={"ways": ways}))
    assert "By itself: python -m starters.failover … --adopt c/r\nWhat remains:\n- Shut down b\n" in text
    assert "To go back from there, in this order\n------------------------------------\n- Start a: virsh\n" in text
    assert "To go back" not in report_text(whole_report())


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (RunOutcome.COMPLETED, ExitCode.OK),
        (RunOutcome.COMPLETED_WITH_SKIPS, ExitCode.COMPLETED_WITH_SKIPS),
        (RunOutcome.ABORTED, ExitCode.ABORTED),
        (RunOutcome.ROLLED_BACK, ExitCode.ABORTED),
        (RunOutcome.FAILED, ExitCode.FAILED),
    ],
)
def test_every_outcome_has_its_exit_code(outcome: RunOutcome, code: ExitCode) -> None:
    assert exit_code(status(outcome=outcome)) == code


def test_a_run_under_way_waits_or_does_not() -> None:
    assert exit_code(status(GATE)) == ExitCode.WAITING
    assert exit_code(status()) == ExitCode.OK


def test_changes_are_told_once() -> None:
    step = StepRecord(id="3-stop", stage=3, title="Stop Wildfly on acd-jb1")
    stage = StageView(number=3, label="step 3", title="Stop software")
    before = status(steps=(step,), stages=(stage,))
    running = status(
        TASK,
        steps=(step.model_copy(update={"state": StepState.RUNNING, "began": AT, "attempts": 1}),),
        stages=(stage.model_copy(update={"state": "running", "began": AT}),),
        notes=("a silence ends soon",),
    )
    told = changes(before, running, AT)
    assert told[0] == "stage 03 Stop software: running"
    assert told[1] == "   Stop Wildfly on acd-jb1: running"
    assert "note: a silence ends soon" in told
    assert any("Waiting since" in line for line in told)
    assert changes(running, running, AT) == []


def whole_report() -> RunReport:
    proof = StepReport(
        outcome=Outcome.DONE,
        seen="wildfly is stopped",
        verdicts=(passed("nothing depends on it"),),
        evidence=(Evidence(at=AT, instruction="sudo systemctl stop wildfly", answer="exit code 0"),),
        began=AT,
        ended=AT,
    )
    end = AT + timedelta(minutes=4)
    return RunReport(
        cluster="acd",
        vacated="vm-host-1",
        surviving="vm-host-2",
        reason="new memory",
        requested_by="ann",
        began=AT,
        ended=end,
        outcome=RunOutcome.COMPLETED_WITH_SKIPS,
        outcome_reason="Skipped: Snapshot of acd-dbm1.",
        stages=(StageView(number=3, label="step 3", title="Stop software", state="ended", done=2, total=2, began=AT),),
        steps=(
            StepRecord(
                id="3-stop",
                stage=3,
                title="Stop Wildfly on acd-jb1",
                state=StepState.ENDED,
                outcome=Outcome.DONE,
                attempts=2,
                began=AT,
                ended=end,
                report=proof,
            ),
            StepRecord(
                id="3-snap",
                stage=3,
                title="Snapshot of acd-dbm1",
                state=StepState.ENDED,
                outcome=Outcome.SKIPPED,
                reason="no room",
                decided_by="bob",
            ),
        ),
        decisions=(
            DecisionRecord(
                at=AT, signal="skip", by="bob", about="3-snap", accepted=True, answer="skipped", said="no room"
            ),
            DecisionRecord(at=AT, signal="aprove", accepted=False, answer="unknown signal 'aprove'", said="{}"),
        ),
        health=(passed("acd-lb1 is reachable"),),
        outage=Outage(
            began=AT,
            ended=end,
            duration=timedelta(minutes=4),
            measurements=240,
            samples=(Sample(at=AT, ok=False, detail="portal: connection refused"),),
            gaps=("22:01:00 to 22:01:09: the worker was away",),
        ),
        as_found=AsFound(storage="acd-store1", load_balancer="acd-lb1", writer="acd-dbm1", daemon=("acd-tel1",)),
        next_steps=("Take the snapshot by hand.",),
    )


def test_the_report_tells_who_decided_what_and_how_it_is_known() -> None:
    text = report_text(whole_report())
    for said in (
        "Outcome       completed with skips. Skipped: Snapshot of acd-dbm1.",
        "Requested by  ann",
        "- Take the snapshot by hand.",
        'bob: skip 3-snap "no room" – accepted: skipped',
        "unnamed: aprove \"{}\" – NOT accepted: unknown signal 'aprove'",
        "4 min 00 s, measured 240 times, every 1.0 s",
        "not measured: 22:01:00 to 22:01:09: the worker was away",
        "Stop Wildfly on acd-jb1: done in 4 min 00 s, handed out 2 times  [3-stop]",
        "seen: wildfly is stopped",
        "condition: nothing depends on it: pass",
        "sudo systemctl stop wildfly",
        "→ exit code 0",
        "Snapshot of acd-dbm1: skipped",
        "decided by bob: no room",
        "Storage primary        acd-store1",
        "AcdGroupDistribute on  acd-tel1",
        "Names of people are as they gave them.",
    ):
        assert said in text


def test_a_report_of_a_run_that_did_nothing() -> None:
    text = report_text(RunReport(cluster="acd", vacated="a", surviving="b", began=AT, phase="00 Health check"))
    for said in ("not over yet (00 Health check)", "Nobody decided anything.", "It was not measured.", "none was made"):
        assert said in text


def test_the_status_shows_an_overdue_gate_as_holding() -> None:
    lines = "\n".join(status_lines(status(GATE.model_copy(update={"overdue": True})), AT))
    assert "The run holds" in lines
