"""The ledger of a run: where each step is, what waits for a person, and what people said. Pure: no clock, no Temporal.

Every wish is answered and recorded: accepted, or refused with the reason and what would be understood instead.
Nothing said here can break a run or open a gate that is not named with its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from inventory.approval import Approval
from procedure.adopting import Already
from procedure.plan import Gate, OperatorTask, Step
from procedure.reports import Outcome, StepProblem, StepReport
from workflows import hints
from workflows.book import Book, Resolution
from workflows.draining import Drains
from workflows.gate_book import GateBook
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
from workflows.status import Bound, DecisionRecord, Hint, Paused, StepRecord, StepState, Wait
from workflows.understanding import no, understand, yes
from workflows.way_back import WayBack

MAX_SAID = 300
"""Characters kept of a wish that was not understood."""


class Ledger(Book):
    """State of a run that people see and change."""

    def __init__(self, approval: Approval, requester: str = "", named: str = "") -> None:
        """Begin the ledger of a run.

        Args:
            approval: who may decide, and where.
            requester: who requested the run; empty: nobody is named.
            named: how the run is named on the command line, for example `--cluster reference`.
        """
        super().__init__()
        self._approval = approval
        self.gates = GateBook(self, approval, requester, named)
        self.abort: Abort | None = None
        self.way_back = WayBack(self.records, self.resolved)
        self.paused: Paused | None = None
        self.resumed: Resume | None = None
        """By whom, the last time."""
        self.drains = Drains()

    # A maintenance that goes on as a new run

    @property
    def only_gates_wait(self) -> bool:
        """Whether all there is to do is to wait at a gate that nobody has decided about."""
        waits = self.waits.values()
        busy = any(record.state is StepState.RUNNING for record in self.records.values())
        gates = all(wait.kind == "gate" and not self.resolved(wait.step) for wait in waits)
        return bool(waits) and gates and not busy and not self.gates.is_verifying and self.abort is None

    def carried_over(self) -> LedgerState:
        """What the next run needs to know, while only gates wait."""
        return LedgerState(
            records=tuple(self.records.values()),
            waits=tuple(self.waits.values()),
            decisions=tuple(self.decisions),
            closed_gates=self.gates.closed,
            paused=self.paused,
        )

    def take_over(self, state: LedgerState, now: datetime) -> None:
        """Go on where the run before has left off. Gates keep their code: it may be on a screen."""
        self.records.update({record.id: record for record in state.records})
        self.waits = {wait.step: wait for wait in state.waits}
        self.decisions = list(state.decisions)
        self.gates.closed = dict(state.closed_gates)
        self.paused = state.paused
        for step, wait in self.waits.items():
            if wait.deadline is not None and wait.deadline <= now and self.paused is None:
                self.overdue(step)

    # Steps

    def plan(self, steps: Iterable[Step]) -> None:
        """Add steps that are to be done; those already known are left as they are."""
        steps = tuple(steps)
        for step in steps:
            target = getattr(step.action, "target", "")
            record = StepRecord(id=step.id, stage=step.stage, title=step.title, target=target, kind=step.action.kind)
            self.records.setdefault(step.id, record)
        self.way_back.plan(steps)

    def adopt(self, already: Iterable[Already], now: datetime) -> None:
        """Take over what an adopted run has done."""
        for each in already:
            self.records[each.step].reason = each.reason
            self.records[each.step].undo = self.way_back.of(each.step)
            self.end(each.step, each.outcome, now)

    def turn_back(self, *, leave_the_rest: bool) -> None:
        """The aborted run is rolled back: from here on it is under way again, and people are asked again.

        Args:
            leave_the_rest: what it has not begun is told as left behind, and no longer as what is to come.
        """
        self.way_back.turned, self.abort = self.abort, None
        self.way_back.has_left_the_rest = leave_the_rest
        if leave_the_rest:
            self.finish()

    @property
    def will_roll_back(self) -> bool:
        """Whether a roll-back is to follow when what runs has ended."""
        return self.abort is not None and self.abort.roll_back

    def begin(self, step: str, now: datetime) -> StepRecord:
        """A step is handed to a worker; what would take it back is written down before."""
        record = self.records[step]
        record.undo = self.way_back.of(step)
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
        # A cancellation, or an abort without roll-back, counts also where a roll-back was wished before.
        self.abort = abort if self.will_roll_back else self.abort or abort
        self.paused = None
        for step in [step for step in self.waits if not self.resolved(step)]:
            self.leave(step, now)

    def cancel(self, abort: Abort, now: datetime) -> None:
        """Aborted from Temporal's side, which comes once and gets no answer: a roll-back that was wished is off."""
        if self.abort is not None and self.abort.roll_back:
            self.abort = abort
        self.give_up(abort, now)

    def leave(self, step: str, now: datetime, problem: StepProblem | None = None) -> None:
        """A step is left as it is, because the run was aborted."""
        record, wait = self.records[step], self.waits.pop(step, None)
        self.resolutions.pop(step, None)
        record.problem = problem or record.problem
        if wait is not None and wait.kind == "gate":
            self.gates.drop_checks(step, "the run is being aborted")
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
        back = self._can_roll_back
        self._wait(step, self.gates.wait(step, gate, code, now, bound, ends_run=ends_run, can_roll_back=back))

    def wait_for_task(self, step: Step, task: OperatorTask, now: datetime) -> None:
        """Something only a person can do is due."""
        self.records[step.id].undo = self.way_back.of(step.id)
        wait = Wait(
            kind="operator task",
            step=step.id,
            title=step.title,
            text=task.instructions,
            since=now,
            can_roll_back=self._can_roll_back,
            hints=hints.at_task(step.id, self._aborts),
        )
        self._wait(step, wait)

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
            can_roll_back=self._can_roll_back,
            hints=hints.at_problem(step.id, can_force=can_force, can_extend=can_extend, aborts=self._aborts),
        )
        self._wait(step, wait)

    @property
    def _aborts(self) -> tuple[Hint, ...]:
        return () if self.abort is not None else hints.aborts(can_roll_back=self._can_roll_back)

    @property
    def _can_roll_back(self) -> bool:
        """Whether an abort could take something back."""
        return self.abort is None and self.way_back.is_open and any(record.undo for record in self.records.values())

    def _wait(self, step: Step, wait: Wait) -> None:
        self.records[step.id].state = StepState.WAITING
        self.records[step.id].began = self.records[step.id].began or wait.since
        self.waits[step.id] = wait
        self.resolutions.pop(step.id, None)

    def overdue(self, step: str) -> None:
        """The deadline of a gate passed; it holds."""
        if step in self.waits:
            self.waits[step] = self.waits[step].model_copy(update={"overdue": True})

    @property
    def open_waits(self) -> tuple[Wait, ...]:
        """What waits for a person who has not decided yet."""
        return tuple(shown(wait, self.paused) for wait in self.waits.values() if not self.resolved(wait.step))

    def take(self, step: str) -> Resolution:
        """The decision about a step; it waits no longer."""
        self.waits.pop(step, None)
        return self.resolutions.pop(step)

    # What people say

    def hear(self, signal: str, said: object, now: datetime) -> Answer:
        """Understand, check, apply and record one wish."""
        self.gates.expire(now)
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
            then = "what was done is rolled back, after a gate" if wish.roll_back else "nothing is rolled back"
            return yes(f"the run is being aborted: what runs is ended, nothing new is started, {then}")
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
        if isinstance(wish, Approve | Reject):
            return self.gates.decide(wish, now)
        self.resolutions[wish.step] = wish
        held = "; takes effect when the run is resumed" if self.paused else ""
        return yes(f"{_EFFECT[type(wish)]}: {self.records[wish.step].title}{held}")

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
        leaves_it = isinstance(wish, Abort) and self.will_roll_back and not wish.roll_back
        if self.abort is not None and not isinstance(wish, Retry | Skip | Confirm) and not leaves_it:
            return no(f"the run is already being aborted, by {self.abort.by}")
        checks: dict[type[Message], Callable[[Any], Answer | None]] = {
            Abort: self._about_abort,
            Approve: self.gates.objection,
            Reject: self.gates.objection,
            Retry: self._about_retry,
            Skip: self._about_skip,
            Confirm: self._about_confirm,
            Extend: self._about_extend,
            Pause: self._about_pause,
            Resume: self._about_resume,
        }
        check = checks.get(type(wish))
        return check(wish) if check else None

    def _about_abort(self, wish: Abort) -> Answer | None:
        why = self.way_back.why_closed() if wish.roll_back else ""
        return no(why) if why else None

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
        self.keep(record)
        check = self.gates.check_behind(answer)
        if check is not None:
            check.record = record
        return answer


_EFFECT: dict[type[Message], str] = {
    Retry: "will be tried again",
    Skip: "skipped",
    Confirm: "confirmed",
    Extend: "will be waited for again",
}
