"""The ledger: whatever is said in whatever order, no gate opens unread and nothing breaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.approval import Approval
from procedure.plan import Gate, OperatorTask, Step
from procedure.reports import Outcome, StepProblem
from workflows.book import MAX_DECISIONS
from workflows.ledger import Ledger
from workflows.messages import SIGNAL_MODELS
from workflows.status import StepState

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
GATE = Gate(name="before_start", question="Start?", deadline=timedelta(hours=1))
TASK = OperatorTask(target="acd-tel1", instructions="Close the window.", expected=timedelta(minutes=1))
PROBLEM = StepProblem(kind="failed", machine="acd-jb1", expected="stopped", seen="running", next_step="look")
AT_GATE = Step(id="0-gate", stage=0, title="Before anything is touched", action=GATE)
AT_TASK = Step(id="3-by-hand", stage=3, title="Stop by hand", action=TASK)
AT_PROBLEM = Step(id="3-stop", stage=3, title="Stop Wildfly on acd-jb1", action=TASK)
APPROVE = {"gate": "before_start", "seen": "abc123", "by": "ada"}


@pytest.fixture
def ledger() -> Ledger:
    book = Ledger(Approval())
    book.plan((AT_GATE, AT_TASK, AT_PROBLEM))
    return book


def at_gate(ledger: Ledger) -> Ledger:
    ledger.wait_at_gate(AT_GATE, GATE, "abc123", NOW)
    return ledger


def test_a_gate_opens_for_its_code(ledger: Ledger) -> None:
    answer = at_gate(ledger).hear("approve", APPROVE, NOW)
    assert answer.accepted
    assert ledger.resolved(AT_GATE.id)
    assert ledger.decisions[-1].by == "ada"


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({**APPROVE, "seen": "old"}, "another code"),
        ({**APPROVE, "gate": "functionality"}, "is not open; open now: before_start"),
        ({**APPROVE, "by": "  "}, "by"),
        ({**APPROVE, "code": "x"}, "code"),
        ({"gate": "before_start"}, "seen"),
        (None, "takes one JSON object"),
        ([], "takes one JSON object"),
        ("yes", "takes one JSON object"),
        (True, "takes one JSON object"),
        (b"\xff", "takes one JSON object"),
    ],
)
def test_what_does_not_open_a_gate_is_answered_and_recorded(ledger: Ledger, said: object, part: str) -> None:
    answer = at_gate(ledger).hear("approve", said, NOW)
    assert not answer.accepted
    assert part in answer.text
    assert not ledger.resolved(AT_GATE.id)
    assert ledger.decisions[-1].answer == answer.text


def test_early_repeated_and_late_approvals_are_refused_with_the_reason(ledger: Ledger) -> None:
    assert "is not open" in ledger.hear("approve", APPROVE, NOW).text
    at_gate(ledger)
    assert ledger.hear("approve", APPROVE, NOW).accepted
    assert "already approved by ada" in ledger.hear("approve", APPROVE, NOW).text
    ledger.take(AT_GATE.id)
    assert "already approved by ada" in ledger.hear("reject", {**APPROVE, "comment": "no"}, NOW).text


def test_an_approval_sent_early_does_not_open_the_gate_later(ledger: Ledger) -> None:
    ledger.hear("approve", APPROVE, NOW)
    at_gate(ledger)
    assert not ledger.resolved(AT_GATE.id)


def test_only_named_approvers_decide() -> None:
    book = Ledger(Approval(approvers=("ada",)))
    book.plan((AT_GATE,))
    at_gate(book)
    refused = book.hear("approve", {**APPROVE, "by": "bob"}, NOW)
    assert "allowed are: ada" in refused.text
    assert book.hear("approve", APPROVE, NOW).accepted


def test_a_problem_takes_retry_and_skip_and_force_only_where_there_is_one(ledger: Ledger) -> None:
    assert "is pending" in ledger.hear("retry", {"step": "3-stop", "by": "ada"}, NOW).text
    ledger.wait_with_problem(AT_PROBLEM, PROBLEM, can_force=False, now=NOW)
    assert "no way by force" in ledger.hear("retry", {"step": "3-stop", "by": "ada", "force": True}, NOW).text
    assert "reason" in ledger.hear("skip", {"step": "3-stop", "by": "ada"}, NOW).text
    assert "confirm" in ledger.hear("confirm", {"step": "3-stop", "by": "ada"}, NOW).text
    assert ledger.hear("retry", {"step": "3-stop", "by": "ada"}, NOW).accepted
    assert "already decided" in ledger.hear("skip", {"step": "3-stop", "by": "ada", "reason": "x"}, NOW).text


def test_force_needs_a_reason(ledger: Ledger) -> None:
    ledger.wait_with_problem(AT_PROBLEM, PROBLEM, can_force=True, now=NOW)
    by_force: dict[str, Any] = {"step": "3-stop", "by": "ada", "force": True}
    assert "needs a reason" in ledger.hear("retry", by_force, NOW).text
    assert ledger.hear("retry", {**by_force, "reason": "it hangs"}, NOW).accepted


def test_a_gate_cannot_be_skipped(ledger: Ledger) -> None:
    at_gate(ledger)
    assert not ledger.hear("skip", {"step": AT_GATE.id, "by": "ada", "reason": "hurry"}, NOW).accepted


def test_unknown_signals_are_recorded(ledger: Ledger) -> None:
    answer = ledger.hear("aprove", APPROVE, NOW)
    assert "understood are: approve" in answer.text
    assert ledger.decisions[-1].signal == "aprove"


def test_a_flood_is_counted_and_not_kept(ledger: Ledger) -> None:
    for _ in range(MAX_DECISIONS + 7):
        ledger.hear("hello", None, NOW)
    assert len(ledger.decisions) == MAX_DECISIONS
    assert ledger.unrecorded == 7


def test_an_abort_leaves_what_waits_and_nobody_is_asked_about_it_any_more(ledger: Ledger) -> None:
    at_gate(ledger)
    ledger.wait_for_task(AT_TASK, TASK, NOW)
    ledger.wait_with_problem(AT_PROBLEM, PROBLEM, can_force=False, now=NOW)
    assert ledger.hear("abort", {"by": "ada", "reason": "stop"}, NOW).accepted
    assert not ledger.waits
    assert ledger.records["3-stop"].outcome is Outcome.FAILED
    assert ledger.records["3-by-hand"].outcome is Outcome.UNKNOWN
    assert ledger.records["0-gate"].state is StepState.NOT_STARTED
    for signal, said in (("approve", APPROVE), ("skip", {"step": "3-stop", "by": "ada", "reason": "x"})):
        assert not ledger.hear(signal, said, NOW).accepted


def test_an_answer_given_just_before_the_abort_is_still_there(ledger: Ledger) -> None:
    ledger.wait_with_problem(AT_PROBLEM, PROBLEM, can_force=False, now=NOW)
    assert ledger.hear("skip", {"step": "3-stop", "by": "ada", "reason": "x"}, NOW).accepted
    assert ledger.hear("abort", {"by": "bob", "reason": "stop"}, NOW).accepted
    assert ledger.resolved("3-stop")


def test_what_an_aborted_run_still_owes_can_be_skipped_but_not_aborted(ledger: Ledger) -> None:
    ledger.hear("abort", {"by": "ada", "reason": "stop"}, NOW)
    ledger.wait_with_problem(AT_PROBLEM, PROBLEM, can_force=False, now=NOW)
    assert [hint.signal for hint in ledger.waits["3-stop"].hints] == ["retry", "skip"]
    assert "already being aborted, by ada" in ledger.hear("abort", {"by": "bob", "reason": "again"}, NOW).text


def test_an_open_gate_with_a_new_code_does_not_take_the_old_one(ledger: Ledger) -> None:
    at_gate(ledger)
    ledger.gates.renew_codes(0xFFFFFF)
    assert "another code" in ledger.hear("approve", APPROVE, NOW).text
    assert ledger.waits[AT_GATE.id].hints[0].payload["seen"] == "ffffff"


def test_a_new_code_revokes_an_approval_with_which_nobody_went_on_yet(ledger: Ledger) -> None:
    at_gate(ledger)
    assert ledger.hear("approve", APPROVE, NOW).accepted
    assert not ledger.open_waits
    ledger.gates.renew_codes(0xFFFFFF)
    assert not ledger.resolved(AT_GATE.id)
    assert [wait.code for wait in ledger.open_waits] == ["ffffff"]
    assert ledger.hear("approve", {**APPROVE, "seen": "ffffff"}, NOW).accepted


def test_the_end_tells_what_was_not_started(ledger: Ledger) -> None:
    ledger.finish()
    assert ledger.records["3-by-hand"].state is StepState.NOT_STARTED


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
plausible = st.fixed_dictionaries(
    {"by": st.sampled_from(["ada", "", "bob"])},
    optional={
        "gate": st.sampled_from(["before_start", "functionality", ""]),
        "seen": st.sampled_from(["abc12", "ABC123", ""]),
        "step": st.sampled_from(["0-gate", "3-by-hand", "3-stop", "nowhere"]),
        "reason": st.just("because"),
        "comment": st.text(max_size=5),
        "force": st.booleans(),
    },
)
signals = st.sampled_from([*SIGNAL_MODELS, "aprove", "", "__temporal_x"])


@given(st.lists(st.tuples(signals, anything | plausible), max_size=25))
@settings(max_examples=150, deadline=None)
def test_no_sequence_of_signals_breaks_the_ledger_or_opens_a_gate_without_its_code(
    sequence: list[tuple[str, object]],
) -> None:
    book = Ledger(Approval())
    book.plan((AT_GATE, AT_TASK, AT_PROBLEM))
    at_gate(book)
    book.wait_for_task(AT_TASK, TASK, NOW)
    book.wait_with_problem(AT_PROBLEM, PROBLEM, can_force=True, now=NOW)
    for signal, said in sequence:
        book.hear(signal, said, NOW)
    assert len(book.decisions) == len(sequence)
    assert not book.resolved(AT_GATE.id)
