"""A step at which people decide: the gate holds until enough of them have said yes, and it never opens by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from procedure.plan import Gate, Step
    from procedure.reports import Outcome
    from workflows import approvals
    from workflows.ledger import Ledger
    from workflows.messages import Abort, Approve, Reject
    from workflows.status import StepState, Wait

SETTLED = timedelta(milliseconds=1)
"""After a decision at a gate: no time is needed, but another workflow task is. The server takes up to 1 s for it."""


def code_from(number: int) -> str:
    """The code of a gate: short enough to be typed, and another one whenever the gate is met again."""
    return f"{number & 0xFFFFFF:06x}"


@dataclass
class GateKeeper:
    """Keeps the gates of one run."""

    ledger: Ledger
    changed: Callable[[], None]
    """Called whenever something that people see has changed."""

    async def keep(self, step: Step, gate: Gate) -> None:
        """Hold at a gate until it is decided, or until the run is aborted."""
        if step.id not in self.ledger.waits:  # It is there when a maintenance goes on as a new run.
            code = code_from(workflow.random().getrandbits(24))
            self.ledger.wait_at_gate(step, gate, code, workflow.now())
            self.changed()
        await self._hold(step)
        if self.ledger.resolved(step.id):
            self._pass(step, gate)

    def _pass(self, step: Step, gate: Gate) -> None:
        wait, record = self.ledger.waits[step.id], self.ledger.records[step.id]
        answer = self.ledger.take(step.id)
        assert isinstance(answer, Approve | Reject)  # noqa: S101 - the ledger accepts nothing else at a gate
        if isinstance(answer, Reject):
            record.reason, record.decided_by = answer.comment, answer.by
            record.state, record.ended = StepState.ENDED, workflow.now()
            abort = Abort(by=answer.by, reason=f"gate {gate.name} rejected: {answer.comment}"[:1000])
            self.ledger.give_up(abort, workflow.now())
            return
        record.reason = "; ".join(given.comment for given in wait.approvals if given.comment)
        record.decided_by = ", ".join(given.by for given in wait.approvals)
        self.ledger.end(step.id, Outcome.DONE, workflow.now())

    async def _hold(self, step: Step) -> None:
        """Until people have decided, and the decision stands; or until the run is aborted."""
        while not self._is_decided(step):
            await self._until_decided(step)
            if self.ledger.abort is None:
                # After a reset Temporal repeats old signals before it tells of the reset, which revokes them.
                await workflow.sleep(SETTLED, summary="Let the decision settle")

    async def _until_decided(self, step: Step) -> None:
        while not self._is_decided(step):
            await self._wait(step)

    async def _wait(self, step: Step) -> None:
        """Until it is decided, an approval comes or expires, its deadline passes, or a pause begins or ends."""
        ledger, wait, paused = self.ledger, self.ledger.waits[step.id], self.ledger.paused
        # While the run is paused its deadline waits too.
        deadline = None if paused else _until_deadline(wait, workflow.now())
        expiry = approvals.until_one_expires(wait, workflow.now())
        left = min((each for each in (deadline, expiry) if each is not None), default=None)
        try:
            await workflow.wait_condition(
                lambda: (
                    self._is_decided(step)
                    or ledger.paused is not paused
                    or ledger.waits[step.id].approvals != wait.approvals
                ),
                timeout=left,
                timeout_summary=f"{'Deadline' if left == deadline else 'An approval expires'}: {step.title}",
            )
        except TimeoutError:
            if left == deadline:
                ledger.overdue(step.id)
            ledger.expire(workflow.now())
            self.changed()

    def _is_decided(self, step: Step) -> bool:
        return self.ledger.abort is not None or self.ledger.resolved(step.id)


def _until_deadline(wait: Wait, now: datetime) -> timedelta | None:
    """How long until the deadline of a gate; None: it has none, or it has passed."""
    if wait.deadline is None or wait.deadline <= now:
        return None
    return wait.deadline - now
