"""The gates in the ledger: what is shown at each, who has approved, what is void. Pure: no clock, no Temporal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from inventory.approval import Approval
from inventory.values import show_duration
from procedure.plan import Gate, Step
from procedure.signing import SignatureVerdict
from workflows import approvals, hints
from workflows.book import Book
from workflows.messages import Answer, Approve, Reject
from workflows.status import Bound, DecisionRecord, Given, StepState, Wait
from workflows.understanding import no, yes

MOST_OF_CHANGES = 500
"""Characters of what has changed at a gate, in a note; the gate itself shows all."""
MOST_CHECKS = 5
"""Signatures verified at the same time: a flood of them must neither fill the history nor keep good ones waiting."""


@dataclass(eq=False)
class Check:
    """A signed approval that is accepted when its signature proves to be good."""

    step: str
    wish: Approve
    first: Answer
    """What was answered at first."""
    answer: Answer | None = None
    """What came of it; None: it is being verified."""
    record: DecisionRecord | None = None
    """As people see it; None: there are too many to be kept."""

    def settle(self, answer: Answer) -> None:
        """Tell what came of it."""
        self.answer = answer
        if self.record is not None:
            self.record.accepted, self.record.answer = answer.accepted, answer.text


class GateBook:
    """Keeps what a ledger says about gates."""

    def __init__(self, book: Book, approval: Approval, requester: str, named: str) -> None:
        """Begin with no gate open.

        Args:
            book: of the run.
            approval: who may decide, and where.
            requester: who requested the run; empty: nobody is named.
            named: how the run is named on the command line.
        """
        self._book = book
        self._approval = approval
        self._requester = requester
        self._named = named
        self._checks: list[Check] = []
        self.closed: dict[str, str] = {}
        """By name: who closed it, and how."""

    def wait(
        self,
        step: Step,
        gate: Gate,
        code: str,
        now: datetime,
        bound: Bound | None,
        *,
        ends_run: bool,
        can_roll_back: bool,
    ) -> Wait:
        """A gate as it is shown when it is reached."""
        rules = approvals.rules_at(self._approval, gate.name, self._requester, self._named)
        return Wait(
            kind="gate",
            step=step.id,
            title=step.title,
            text=gate.question,
            vouched=gate.vouched,
            checklist=gate.checklist,
            gate=gate.name,
            code=code,
            bound=bound,
            rules=rules,
            ends_run=ends_run,
            can_roll_back=can_roll_back,
            since=now,
            deadline=now + gate.deadline,
            hints=hints.at_gate(gate.name, code, rules.command, ends_run=ends_run, can_roll_back=can_roll_back),
        )

    # What becomes of it without anybody saying something

    def renew_codes(self, number: int) -> None:
        """Gates that were not passed yet get another code: what was said with the old one counts no longer."""
        for step, wait in self._book.waits.items():
            if wait.kind == "gate":
                self._show_anew(step, code=approvals.code_at(wait.gate, wait.bound, number))

    def void(self, step: str, bound: Bound, code: str, changes: tuple[str, ...], now: datetime) -> None:
        """What was approved at a gate is so no longer: it is shown anew, and whoever approved must do so again."""
        wait = self._book.waits[step]
        why = f"void, since this has changed meanwhile: {'; '.join(changes)}"[:MOST_OF_CHANGES]
        self._note(wait, f"the approval of {approvals.names_of(wait)} is {why}", now)
        for given in wait.approvals:
            self._revoke(wait, given, why, now)
        self._show_anew(step, code=code, bound=bound, changes=changes, since=now)
        self._book.records[step].state = StepState.WAITING

    def _show_anew(self, step: str, *, code: str, **changes: object) -> None:
        wait = self._book.waits[step]
        told = hints.at_gate(
            wait.gate, code, wait.rules.command, ends_run=wait.ends_run, can_roll_back=wait.can_roll_back
        )
        self._book.waits[step] = wait.model_copy(update={"code": code, "hints": told, "approvals": (), **changes})
        self._book.resolutions.pop(step, None)
        self.closed.pop(wait.gate, None)
        self.drop_checks(step, f"gate {wait.gate} shows another code by now: read it, then approve again")

    def expire(self, now: datetime) -> None:
        """Approvals that waited for another one for too long count no longer."""
        for step, wait in self._book.waits.items():
            gone = () if self._book.resolved(step) else approvals.expired(wait, now)
            if gone:
                left = tuple(given for given in wait.approvals if given not in gone)
                self._book.waits[step] = wait.model_copy(update={"approvals": left})
            for given in gone:
                assert given.until is not None  # noqa: S101 - else it would not expire
                why = f"expired after {show_duration(given.until - given.at)}, since no other one came: approve again"
                self._note(wait, f"the approval of {given.by} {why}", now)
                self._revoke(wait, given, why, now)

    def _note(self, wait: Wait, text: str, now: datetime) -> None:
        self._book.notes.append(f"{now:%H:%M:%S} gate {wait.gate}: {text}")

    def _revoke(self, wait: Wait, given: Given, why: str, now: datetime) -> None:
        """Tell people that an approval counts no longer."""
        record = DecisionRecord(
            at=now, signal="approve", by=given.by, about=wait.gate, accepted=False, answer=why, said=given.comment
        )
        self._book.keep(record)

    # What people say

    def named(self, gate: str) -> Wait | None:
        """The open gate of that name."""
        gates = (wait for wait in self._book.waits.values() if wait.kind == "gate")
        return next((wait for wait in gates if wait.gate == gate), None)

    def objection(self, wish: Approve | Reject) -> Answer | None:
        """Why a wish of somebody who may decide there is not accepted; None: it is."""
        wait = self.named(wish.gate)
        if wait is None:
            done = self.closed.get(wish.gate)
            if done:
                return no(f"gate {wish.gate} was already {done}")
            open_now = ", ".join(w.gate for w in self._book.waits.values() if w.gate) or "none"
            return no(f"gate {wish.gate[:60]!r} is not open; open now: {open_now}")
        if self._book.resolved(wait.step):
            return no(f"gate {wish.gate} was already {self.closed[wish.gate]}")
        if wish.seen != wait.code:
            return no(f"gate {wish.gate} shows another code than {wish.seen[:20]!r}: read the gate, then use its code")
        against = approvals.objection(wait, wish) if isinstance(wish, Approve) else ""
        return no(against) if against else None

    def decide(self, wish: Approve | Reject, now: datetime) -> Answer:
        """A wish that nothing is said against."""
        wait = self.named(wish.gate)
        assert wait is not None  # noqa: S101 - else there is an objection
        if isinstance(wish, Approve):
            return self._verify_first(wait, wish) if wish.signature else self._approve(wait, wish, now)
        self._book.resolutions[wait.step] = wish
        self.closed[wish.gate] = f"rejected by {wish.by}"
        return yes(f"rejected, {'the run ends here' if wait.ends_run else 'it is not done'}: {wait.title}")

    def _approve(self, wait: Wait, wish: Approve, now: datetime, key: str = "") -> Answer:
        wait = self._book.waits[wait.step] = approvals.approved(wait, wish, now, key)
        if not approvals.is_enough(wait):
            return yes(f"{approvals.standing(wait)}: {wait.title}")
        self._book.resolutions[wait.step] = wish
        self.closed[wish.gate] = f"approved by {approvals.names_of(wait)}"
        by = f" by {approvals.names_of(wait)}" if wait.rules.needed > 1 else ""
        then = "; what it was decided by is looked at once more" if wait.bound and wait.bound.statements else ""
        return yes(f"approved{by}: {wait.title}{then}")

    def is_rejected(self, step: str) -> bool:
        """Whether a gate is decided, and not opened."""
        return isinstance(self._book.resolutions.get(step), Reject)

    # Signatures

    def _verify_first(self, wait: Wait, wish: Approve) -> Answer:
        if len(self._checks) >= MOST_CHECKS:
            return no(f"{len(self._checks)} signatures are being verified already: approve again in a moment")
        check = Check(wait.step, wish, yes(f"the signature of {wish.by} is being verified: {wait.title}"))
        self._checks.append(check)
        return check.first

    @property
    def is_verifying(self) -> bool:
        """Whether somebody waits for a signature to be verified."""
        return bool(self._checks)

    def check_behind(self, answer: Answer) -> Check | None:
        """The check that an answer is only the beginning of."""
        return next((check for check in self._checks if check.first is answer), None)

    def next_check(self, step: str) -> Check | None:
        """A signature that is to be verified at a gate."""
        return next((check for check in self._checks if check.step == step), None)

    def verified(self, check: Check, verdict: SignatureVerdict, now: datetime) -> None:
        """A signature was verified: the approval counts, or it does not."""
        if check in self._checks:  # Else the gate was shown anew, or left, meanwhile.
            self._checks.remove(check)
            check.settle(self.objection(check.wish) or self._after(check.wish, verdict, now))

    def _after(self, wish: Approve, verdict: SignatureVerdict, now: datetime) -> Answer:
        if not verdict.good:
            return no(f"the signature of {wish.by} does not count: {verdict.reason}")
        wait = self.named(wish.gate)
        assert wait is not None  # noqa: S101 - else there is an objection
        return self._approve(wait, wish, now, verdict.key)

    def drop_checks(self, step: str, why: str) -> None:
        """Nobody waits any more for what is being verified at a gate."""
        for check in [check for check in self._checks if check.step == step]:
            self._checks.remove(check)
            check.settle(no(why))
