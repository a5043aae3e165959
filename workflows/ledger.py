"""The ledger of a run: where each step is, what waits for a person, and what people said. Pure: no clock, no Temporal.

Every wish is answered and recorded: accepted, or refused with the reason and what would be understood instead.
Nothing said here can break a run or open a gate that is not named with its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from inventory.approval import Approval
from inventory.values import show_duration
from procedure.adopting import Already
from procedure.plan import Gate, OperatorTask, Step
from procedure.reports import Outcome, StepProblem, StepReport
from workflows import approvals, hints
from workflows.approvals import rules_at
from workflows.draining import Drains
from workflows.messages import (
    Abort,
    Answer,
    Approve,
    Confirm,
    Extend,
    Message,
    Pause,
    Reject,
    Resume,
    Retry,
    Skip,
)
from workflows.pausing import resumed, shown
from workflows.so_far import LedgerState
from workflows.status import Bound, DecisionRecord, Given, Paused, StepRecord, StepState, Wait
from workflows.understanding import no, understand, yes

MAX_DECISIONS = 200
"""Wishes kept word by word: far more than a run needs, few enough that a flood of signals can't fill its history."""
MOST_OF_CHANGES = 500
"""Characters of what has changed at a gate, in a note; the gate itself shows all."""
MAX_SAID = 300
"""Characters kept of a wish that was not understood."""

Resolution = Approve | Reject | Retry | Skip | Confirm | Extend
"""What a person decided about a step that waited."""


