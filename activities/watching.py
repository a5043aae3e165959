"""Measures the outage: all probes that the inventory names for it, again and again, until told to end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from activities.errors import shortened
from activities.hands import Hands
from activities.outage import OutageLog
from procedure.facts import Observation, ProbeFact
from procedure.subjects import ProbeOf

PATIENCE: Final = timedelta(seconds=2)
"""A measurement that takes longer, or longer than the interval if that is more, counts as no answer: a hanging service
is out for those who use it."""


@dataclass(frozen=True)
class _Measured:
    """One measurement: when it began, and why the service was not there; empty: it was."""

    at: datetime
    why_not: str


class OutageWatcher:
    """Measures at a fixed rate and keeps the log of it."""

    def __init__(
        self, hands: Hands, probes: tuple[str, ...], log: OutageLog, tell: Callable[[OutageLog], None]
    ) -> None:
        """Measure nothing yet.

        Args:
            hands: to observe with.
            probes: names of the probes; the service is up when all of them answer as they should.
            log: what was measured before.
            tell: told the log after each measurement.
        """
        self.log = log
        self._hands = hands
        self._probes = probes
        self._tell = tell
        self._interval = log.outage.interval.total_seconds()

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Measure until cancelled, or until `stopping` says so between two measurements.

        One that hangs keeps none waiting: the service may be there again before it has given up.
        """
        clock = asyncio.get_running_loop().time
        under_way: deque[asyncio.Task[_Measured]] = deque()
        try:
            while not stopping():
                began = clock()
                under_way.append(asyncio.create_task(self._ask()))
                await asyncio.wait(under_way, timeout=self._interval, return_when=asyncio.ALL_COMPLETED)
                self._note_those_done(under_way)
                await asyncio.sleep(max(0.0, self._interval - (clock() - began)))
        finally:
            for measurement in under_way:
                measurement.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def measure(self) -> None:
        """Measure once."""
        self._note(await self._ask())

    async def _ask(self) -> _Measured:
        """All probes at the same time."""
        at = datetime.now(UTC)
        answers = await asyncio.gather(*(self._why_not(name) for name in self._probes))
        return _Measured(at, "; ".join(answer for answer in answers if answer))

    def _note_those_done(self, under_way: deque[asyncio.Task[_Measured]]) -> None:
        """In the order in which they began."""
        while under_way and under_way[0].done():
            self._note(under_way.popleft().result())

    def _note(self, measured: _Measured) -> None:
        self.log = self.log.measured(measured.at, ok=not measured.why_not, detail=shortened(measured.why_not))
        self._tell(self.log)

    async def _why_not(self, probe: str) -> str:
        """Why a probe is not as it should be; empty if it is."""
        patience = max(PATIENCE.total_seconds(), self._interval)
        try:
            async with asyncio.timeout(patience):
                return _why_not(await self._hands.observe(ProbeOf(name=probe)), probe)
        except TimeoutError:
            return f"{probe}: no answer within {patience:g} s"


def _why_not(observation: Observation, probe: str) -> str:
    fact = observation.fact
    if isinstance(fact, ProbeFact):
        return "" if fact.ok else f"{probe}: {fact.detail or 'not ok'}"
    return f"{probe}: unknown, {observation.problem or 'not observed'}"
