"""Database sessions of the simulated software: opened while it runs, through the load balancer, to who takes writes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from lab.clock import Clock
from lab.durations import Durations

# Sessions that one running program keeps open.
POOL = 3


@dataclass(eq=False)
class DatabaseSession:
    """One session. It stays with the server it was opened to, as a TCP connection does."""

    number: int
    machine: str
    """Who opened it."""
    service: str
    database: str
    through: str
    """Load balancer that forwards it."""
    opened: float
    ending: bool = False
    stuck: bool = False
    """It never ends by itself."""


class SessionModel:
    """All database sessions of the software. `follow` is called after every change of the world."""

    def __init__(
        self, clock: Clock, durations: Durations, chance: random.Random, changed: Callable[[str, str], None]
    ) -> None:
        self.open: list[DatabaseSession] = []
        self._numbers = itertools.count(100)
        self._clock, self._durations, self._chance, self._changed = clock, durations, chance, changed
        self._due: set[tuple[str, str]] = set()

    def of_database(self, machine: str) -> list[DatabaseSession]:
        """Sessions to one server."""
        return [session for session in self.open if session.database == machine]

    def start(self, machine: str, service: str, database: str, through: str) -> None:
        """A program opens what its pool lacks."""
        own = [s for s in self.open if (s.machine, s.service) == (machine, service)]
        # A pool stays with the server it was opened to: setting that server to MAINT cuts nothing.
        lively = [session for session in own if session.through == through and not session.ending]
        for _ in range(POOL - len(lively)):
            number = next(self._numbers)
            self.open.append(DatabaseSession(number, machine, service, database, through, self._clock.now()))

    def end(self, machine: str, service: str, *, last_stays: bool = False) -> None:
        """A program has stopped: its sessions end one after the other; a fault may keep one for ever."""
        own = [s for s in self.open if (s.machine, s.service) == (machine, service) and not s.ending]
        for session in own:
            session.ending = True
            session.stuck = last_stays and session is own[-1]
            if not session.stuck:
                self._clock.after(self._chance.uniform(0.1, 1.0) * self._durations.drain, self._closing(session))

    def abandon(self, through: str) -> None:
        """The address has moved while HAProxy there keeps running: it never hears that its clients have gone."""
        for session in self.open:
            if session.through == through:
                session.ending = session.stuck = True

    def release(self) -> None:
        """Sessions that were kept by a fault end now."""
        for session in [session for session in self.open if session.stuck]:
            session.stuck = False
            self._close(session)

    def cut(self, *, database: str | None = None, through: str | None = None, machine: str | None = None) -> None:
        """Connections end at once because one of their ends, or what is between, is gone."""
        for session in list(self.open):
            if database == session.database or through == session.through or machine == session.machine:
                self.open.remove(session)

    def kill(self, number: int) -> bool:
        """KILL; False if there is no such session."""
        found = next((session for session in self.open if session.number == number), None)
        if found:
            self._close(found)
        return found is not None

    def _closing(self, session: DatabaseSession) -> Callable[[], None]:
        return lambda: self._close(session)

    def _close(self, session: DatabaseSession) -> None:
        if session in self.open:
            self.open.remove(session)
            self._changed(session.database, "session ended")
