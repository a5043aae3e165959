"""A whole failover or failback in which something goes wrong, and what a person at the screen does about it.

The waiting times of the inventory are short here, so that a deadline costs seconds; the machines are as ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Inventory, Role, Timings
from lab.faults import Fault, FaultKind
from lab.journal import Entry
from lab.lab import Lab
from procedure.reports import RunOutcome
from tests.lab.attended import Attended
from tests.lab.ended_run import Ended, Timeline, ended, watch
from tests.lab.whole_run import REFERENCE, WholeRun
from tests.outcomes import why
from workflows.status import RunReport

SHORT = {
    "command": timedelta(seconds=5),
    "poll": timedelta(milliseconds=150),
    "stop": timedelta(seconds=4),
    "start": timedelta(seconds=8),
    "drain": timedelta(seconds=2),
    "move": timedelta(seconds=5),
    "shutdown": timedelta(seconds=5),
    "boot": timedelta(seconds=10),
    "catch_up": timedelta(seconds=5),
}
"""What is waited for in vain here. All others as the lab derives them: two busy cores need their time."""
ATTEMPTS = 3
_BEGINS = 3
"""Nothing is wrong with the cluster yet: a health check that fails now does so because this machine is overloaded."""
_LOOK_SECONDS = 5.0
"""Simulated ones."""
SPEED = 60.0
"""Simulated seconds in a real one: what goes well takes hardly any time, so that a deadline means a fault."""


def in_a_hurry(inventory: Inventory) -> Inventory:
    """The same cluster with an operator who is asked soon."""
    timings = Timings.model_validate({**inventory.timings.model_dump(), **SHORT, "attempts": ATTEMPTS})
    return inventory.model_copy(update={"timings": timings})


@dataclass
class FaultyRun(Attended[Lab]):
    """A run, its timeline, and the person who watches it. Made by `FaultyRun.start`."""

    run: WholeRun
    timeline: Timeline
    before: dict[str, Any]
    """The truth at the beginning, before anything happened."""
    began: int = 0
    """How long the journal was when the run began."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls, temporal: WorkflowEnvironment, *, vacate: str = "vm-host-1", inventory: Inventory | None = None
    ) -> AsyncIterator[FaultyRun]:
        """Begin a run and wait until it asks whether it may begin: the health check has found nothing."""
        inventory = in_a_hurry(inventory or load(REFERENCE))
        async with WholeRun.start(
            temporal, vacate=vacate, worker="inside", speed=SPEED, callers=False, inventory=inventory
        ) as run:
            faulty = cls(run, watch(run), run.lab.truth())
            await faulty._begin_healthy()
            yield faulty

    @classmethod
    @asynccontextmanager
    async def start_back(cls, temporal: WorkflowEnvironment, *, vacate: str = "vm-host-1") -> AsyncIterator[FaultyRun]:
        """Vacate a host undisturbed, begin the way back, and wait until it asks whether it may begin."""
        async with cls.start(temporal, vacate=vacate) as faulty:
            faulty.run.approve_all()
            there = await ended(faulty.run, faulty.timeline)
            assert there.report.outcome is RunOutcome.COMPLETED, why(there.report)
            faulty.began = len(faulty.journal)
            await faulty._begin_healthy(of=there.report)
            yield faulty

    async def _begin_healthy(self, of: RunReport | None = None) -> None:
        for attempt in range(_BEGINS):
            await (self.run.begin_failback(of=of) if of else self.run.begin())
            status = await self.run.until(lambda status: bool(status.waits) or status.outcome is not None)
            if status.waits:
                return
            assert attempt + 1 < _BEGINS, [verdict.text for verdict in status.health if not verdict.allows]

    def fault(self, machine: str, kind: FaultKind, operation: str = "*", *, times: int | None = None) -> Fault:
        """Set a fault of the lab."""
        return self.run.lab.fault(machine, kind, operation, times=times)

    def of_kind(self, *kinds: FaultKind) -> tuple[Fault, ...]:
        """The faults of these kinds that are set."""
        return tuple(fault for fault in self.run.lab.world.faults.active if fault.kind in kinds)

    async def by_hand(self, machine: str, action: Literal["start", "stop"], service: str) -> None:
        """Start or stop a service at its machine, and wait until it is so."""
        found = self.run.lab.world.machines[machine].services[service]
        wanted = "running" if action == "start" else "stopped"
        self.run.lab.by_hand(machine, action, service)
        await self.run.lab.wait_until(lambda: found.status == wanted)
        await self.run.lab.settled()

    async def clear(self, *faults: Fault) -> None:
        """Clear faults, and wait until the machines are as they should be again."""
        self.run.lab.clear_faults(*faults)
        await self.run.lab.settled()

    async def caught_up(self, replica: str) -> None:
        """Wait until a replica lags behind nobody. No event tells: what a replica lacks follows from the time alone."""
        replication = self.run.lab.world.replication
        # Just connected it lags by nothing, since it knows of nothing yet.
        while any(replication.is_fetching(c) or replication.lag(c) != 0 for c in replication.channels_of(replica)):
            await self.run.lab.world.sleep(_LOOK_SECONDS)

    async def ended(self, *excused: str, by_hand: tuple[str, ...] = ()) -> Ended:
        """Wait for the end; what is left.

        Args:
            excused: what auditors may say, in their words: a run that was aborted leaves things undone.
            by_hand: how operations begin that a person repeated; a dump that was cut short is moved as any other.
        """
        found = await ended(self.run, self.timeline, since=self.began)
        assert {violation.what for violation in found.violations} == set(excused)
        assert found.unknown_commands == (), found.unknown_commands
        twice = {
            what: n for what, n in found.done_twice.items() if not what[1].startswith(("mv /srv/backup", *by_hand))
        }
        assert twice == {}, twice
        return found

    @property
    def journal(self) -> tuple[Entry, ...]:
        """What has reached the machines so far."""
        return tuple(self.run.lab.journal.entries)


