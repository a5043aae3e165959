"""All hands of one worker: every system that can be observed or acted upon, by subject and by instruction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from activities.errors import SystemTrouble
from procedure.facts import Fact, Observation
from procedure.instructions import Instruction
from procedure.reports import Evidence
from procedure.subjects import Subject

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
        except SystemTrouble as trouble:
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
        return Observation(subject=subject, at=at, source=source, fact=fact)

    async def observe_all(self, subjects: Iterable[Subject]) -> tuple[Observation, ...]:
        """Observe several subjects at the same time."""
        return tuple(await asyncio.gather(*(self.observe(subject) for subject in subjects)))

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
