"""Runs a plan durably: each step as soon as its own predecessors are over, each problem in front of the operator.

The executor knows no command by name. It hands a step to a worker, believes its report, and where there is none asks
the operator: retry, skip, abort.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from procedure.commands import AnyCommand
    from procedure.commands.base import Command
    from procedure.facts import Facts, Observation
    from procedure.orders import OBSERVE, WATCH_OUTAGE, Observed, ObserveOrder, OutageOrder, StepOrder
    from procedure.plan import Gate, Observe, OperatorTask, Plan, Step, Upkeep
    from procedure.reports import Outage, Outcome, StepProblem, StepReport
    from procedure.situation import Situation
    from procedure.subjects import Subject
    from workflows.ledger import Ledger, gate_deadline
    from workflows.messages import Abort, Approve, Confirm, Reject, Retry, Skip
    from workflows.problems import problem_of
    from workflows.status import StepState

HEARTBEAT = timedelta(seconds=5)
"""A worker that says nothing for so long is taken for dead: a longer time is what a crash costs in the outage."""
MARGIN = timedelta(minutes=2)
"""Added to a command's own deadline: time to observe, act and report around the wait."""
FIRST_RETRY = timedelta(seconds=1)
"""The server does not honour less."""
LONGEST_RETRY = timedelta(seconds=15)
LONGEST_WATCH = timedelta(days=30)


