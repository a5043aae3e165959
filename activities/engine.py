"""How a step works, always the same: observe, decide, act, verify, report.

Nothing is believed that was not observed: an exit code is no proof, a lost answer is looked after, a time-out is
*unknown*. Because it observes first, carrying out the same command twice is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from activities.errors import SystemTrouble, Transient, shortened
from activities.hands import Hands
from procedure.commands.base import Command
from procedure.facts import Facts, Observation
from procedure.reports import Evidence, Outcome, StepProblem, StepReport
from procedure.situation import Situation
from procedure.subjects import Subject
from procedure.verdicts import Answer, Verdict, steps_of, with_retry

MAX_EVIDENCE: Final = 20
"""A report keeps this many instructions and observations: enough to see what was done, few enough for a history."""

PATIENT_POLLS: Final = 10
"""A machine that boots or shuts down refuses logins and answers nonsense for a moment (pam_nologin, a half-started
cluster manager). While a state is waited for, a refusal counts only when it lasts so many times `timings.poll`."""

FIRST_PAUSE: Final = 10
"""The first look after the one that follows an instruction comes after this part of `timings.poll`."""
LONGER: Final = 1.5
"""Each further one comes so much later, until `timings.poll` is reached: after seven looks and two polls' time."""

PASSING_POLLS: Final = 10
"""What may be over in a moment is looked at so many times more before a step is refused for it."""

_NEXT: Final = {
    "refused": "See to the condition, then retry; or skip the step with a reason, or abort.",
    "rejected": "Mend the access (credentials, host key, certificate, privilege), then retry.",
    "failed": "Look at the system, then retry; or skip the step with a reason, or abort.",
    "unknown": "Look at the system yourself, then retry: it is observed again before anything is done.",
}

ProblemKind = Literal["refused", "rejected", "failed", "unknown"]
Progress = Callable[[str, bool], None]
"""Told what is being waited for, in words, and whether an instruction was already sent."""


class StepStopped(Exception):
    """The step did not end well, and trying again by itself would change nothing: the operator decides."""

    def __init__(self, problem: StepProblem) -> None:
        self.problem = problem
        super().__init__(problem.text)


class StepInterrupted(StepStopped):
    """The connection was lost or the system was busy: try again. If it stays so, the problem says *unknown*."""


def _silent(text: str, acted: bool) -> None:
    """Nobody listens to the progress."""


@dataclass
class _Sight:
    """What was seen at one moment, and what it means for the command."""

    facts: Facts
    wanted: Verdict

    @property
    def holds(self) -> bool:
        return self.wanted.answer in (Answer.PASS, Answer.WARN)

    def trouble(self, kind: str) -> Observation | None:
        return next((o for o in self.facts.observations if o.trouble == kind), None)

    @property
    def permanent(self) -> Observation | None:
        return self.trouble("rejected") or self.trouble("not understood")


@dataclass
class _Patience:
    """With what may be over in a moment."""

    seconds: float
    _since: float | None = None

    def ends(self, so: bool, now: float) -> bool:
        """Whether it is so, and has been all the time for too long."""
        self._since = None if not so else now if self._since is None else self._since
        return self._since is not None and now - self._since > self.seconds


