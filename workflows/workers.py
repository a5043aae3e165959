"""What a run hands to workers, and what it believes of their answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from procedure.commands import AnyCommand
    from procedure.commands.base import Command
    from procedure.drawing_up import DrawnUp, Intent
    from procedure.facts import Facts, Observation
    from procedure.orders import (
        DRAW_UP,
        OBSERVE,
        SEE_FACTS,
        DrawUpOrder,
        Observed,
        ObserveOrder,
        Seen,
        SeeOrder,
        StepOrder,
    )
    from procedure.plan import Gate, Step
    from procedure.reports import Outcome, StepProblem, StepReport
    from procedure.signing import VERIFY_SIGNATURE, SignatureOrder, SignatureVerdict, Signed
    from procedure.situation import Situation
    from procedure.subjects import Subject
    from workflows.problems import doubtful, not_looked_at, problem_of
    from workflows.retrying import FIRST_RETRY, HEARTBEAT, LONGEST_RETRY

T = TypeVar("T")

MARGIN = timedelta(minutes=2)
"""Added to a command's own deadline: time to observe, act and report around the wait."""
DRAWING_UP = timedelta(seconds=30)
"""Pure code that takes a fraction of a second; so long only where a worker died of it, or is overloaded."""
VERIFYING = timedelta(seconds=30)
"""A command on the worker's own machine that takes a fraction of a second."""
NOTHING = timedelta(0)
ENDED_WELL = (Outcome.DONE, Outcome.UNCHANGED, Outcome.NOT_APPLICABLE)


