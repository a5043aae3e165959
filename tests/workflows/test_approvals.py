"""Approvals: whose count, how many are needed, how long one waits for the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from inventory.approval import Approval, GatePolicy, LongGatePolicy
from inventory.models import Inventory
from procedure.plan import Gate, Step
from procedure.reports import RunOutcome
from procedure.signing import SignatureVerdict
from tests.workflows.driving import own, running, step_of
from tests.workflows.paper_world import PaperWorld
from workflows.approvals import missing, standing, why_it_would_never_open
from workflows.gate_book import MOST_CHECKS, Check
from workflows.ledger import Ledger
from workflows.news import of_wait
from workflows.status import Bound, Wait

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
GATE = Gate(name="before_start", question="Start?", deadline=timedelta(hours=12))
AT_GATE = Step(id="0-gate", stage=0, title="Before anything is touched", action=GATE)
TWO = GatePolicy(approvers=("ada", "bob", "eve"), needed=2)
HOUR = timedelta(hours=1)


def ledger_with(policy: GatePolicy, *, requester: str = "", approvers: tuple[str, ...] = ()) -> Ledger:
    book = Ledger(Approval(before_start=policy, approvers=approvers), requester)
    book.plan((AT_GATE,))
    book.wait_at_gate(AT_GATE, GATE, "abc123", NOW)
    return book


def approve(book: Ledger, by: str, now: datetime = NOW, **more: object) -> str:
    answer = book.hear("approve", {"gate": "before_start", "seen": "abc123", "by": by, **more}, now)
    return ("yes: " if answer.accepted else "no: ") + answer.text


def wait_of(book: Ledger) -> Wait:
    return book.waits[AT_GATE.id]


def test_a_gate_opens_when_enough_different_people_have_approved() -> None:
    book = ledger_with(TWO)
    assert standing(wait_of(book)) == "Approvals, 0 of 2: none yet; missing 2 of: ada, bob, eve"
    assert approve(book, "ada") == (
        "yes: Approvals, 1 of 2: ada (counts until 03:00:00 UTC); missing 1 of: bob, eve: Before anything is touched"
    )
    assert not book.resolved(AT_GATE.id)
    assert approve(book, "eve") == "yes: approved by ada and eve: Before anything is touched"
    assert book.resolved(AT_GATE.id)
    assert approve(book, "bob") == "no: gate before_start was already approved by ada and eve"


@pytest.mark.parametrize("again", ["ada", "Ada", " ADA "])
def test_one_person_is_one_approval(again: str) -> None:
    book = ledger_with(GatePolicy(needed=2))
    approve(book, "ada")
    assert "has already approved; missing 1 of: anybody but ada" in approve(book, again)
    assert not book.resolved(AT_GATE.id)


def test_only_names_of_the_gate_approve_and_reject_there() -> None:
    book = ledger_with(TWO, approvers=("zoe",))
    assert approve(book, "zoe") == "no: 'zoe' may not decide here; allowed are: ada, bob, eve"
    reject = {"gate": "before_start", "seen": "abc123", "comment": "not tonight"}
    assert not book.hear("reject", {**reject, "by": "zoe"}, NOW).accepted
    assert not book.hear("abort", {"by": "ada", "reason": "stop"}, NOW).accepted
    assert book.hear("abort", {"by": "zoe", "reason": "stop"}, NOW).accepted


def test_one_who_rejects_is_enough() -> None:
    book = ledger_with(TWO)
    approve(book, "ada")
    reject = {"gate": "before_start", "seen": "abc123", "by": "bob", "comment": "not tonight"}
    assert book.hear("reject", reject, NOW).text == "rejected, the run ends here: Before anything is touched"
    assert "already rejected by bob" in approve(book, "eve")


def test_who_requested_the_run_does_not_approve_it() -> None:
    book = ledger_with(GatePolicy(approvers=("ada", "bob"), not_requester=True), requester="Ada")
    assert missing(wait_of(book)) == "missing 1 of: bob"
    assert approve(book, "ada") == "no: ada requested this run and may not approve it; missing 1 of: bob"
    reject = {"gate": "before_start", "seen": "abc123", "by": "ada", "comment": "I was wrong"}
    assert book.judge("reject", reject).accepted
    assert approve(book, "bob").startswith("yes: approved")


def test_an_approval_that_waits_for_too_long_counts_no_longer() -> None:
    book = ledger_with(TWO)
    approve(book, "ada", comment="fine")
    assert "missing 1 of: bob, eve" in approve(book, "ada", NOW + HOUR - timedelta(seconds=1))
    assert approve(book, "bob", NOW + HOUR).startswith("yes: Approvals, 1 of 2: bob")
    assert book.notes == [
        "03:00:00 gate before_start: the approval of ada expired after 1h, since no other one came: approve again"
    ]
    told = book.decisions[-2]
    assert (told.by, told.about, told.accepted, told.said) == ("ada", "before_start", False, "fine")
    assert approve(book, "ada", NOW + HOUR) == "yes: approved by bob and ada: Before anything is touched"


def test_an_approval_that_needs_no_other_does_not_expire() -> None:
    book = ledger_with(GatePolicy(valid_for=timedelta(minutes=1)))
    approve(book, "ada")
    book.gates.expire(NOW + HOUR)
    assert book.resolved(AT_GATE.id)


def test_a_new_code_revokes_the_approvals_there_were() -> None:
    book = ledger_with(TWO)
    approve(book, "ada")
    book.gates.renew_codes(0xFFFFFF)
    assert wait_of(book).approvals == ()


def test_who_is_not_at_the_screen_is_told_why_a_gate_is_shown_anew_and_who_is_missing() -> None:
    book = ledger_with(TWO)
    approve(book, "ada")
    book.gates.void(AT_GATE.id, Bound(plan="x"), "ffffff", ("acd-jb2: power was on, is off",), NOW)
    told = of_wait(wait_of(book), "reference").details
    assert "approvals are void, since this has changed:\n- acd-jb2: power was on, is off" in told
    assert "Approvals, 0 of 2: none yet; missing 2 of: ada, bob, eve" in told


def test_a_gate_that_anybody_opens_alone_says_nothing_about_approvals() -> None:
    assert standing(wait_of(ledger_with(GatePolicy()))) == ""


@pytest.mark.parametrize(
    ("approval", "requester", "says"),
    [
        (Approval(), "", ""),
        (Approval(before_start=GatePolicy(not_requester=True)), "ada", ""),
        (Approval(before_start=GatePolicy(not_requester=True)), "", "say who requests it"),
        (Approval(before_start=GatePolicy(not_requester=True, enabled=False)), "", ""),
        (Approval(approvers=("ada",), functionality=GatePolicy(not_requester=True)), "Ada", "only nobody did not"),
        (Approval(before_start=TWO.model_copy(update={"not_requester": True})), "ada", ""),
        (
            Approval(before_start=TWO.model_copy(update={"not_requester": True, "needed": 3})),
            "ada",
            "At gate before_start 3 approvals are needed, and of its approvers only bob, eve did not request the run.",
        ),
    ],
)
def test_a_run_that_could_never_pass_is_told_so(approval: Approval, requester: str, says: str) -> None:
    told = why_it_would_never_open(approval, requester)
    assert says in told if says else not told


def test_only_a_maintenance_has_to_pass_the_gate_that_only_it_has() -> None:
    approval = Approval(maintenance_finished=LongGatePolicy(approvers=("ada",), not_requester=True))
    assert not why_it_would_never_open(approval, "ada")
    assert "At gate maintenance_finished" in why_it_would_never_open(approval, "ada", maintenance=True)


# --- signatures -------------------------------------------------------------------------------------------------------

SIGNED = GatePolicy(approvers=("ada", "bob"), signed=True)
SIGNATURE = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"
GOOD = SignatureVerdict(good=True, key="SHA256:abc")


def signed_ledger(policy: GatePolicy = SIGNED) -> Ledger:
    book = Ledger(
        Approval(before_start=policy, allowed_signers="/etc/failover/allowed_signers"), "", "--cluster reference"
    )
    book.plan((AT_GATE,))
    book.wait_at_gate(AT_GATE, GATE, "abc123", NOW)
    return book


def checks_of(book: Ledger) -> Check:
    check = book.gates.next_check(AT_GATE.id)
    assert check is not None
    return check


def test_an_unsigned_approval_is_refused_with_what_to_type_instead() -> None:
    book = signed_ledger()
    command = "python -m starters.approve --cluster reference --gate before_start --sign KEY"
    assert approve(book, "ada") == f"no: gate before_start takes only signed approvals: {command}"
    assert wait_of(book).hints[0].command == command
    assert standing(wait_of(book)).endswith("; only signed ones count")
    reject = {"gate": "before_start", "seen": "abc123", "by": "ada", "comment": "stopping needs no key"}
    assert book.hear("reject", reject, NOW).accepted


def test_a_signed_approval_counts_when_its_signature_was_verified() -> None:
    book = signed_ledger()
    told = approve(book, "ada", signature=SIGNATURE)
    assert told == "yes: the signature of ada is being verified: Before anything is touched"
    assert not book.resolved(AT_GATE.id)
    check = checks_of(book)
    book.gates.verified(check, GOOD, NOW)
    assert check.answer is not None
    assert check.answer.text == "approved: Before anything is touched"
    assert book.resolved(AT_GATE.id)
    assert wait_of(book).approvals[0].key == "SHA256:abc"
    assert (book.decisions[-1].accepted, book.decisions[-1].answer) == (True, check.answer.text)


def test_a_bad_signature_does_not_count_and_another_may_follow() -> None:
    book = signed_ledger()
    approve(book, "ada", signature=SIGNATURE)
    book.gates.verified(checks_of(book), SignatureVerdict(good=False, reason="the key has expired"), NOW)
    assert book.decisions[-1].answer == "the signature of ada does not count: the key has expired"
    assert not book.decisions[-1].accepted
    assert not book.resolved(AT_GATE.id)
    assert approve(book, "ada", signature=SIGNATURE).startswith("yes: the signature")


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"signature": "trust me"}, "this is no SSH signature"),
        ({"signature": SIGNATURE + "A" * 9000}, "signature: String should have at most 8192 characters"),
        ({"signature": SIGNATURE, "by": "ada lovelace"}, "allowed are: ada, bob"),
    ],
)
def test_what_can_be_no_signature_is_not_verified(said: dict[str, Any], part: str) -> None:
    book = signed_ledger()
    assert part in approve(book, **{"by": "ada", **said})
    assert book.gates.next_check(AT_GATE.id) is None


def test_where_nobody_is_named_a_signer_needs_a_name_that_can_be_listed() -> None:
    book = signed_ledger(GatePolicy(signed=True))
    assert "can't be a name among the allowed signers" in approve(book, "ada, bob", signature=SIGNATURE)


def test_a_signature_where_none_can_be_verified_is_refused() -> None:
    told = approve(ledger_with(GatePolicy()), "ada", signature=SIGNATURE)
    assert "approve without a signature" in told


def test_a_signature_is_verified_where_none_is_wanted() -> None:
    book = signed_ledger(GatePolicy())
    approve(book, "ada", signature=SIGNATURE)
    book.gates.verified(checks_of(book), SignatureVerdict(good=False, reason="incorrect signature"), NOW)
    assert not book.resolved(AT_GATE.id)
    assert approve(book, "ada").startswith("yes: approved")


def test_two_verified_at_once_are_one_approval_if_they_are_one_persons() -> None:
    book = signed_ledger(GatePolicy(needed=2, signed=True))
    for _ in range(2):
        approve(book, "ada", signature=SIGNATURE)
    for _ in range(2):
        book.gates.verified(checks_of(book), GOOD, NOW)
    assert [given.by for given in wait_of(book).approvals] == ["ada"]
    assert "has already approved" in book.decisions[-1].answer


@pytest.mark.parametrize("what", ["a reset", "an abort", "changed facts"])
def test_what_is_being_verified_is_answered_when_it_can_count_no_longer(what: str) -> None:
    book = signed_ledger()
    approve(book, "ada", signature=SIGNATURE)
    check = checks_of(book)
    if what == "a reset":
        book.gates.renew_codes(0xFFFFFF)
    elif what == "an abort":
        book.hear("abort", {"by": "bob", "reason": "stop"}, NOW)
    else:
        book.gates.void(AT_GATE.id, Bound(plan="x"), "ffffff", ("acd-jb2: power was on, is off",), NOW)
    assert check.answer is not None
    assert not check.answer.accepted
    book.gates.verified(check, GOOD, NOW)  # too late
    assert not book.resolved(AT_GATE.id)


def test_a_flood_of_signatures_is_refused_and_not_verified() -> None:
    book = signed_ledger()
    told = [approve(book, "ada", signature=SIGNATURE) for _ in range(MOST_CHECKS + 3)]
    assert [line.startswith("yes: ") for line in told] == [True] * MOST_CHECKS + [False] * 3
    assert "5 signatures are being verified already" in told[-1]


# --- in a run ---------------------------------------------------------------------------------------------------------


async def test_two_approvals_open_a_gate_of_a_run(client: Client, reference: Inventory) -> None:
    world = PaperWorld(own(reference, approval=Approval(before_power_off=TWO)))
    async with running(client, world) as run:
        await run.approve("before_start")
        gate = await run.at_gate("before_power_off")
        said = {"gate": "before_power_off", "seen": gate.code}
        assert (await run.decide("approve", **said, by="ada", comment="ready")).accepted
        assert not (await run.decide("approve", **said, by="ada")).accepted
        assert not (await run.decide("approve", **said, by="mallory")).accepted
        status = await run.until(lambda s: s.waits and s.waits[0].approvals)
        assert "9-shut-down-acd-jb1" not in world.done()
        assert "Approvals, 1 of 2: ada" in await run.details()
        assert [given.by for given in status.waits[0].approvals] == ["ada"]
        assert (await run.decide("approve", **said, by="eve", comment="so am I")).accepted
        await run.approve("functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    record = step_of(report, "9-gate-before-power-off")
    assert (record.decided_by, record.reason) == ("ada, eve", "ready; so am I")


async def test_an_approval_expires_while_nobody_says_anything(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(own(reference, approval=Approval(before_start=TWO)), skipping.get_current_time)
    async with running(skipping.client, world) as run:
        gate = await run.at_gate("before_start")
        said = {"gate": "before_start", "seen": gate.code}
        await run.say("approve", {**said, "by": "ada"})
        await run.until(lambda s: s.waits[0].approvals)
        await skipping.sleep(timedelta(minutes=61))
        status = await run.until(lambda s: not s.waits[0].approvals)
        assert "the approval of ada expired after 1h" in status.notes[0]
        assert not status.waits[0].overdue
        await skipping.sleep(timedelta(hours=12))
        await run.until(lambda s: s.waits[0].overdue)
        for by in ("bob", "ada"):
            await run.say("approve", {**said, "by": by})
        await run.at_gate("before_power_off")
        await run.say("abort", {"by": "ada", "reason": "enough"})
        assert (await run.result()).outcome is RunOutcome.ABORTED


async def test_a_run_that_could_never_pass_does_not_begin(client: Client, reference: Inventory) -> None:
    policy = GatePolicy(approvers=("ada",), not_requester=True)  # and ada is who requests
    world = PaperWorld(own(reference, approval=Approval(functionality=policy)))
    async with running(client, world) as run:
        with pytest.raises(WorkflowFailureError) as failed:
            await run.result()
    assert "could never pass its gates. At gate functionality 1 approval is needed" in str(failed.value.cause)
    assert world.orders == []
