"""Waiting until something holds of the simulated world; looked at after every change, never polled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class _Waiter:
    predicate: Callable[[], bool]
    future: asyncio.Future[None]


class Waiters:
    """Those who wait now."""

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something holds."""
        if predicate():
            return
        waiter = _Waiter(predicate, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.future
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def wake(self) -> None:
        """Something has changed: those whose wish holds now go on."""
        for waiter in list(self._waiting):
            if not waiter.future.done() and waiter.predicate():
                waiter.future.set_result(None)