class Workers:
    """The workers of one run."""

    def __init__(
        self, situation: Situation, inventory_digest: str, *, aborted: Callable[[], bool], gives_up: Callable[[], bool]
    ) -> None:
        """Hand nothing over yet.

        Args:
            situation: the cluster, and which host goes.
            inventory_digest: a worker with another inventory refuses what it is handed.
            aborted: whether the run is: then the health check looks at nothing more.
            gives_up: whether nothing is looked at or waited for any more.
        """
        self._situation = situation
        self._digest = inventory_digest
        self._aborted = aborted
        self._gives_up = gives_up
        # What only looks or waits. In the order it was begun, so that a replay interrupts in the same order.
        self._interruptible: dict[workflow.ActivityHandle[Any], None] = {}
        self._handed: Counter[str] = Counter()

    def next_id(self, base: str) -> str:
        """For the next activity of a step, or the next plan: its own id, then numbered."""
        self._handed[base] += 1
        count = self._handed[base]
        return base if count == 1 else f"{base}.{count}"

    async def observe(self, step_id: str, title: str, subjects: tuple[Subject, ...], name: str) -> Observed:
        """Have subjects observed, in an activity of that id; nothing, if the run is aborted.

        What can't be observed says why.
        """
        if self._aborted():
            return Observed()
        timings = self._situation.inventory.timings
        order = ObserveOrder(
            step_id=step_id,
            subjects=subjects,
            inventory_digest=self._digest,
            cluster=self._situation.inventory.cluster,
        )
        handle: workflow.ActivityHandle[Observed] = workflow.start_activity(
            OBSERVE,
            order,
            result_type=Observed,
            activity_id=name,
            summary=title,
            start_to_close_timeout=4 * timings.command + 2 * timings.connect,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=self._retry_policy,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        try:
            return await self._interruptibly(handle)
        except ActivityError as error:
            if is_cancelled_exception(error) and not self._aborted():
                raise  # The workflow itself was cancelled: that says nothing about the cluster.
            problem = problem_of(error, step_id, "an observation")
            unseen = tuple(
                Observation(
                    subject=subject, at=workflow.now(), source=step_id, problem=problem.text, trouble="not understood"
                )
                for subject in subjects
            )
            return Observed(observations=unseen, asked=len(subjects))

    async def see(self, name: str, gate: Gate) -> Seen | StepProblem:
        """Have somebody look at what a gate watches, in an activity of that id; at nothing, if the run is aborted."""
        if self._aborted():
            return Seen()
        timings = self._situation.inventory.timings
        order = SeeOrder(
            step_id=name,
            subjects=gate.watches,
            vacated=self._situation.vacated,
            inventory_digest=self._digest,
            cluster=self._situation.inventory.cluster,
        )
        handle: workflow.ActivityHandle[Seen] = workflow.start_activity(
            SEE_FACTS,
            order,
            result_type=Seen,
            activity_id=name,
            summary=f"Look at what the gate {gate.name} is decided by",
            start_to_close_timeout=4 * timings.command + 2 * timings.connect,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=self._retry_policy,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        try:
            return await self._interruptibly(handle)
        except ActivityError as error:
            if is_cancelled_exception(error) and not self._aborted():
                raise  # The workflow itself was cancelled: that says nothing about the cluster.
            return problem_of(error, f"gate {gate.name}", "what it is decided by is seen")

    async def verify(self, name: str, signed: Signed, signature: str) -> SignatureVerdict:
        """Have a signature verified, in an activity of that id; it is not good, if the run is aborted."""
        if self._aborted():
            return SignatureVerdict(good=False, reason="the run is being aborted")
        order = SignatureOrder(
            by=signed.by,
            text=signed.text,
            signature=signature,
            inventory_digest=self._digest,
            cluster=self.cluster,
        )
        handle: workflow.ActivityHandle[SignatureVerdict] = workflow.start_activity(
            VERIFY_SIGNATURE,
            order,
            result_type=SignatureVerdict,
            activity_id=name,
            summary=f"Verify the signature of {signed.by}",
            start_to_close_timeout=VERIFYING,
            retry_policy=self._retry_policy,
        )
        try:
            return await self._interruptibly(handle)
        except ActivityError as error:
            if is_cancelled_exception(error) and not self._aborted():
                raise  # The workflow itself was cancelled: that says nothing about the signature.
            reason = problem_of(error, f"the signature of {signed.by}", "it is verified").text
            return SignatureVerdict(good=False, reason=reason)

    async def draw_up(self, intent: Intent, facts: Facts, name: str) -> DrawnUp | StepProblem:
        """Have the facts judged and the plan made, in an activity of that id; its answer stays in the history."""
        order = DrawUpOrder(
            inventory_digest=self._digest,
            cluster=self._situation.inventory.cluster,
            vacated=self._situation.vacated,
            intent=intent,
            facts=facts,
        )
        handle: workflow.ActivityHandle[DrawnUp] = workflow.start_activity(
            DRAW_UP,
            order,
            result_type=DrawnUp,
            activity_id=name,
            summary=f"Judge the health check and draw up the {intent.direction}",
            start_to_close_timeout=DRAWING_UP,
            retry_policy=self._retry_policy,
        )
        try:
            return await handle
        except ActivityError as error:
            return problem_of(error, intent.reference, "a plan")

    async def order(
        self,
        command: Command,
        step: Step,
        name: str,
        *,
        verify_only: bool = False,
        patience: timedelta | None = None,
    ) -> StepReport | StepProblem:
        """Hand a command to a worker, and believe its report."""
        looks_only = verify_only or not command.mutates
        if looks_only and self._gives_up():
            return not_looked_at(command.target, command.title)
        handle: workflow.ActivityHandle[StepReport] = workflow.start_activity(
            command.kind,
            self._step_order(command, step, verify_only=verify_only, patience=patience),
            result_type=StepReport,
            activity_id=name,
            summary=command.title,
            start_to_close_timeout=max(command.at_most(self._situation.inventory), patience or NOTHING) + MARGIN,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=self._retry_policy,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        try:
            report = await (self._interruptibly(handle) if looks_only else handle)
        except ActivityError as error:
            return problem_of(error, command.target, command.title)
        believed = report.outcome in ENDED_WELL or (report.outcome is Outcome.NOT_YET and patience is not None)
        return report if believed else doubtful(report, command.target, command.title)

    async def _interruptibly(self, handle: workflow.ActivityHandle[T]) -> T:
        self._interruptible[handle] = None
        try:
            return await handle
        finally:
            del self._interruptible[handle]

    def _step_order(self, command: Command, step: Step, *, verify_only: bool, patience: timedelta | None) -> StepOrder:
        return StepOrder(
            step_id=step.id,
            stage=step.stage,
            command=cast(AnyCommand, command),
            vacated=self._situation.vacated,
            inventory_digest=self._digest,
            cluster=self._situation.inventory.cluster,
            attempts=self.attempts,
            verify_only=verify_only,
            patience=patience,
        )

    async def interrupt_when_aborted(self, changed: Callable[[], None]) -> None:
        """End what only looks or waits as soon as the run is aborted; `changed` is called before."""
        await workflow.wait_condition(self._aborted)
        changed()
        await self._interrupt()

    async def _interrupt(self) -> None:
        """Waiting and checking changes nothing, so it ends at once; what changes something ends by itself."""
        # What was handed out in this very moment must have begun: else it ends without a word, and the run with it.
        await asyncio.sleep(0)
        for handle in tuple(self._interruptible):
            handle.cancel()

    @property
    def cluster(self) -> str:
        """Whose workers they are."""
        return self._situation.inventory.cluster

    @property
    def poll(self) -> timedelta:
        """Between two looks at a state that is waited for."""
        return self._situation.inventory.timings.poll

    @property
    def attempts(self) -> int:
        """How often something is tried before a person is asked."""
        return self._situation.inventory.timings.attempts

    @property
    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(
            initial_interval=FIRST_RETRY,
            maximum_interval=LONGEST_RETRY,
            maximum_attempts=self.attempts,
            non_retryable_error_types=["refused", "rejected", "failed", "unknown"],
        )
