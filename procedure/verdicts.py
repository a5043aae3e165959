"""The five answers of a condition, always with the reason and what was seen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from procedure.values import Value

MOST_CONDITIONS = 3
"""Conditions that are named of those with one and the same reason: what is to be done is the same for all."""
_RETRY = re.compile(r"(?:[,;] then (?:retry|try again)|(?<=[.]) Then (?:retry|try again))[.]?$")
"""The word to the run at the end of what a person is told to do."""
_SAID = re.compile(r"^abort\b|\bretry\b|(?<!not )\btry again\b", re.IGNORECASE)
"""A word to the run, wherever it stands. To abort is one where nothing else is said."""
_WORD = re.compile(r"[a-z]+(?=[ ,;.]|$)")
"""A word that begins a sentence, and no name of a machine or a command."""


class Answer(StrEnum):
    """What a condition can answer."""

    PASS = "pass"  # noqa: S105 - an answer, no password
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    UNKNOWN = "unknown"


class Verdict(Value):
    """Answer of one condition."""

    condition: str
    """What must hold, in words: "acd-store1 is not primary of the storage pair"."""
    answer: Answer
    reason: str = ""
    """Why: what was expected and what was seen."""
    next_step: str = ""
    """What to do about it; empty for pass."""
    invariant: int | None = None
    """Number of the invariant (the procedure, section 6) it guards."""
    settled: bool = False
    """Waiting will not change it: a wanted state that is settled otherwise fails at once, for a person must act now.
    Of a command that changes something only after that was sent."""
    passing: bool = False
    """It may be over in a moment, without anybody: a call that came just now. Looked at again a few times, before a
    person is asked."""

    @property
    def allows(self) -> bool:
        """Whether a mutating step may go on: a failed or unknown condition never does."""
        return self.answer not in (Answer.FAIL, Answer.UNKNOWN)

    @property
    def text(self) -> str:
        """One line for a person."""
        return f"{self.condition}: {self.answer.value}" + (f" – {self.reason}" if self.reason else "")


def passed(condition: str, reason: str = "", *, invariant: int | None = None) -> Verdict:
    """The condition holds."""
    return Verdict(condition=condition, answer=Answer.PASS, reason=reason, invariant=invariant)


def warned(condition: str, reason: str, next_step: str = "") -> Verdict:
    """It holds, but a person should know something."""
    return Verdict(condition=condition, answer=Answer.WARN, reason=reason, next_step=next_step)


def failed(
    condition: str,
    reason: str,
    next_step: str = "",
    *,
    invariant: int | None = None,
    settled: bool = False,
    passing: bool = False,
) -> Verdict:
    """It does not hold; settled: nor will it by waiting; passing: it may in a moment, by itself."""
    return Verdict(
        condition=condition,
        answer=Answer.FAIL,
        reason=reason,
        next_step=next_step,
        invariant=invariant,
        settled=settled,
        passing=passing,
    )


def not_applicable(condition: str, reason: str, *, invariant: int | None = None) -> Verdict:
    """It does not concern this cluster or command."""
    return Verdict(condition=condition, answer=Answer.NOT_APPLICABLE, reason=reason, invariant=invariant)


def unknown(condition: str, reason: str, next_step: str = "", *, invariant: int | None = None) -> Verdict:
    """It can't be told."""
    return Verdict(condition=condition, answer=Answer.UNKNOWN, reason=reason, next_step=next_step, invariant=invariant)


_SEVERITY = (Answer.UNKNOWN, Answer.FAIL, Answer.WARN, Answer.PASS, Answer.NOT_APPLICABLE)


def worst(verdicts: Iterable[Verdict]) -> Answer:
    """The answer of several conditions together: unknown before fail before warn before pass."""
    answers = {verdict.answer for verdict in verdicts}
    return next((answer for answer in _SEVERITY if answer in answers), Answer.NOT_APPLICABLE)


def without_retry(step: str) -> str:
    """What can be done, without the word to the run at its end: who joins several says that once, behind them all."""
    said, found = _RETRY.subn("", step)
    return _sentence(said) if found else step


def with_retry(step: str) -> str:
    """What can be done, and then the word to the run, unless another one is there."""
    if not step:
        return ""
    return _sentence(step) if _SAID.search(step) else f"{_sentence(step)} Then retry."


def steps_of(against: Iterable[Verdict]) -> str:
    """What can be done about all of them, with the word to the run once; empty if nobody knows anything."""
    return together(verdict.next_step for verdict in against)


def together(steps: Iterable[str]) -> str:
    """Several things that can be done, with the word to the run once, if it is there."""
    said = tuple(dict.fromkeys(step for step in steps if step))
    if len(said) < 2:
        return "".join(said)
    cut = tuple(dict.fromkeys(_sentence(without_retry(step)) for step in said))
    # What is to be done comes before what is to be said.
    joined = " ".join(sorted(cut, key=lambda step: bool(_SAID.search(step))))
    told = any(_SAID.search(step) for step in cut) or not any(_SAID.search(step) for step in said)
    return joined if told else f"{joined} Then retry."


def _sentence(step: str) -> str:
    begun = step[:1].upper() + step[1:] if _WORD.match(step) else step
    return f"{begun.rstrip('.')}."


def told_together(verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    """What does not hold and why: once for each cause, since a host that does not answer has ten machines."""
    causes: dict[tuple[Answer, str, str], list[str]] = {}
    for verdict in verdicts:
        causes.setdefault((verdict.answer, verdict.reason, verdict.next_step), []).append(verdict.condition)
    return tuple(f"{named_together(conditions)}: {reason}" for (_, reason, _), conditions in causes.items())


def named_together(conditions: list[str]) -> str:
    """The first of some conditions, and how many more there are."""
    more = len(conditions) - MOST_CONDITIONS
    return ", ".join(conditions[:MOST_CONDITIONS]) + (f" and {more} more" if more > 0 else "")
