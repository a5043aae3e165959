"""The real lab: hosts, network, power, simulated Windows, callers, auditors, in one process that owns them all.

async with RealLab.start() as lab:
    ...  # lab.inventory_path and lab.environment are what a worker needs
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pymysql

from inventory.models import Inventory, Pair, Role
from lab.callers import AgentSession, RequestCaller, SessionLength, Sessions
from lab.real import database, network
from lab.real.auditors import Auditors
from lab.real.furnish import FRONTENDS, Durations, Furnisher, plans
from lab.real.holding import only_one
from lab.real.host import Host, kill_cgroup, remove_cgroup
from lab.real.image import image
from lab.real.pacemaker import POWER_PORT
from lab.real.places import Places
from lab.real.power import PowerController, Powered
from lab.real.requirements import refuse_where_impossible
from lab.real.site import Options, RealSite, derive
from lab.real.truth import Truth
from lab.real.windows import SimulatedWindowsMachines

_LOOK_SECONDS = 0.1
_SETTLED_SECONDS = 90.0
_CALL_SECONDS = 0.1
_AGENTS = 4
_AGENT_SECONDS = SessionLength(1.0, 4.0)
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# systemd takes seven of them on each host.
_INOTIFY_NEEDED = 512


class RealLabError(Exception):
    """The lab does not come to its normal state; with what is missing."""


class RealLab:
    """A running cluster of real hosts. Made by `RealLab.start`."""

    def __init__(self, places: Places, options: Options, durations: Durations) -> None:
        self.places = places
        self.options = options
        self._durations = durations
        self.hosts: dict[str, Host] = {}
        self.times: dict[str, float] = {}
        """Seconds that each part of the start took."""
        self.site: RealSite
        self.truth: Truth
        self.auditors: Auditors
        self.windows: SimulatedWindowsMachines
        self.power: PowerController
        self.callers: RequestCaller | None = None
        self.agents: Sessions | None = None
        self._normal: dict[str, Any] = {}
        self._parts = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        places: Places | None = None,
        *,
        options: Options | None = None,
        durations: Durations | None = None,
        callers: bool = True,
    ) -> AsyncIterator[RealLab]:
        """Start the cluster in its normal state; it ends with the context and leaves nothing behind but the image.

        Args:
            places: where it keeps its files; None: the default.
            options: what differs from site to site.
            durations: how long the small services take.
            callers: whether callers ask for pages and agents work all the time.

        Raises:
            ImpossibleError: this machine can't carry it; with what is missing.
            TakenError: another lab runs here.
            RealLabError: it does not come to its normal state.
        """
        lab = cls(places or Places.default(), options or Options(), durations or Durations())
        refuse_where_impossible()
        async with AsyncExitStack() as stack:
            stack.enter_context(only_one(lab.places))
            clean_up(lab.places)
            stack.callback(clean_up, lab.places)
            stack.push_async_callback(lab._parts.aclose)
            base = await lab._image()
            lab.site = derive(lab.places.site, lab.options)
            await lab._begin(base, callers=callers)
            yield lab

    # --- what a test or a demo looks at ------------------------------------------------------------------------------

    @property
    def inventory(self) -> Inventory:
        """The derived inventory."""
        return self.site.inventory

    @property
    def inventory_path(self) -> Path:
        """The derived inventory's file."""
        return self.site.common.inventory_path

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with the secrets that the inventory names by `env:`."""
        return dict(self.site.common.environment)

    def status(self) -> dict[str, Any]:
        """In short: who is on, who holds what."""
        pairs = self.inventory.pairs
        return {
            "hosts": {name: "on" if outlet.on else "off" for name, outlet in self.outlets.items()},
            "storage": self.truth.holders(pairs.storage.address, pairs.storage.machines),
            "load_balancer": self.truth.holders(pairs.load_balancer.address, pairs.load_balancer.machines),
            "writer": self.truth.writer(),
            "violations": [str(violation) for violation in self.auditors.violations],
            "times": self.times,
        }

    @property
    def outlets(self) -> dict[str, Powered]:
        """Everything that the power controller can switch."""
        return {**self.hosts, **self.windows.outlets}

    # --- what a test or a demo does ----------------------------------------------------------------------------------

    def set_line(self, *, up: bool) -> None:
        """Cut the line between the sites, or mend it."""
        network.set_line(up=up)

    async def reset(self) -> None:
        """Begin anew with hosts that have never run: same addresses, keys and secrets."""
        callers = self.callers is not None
        await self._parts.aclose()
        await self._begin(await self._image(), callers=callers)

    # --- beginning and end -------------------------------------------------------------------------------------------

    async def _image(self) -> Path:
        began = time.monotonic()
        base = await asyncio.to_thread(image, self.places.home)
        self._took("image", began)
        return base

    async def _begin(self, base: Path, *, callers: bool) -> None:
        """Start part after part. What has begun is ended with the lab, also where the next part does not begin."""
        began = time.monotonic()
        self._furnish(base)
        self._parts.callback(network.down)
        network.up()
        self._parts.push_async_callback(self._destroy_hosts)
        self.windows = SimulatedWindowsMachines(self.site)
        self._parts.push_async_callback(self.windows.stop)
        await self.windows.start()
        self.power = PowerController(network.CONTROLLER, POWER_PORT, self.outlets)
        self._parts.push_async_callback(self.power.stop)
        await self.power.start()
        await self._boot()
        self._took("boot", began)
        began = time.monotonic()
        await self._first_start()
        self._took("databases", began)
        began = time.monotonic()
        await self.normal_state()
        self._took("settle", began)
        self._normal = await self.truth.whole()
        self.auditors = Auditors(self)
        self._parts.push_async_callback(self.auditors.stop)
        self.auditors.start()
        if callers:
            self._begin_calling()

    async def _boot(self) -> None:
        try:
            # All have begun or failed when this ends: what begins later nobody would destroy.
            async with asyncio.TaskGroup() as together:
                for host in self.hosts.values():
                    together.create_task(host.power_on())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _begin_calling(self) -> None:
        url = f"http://{self.inventory.pairs.load_balancer.address}:{FRONTENDS['web']}"
        self.callers = RequestCaller(f"{url}/CarrierPortal/login", interval_seconds=_CALL_SECONDS)
        self.agents = Sessions(AgentSession(url), count=_AGENTS, length=_AGENT_SECONDS)
        for users in (self.agents, self.callers):
            self._parts.push_async_callback(users.stop)
            users.start()

    def _took(self, what: str, since: float) -> None:
        self.times[what] = round(time.monotonic() - since, 2)

    def _furnish(self, base: Path) -> None:
        if int(_INOTIFY.read_text()) < _INOTIFY_NEEDED:
            _INOTIFY.write_text(str(_INOTIFY_NEEDED))
        furnisher = Furnisher(self.site, base, self._durations)
        for plan in plans(self.inventory):
            host = Host(plan, base, self.places.hosts / plan.name, self.places.cgroup / plan.name, self._power_changed)
            furnisher.furnish(plan.name, host.files)
            self.hosts[plan.name] = host
        self.truth = Truth(self.inventory, self.hosts)

    def _power_changed(self, name: str) -> None:
        auditors = getattr(self, "auditors", None)
        if auditors is not None:
            auditors.power_changed(name)

    async def _first_start(self) -> None:
        names = [m.name for m in self.inventory.machines if m.role in (Role.DATABASE_MASTER, Role.DATABASE_REPLICA)]
        for name in names:
            await self.until(partial(_answers, self.hosts[name]), f"the database of {name} answers")
            await asyncio.to_thread(database.begin, self.hosts[name], self.site)
        await asyncio.to_thread(database.replicate, self.hosts, self.site)

    async def is_normal(self) -> bool:
        """Whether everything is as it was when the lab was ready."""
        return await self.truth.whole() == self._normal

    async def normal_state(self) -> None:
        """Wait until the cluster is as the inventory says it normally is.

        Raises:
            RealLabError: it does not come to it.
        """
        pairs = self.inventory.pairs
        await asyncio.gather(self._begins_on_first(pairs.storage), self._begins_on_first(pairs.load_balancer))
        for name in (
            pairs.load_balancer.machines if self.options.haproxy == "service" else pairs.load_balancer.machines[:1]
        ):
            await self.until(partial(self._all_up, name), f"every server is UP on {name}")
        for link in self.inventory.database.replication:
            await self.until(partial(self.replicates, link.replica), f"{link.replica} replicates")
        await self.until(self._monitoring_answers, "the monitoring server says what is silenced")

    async def _monitoring_answers(self) -> bool:
        return await asyncio.to_thread(self.truth.monitoring.silenced) is not None

    async def _begins_on_first(self, pair: Pair) -> None:
        first = next(name for name in pair.machines if self.inventory.machine(name).normal == "active")
        await self._holds(pair)
        if self.truth.holders(pair.address, pair.machines) == [first]:
            return
        # Where a pair begins is chance: nothing in it prefers a node.
        other = next(name for name in pair.machines if name != first)
        await self.hosts[first].run("pcs", "node", "standby", other)
        await self.until(
            lambda: self.truth.holders(pair.address, pair.machines) == [first], f"{pair.address} on {first}"
        )
        await self.hosts[first].run("pcs", "node", "unstandby", other)

    async def _holds(self, pair: Pair) -> None:
        await self.until(
            lambda: bool(self.truth.holders(pair.address, pair.machines)), f"somebody holds {pair.address}"
        )

        async def both() -> bool:
            return len((await self.truth.pair(pair)).online) == len(pair.machines)

        await self.until(both, f"both nodes of {pair.machines} are online")

    def _all_up(self, name: str) -> bool:
        states = self.truth.balancer(name)
        return states is not None and all(state.startswith("UP") for state in states.values())

    def replicates(self, replica: str) -> bool:
        """Whether a replica receives and replays, and lags behind nobody."""
        status = self.truth.replication(replica)
        return status is not None and (status["Slave_IO_Running"], status["Seconds_Behind_Master"]) == ("Yes", 0)

    async def until(
        self, predicate: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = _SETTLED_SECONDS
    ) -> None:
        """Wait until something is so. Daemons tell no event to those outside, so it is looked at again.

        Raises:
            RealLabError: it is not so in time.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if trouble := next((host.trouble for host in self.hosts.values() if host.trouble), ""):
                        raise RealLabError(trouble)
                    found = predicate()
                    if await found if isinstance(found, Awaitable) else found:
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise RealLabError(f"not so within {seconds:g} s: {what}") from None

    async def _destroy_hosts(self) -> None:
        await asyncio.gather(*(host.destroy() for host in self.hosts.values()))


def clean_up(places: Places) -> None:
    """Take away whatever a lab has left on this machine, also one that was killed. The image stays."""
    try:
        kill_cgroup(places.cgroup)
    finally:
        network.down()
        shutil.rmtree(places.hosts, ignore_errors=True)
        shutil.rmtree(places.site, ignore_errors=True)
        remove_cgroup(places.cgroup)
        places.ready.unlink(missing_ok=True)


def _answers(host: Host) -> bool:
    try:
        database.Local(host).close()
    except (pymysql.Error, OSError):
        return False
    return True
