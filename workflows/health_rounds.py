"""The rounds of the health check: all is observed at the same time and judged, and looked at again where it may pass.

What is not well may be over in a moment: a server that missed a check, a replica that lags by a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from procedure.facts import Facts, Observation
    from procedure.orders import Observed
    from procedure.plan import Observe, Step
    from procedure.reports import Outcome
    from procedure.verdicts import Answer, Verdict, told_together
    from workflows.ledger import Ledger
    from workflows.retrying import FIRST_RETRY, LONGEST_RETRY
    from workflows.status import StepState
    from workflows.workers import Workers

Judge = Callable[[Facts], Awaitable[tuple[Verdict, ...]]]
"""What the facts of a health check mean."""
WHAT_PASSES_IS_LOOKED_AT_AGAIN = "what-passes-is-looked-at-again"
"""Patch: the health check of runs recorded before it looked once."""
LOOK_AGAIN = (1, 2, 4)
"""Polls until what is not well is looked at again: a server that missed two checks is UP again after two."""


class HealthRounds:
    """Has the rounds of one health check observed."""

    def __init__(
        self,
        ledger: Ledger,
        workers: Workers,
        notes: list[str],
        *,
        changed: Callable[[], None],
        resumed: Callable[[], Awaitable[None]],
    ) -> None:
        """Observe nothing yet.

        Args:
            ledger: where each round is written down; it says whether the run is aborted.
            workers: who observe.
            notes: of the run.
            changed: called whenever something that people see has changed.
            resumed: waits while the run is paused.
        """
        self._ledger = ledger
        self._workers = workers
        self._notes = notes
        self._changed = changed
        self._resumed = resumed

    async def check(self, rounds: tuple[Step, ...], judge: Judge) -> tuple[Verdict, ...]:
        """Observe and judge. What is not well is looked at again a few times: it may be over in a moment.

        Nothing is, while something could not be seen: connections were tried again already, and a password that is
        refused is not tried for long.

        Returns:
            the last verdicts; none, if the run is aborted.
        """
        pauses, passed = iter(LOOK_AGAIN), dict[str, Verdict]()
        while True:
            facts = await self._observe(rounds)
            if self._is_aborted:
                return ()
            verdicts = await judge(facts)
            against = [verdict for verdict in verdicts if not verdict.allows]
            only_fails = {verdict.answer for verdict in against} == {Answer.FAIL}
            pause = next(pauses, None) if only_fails else None
            if pause is None or not workflow.patched(WHAT_PASSES_IS_LOOKED_AT_AGAIN):
                still = {verdict.condition for verdict in against}
                self._note_what_passed(verdict for verdict in passed.values() if verdict.condition not in still)
                return verdicts
            passed |= {verdict.condition: verdict for verdict in against}
            if await self._is_aborted_within(pause * self._workers.poll, rounds):
                return ()

    async def _is_aborted_within(self, pause: timedelta, rounds: tuple[Step, ...]) -> bool:
        """Whether the run is aborted before the rounds are to be observed again."""
        records = [self._ledger.records[step.id] for step in rounds]
        for record in records:
            record.state = StepState.PENDING
        self._changed()
        try:
            await workflow.wait_condition(
                lambda: self._is_aborted,
                timeout=pause,
                timeout_summary="Something is not well: look again, it may be over in a moment",
            )
        except TimeoutError:
            return False
        for record in records:
            record.state = StepState.ENDED
        return True

    def _note_what_passed(self, verdicts: Iterable[Verdict]) -> None:
        """Whoever decides at the first gate should know what was not well a moment before."""
        self._notes += [f"Not so at first, and then it was: {text}" for text in told_together(verdicts)]

    async def _observe(self, rounds: tuple[Step, ...]) -> Facts:
        """Observe all rounds of the health check at the same time."""
        self._ledger.plan(rounds)
        interrupting = asyncio.create_task(self._workers.interrupt_when_aborted(self._changed))
        try:
            seen = await asyncio.gather(*(self._observe_round(step) for step in rounds))
        finally:
            interrupting.cancel()
        return Facts(observations=tuple(observation for round_ in seen for observation in round_))

    async def _observe_round(self, step: Step) -> tuple[Observation, ...]:
        action = step.action
        assert isinstance(action, Observe)  # noqa: S101 - narrows the type; rounds hold nothing else
        seen = Observed()
        for attempt in range(self._workers.attempts):
            await self._resumed()
            self._ledger.begin(step.id, workflow.now())
            self._changed()
            seen = await self._workers.observe(step.id, step.title, action.subjects, self._workers.next_id(step.id))
            lost = any(observation.trouble == "transient" for observation in seen.observations)
            if not lost or self._is_aborted or attempt + 1 == self._workers.attempts:
                break
            await workflow.sleep(min(FIRST_RETRY * 2**attempt, LONGEST_RETRY))
        known = seen.complete and all(observation.fact is not None for observation in seen.observations)
        self._ledger.end(step.id, Outcome.DONE if known else Outcome.UNKNOWN, workflow.now())
        self._changed()
        return seen.observations

    @property
    def _is_aborted(self) -> bool:
        return self._ledger.abort is not None
