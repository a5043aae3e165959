"""Measures the outage: all probes that the inventory names for it, again and again, until told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from activities.errors import shortened
from activities.hands import Hands
from activities.outage import OutageLog
from procedure.facts import Observation, ProbeFact
from procedure.subjects import ProbeOf

PATIENCE: Final = timedelta(seconds=2)
"""A measurement that takes longer, or longer than the interval if that is more, counts as no answer: a hanging service
is out for those who use it, and the next measurement must not wait for it."""


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
        """Measure until cancelled, or until `stopping` says so after a measurement."""
        clock = asyncio.get_running_loop().time
        while not stopping():
            began = clock()
            await self.measure()
            await asyncio.sleep(max(0.0, self._interval - (clock() - began)))

    async def measure(self) -> None:
        """Measure once, all probes at the same time."""
        at = datetime.now(UTC)
        answers = await asyncio.gather(*(self._why_not(name) for name in self._probes))
        detail = "; ".join(answer for answer in answers if answer)
        self.log = self.log.measured(at, ok=not detail, detail=shortened(detail))
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