@dataclass
class Engine:
    """Carries out one command, once. Make a new one for each attempt.

    Attributes:
        command: what to do.
        situation: the cluster, and which host is vacated.
        hands: all systems.
        progress: told what is being waited for.
        acted_before: an earlier attempt has already sent an instruction, so a wanted state that is found now is
            this step's work (*done*) and not *unchanged*.
        verify_only: never act, only wait for the wanted state.
        patience: wait for at most so long, then report *not yet*; None: until the command's deadline, then fail.
    """

    command: Command
    situation: Situation
    hands: Hands
    progress: Progress = _silent
    acted_before: bool = False
    verify_only: bool = False
    patience: timedelta | None = None
    _evidence: list[Evidence] = field(default_factory=list)
    _began: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def run(self) -> StepReport:
        """Observe, decide, act, verify, report.

        Raises:
            StepInterrupted: try again.
            StepStopped: refused, rejected, failed or unknown; the operator decides.
        """
        self._tell(f"observing: {self.command.title}")
        sight = await self._after_what_passes(await self._observe())
        if sight.wanted.answer is Answer.NOT_APPLICABLE:
            return self._report(Outcome.NOT_APPLICABLE, sight)
        if not self.command.mutates or self.verify_only:
            return await self._verify(sight, ())
        if sight.holds:
            return self._report(Outcome.DONE if self.acted_before else Outcome.UNCHANGED, sight)
        self._must_be_known(sight)
        verdicts = self._decide(sight)
        return await self._verify(await self._act(sight, verdicts), verdicts)

    # --- observe ------------------------------------------------------------------------------------------------------

    async def _observe(self) -> _Sight:
        """Everything that the command must know before it acts."""
        sight = await self._see(self.command.observes(self.situation))
        then = self.command.observes_then(self.situation, sight.facts)
        return await self._see(then, sight.facts) if then else sight

    async def _look(self, last: _Sight) -> _Sight:
        """What tells whether the wanted state is there, and nothing else: it is seen sooner so."""
        return await self._see(self.command.awaits(self.situation, last.facts))

    async def _see(self, subjects: tuple[Subject, ...], seen: Facts | None = None) -> _Sight:
        facts = (seen or Facts()).merged(await self.hands.observe_all(subjects))
        return _Sight(facts, self.command.wanted(self.situation, facts))

    def _must_be_known(self, sight: _Sight) -> None:
        """Never act on an unknown state (invariant 1)."""
        if sight.wanted.answer is Answer.UNKNOWN:
            self._stop_for_trouble(sight, (sight.wanted,))
            raise self._stopped("unknown", sight, (sight.wanted,))

    def _stop_for_trouble(self, sight: _Sight, unknown: tuple[Verdict, ...]) -> None:
        """Raise what the trouble of the observations calls for; return if there was none."""
        if permanent := sight.permanent:
            raise self._stopped("rejected" if permanent.trouble == "rejected" else "unknown", sight, unknown)
        if sight.trouble("transient"):
            raise StepInterrupted(self._problem("unknown", sight, unknown))

    # --- decide -------------------------------------------------------------------------------------------------------

    async def _after_what_passes(self, sight: _Sight) -> _Sight:
        """Look again while there is something to do, and nothing against it but what may be over in a moment."""
        poll = self.situation.inventory.timings.poll.total_seconds()
        acts = self.command.mutates and not self.verify_only
        for _ in range(PASSING_POLLS if acts else 0):
            against = [v for v in self.command.conditions(self.situation, sight.facts) if not v.allows]
            if sight.wanted.answer is not Answer.FAIL or not against or not all(v.passing for v in against):
                break
            self._tell(f"waiting: {against[0].reason or against[0].condition}")
            await asyncio.sleep(poll)
            sight = await self._observe()
        return sight

    def _decide(self, sight: _Sight) -> tuple[Verdict, ...]:
        verdicts = self.command.conditions(self.situation, sight.facts)
        against = tuple(verdict for verdict in verdicts if not verdict.allows)
        if not against:
            return verdicts
        if all(verdict.answer is Answer.UNKNOWN for verdict in against):
            self._stop_for_trouble(sight, against)
        raise self._stopped("refused", sight, against, verdicts)

    # --- act ----------------------------------------------------------------------------------------------------------

    async def _act(self, sight: _Sight, verdicts: tuple[Verdict, ...]) -> _Sight:
        """Send the instructions, then look."""
        for instruction in self.command.instructions(self.situation, sight.facts):
            self._tell(f"sending: {instruction.text}", acted=True)
            try:
                self._evidence.append(await self.hands.act(instruction))
            except SystemTrouble as trouble:
                answer = f"trouble: {trouble.seen}"
                self._evidence.append(Evidence(at=datetime.now(UTC), instruction=instruction.text, answer=answer))
                return await self._look_after(trouble, sight, verdicts)
        return await self._look(sight)

    async def _look_after(self, trouble: SystemTrouble, last: _Sight, verdicts: tuple[Verdict, ...]) -> _Sight:
        """Whether a troubled instruction worked is told by observation alone."""
        sight = await self._look(last)
        if sight.holds:
            return sight
        kind: ProblemKind = "rejected" if trouble.trouble == "rejected" else "unknown"
        problem = StepProblem(
            kind=kind,
            machine=self.command.target,
            expected=sight.wanted.condition,
            seen=shortened(f"{trouble.machine}: {trouble.seen}. Afterwards: {_answered(sight.wanted)}"),
            next_step=with_retry(_helps(trouble, sight.wanted)) or _NEXT[kind],
            report=self._report(Outcome.UNKNOWN, sight, verdicts),
        )
        raise StepInterrupted(problem) if isinstance(trouble, Transient) else StepStopped(problem)

    # --- verify -------------------------------------------------------------------------------------------------------

    async def _verify(self, sight: _Sight, verdicts: tuple[Verdict, ...]) -> StepReport:
        """Look until the wanted state is there, can't come any more, or the deadline."""
        poll = self.situation.inventory.timings.poll.total_seconds()
        pauses = _pauses(poll)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._longest_wait.total_seconds()
        last_known: Verdict | None = None
        refusal = _Patience(PATIENT_POLLS * poll)
        # What is waited for may take hours; a machine that answers no more is not silent for so long without a reason.
        silence = _Patience(self.situation.inventory.timings.command.total_seconds())
        while not sight.holds and sight.wanted.answer is not Answer.NOT_APPLICABLE:
            last_known = sight.wanted if sight.wanted.answer is Answer.FAIL else last_known
            unknown = sight.wanted.answer is Answer.UNKNOWN
            refused_for_good = refusal.ends(unknown and sight.permanent is not None, clock())
            silent_for_good = silence.ends(unknown and sight.trouble("transient") is not None, clock())
            if refused_for_good or silent_for_good or self._in_vain(sight):
                raise self._not_seen(sight, verdicts, last_known)
            if clock() >= deadline and self.patience is not None:
                return self._report(Outcome.NOT_YET, sight, (_with_last_known(sight.wanted, last_known),))
            if clock() >= deadline:
                raise self._not_seen(sight, verdicts, last_known)
            self._tell(f"waiting: {sight.wanted.reason or sight.wanted.condition}", acted=bool(self._evidence))
            await asyncio.sleep(min(next(pauses), max(deadline - clock(), 0)))
            sight = await self._look(sight)
        return self._report(self._outcome_of(sight), sight, verdicts)

    @property
    def _longest_wait(self) -> timedelta:
        return self.command.deadline(self.situation.inventory) if self.patience is None else self.patience

    def _in_vain(self, sight: _Sight) -> bool:
        """What is there now will not change by waiting, and nothing is left to do: a dump that ended short, say."""
        acts_no_more = bool(self._evidence) or not self.command.mutates
        return acts_no_more and sight.wanted.answer is Answer.FAIL and sight.wanted.settled

    def _outcome_of(self, sight: _Sight) -> Outcome:
        if sight.wanted.answer is Answer.NOT_APPLICABLE and not self._evidence:
            return Outcome.NOT_APPLICABLE
        return Outcome.DONE

    def _not_seen(self, sight: _Sight, verdicts: tuple[Verdict, ...], last_known: Verdict | None) -> StepStopped:
        """It did not come: *failed* if the state was seen and is another, else *unknown*."""
        if sight.wanted.answer is Answer.FAIL:
            return self._stopped("failed", sight, (sight.wanted,), verdicts)
        wanted = _with_last_known(sight.wanted, last_known)
        rejected = sight.permanent is not None and sight.permanent.trouble == "rejected"
        return self._stopped("rejected" if rejected else "unknown", sight, (wanted,), verdicts)

    # --- report -------------------------------------------------------------------------------------------------------

    def _tell(self, text: str, *, acted: bool = False) -> None:
        self.progress(shortened(text), acted or self.acted_before)

    def _report(self, outcome: Outcome, sight: _Sight, verdicts: tuple[Verdict, ...] = ()) -> StepReport:
        return StepReport(
            outcome=outcome,
            seen=shortened(sight.wanted.reason or sight.wanted.text),
            verdicts=verdicts,
            evidence=self._evidence_with(sight),
            sessions=self.command.sessions_left(self.situation, sight.facts),
            began=self._began,
            ended=datetime.now(UTC),
        )

    def _evidence_with(self, sight: _Sight) -> tuple[Evidence, ...]:
        """What was sent, then through what the state was finally seen; the earliest and the latest, if too many."""
        seen = (
            Evidence(at=o.at, instruction=f"observed: {shortened(o.source)}", answer=_told(o))
            for o in sight.facts.observations
        )
        everything = (*self._evidence, *seen)
        if len(everything) <= MAX_EVIDENCE:
            return everything
        half = MAX_EVIDENCE // 2
        return (*everything[:half], *everything[-half:])

    def _stopped(
        self, kind: ProblemKind, sight: _Sight, against: tuple[Verdict, ...], verdicts: tuple[Verdict, ...] = ()
    ) -> StepStopped:
        return StepStopped(self._problem(kind, sight, against, verdicts))

    def _problem(
        self, kind: ProblemKind, sight: _Sight, against: tuple[Verdict, ...], verdicts: tuple[Verdict, ...] = ()
    ) -> StepProblem:
        outcome = Outcome.UNKNOWN if kind == "unknown" else Outcome.FAILED
        return StepProblem(
            kind=kind,
            machine=self.command.target,
            expected="; ".join(verdict.condition for verdict in against),
            seen="; ".join(dict.fromkeys(_answered(verdict) for verdict in against)),
            next_step=with_retry(steps_of(against)) or _NEXT[kind],
            report=self._report(outcome, sight, verdicts or against),
        )


