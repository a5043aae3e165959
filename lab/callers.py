"""Simulated callers and agents: they use the cluster as people do, and count what it costs them.

Sessions last a while and end by themselves, which is what makes draining take time; short requests at an interval
measure the outage from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import aiohttp
import aiomysql
import pymysql.err

from lab.listening import Endpoint

# A request without an answer for so long is one the caller gave up.
_PATIENCE_SECONDS = 2.0
# How long somebody waits who was refused, before trying again.
_TRY_AGAIN_SECONDS = 0.2


class RefusedError(Exception):
    """No session could be begun."""


class LostError(Exception):
    """A session was cut before its end."""


@dataclass
class Outage:
    """A time without service as a caller saw it, in seconds of the event loop's clock."""

    first_failure: float
    first_success: float | None = None
    last_success: float | None = None
    """Before it: the service was still there; None: it never was."""

    @property
    def seconds(self) -> float | None:
        """How long it was; None while it lasts."""
        return None if self.first_success is None else self.first_success - self.first_failure


@dataclass
class Tally:
    """What became of the attempts: `served` to the end, `lost` in the middle, `refused` at the start."""

    attempted: int = 0
    served: int = 0
    lost: int = 0
    refused: int = 0
    outages: list[Outage] = field(default_factory=list)
    _last_success: float | None = field(default=None, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def under_way(self) -> int:
        """Attempts whose end is not known yet."""
        return self.attempted - self.served - self.lost - self.refused

    @property
    def outage_seconds(self) -> float:
        """All outages that are over, together."""
        return sum(outage.seconds or 0.0 for outage in self.outages)

    @property
    def out_of_service(self) -> bool:
        """Whether an outage lasts."""
        return bool(self.outages) and self.outages[-1].first_success is None

    async def reaches(self, wanted: Callable[[Tally], bool]) -> None:
        """Wait until `wanted` holds; looked at after every change."""
        while not wanted(self):
            await self._changed.wait()

    def begin(self) -> None:
        """Count an attempt."""
        self.attempted += 1
        self._note()

    def succeed(self, since: float | None = None) -> None:
        """Count an attempt that was served; an outage is over since it was begun (None: just now)."""
        self.served += 1
        self.answered(since)

    def answered(self, since: float | None = None) -> None:
        """Note that the service answers, without an attempt being at its end."""
        self._last_success = asyncio.get_running_loop().time() if since is None else since
        if self.out_of_service:
            self.outages[-1].first_success = self._last_success
        self._note()

    def fail(self, *, lost: bool, since: float | None = None) -> None:
        """Count an attempt that was lost or refused; an outage begins, unless one lasts.

        Args:
            lost: whether it was lost in the middle.
            since: when it was begun: who is not answered is without service from then on; None: just now.
        """
        if lost:
            self.lost += 1
        else:
            self.refused += 1
        if not self.out_of_service:
            began = asyncio.get_running_loop().time() if since is None else since
            self.outages.append(Outage(began, last_success=self._last_success))
        self._note()

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class RequestCaller:
    """Asks for one page at an interval, each time on a new connection, as a new visitor does."""

    def __init__(self, url: str, *, interval_seconds: float, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._url = url
        self._interval = interval_seconds
        self._timeout = aiohttp.ClientTimeout(total=patience_seconds)
        self._task: asyncio.Task[None] | None = None
        self.tally = Tally()

    def start(self) -> None:
        """Begin to ask."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ask no more; a request under way is given up and not counted."""
        task, self._task = self._task, None
        await _end([task] if task else [])

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        under_way: deque[asyncio.Task[Callable[[], None]]] = deque()
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout) as client:
            try:
                while True:
                    self.tally.begin()
                    under_way.append(asyncio.create_task(self._ask(client)))
                    await asyncio.sleep(self._interval)
                    # Counted in the order in which they began: who waits in vain keeps nobody else waiting.
                    while under_way and under_way[0].done():
                        under_way.popleft().result()()
            finally:
                await _end(under_way)

    async def _ask(self, client: aiohttp.ClientSession) -> Callable[[], None]:
        """Ask once. Returns what is to be counted."""
        since = asyncio.get_running_loop().time()
        try:
            async with client.get(self._url) as response:
                await response.read()
                served = response.ok
        except aiohttp.ClientConnectorError:
            served, lost = False, False
        except (aiohttp.ClientError, TimeoutError):
            served, lost = False, True
        else:
            # A balancer without a server for it answers 503.
            lost = False
        return partial(self.tally.succeed, since) if served else partial(self.tally.fail, lost=lost, since=since)


class SessionKind(Protocol):
    """How one long-lived session is made."""

    async def hold(self, seconds: float, begun: Callable[[], None]) -> None:
        """Begin a session, call `begun`, keep it for `seconds` and end it in order.

        Raises:
            RefusedError: it could not be begun.
            LostError: it was cut.
        """


@dataclass(frozen=True)
class AgentSession:
    """An agent's long-lived HTTP connection to the web or chat servers, at `<url>/agent`."""

    url: str

    async def hold(self, seconds: float, begun: Callable[[], None]) -> None:
        """Work for `seconds`."""
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_PATIENCE_SECONDS, sock_read=_PATIENCE_SECONDS)
        last = b""
        opened = False
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
                client.get(f"{self.url}/agent", params={"seconds": f"{seconds:.3f}"}) as response,
            ):
                if not response.ok:
                    raise RefusedError(str(response.status))
                opened = True
                begun()
                async for line in response.content:
                    last = line
        except (aiohttp.ClientError, TimeoutError) as error:
            raise (LostError if opened else RefusedError)(type(error).__name__) from error
        if last != b"end\n":
            raise LostError("ended in the middle")


