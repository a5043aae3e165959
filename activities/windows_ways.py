"""Connections to Windows machines: one serves one call after the other, as long as nothing speaks against it."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

from winrm.protocol import Protocol

from activities.windows_wire import Wire

KEPT = timedelta(seconds=30)
"""How long a connection waits for its next call. Windows itself ends one after 2 min."""


class Way:
    """A connection to one machine, for one call at a time."""

    def __init__(self, protocol: Protocol) -> None:
        """Nothing is sent yet.

        Args:
            protocol: with the credentials; the connection is made by its first request.
        """
        self.protocol = protocol
        self.used = False
        """Whether an earlier call has ended well on it."""
        self.wire = Wire()
        self.wire.carry(protocol.transport)

    def close(self) -> None:
        """End it."""
        self.protocol.transport.close_session()
        self.wire.close()


class KeptWays:
    """Those that wait for their next call. Used in the event loop alone."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[Way, asyncio.TimerHandle]]] = {}
        self._closed = False

    def take(self, machine: str, password: str) -> Way | None:
        """One of a machine, if there is one of that password: a changed one counts at once."""
        waiting = self._kept.get(machine, [])
        while waiting:
            way, timer = waiting.pop()
            timer.cancel()
            if way.protocol.transport.password == password:
                return way
            way.close()
        return None

    def keep(self, machine: str, way: Way) -> None:
        """Keep one for the next call, for `KEPT`."""
        if self._closed:
            way.close()
            return
        way.used = True
        timer = asyncio.get_running_loop().call_later(KEPT.total_seconds(), self._drop, machine, way)
        self._kept.setdefault(machine, []).append((way, timer))

    def close(self) -> None:
        """End all, and whatever comes later."""
        self._closed = True
        for way, timer in itertools.chain.from_iterable(self._kept.values()):
            timer.cancel()
            way.close()
        self._kept.clear()

    def _drop(self, machine: str, way: Way) -> None:
        self._kept[machine] = [each for each in self._kept[machine] if each[0] is not way]
        way.close()
