"""Simulated time: a clock that runs faster than the wall's, and one that a test turns by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

Action = Callable[[], None]


class Timer(Protocol):
    """Something that will happen, and can be called off."""

    def cancel(self) -> None:
        """Call it off. Does nothing if it has happened."""


class Clock(Protocol):
    """Simulated time in seconds since the simulation began."""

    def now(self) -> float:
        """Simulated seconds since the beginning."""

    def after(self, seconds: float, action: Action) -> Timer:
        """Do something in so many simulated seconds."""


class ScaledClock:
    """Runs `speed` simulated seconds in a real one, on the running event loop."""

    def __init__(self, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"speed {speed} must be positive")
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> float:
        """Simulated seconds since the beginning."""
        return (time.monotonic() - self._began) * self.speed

    def after(self, seconds: float, action: Action) -> Timer:
        """Do something in so many simulated seconds."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds) / self.speed, action)


class _Turned:
    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None


class VirtualClock:
    """Stands still until `advance` turns it; what is due happens in order, at its own time."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, _Turned]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Simulated seconds since the beginning."""
        return self._now

    def after(self, seconds: float, action: Action) -> Timer:
        """Do something in so many simulated seconds."""
        timer = _Turned(action)
        heapq.heappush(self._due, (self._now + max(0.0, seconds), next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let so many simulated seconds pass."""
        end = self._now + seconds
        while self._due and self._due[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._due)
            if timer.action is not None:
                timer.action()
        self._now = end