@dataclass(frozen=True)
class DatabaseSession:
    """A connection of an application's pool, which `SHOW PROCESSLIST` shows as a `Sleep` row."""

    endpoint: Endpoint
    user: str
    password: str = field(repr=False)
    database: str | None = None

    async def hold(self, seconds: float, begun: Callable[[], None]) -> None:
        """Keep the connection for `seconds`."""
        try:
            connection = await aiomysql.connect(
                host=self.endpoint.address,
                port=self.endpoint.port,
                user=self.user,
                password=self.password,
                db=self.database,
                connect_timeout=_PATIENCE_SECONDS,
            )
        except (pymysql.err.MySQLError, TimeoutError, OSError) as error:
            raise RefusedError(type(error).__name__) from error
        try:
            begun()
            await asyncio.sleep(seconds)
            await asyncio.wait_for(connection.ping(reconnect=False), _PATIENCE_SECONDS)
        except (pymysql.err.MySQLError, TimeoutError, OSError) as error:
            raise LostError(type(error).__name__) from error
        finally:
            connection.close()


@dataclass(frozen=True)
class SessionLength:
    """How long sessions last: evenly between `shortest` and `longest` seconds."""

    shortest: float
    longest: float


class Sessions:
    """Some people or programs that each hold one session after the other."""

    def __init__(self, kind: SessionKind, *, count: int, length: SessionLength, seed: int = 0) -> None:
        self._kind = kind
        self._count = count
        self._length = length
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._retiring = asyncio.Event()
        self.open = 0
        self.tally = Tally()

    def start(self) -> None:
        """Begin with all of them."""
        self._retiring.clear()
        while len(self._tasks) < self._count:
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def begun(self, count: int) -> None:
        """Wait until `count` sessions are open at the same time."""
        await self.tally.reaches(lambda _: self.open >= count)

    async def retire(self) -> None:
        """Begin no new sessions, and wait until those that are open have ended by themselves."""
        self._retiring.set()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def stop(self) -> None:
        """Drop everything at once; what is under way is not counted as lost."""
        self._retiring.set()
        await _end(list(self._tasks))

    async def _run(self) -> None:
        while not self._retiring.is_set():
            if not await self._hold_one():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._retiring.wait(), _TRY_AGAIN_SECONDS)

    async def _hold_one(self) -> bool:
        opened = False

        def begun() -> None:
            nonlocal opened
            opened = True
            self.open += 1
            self.tally.answered()

        self.tally.begin()
        try:
            await self._kind.hold(self._random.uniform(self._length.shortest, self._length.longest), begun)
        except (RefusedError, LostError) as error:
            self.tally.fail(lost=isinstance(error, LostError))
            return False
        else:
            self.tally.succeed()
            return True
        finally:
            self.open -= opened


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def counted(users: Mapping[str, RequestCaller | Sessions]) -> dict[str, object]:
    """What became of users of the cluster so far, as plain data."""
    return {
        name: {
            "attempted": source.tally.attempted,
            "served": source.tally.served,
            "lost": source.tally.lost,
            "refused": source.tally.refused,
            "outages": len(source.tally.outages),
            "outage_seconds": round(source.tally.outage_seconds, 3),
            "out_of_service": source.tally.out_of_service,
        }
        for name, source in users.items()
    }
