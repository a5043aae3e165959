"""Connecting while the server may be away: a worker often starts before the server does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from temporalio.client import Client
from temporalio.runtime import Runtime

from workflows import connection
from workflows.connection import Profile, ServerAway

LOGGER = logging.getLogger(__name__)
FIRST_PAUSE = 1.0
"""Seconds."""
LONGEST_PAUSE = 15.0
"""Seconds: in a failover nobody should wait longer for a worker after the server is back."""


def pauses() -> Iterator[float]:
    """Seconds between attempts: doubled each time, up to the longest."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


async def connect_patiently(profile: Profile, who: str, runtime: Runtime, stop: asyncio.Event) -> Client | None:
    """Try until the server answers; None: asked to stop before it did.

    Raises:
        ServerRefuses: it answers and refuses; trying again changes nothing.
    """
    for attempt, pause in enumerate(pauses(), start=1):
        try:
            return await connection.connect(profile, who, runtime=runtime)
        except ServerAway as trouble:
            LOGGER.warning(
                "%s. Attempt %d; the next in %.0f s. Start the server (%s), or name another one by TEMPORAL_ADDRESS.",
                trouble,
                attempt,
                pause,
                connection.START_A_SERVER,
            )
        if await _stopped(stop, pause):
            return None
    return None


async def _stopped(stop: asyncio.Event, pause: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), pause)
    except TimeoutError:
        return False
    return True