class Ledger:
    """State of a run that people see and change."""

    def __init__(self, approval: Approval, requester: str = "") -> None:
        """Begin the ledger of a run.

        Args:
            approval: who may decide, and where.
            requester: who requested the run; empty: nobody is named.
        """
        self._approval = approval
        self._requester = requester
        self.records: dict[str, StepRecord] = {}
        self.waits: dict[str, Wait] = {}
        """By step id."""
        self.decisions: list[DecisionRecord] = []
        self.unrecorded = 0
        """Wishes beyond `MAX_DECISIONS`."""
        self.notes: list[str] = []
        """What became of approvals without anybody saying something."""
        self.abort: Abort | None = None
        self.paused: Paused | None = None
        self.resumed: Resume | None = None
        """By whom, the last time."""
        self.drains = Drains()
        self._resolutions: dict[str, Resolution] = {}
        self._closed_gates: dict[str, str] = {}

    # A maintenance that goes on as a new run

    @property
    def only_gates_wait(self) -> bool:
        """Whether all there is to do is to wait at a gate that nobody has decided about."""
        waits = self.waits.values()
        busy = any(record.state is StepState.RUNNING for record in self.records.values())
        gates = all(wait.kind == "gate" and not self.resolved(wait.step) for wait in waits)
        return bool(waits) and gates and not busy and self.abort is None

    def carried_over(self) -> LedgerState:
        """What the next run needs to know, while only gates wait."""
        return LedgerState(
            records=tuple(self.records.values()),
            waits=tuple(self.waits.values()),
            decisions=tuple(self.decisions),
            closed_gates=self._closed_gates,
            paused=self.paused,
        )

    def take_over(self, state: LedgerState, now: datetime) -> None:
        """Go on where the run before has left off. Gates keep their code: it may be on a screen."""
        self.records = {record.id: record for record in state.records}
        self.waits = {wait.step: wait for wait in state.waits}
        self.decisions = list(state.decisions)
        self._closed_gates = dict(state.closed_gates)
        self.paused = state.paused
        for step, wait in self.waits.items():
            if wait.deadline is not None and wait.deadline <= now and self.paused is None:
                self.overdue(step)

    # Steps

    def plan(self, steps: Iterable[Step]) -> None:
        """Add steps that are to be done; those already known are left as they are."""
        for step in steps:
            target = getattr(step.action, "target", "")
            record = StepRecord(id=step.id, stage=step.stage, title=step.title, target=target, kind=step.action.kind)
            self.records.setdefault(step.id, record)

    def adopt(self, already: Iterable[Already], now: datetime) -> None:
        """Take over what an adopted run has done."""
        for each in already:
            self.records[each.step].reason = each.reason
            self.end(each.step, each.outcome, now)

    def begin(self, step: str, now: datetime) -> StepRecord:
        """A step was handed to a worker."""
        record = self.records[step]
        record.state = StepState.RUNNING
        record.began = record.began or now
        record.attempts += 1
        return record

    def end(self, step: str, outcome: Outcome, now: datetime, report: StepReport | None = None) -> None:
        """A step is over."""
        record = self.records[step]
        record.state, record.outcome, record.ended = StepState.ENDED, outcome, now
        record.began = record.began or now
        record.progress = None
        if report is not None:
            record.report, record.problem = report, None

    def add(self, base: str, stage: int, title: str, gate: Gate) -> Step:
        """A gate that no plan foresaw, as a step of its own; numbered where there was one of that name before."""
        count = sum(step == base or step.startswith(f"{base}.") for step in self.records)
        step = Step(id=f"{base}.{count + 1}" if count else base, stage=stage, title=title, action=gate)
        self.plan((step,))
        return step

    def is_over(self, step: str) -> bool:
        """Whether those that follow a step may start."""
        return self.records[step].is_over

    def give_up(self, abort: Abort, now: datetime) -> None:
        """The run is aborted: what waits for a person is left as it is, so nobody is asked about it any more."""
        self.abort = self.abort or abort
        self.paused = None
        for step in [step for step in self.waits if not self.resolved(step)]:
            self.leave(step, now)

    def leave(self, step: str, now: datetime, problem: StepProblem | None = None) -> None:
        """A step is left as it is, because the run was aborted."""
        record, wait = self.records[step], self.waits.pop(step, None)
        self._resolutions.pop(step, None)
        record.problem = problem or record.problem
        if wait is not None and wait.kind == "gate":
            record.state, record.reason = StepState.NOT_STARTED, "the run was aborted"
            return
        failed = record.problem is not None and record.problem.kind != "unknown"
        record.reason = record.reason or "left by the abort"
        self.end(step, Outcome.FAILED if failed else Outcome.UNKNOWN, now)

    def finish(self) -> None:
        """The run is over: what has not begun was not started."""
        for record in self.records.values():
            if record.state is StepState.PENDING:
                record.state = StepState.NOT_STARTED

    # What waits for a person

    def wait_at_gate(
        self,
        step: Step,
        gate: Gate,
        code: str,
        now: datetime,
        bound: Bound | None = None,
        *,
        ends_run: bool = True,
    ) -> None:
        """A gate is reached; its code is made of what it is bound to."""
        self._wait(
            step,
            Wait(
                kind="gate",
                step=step.id,
                title=step.title,
                text=gate.question,
                vouched=gate.vouched,
                checklist=gate.checklist,
                gate=gate.name,
                code=code,
                bound=bound,
                rules=rules_at(self._approval, gate.name, self._requester),
                ends_run=ends_run,
                since=now,
                deadline=now + gate.deadline,
                hints=hints.at_gate(gate.name, code, ends_run=ends_run),
            ),
        )

    def renew_codes(self, number: int) -> None:
        """Gates that were not passed yet get another code: what was said with the old one counts no longer."""
        for step, wait in self.waits.items():
            if wait.kind == "gate":
                self._show_anew(step, code=approvals.code_at(wait.gate, wait.bound, number))

    def void(self, step: str, bound: Bound, code: str, changes: tuple[str, ...], now: datetime) -> None:
        """What was approved at a gate is so no longer: it is shown anew, and whoever approved must do so again."""
        wait = self.waits[step]
        why = f"void, since this has changed meanwhile: {'; '.join(changes)}"[:MOST_OF_CHANGES]
        self.notes.append(f"{now:%H:%M:%S} gate {wait.gate}: the approval of {approvals.names_of(wait)} is {why}")
        for given in wait.approvals:
            self._revoke(wait, given, why, now)
        self._show_anew(step, code=code, bound=bound, changes=changes, since=now)
        self.records[step].state = StepState.WAITING

    def _show_anew(self, step: str, *, code: str, **changes: object) -> None:
        wait = self.waits[step]
        shown_now = {"code": code, "hints": hints.at_gate(wait.gate, code, ends_run=wait.ends_run), "approvals": ()}
        self.waits[step] = wait.model_copy(update={**shown_now, **changes})
        self._resolutions.pop(step, None)
        self._closed_gates.pop(wait.gate, None)

    def wait_for_task(self, step: Step, task: OperatorTask, now: datetime) -> None:
        """Something only a person can do is due."""
        told, text = hints.at_task(step.id, aborted=self.abort is not None), task.instructions
        self._wait(step, Wait(kind="operator task", step=step.id, title=step.title, text=text, since=now, hints=told))

    def wait_with_problem(
        self, step: Step, problem: StepProblem, can_force: bool, now: datetime, *, can_extend: bool = False
    ) -> None:
        """A step did not end well."""
        self.records[step.id].problem = problem
        self.records[step.id].report = problem.report
        wait = Wait(
            kind="problem",
            step=step.id,
            title=step.title,
            text=problem.text,
            since=now,
            can_force=can_force,
            can_extend=can_extend,
            hints=hints.at_problem(step.id, can_force=can_force, can_extend=can_extend, aborted=self.abort is not None),
        )
        self._wait(step, wait)

    def _wait(self, step: Step, wait: Wait) -> None:
        self.records[step.id].state = StepState.WAITING
        self.records[step.id].began = self.records[step.id].began or wait.since
        self.waits[step.id] = wait
        self._resolutions.pop(step.id, None)

    def overdue(self, step: str) -> None:
        """The deadline of a gate passed; it holds."""
        if step in self.waits:
            self.waits[step] = self.waits[step].model_copy(update={"overdue": True})

    def expire(self, now: datetime) -> None:
        """Approvals that waited for another one for too long count no longer."""
        for step, wait in self.waits.items():
            gone = () if self.resolved(step) else approvals.expired(wait, now)
            if gone:
                left = tuple(given for given in wait.approvals if given not in gone)
                self.waits[step] = wait.model_copy(update={"approvals": left})
            for given in gone:
                assert given.until is not None  # noqa: S101 - else it would not expire
                why = f"expired after {show_duration(given.until - given.at)}, since no other one came: approve again"
                self.notes.append(f"{now:%H:%M:%S} gate {wait.gate}: the approval of {given.by} {why}")
                self._revoke(wait, given, why, now)

    def _revoke(self, wait: Wait, given: Given, why: str, now: datetime) -> None:
        """Tell people that an approval counts no longer."""
        record = DecisionRecord(
            at=now, signal="approve", by=given.by, about=wait.gate, accepted=False, answer=why, said=given.comment
        )
        self._keep(record)

    @property
    def open_waits(self) -> tuple[Wait, ...]:
        """What waits for a person who has not decided yet."""
        return tuple(shown(wait, self.paused) for wait in self.waits.values() if not self.resolved(wait.step))

    def resolved(self, step: str) -> bool:
        """Whether a person has decided about a step that waits."""
        return step in self._resolutions

    def is_rejected(self, step: str) -> bool:
        """Whether a gate is decided, and not opened."""
        return isinstance(self._resolutions.get(step), Reject)

    def take(self, step: str) -> Resolution:
        """The decision about a step; it waits no longer."""
        self.waits.pop(step, None)
        return self._resolutions.pop(step)

    # What people say

    def hear(self, signal: str, said: object, now: datetime) -> Answer:
        """Understand, check, apply and record one wish."""
        self.expire(now)
        wish = understand(signal, said)
        if isinstance(wish, Answer):
            return self._record(signal[:60], said, None, wish, now)
        return self._record(signal, said, wish, self._objection(wish) or self._apply(wish, now), now)

    def judge(self, signal: str, said: object) -> Answer:
        """What `hear` would answer, without doing it."""
        wish = understand(signal, said)
        return wish if isinstance(wish, Answer) else self._objection(wish) or yes("")

    def _apply(self, wish: Message, now: datetime) -> Answer:
        if isinstance(wish, Abort):
            self.give_up(wish, now)
            return yes("the run is being aborted: what runs is ended, nothing new is started, nothing is rolled back")
        if isinstance(wish, Pause):
            self.paused = Paused(by=wish.by, reason=wish.reason, since=now)
            self.drains.pause()
            return yes("paused: steps that run end, none begins until the run is resumed; deadlines wait")
        if isinstance(wish, Resume):
            self._resume(now)
            self.resumed = wish
            return yes("the run goes on")
        assert isinstance(wish, Approve | Reject | Retry | Skip | Confirm | Extend)  # noqa: S101 - narrows the type, all are handled
        return self._decide(wish, now)

    def _decide(self, wish: Resolution, now: datetime) -> Answer:
        if isinstance(wish, Extend) and wish.step in self.drains:
            return self._extend(wish)
        step = self._step_of(wish)
        if isinstance(wish, Approve):
            return self._approve(step, wish, now)
        self._resolutions[step] = wish
        if isinstance(wish, Reject):
            self._closed_gates[wish.gate] = f"rejected by {wish.by}"
            then = "the run ends here" if self.waits[step].ends_run else "it is not done"
            return yes(f"rejected, {then}: {self.records[step].title}")
        held = "; takes effect when the run is resumed" if self.paused else ""
        return yes(f"{_EFFECT[type(wish)]}: {self.records[step].title}{held}")

    def _approve(self, step: str, wish: Approve, now: datetime) -> Answer:
        wait = self.waits[step] = approvals.approved(self.waits[step], wish, now)
        if not approvals.is_enough(wait):
            return yes(f"{approvals.standing(wait)}: {wait.title}")
        self._resolutions[step] = wish
        self._closed_gates[wish.gate] = f"approved by {approvals.names_of(wait)}"
        by = f" by {approvals.names_of(wait)}" if wait.rules.needed > 1 else ""
        then = "; what it was decided by is looked at once more" if wait.bound and wait.bound.statements else ""
        return yes(f"approved{by}: {wait.title}{then}")

    def _resume(self, now: datetime) -> None:
        assert self.paused is not None  # noqa: S101 - no other wish to resume is accepted
        self.waits = {step: resumed(wait, self.paused, now) for step, wait in self.waits.items()}
        self.drains.resume(self.paused, now)
        self.paused = None

    def _extend(self, wish: Extend) -> Answer:
        deadline = self.drains.extend(wish.step, timedelta(minutes=wish.minutes))
        until = f" It waits until {deadline:%H:%M:%S} UTC." if deadline else ""
        return yes(f"{wish.minutes} minutes more for: {self.records[wish.step].title}.{until}")

    def _objection(self, wish: Message) -> Answer | None:
        by = getattr(wish, "by", "")
        allowed = self._approval.approvers
        if isinstance(wish, Approve | Reject):
            allowed = self._approval.approvers_at(wish.gate)
        if allowed and by not in allowed:
            return no(f"{by!r} may not decide here; allowed are: {', '.join(allowed)}")
        if self.abort is not None and not isinstance(wish, Retry | Skip | Confirm):
            return no(f"the run is already being aborted, by {self.abort.by}")
        checks: dict[type[Message], Callable[[Any], Answer | None]] = {
            Approve: self._about_gate,
            Reject: self._about_gate,
            Retry: self._about_retry,
            Skip: self._about_skip,
            Confirm: self._about_confirm,
            Extend: self._about_extend,
            Pause: self._about_pause,
            Resume: self._about_resume,
        }
        check = checks.get(type(wish))
        return check(wish) if check else None

    def _about_gate(self, wish: Approve | Reject) -> Answer | None:
        wait = self._gate(wish.gate)
        if wait is None:
            done = self._closed_gates.get(wish.gate)
            if done:
                return no(f"gate {wish.gate} was already {done}")
            open_now = ", ".join(w.gate for w in self.waits.values() if w.gate) or "none"
            return no(f"gate {wish.gate[:60]!r} is not open; open now: {open_now}")
        if self.resolved(wait.step):
            return no(f"gate {wish.gate} was already {self._closed_gates[wish.gate]}")
        if wish.seen != wait.code:
            return no(f"gate {wish.gate} shows another code than {wish.seen[:20]!r}: read the gate, then use its code")
        against = approvals.objection(wait, wish) if isinstance(wish, Approve) else ""
        return no(against) if against else None

    def _about_retry(self, wish: Retry) -> Answer | None:
        wait = self.waits.get(wish.step)
        if wait is None or wait.kind != "problem":
            return self._not_waiting(wish.step, "retry", "problem")
        if wish.force and not wait.can_force:
            return no(f"{wish.step} has no way by force; send it without force")
        if wish.force and not wish.reason:
            return no("force needs a reason")
        return self._already(wish.step)

    def _about_skip(self, wish: Skip) -> Answer | None:
        wait = self.waits.get(wish.step)
        if wait is None or wait.kind == "gate":
            return self._not_waiting(wish.step, "skip", "problem", "operator task")
        return self._already(wish.step)

    def _about_confirm(self, wish: Confirm) -> Answer | None:
        wait = self.waits.get(wish.step)
        if wait is None or wait.kind != "operator task":
            return self._not_waiting(wish.step, "confirm", "operator task")
        return self._already(wish.step)

    def _about_extend(self, wish: Extend) -> Answer | None:
        if wish.step in self.drains:
            return None
        wait = self.waits.get(wish.step)
        if wait is not None and wait.can_extend:
            return self._already(wish.step)
        able = [*self.drains, *(w.step for w in self.waits.values() if w.can_extend)]
        named = ", ".join(able) or "none"
        return no(
            f"{wish.step[:80]!r} does not wait for sessions to end; steps that could be told to extend now: {named}"
        )

    def _about_pause(self, _: Pause) -> Answer | None:
        if self.paused is None:
            return None
        return no(f"the run is already paused, by {self.paused.by} since {self.paused.since:%H:%M:%S} UTC")

    def _about_resume(self, _: Resume) -> Answer | None:
        return None if self.paused else no("the run is not paused")

    def _already(self, step: str) -> Answer | None:
        return no(f"{step} was already decided upon") if self.resolved(step) else None

    def _not_waiting(self, step: str, signal: str, *kinds: str) -> Answer:
        waiting = ", ".join(w.step for w in self.waits.values() if w.kind in kinds) or "none"
        record = self.records.get(step)
        if record is None:
            return no(f"there is no step {step[:80]!r}; steps that could be told to {signal} now: {waiting}")
        return no(f"{step} is {record.state.value} and can't be told to {signal}; steps that can now: {waiting}")

    def _gate(self, name: str) -> Wait | None:
        return next((wait for wait in self.waits.values() if wait.kind == "gate" and wait.gate == name), None)

    def _step_of(self, wish: Resolution) -> str:
        if isinstance(wish, Approve | Reject):
            wait = self._gate(wish.gate)
            return wait.step if wait else ""
        return wish.step

    def _record(self, signal: str, said: object, wish: Message | None, answer: Answer, now: datetime) -> Answer:
        about = str(getattr(wish, "gate", "") or getattr(wish, "step", ""))[:120]
        words = str(getattr(wish, "comment", "") or getattr(wish, "reason", ""))
        record = DecisionRecord(
            at=now,
            signal=signal,
            by=getattr(wish, "by", ""),
            about=about,
            accepted=answer.accepted,
            answer=answer.text,
            said=words if wish is not None else repr(said)[:MAX_SAID],
        )
        self._keep(record)
        return answer

    def _keep(self, record: DecisionRecord) -> None:
        if len(self.decisions) >= MAX_DECISIONS:
            self.unrecorded += 1
        else:
            self.decisions.append(record)


_EFFECT: dict[type[Message], str] = {
    Retry: "will be tried again",
    Skip: "skipped",
    Confirm: "confirmed",
    Extend: "will be waited for again",
}
