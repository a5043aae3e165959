"""Heartbeats in the background, so that a crashed worker is noticed and a cancellation arrives while a step waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

BEATS_PER_TIMEOUT: Final = 5
"""One or two may be lost on the way and the worker still counts as alive. The client library holds them back for
as long as the worker is told to, and sends the newest details."""
WITHOUT_TIMEOUT: Final = timedelta(seconds=1)
"""Between two heartbeats where the run set no heartbeat time-out."""


class Heartbeater(AbstractAsyncContextManager["Heartbeater"]):
    """Sends heartbeats while it is open, each with what it was last told, or else with what it began with."""

    def __init__(self, send: Callable[..., None], timeout: timedelta | None, details: Sequence[Any] = ()) -> None:
        """Send nothing yet.

        Args:
            send: `temporalio.activity.heartbeat`.
            timeout: the heartbeat time-out the run has set.
            details: what the attempt before told last, told until there is news. The server keeps the newest details
                alone, so an attempt that began with none would lose those, should it die as well.
        """
        self._send = send
        self._every = timeout / BEATS_PER_TIMEOUT if timeout else WITHOUT_TIMEOUT
        self._details = tuple(details)
        self._beating: asyncio.Task[None] | None = None

    def tell(self, *details: Any) -> None:  # noqa: ANN401 - whatever the payload converter can encode
        """Send a heartbeat with new details now, and repeat it from now on."""
        self._details = details
        self._send(*details)

    async def __aenter__(self) -> Heartbeater:
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beating:
            self._beating.cancel()
            # Not awaited itself: its cancellation must not be taken for one of this step, nor the other way round.
            await asyncio.wait([self._beating])

    async def _beat(self) -> None:
        while True:
            self._send(*self._details)
            await asyncio.sleep(self._every.total_seconds())