def deviations(found: Ended, inventory: Inventory) -> dict[str, object]:
    """Where the truth is not that of a cluster which runs on one side alone; by machine, pair or system."""
    truth, off = found.truth, {m.name for m in inventory.machines if m.host == found.vacated}
    wrong: dict[str, object] = {}
    for name, state in truth["machines"].items():
        power = "off" if name in off else "on"
        services = {service: status for service, status in state["services"].items() if status != "running"}
        if state["power"] != power or (power == "on" and services):
            wrong[name] = (state["power"], services)
    for kind, role in (("storage", Role.STORAGE), ("load_balancer", Role.LOAD_BALANCER)):
        here = [m.name for m in inventory.with_role(role) if m.name not in off]
        pair = truth["pairs"][kind]
        if pair["primary"] != here or [pair["address"]] != here or not pair["idle"]:
            wrong[kind] = pair
    (master,) = [m.name for m in inventory.with_role(Role.DATABASE_MASTER) if m.name not in off]
    (balancer,) = [m.name for m in inventory.with_role(Role.LOAD_BALANCER) if m.name not in off]
    ready = {
        f"{backend.name}/{server}"
        for backend in inventory.haproxy.backends
        for server, machine in backend.servers.items()
        if machine not in off
    }
    shown = truth["balancers"][balancer] or {}
    if {name for name, state in shown.items() if state == "ready up"} != ready:
        wrong["haproxy"] = shown
    daemon = {name for name, state in truth["machines"].items() if state["daemon"] == "running"}
    telephony = {m.name for m in inventory.with_role(Role.TELEPHONY) if m.name not in off}
    seen = {
        "writer": (truth["writer"], master),
        "daemon": (daemon, telephony),
        "silenced": (truth["silenced"], sorted(off)),
    }
    return wrong | {what: is_ for what, (is_, wanted) in seen.items() if is_ != wanted}