def _pauses(longest: float) -> Iterator[float]:
    """Seconds between two looks: few at first, since most of what is waited for comes soon; then ever the longest."""
    pause = longest / FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * LONGER, longest)


def _with_last_known(wanted: Verdict, last_known: Verdict | None) -> Verdict:
    """Where nobody can tell how it is now, how it was when it was last seen helps."""
    if wanted.answer is not Answer.UNKNOWN or last_known is None:
        return wanted
    reason = f"{wanted.reason or 'nothing'}; last seen: {last_known.reason or last_known.condition}"
    return wanted.model_copy(update={"reason": reason})


def _answered(verdict: Verdict) -> str:
    return shortened(verdict.reason) or verdict.answer.value


def _helps(trouble: SystemTrouble, wanted: Verdict) -> str:
    """Where the state was seen in spite of the trouble, it says more than the trouble; access is mended first."""
    if trouble.trouble != "rejected" and wanted.answer is Answer.FAIL and wanted.next_step:
        return wanted.next_step
    return trouble.next_step or wanted.next_step


def _told(observation: Observation) -> str:
    """What an observation says, short enough for a report."""
    if observation.fact is None:
        return shortened(observation.problem)
    return shortened(observation.fact.model_dump_json(exclude={"kind"}, exclude_defaults=True))


async def carry_out(
    command: Command,
    situation: Situation,
    hands: Hands,
    *,
    progress: Progress = _silent,
    acted_before: bool = False,
    verify_only: bool = False,
    patience: timedelta | None = None,
) -> StepReport:
    """Carry out one command: observe, decide, act, verify, report.

    Raises:
        StepInterrupted: the connection was lost or the system was busy; try again.
        StepStopped: refused, rejected, failed or unknown; the operator decides.
    """
    engine = Engine(
        command,
        situation,
        hands,
        progress,
        acted_before=acted_before,
        verify_only=verify_only,
        patience=patience,
    )
    return await engine.run()
