"""All hands of one worker: every system that can be observed or acted upon, by subject and by instruction."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from activities.errors import NotUnderstood, SystemTrouble
from procedure.facts import Fact, Observation
from procedure.instructions import Instruction
from procedure.reports import Evidence
from procedure.subjects import Subject

LOGGER = logging.getLogger(__name__)
S_contra = TypeVar("S_contra", contravariant=True)
Observed = tuple[Fact, str]
"""A fact and its source: what was asked of whom."""
Observe = Callable[[Any], Awaitable[Observed]]
Act = Callable[[Any], Awaitable[str]]


class System(Protocol):
    """One system: what it can observe and do. Each module of this room has one."""

    def observers(self) -> dict[type[Any], Observe]:
        """By class of subject. An observer changes nothing; it raises `SystemTrouble` where it can't tell."""

    def actors(self) -> dict[type[Any], Act]:
        """By class of instruction. An actor returns what the system answered; it proves nothing."""

    async def close(self) -> None:
        """Close connections."""


class Hands:
    """Dispatches to the systems."""

    def __init__(self, systems: Iterable[System]) -> None:
        self._systems = tuple(systems)
        self._observers: dict[type[Any], Observe] = {}
        self._actors: dict[type[Any], Act] = {}
        for system in self._systems:
            self._observers.update(system.observers())
            self._actors.update(system.actors())

    async def observe(self, subject: Subject) -> Observation:
        """Observe one subject; trouble becomes an observation without a fact."""
        at = datetime.now(UTC)
        try:
            fact, source = await self._observers[type(subject)](subject)
            return Observation(subject=subject, at=at, source=source, fact=fact)
        except SystemTrouble as trouble:
            return _unknown(subject, at, trouble)
        # Any other: an answer that a reader of it stumbles over must not take along what the others have seen.
        except Exception as error:
            return _unknown(subject, at, _stumbled(subject, error))

    async def observe_all(self, subjects: Iterable[Subject]) -> tuple[Observation, ...]:
        """Observe several subjects at the same time."""
        async with asyncio.TaskGroup() as together:
            observing = [together.create_task(self.observe(subject)) for subject in subjects]
        return tuple(task.result() for task in observing)

    async def act(self, instruction: Instruction) -> Evidence:
        """Carry out one instruction.

        Raises:
            SystemTrouble: it was refused, or nobody knows whether it was done.
        """
        at = datetime.now(UTC)
        answer = await self._actors[type(instruction)](instruction)
        return Evidence(at=at, instruction=instruction.text, answer=answer)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(system.close() for system in self._systems))


def _unknown(subject: Subject, at: datetime, trouble: SystemTrouble) -> Observation:
    return Observation.model_validate(
        {
            "subject": subject,
            "at": at,
            "source": subject.key,
            "problem": f"{trouble.machine}: {trouble.seen}",
            "next_step": trouble.next_step,
            "trouble": trouble.trouble,
        }
    )


def _stumbled(subject: Subject, error: Exception) -> NotUnderstood:
    """Kind and place alone: the text of an exception nobody foresaw may repeat anything, a secret too."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} in {where.filename.rpartition('/')[2]} line {where.lineno}"
    LOGGER.error("Observing %s ended with an exception nobody foresaw: %s", subject.key, place)
    return NotUnderstood(subject.key, f"an answer that can't be read ({place})", "look at it there, and report this")
