"""A step at which people decide: the gate holds until enough of them have said yes, and it never opens by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from procedure.material import Statement, changed, unseen
    from procedure.plan import Gate, Step
    from procedure.reports import Outcome, StepProblem
    from procedure.signing import Signed
    from procedure.subjects import Subject
    from workflows import approvals
    from workflows.gate_book import Check
    from workflows.ledger import Ledger
    from workflows.messages import Abort, Approve, Reject
    from workflows.status import Bound, StepState, Wait
    from workflows.workers import Workers

SETTLED = timedelta(milliseconds=1)
"""After a decision at a gate: no time is needed, but another workflow task is. The server takes up to 1 s for it."""


FRESH = timedelta(minutes=1)
"""What the health check has seen is shown at the first gate, if it is no older."""
BOUND_TO_WHAT_WAS_SEEN = "bound-to-what-was-seen"
"""Patch: at the gates of runs begun before it nothing is looked at, and their codes are numbers by chance."""


@dataclass(frozen=True)
class Fresh:
    """What was seen before a plan began."""

    subjects: tuple[Subject, ...]
    statements: tuple[Statement, ...]
    at: datetime


@dataclass
class GateKeeper:
    """Keeps the gates of one run."""

    ledger: Ledger
    changed: Callable[[], None]
    """Called whenever something that people see has changed."""
    workers: Workers
    _plan: str = ""
    """Digest of the plan that is carried out."""
    _fresh: Fresh | None = None
    _names: Counter[str] = field(default_factory=Counter)
    """Of activities, without the number that tells them apart."""

    def begin(self, plan: str, fresh: Fresh | None) -> None:
        """A plan begins.

        Args:
            plan: its digest.
            fresh: what was seen just before, of what its first gate watches.
        """
        self._plan, self._fresh = plan, fresh

    async def keep(self, step: Step, gate: Gate, *, ends_run: bool = True) -> bool:
        """Hold at a gate until it is decided and the decision stands, or until the run is aborted.

        Args:
            step: of the gate.
            gate: what it asks.
            ends_run: whether a rejection ends the run; else what it asks about is not done, and that is all.

        Returns:
            Whether it was opened.
        """
        if step.id not in self.ledger.waits:  # It is there when a maintenance goes on as a new run.
            await self._open(step, gate, ends_run=ends_run)
        while self.ledger.abort is None and step.id in self.ledger.waits:
            await self._hold(step)
            if not self.ledger.resolved(step.id):
                return False
            if self.ledger.gates.is_rejected(step.id) or await self._is_still_so(step, gate):
                return self._pass(step, gate)
        return False

    async def _open(self, step: Step, gate: Gate, *, ends_run: bool) -> None:
        bound: Bound | None = None
        if workflow.patched(BOUND_TO_WHAT_WAS_SEEN):
            bound = Bound(plan=self._plan, statements=await self._seen_first(step, gate))
        if self.ledger.abort is not None:
            self.ledger.records[step.id].state = StepState.PENDING
            return
        code = approvals.code_at(gate.name, bound, workflow.random().getrandbits(24))
        self.ledger.wait_at_gate(step, gate, code, workflow.now(), bound, ends_run=ends_run)
        self.changed()

    async def _seen_first(self, step: Step, gate: Gate) -> tuple[Statement, ...]:
        fresh, self._fresh = self._fresh, None
        if fresh is not None and fresh.subjects == gate.watches and workflow.now() - fresh.at <= FRESH:
            return fresh.statements
        return await self._look(step, gate)

    async def _look(self, step: Step, gate: Gate) -> tuple[Statement, ...]:
        if not gate.watches:
            return ()
        self.ledger.records[step.id].state = StepState.RUNNING
        self.changed()
        seen = await self.workers.see(self._named(f"{step.id}.facts"), gate)
        if isinstance(seen, StepProblem):
            self.ledger.notes.append(f"{workflow.now():%H:%M:%S} {seen.text}")
            return unseen(gate.name)
        return seen.statements

    def _named(self, name: str) -> str:
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}.{self._names[name]}"

    async def _is_still_so(self, step: Step, gate: Gate) -> bool:
        """Whether nothing that matters has changed since it was shown; if it has, the approvals are void."""
        before = self.ledger.waits[step.id].bound
        if before is None or not gate.watches:
            return True
        bound = Bound(plan=before.plan, statements=await self._look(step, gate))
        if self.ledger.abort is not None:
            self.ledger.leave(step.id, workflow.now())
            return False
        if not self.ledger.resolved(step.id):  # A reset has revoked it meanwhile.
            self.ledger.records[step.id].state = StepState.WAITING
            return False
        changes = changed(before.statements, bound.statements)
        if changes:
            code = approvals.code_at(gate.name, bound, workflow.random().getrandbits(24))
            self.ledger.gates.void(step.id, bound, code, changes, workflow.now())
            self.changed()
        return not changes

    def _pass(self, step: Step, gate: Gate) -> bool:
        wait, record = self.ledger.waits[step.id], self.ledger.records[step.id]
        answer = self.ledger.take(step.id)
        self.ledger.gates.drop_checks(step.id, f"gate {gate.name} was already {self.ledger.gates.closed[gate.name]}")
        assert isinstance(answer, Approve | Reject)  # noqa: S101 - the ledger accepts nothing else at a gate
        if isinstance(answer, Reject):
            record.reason, record.decided_by = answer.comment, answer.by
            record.state, record.ended = StepState.ENDED, workflow.now()
            if wait.ends_run:
                abort = Abort(by=answer.by, reason=f"gate {gate.name} rejected: {answer.comment}"[:1000])
                self.ledger.give_up(abort, workflow.now())
            return False
        record.reason = "; ".join(given.comment for given in wait.approvals if given.comment)
        record.decided_by = ", ".join(given.by for given in wait.approvals)
        self.ledger.end(step.id, Outcome.DONE, workflow.now())
        return True

    async def _hold(self, step: Step) -> None:
        """Until people have decided, and the decision stands; or until the run is aborted."""
        while not self._is_decided(step):
            await self._until_decided(step)
            if self.ledger.abort is None:
                # After a reset Temporal repeats old signals before it tells of the reset, which revokes them.
                await workflow.sleep(SETTLED, summary="Let the decision settle")

    async def _until_decided(self, step: Step) -> None:
        while not self._is_decided(step):
            check = self.ledger.gates.next_check(step.id)
            await (self._verify(step, check) if check else self._wait(step))

    async def _verify(self, step: Step, check: Check) -> None:
        """Have the signature of an approval verified, which counts or doesn't count then."""
        info = workflow.info()
        signed = Signed(
            cluster=self.workers.cluster,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            gate=check.wish.gate,
            code=check.wish.seen,
            by=check.wish.by,
            comment=check.wish.comment,
        )
        self.changed()
        name = self._named(f"{step.id}.signature")
        verdict = await self.workers.verify(name, signed, check.wish.signature)
        self.ledger.gates.verified(check, verdict, workflow.now())
        self.changed()

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
                    or ledger.gates.next_check(step.id) is not None
                    or ledger.waits[step.id].approvals != wait.approvals
                ),
                timeout=left,
                timeout_summary=f"{'Deadline' if left == deadline else 'An approval expires'}: {step.title}",
            )
        except TimeoutError:
            if left == deadline:
                ledger.overdue(step.id)
            ledger.gates.expire(workflow.now())
            self.changed()

    def _is_decided(self, step: Step) -> bool:
        return self.ledger.abort is not None or self.ledger.resolved(step.id)


def _until_deadline(wait: Wait, now: datetime) -> timedelta | None:
    """How long until the deadline of a gate; None: it has none, or it has passed."""
    if wait.deadline is None or wait.deadline <= now:
        return None
    return wait.deadline - now
