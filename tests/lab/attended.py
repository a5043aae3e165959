"""The person who watches a run in which something goes wrong, and what such a person must be told."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic

from procedure.plan import Gate, Plan
from tests.lab.whole_run import WITHIN, LabT, RunOn
from workflows.status import Status, StepState, Wait

_KEY = re.compile(r"\b(component|cluster|power|balancer|sessions|replication|replay|drbd):[a-z]")


@dataclass
class Attended(Generic[LabT]):
    """A run, and the person who watches it."""

    run: RunOn[LabT]
    within: float = field(default=WITHIN, kw_only=True)
    """Seconds in which the next thing comes about, on a busy machine."""

    async def problems(self, *steps: str) -> dict[str, Wait]:
        """Wait until exactly these steps wait with a problem and nothing else runs; check what is held back.

        Args:
            steps: their ids.

        Returns:
            What each says, by step.
        """
        status = await self._at_rest(set(steps))
        assert self._waiting(status) == set(steps), "\n".join(f"{w.step}: {w.text}" for w in status.waits)
        await self._must_hold_back_what_depends_and_nothing_else(status)
        waits = {wait.step: wait for wait in status.waits if wait.kind == "problem"}
        for wait in waits.values():
            _must_be_a_whole_message(wait)
        return waits

    async def _at_rest(self, steps: set[str]) -> Status:
        """Wait until these wait and nothing runs. A heartbeat that an overloaded machine has missed is no fault."""
        while True:
            status = await self.run.until(
                lambda status: (
                    (self._waiting(status) >= steps and not any(s.state == "running" for s in status.steps))
                    or any(self._lost(wait) for wait in status.waits)
                ),
                self.within,
            )
            lost = [wait.step for wait in status.waits if self._lost(wait)]
            if not lost:
                return status
            await self.retry(*lost)

    def _lost(self, wait: Wait) -> bool:
        return wait.kind == "problem" and "the worker that did it stopped answering" in wait.text

    async def retry(self, *steps: str) -> None:
        """Tell the run to try these steps again."""
        for step in steps:
            answer = await self.run.decide("retry", step=step)
            assert answer.accepted, answer.text

    async def skip(self, *steps: str) -> None:
        """Tell the run to go on without these steps."""
        for step in steps:
            answer = await self.run.decide("skip", step=step, reason="decided in a test")
            assert answer.accepted, answer.text

    async def until_gate(self, gate: str) -> None:
        """Wait until a gate is reached and nothing runs: nothing moves while a person thinks."""
        await self.run.until_gate(gate, self.within)
        await self.run.until(lambda status: not any(step.state == "running" for step in status.steps), self.within)

    async def approve_in_vain(self, gate: str, *said: str) -> None:
        """Approve a gate whose facts have changed since it was shown: that approval is void, and it is shown anew.

        Args:
            gate: its name.
            said: what the run must say of the change.
        """
        shown = await self.run.until_gate(gate, self.within)
        await self.run.approve(gate)
        status = await self.run.until(
            lambda s: any(w.gate == gate and w.code != shown.code for w in s.waits), self.within
        )
        notes = " ".join(status.notes)
        for words in said:
            assert words in notes, status.notes

    async def approve_what_has_changed(self, gate: str, *said: str) -> None:
        """Approve in vain, and then what is shown anew."""
        await self.approve_in_vain(gate, *said)
        await self.run.approve(gate)

    def _waiting(self, status: Status) -> set[str]:
        return {wait.step for wait in status.waits if wait.kind == "problem"}

    async def _must_hold_back_what_depends_and_nothing_else(self, status: Status) -> None:
        plan: Plan | None = await self.run.handle.query("plan", result_type=Plan)
        assert plan is not None
        people = {step.id for step in plan.steps if isinstance(step.action, Gate)}
        states = {record.id: record.state for record in status.steps}
        held = _all_after(plan, {wait.step for wait in status.waits})
        begun = {step for step in held if states[step] is not StepState.PENDING}
        assert begun == set(), "these depend on what waits"
        free = {step.id for step in plan.steps} - held - people - self._waiting(status)
        assert {step for step in free if states[step] is not StepState.ENDED} == set(), "nothing keeps these"


def _all_after(plan: Plan, steps: Iterable[str]) -> set[str]:
    """Whatever waits for one of these, directly or not."""
    held: set[str] = set()
    found = set(steps)
    while found:
        found = {step.id for step in plan.steps if set(step.after) & found} - held
        held |= found
    return held


def _must_be_a_whole_message(wait: Wait) -> None:
    for part in ("Expected: ", "Seen: ", "Next: "):
        assert part in wait.text, wait.text
    assert "retry" in wait.text.partition("Next: ")[2], wait.text
    # Neither keys of this program nor two ends of a sentence at once.
    assert not _KEY.search(wait.text), wait.text
    for rubbish in ("..", ". .", "None", "Next: Next"):
        assert rubbish not in wait.text.replace("...", ""), wait.text
    hints = {hint.signal: hint.payload for hint in wait.hints}
    assert {"retry", "skip", "abort"} <= set(hints)
    assert hints["skip"]["step"] == wait.step


def words(wait: Wait, *salient: str) -> None:
    """What a person must find in the message of a wait."""
    missing = [word for word in salient if word not in wait.text]
    assert not missing, f"{missing} is not in: {wait.text}"