@dataclass
class Executor:
    """Carries out one plan."""

    situation: Situation
    ledger: Ledger
    inventory_digest: str
    changed: Callable[[], None]
    """Called whenever something that people see has changed."""
    notes: list[str] = field(default_factory=list)
    outage: Outage | None = None
    _interruptible: set[workflow.ActivityHandle[StepReport]] = field(default_factory=set)
    _watch: workflow.ActivityHandle[Outage] | None = None

    # Health check

    async def observe(self, rounds: tuple[Step, ...]) -> Facts:
        """Observe all rounds of the health check at the same time."""
        self.ledger.plan(rounds)
        seen = await asyncio.gather(*(self._observe_round(step) for step in rounds))
        return Facts(observations=tuple(observation for round_ in seen for observation in round_))

    async def _observe_round(self, step: Step) -> tuple[Observation, ...]:
        action = step.action
        assert isinstance(action, Observe)  # noqa: S101 - narrows the type; rounds hold nothing else
        seen: tuple[Observation, ...] = ()
        for attempt in range(self._attempts):
            self.ledger.begin(step.id, workflow.now())
            self.changed()
            seen = await self._observe(step.id, step.title, action.subjects, attempt)
            if not any(observation.trouble == "transient" for observation in seen):
                break
            await workflow.sleep(min(FIRST_RETRY * 2**attempt, LONGEST_RETRY))
        known = all(observation.fact is not None for observation in seen) and len(seen) == len(action.subjects)
        self.ledger.end(step.id, Outcome.DONE if known else Outcome.UNKNOWN, workflow.now())
        self.changed()
        return seen

    async def _observe(
        self, step_id: str, title: str, subjects: tuple[Subject, ...], attempt: int
    ) -> tuple[Observation, ...]:
        timings = self.situation.inventory.timings
        order = ObserveOrder(
            step_id=step_id,
            subjects=subjects,
            inventory_digest=self.inventory_digest,
            cluster=self.situation.inventory.cluster,
        )
        try:
            observed: Observed = await workflow.execute_activity(
                OBSERVE,
                order,
                result_type=Observed,
                activity_id=f"{step_id}.{workflow.uuid4().hex[:4]}" if attempt else step_id,
                summary=title,
                start_to_close_timeout=4 * timings.command + 2 * timings.connect,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=self._retry_policy,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            problem = problem_of(error, step_id, "an observation")
            return tuple(
                Observation(
                    subject=subject, at=workflow.now(), source=step_id, problem=problem.text, trouble="not understood"
                )
                for subject in subjects
            )
        return observed.observations

    # The plan

    async def run(self, plan: Plan) -> None:
        """Run a plan to its end, or to the end of an abort."""
        self.ledger.plan(plan.steps)
        background = [asyncio.create_task(self._keep_up(upkeep)) for upkeep in plan.upkeep]
        background.append(asyncio.create_task(self._interrupt_when_aborted()))
        try:
            await asyncio.gather(*(self._follow(step, plan) for step in plan.steps))
        finally:
            for task in background:
                task.cancel()
        await self._end_watch()

    async def clean_up(self, plan: Plan) -> None:
        """What an aborted run still owes: nothing stays silenced that is not off on purpose."""
        self.ledger.plan(plan.on_abort)
        for step in plan.on_abort:
            await self._perform(step)
            self.changed()

    async def _follow(self, step: Step, plan: Plan) -> None:
        over = self.ledger.is_over
        await workflow.wait_condition(lambda: self._aborted or all(over(before) for before in step.after))
        if self._aborted or over(step.id):
            return
        self._watch_the_outage(step, plan)
        await self._perform(step)
        self.changed()
        if step.stage == plan.outage_until and self._is_complete(plan, step.stage):
            await self._end_watch()

    async def _perform(self, step: Step) -> None:
        if isinstance(step.action, Gate):
            await self._pass_gate(step, step.action)
        elif isinstance(step.action, OperatorTask):
            await self._ask_operator(step, step.action)
        elif isinstance(step.action, Command):
            await self._carry_out(step, step.action)

    # Commands

    async def _carry_out(self, step: Step, command: Command) -> None:
        while True:
            record = self.ledger.begin(step.id, workflow.now())
            self.changed()
            name = step.id if record.attempts == 1 else f"{step.id}.{record.attempts}"
            result = await self._order(command, step, name)
            if isinstance(result, StepReport):
                self.ledger.end(step.id, result.outcome, workflow.now(), result)
                return
            if self._interrupted(command):
                self.ledger.records[step.id].problem = result
                self.ledger.records[step.id].reason = "interrupted by the abort"
                self.ledger.end(step.id, Outcome.UNKNOWN, workflow.now())
                return
            answer = await self._ask_about(step, result, can_force=command.forced() is not None)
            if answer is None or isinstance(answer, Skip):
                return
            by_force = command.forced() if answer.force else None
            command = by_force or command

    async def _order(
        self, command: Command, step: Step, name: str, *, verify_only: bool = False
    ) -> StepReport | StepProblem:
        handle: workflow.ActivityHandle[StepReport] = workflow.start_activity(
            command.kind,
            self._step_order(command, step, verify_only=verify_only),
            result_type=StepReport,
            activity_id=name,
            summary=command.title,
            start_to_close_timeout=command.deadline(self.situation.inventory) + MARGIN,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=self._retry_policy,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        if not command.mutates or verify_only:
            self._interruptible.add(handle)
        try:
            return await handle
        except ActivityError as error:
            return problem_of(error, command.target, command.title)
        finally:
            self._interruptible.discard(handle)

    def _step_order(self, command: Command, step: Step, *, verify_only: bool) -> StepOrder:
        return StepOrder(
            step_id=step.id,
            stage=step.stage,
            command=cast(AnyCommand, command),
            vacated=self.situation.vacated,
            inventory_digest=self.inventory_digest,
            cluster=self.situation.inventory.cluster,
            attempts=self._attempts,
            verify_only=verify_only,
        )

    async def _ask_about(self, step: Step, problem: StepProblem, *, can_force: bool) -> Retry | Skip | None:
        """Wait for the operator's word about a problem; None: the run was aborted instead."""
        during_abort = self._aborted
        self.ledger.wait_with_problem(step, problem, can_force, workflow.now())
        self.changed()
        await workflow.wait_condition(
            lambda: self.ledger.resolved(step.id) or (self._aborted and not during_abort),
        )
        if not self.ledger.resolved(step.id):
            return None
        answer = self.ledger.take(step.id)
        if isinstance(answer, Skip):
            self._skip(step, answer)
            return answer
        assert isinstance(answer, Retry)  # noqa: S101 - the ledger accepts nothing else for a problem
        self.ledger.records[step.id].decided_by = answer.by
        return answer

    def _skip(self, step: Step, answer: Skip) -> None:
        record = self.ledger.records[step.id]
        record.reason, record.decided_by = answer.reason, answer.by
        self.ledger.end(step.id, Outcome.SKIPPED, workflow.now())

    # People

    async def _pass_gate(self, step: Step, gate: Gate) -> None:
        # The seed of a run's random numbers changes at a reset, so an old approval does not fit a gate met again.
        code = f"{workflow.random().getrandbits(24):06x}"
        self.ledger.wait_at_gate(step, gate, code, workflow.now())
        self.changed()
        await self._hold(step)
        if not self.ledger.resolved(step.id):
            return
        answer = self.ledger.take(step.id)
        record = self.ledger.records[step.id]
        assert isinstance(answer, Approve | Reject)  # noqa: S101 - the ledger accepts nothing else at a gate
        record.reason, record.decided_by = answer.comment, answer.by
        if isinstance(answer, Reject):
            record.state, record.ended = StepState.ENDED, workflow.now()
            self.ledger.abort = Abort(by=answer.by, reason=f"gate {gate.name} rejected: {answer.comment}")
            return
        self.ledger.end(step.id, Outcome.DONE, workflow.now())

    async def _hold(self, step: Step) -> None:
        def decided() -> bool:
            return self._aborted or self.ledger.resolved(step.id)

        left = gate_deadline(self.ledger.waits[step.id], workflow.now())
        try:
            await workflow.wait_condition(decided, timeout=left)
        except TimeoutError:
            self.ledger.overdue(step.id)
            self.changed()
            await workflow.wait_condition(decided)

    async def _ask_operator(self, step: Step, task: OperatorTask) -> None:
        during_abort = self._aborted
        while True:
            self.ledger.wait_for_task(step, task, workflow.now())
            self.changed()
            await workflow.wait_condition(lambda: self.ledger.resolved(step.id) or (self._aborted and not during_abort))
            if not self.ledger.resolved(step.id):
                return
            answer = self.ledger.take(step.id)
            if isinstance(answer, Skip):
                self._skip(step, answer)
                return
            assert isinstance(answer, Confirm)  # noqa: S101 - the ledger accepts nothing else for a task
            if await self._is_so(step, task, answer):
                return

    async def _is_so(self, step: Step, task: OperatorTask, answer: Confirm) -> bool:
        """Look whether what was confirmed can be seen. Without a check the person's word is all there is."""
        record = self.ledger.begin(step.id, workflow.now())
        record.reason, record.decided_by = answer.comment or "confirmed", answer.by
        self.changed()
        name = f"{step.id}.check" if record.attempts == 1 else f"{step.id}.check.{record.attempts}"
        seen = await self._order(task.check, step, name, verify_only=True) if task.check else None
        if isinstance(seen, StepProblem):
            decision = await self._ask_about(step, seen, can_force=False)
            return decision is None or isinstance(decision, Skip)
        self.ledger.end(step.id, Outcome.DONE, workflow.now(), seen)
        return True

    # In the background

    async def _interrupt_when_aborted(self) -> None:
        """Waiting and checking changes nothing, so it ends at once; what changes something ends by itself."""
        await workflow.wait_condition(lambda: self._aborted)
        self.changed()
        for handle in tuple(self._interruptible):
            handle.cancel()

    async def _keep_up(self, upkeep: Upkeep) -> None:
        over = self.ledger.is_over
        await workflow.wait_condition(lambda: all(over(step) for step in upkeep.after))
        while not any(over(step) for step in upkeep.until):
            await workflow.sleep(upkeep.every)
            if any(over(step) for step in upkeep.until) or self._aborted:
                return
            step = Step(id=f"upkeep-{upkeep.command.kind}".replace("_", "-"), stage=0, title="", action=upkeep.command)
            result = await self._order(upkeep.command, step, f"{step.id}.{workflow.uuid4().hex[:4]}")
            if isinstance(result, StepProblem):
                self.notes.append(f"{workflow.now():%H:%M:%S} {upkeep.command.title}: {result.text}")
                self.changed()

    def _watch_the_outage(self, step: Step, plan: Plan) -> None:
        if self._watch is not None or not step.mutates or step.stage < plan.outage_from:
            return
        inventory = self.situation.inventory
        if not any(probe.outage for probe in inventory.probes):
            return
        self._watch = workflow.start_activity(
            WATCH_OUTAGE,
            OutageOrder(
                inventory_digest=self.inventory_digest, cluster=inventory.cluster, interval=inventory.timings.probe
            ),
            result_type=Outage,
            activity_id="watch-the-outage",
            summary="Measure the outage by the probes",
            start_to_close_timeout=LONGEST_WATCH,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RetryPolicy(initial_interval=FIRST_RETRY, maximum_interval=LONGEST_RETRY),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )

    async def _end_watch(self) -> None:
        if self._watch is None or self.outage is not None:
            return
        watch = self._watch
        self.outage = Outage()
        watch.cancel()
        try:
            self.outage = await watch
        except ActivityError as error:
            why = "it was cancelled before it could report" if is_cancelled_exception(error) else str(error.cause)
            self.notes.append(f"the outage could not be measured: {why}")
        self.changed()

    def _is_complete(self, plan: Plan, stage: int) -> bool:
        """Whether all of a stage is over but its gates."""
        return all(self.ledger.is_over(step.id) for step in plan.steps_of(stage) if not isinstance(step.action, Gate))

    # Small things

    @property
    def _aborted(self) -> bool:
        return self.ledger.abort is not None

    def _interrupted(self, command: Command) -> bool:
        return self._aborted and not command.mutates

    @property
    def _attempts(self) -> int:
        return self.situation.inventory.timings.attempts

    @property
    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(
            initial_interval=FIRST_RETRY,
            maximum_interval=LONGEST_RETRY,
            maximum_attempts=self._attempts,
            non_retryable_error_types=["refused", "rejected", "failed", "unknown"],
        )
