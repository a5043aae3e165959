"""A whole failover or failback in which something goes wrong, and what a person at the screen does about it.

The waiting times of the inventory are short here, so that a deadline costs seconds; the machines are as ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Inventory, Role, Timings
from lab.faults import Fault, FaultKind
from lab.journal import Entry
from procedure.plan import Gate, Plan
from procedure.reports import RunOutcome
from tests.lab.ended_run import Ended, Timeline, ended, watch
from tests.lab.whole_run import REFERENCE, WholeRun
from workflows.status import RunReport, Status, StepState, Wait

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
class FaultyRun:
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
            assert there.report.outcome is RunOutcome.COMPLETED, there.report.outcome_reason
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
        while any(replication.lag(channel) for channel in replication.channels_of(replica)):
            await self.run.lab.world.sleep(_LOOK_SECONDS)

    async def problems(self, *steps: str) -> dict[str, Wait]:
        """Wait until exactly these steps wait with a problem and nothing else runs; check what is held back.

        Args:
            steps: their ids.

        Returns:
            What each says, by step.
        """
        status = await self._at_rest(set(steps))
        assert self._waiting(status) == set(steps), "\n".join(f"{w.step}: {w.text}" for w in status.waits)
        await self._must_hold_back_what_depends_and_nothing_else(status)
        waits = {wait.step: wait for wait in status.waits if wait.kind == "problem"}
        for wait in waits.values():
            _must_be_a_whole_message(wait)
        return waits

    async def _at_rest(self, steps: set[str]) -> Status:
        """Wait until these wait and nothing runs. A heartbeat that an overloaded machine has missed is no fault."""
        while True:
            status = await self.run.until(
                lambda status: (
                    (self._waiting(status) >= steps and not any(s.state == "running" for s in status.steps))
                    or any(self._lost(wait) for wait in status.waits)
                )
            )
            lost = [wait.step for wait in status.waits if self._lost(wait)]
            if not lost:
                return status
            await self.retry(*lost)

    def _lost(self, wait: Wait) -> bool:
        return wait.kind == "problem" and "the worker that did it stopped answering" in wait.text

    async def retry(self, *steps: str) -> None:
        """Tell the run to try these steps again."""
        for step in steps:
            answer = await self.run.decide("retry", step=step)
            assert answer.accepted, answer.text

    async def skip(self, *steps: str) -> None:
        """Tell the run to go on without these steps."""
        for step in steps:
            answer = await self.run.decide("skip", step=step, reason="decided in a test")
            assert answer.accepted, answer.text

    async def until_gate(self, gate: str) -> None:
        """Wait until a gate is reached and nothing runs: nothing moves while a person thinks."""
        await self.run.until_gate(gate)
        await self.run.until(lambda status: not any(step.state == "running" for step in status.steps))

    async def approve_what_has_changed(self, gate: str, *said: str) -> None:
        """Approve a gate whose facts have changed since it was shown: that approval is void, the next one stands.

        Args:
            gate: its name.
            said: what the run must say of the change.
        """
        shown = await self.run.until_gate(gate)
        await self.run.approve(gate)
        status = await self.run.until(lambda s: any(w.gate == gate and w.code != shown.code for w in s.waits))
        notes = " ".join(status.notes)
        for words in said:
            assert words in notes, status.notes
        await self.run.approve(gate)

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

    def _waiting(self, status: Status) -> set[str]:
        return {wait.step for wait in status.waits if wait.kind == "problem"}

    async def _must_hold_back_what_depends_and_nothing_else(self, status: Status) -> None:
        plan: Plan | None = await self.run.handle.query("plan", result_type=Plan)
        assert plan is not None
        people = {step.id for step in plan.steps if isinstance(step.action, Gate)}
        states = {record.id: record.state for record in status.steps}
        held = _all_after(plan, {wait.step for wait in status.waits})
        begun = {step for step in held if states[step] is not StepState.PENDING}
        assert begun == set(), "these depend on what waits"
        free = {step.id for step in plan.steps} - held - people - self._waiting(status)
        assert {step for step in free if states[step] is not StepState.ENDED} == set(), "nothing keeps these"


def _all_after(plan: Plan, steps: Iterable[str]) -> set[str]:
    """Whatever waits for one of these, directly or not."""
    held: set[str] = set()
    found = set(steps)
    while found:
        found = {step.id for step in plan.steps if set(step.after) & found} - held
        held |= found
    return held


def _must_be_a_whole_message(wait: Wait) -> None:
    for part in ("Expected: ", "Seen: ", "Next: "):
        assert part in wait.text, wait.text
    assert "retry" in wait.text.partition("Next: ")[2], wait.text
    # Neither keys of this program nor two ends of a sentence at once.
    for rubbish in ("component:", "cluster:", "power:", "balancer:", "..", ". .", "None", "Next: Next"):
        assert rubbish not in wait.text.replace("...", ""), wait.text
    hints = {hint.signal: hint.payload for hint in wait.hints}
    assert {"retry", "skip", "abort"} <= set(hints)
    assert hints["skip"]["step"] == wait.step


def words(wait: Wait, *salient: str) -> None:
    """What a person must find in the message of a wait."""
    missing = [word for word in salient if word not in wait.text]
    assert not missing, f"{missing} is not in: {wait.text}"


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
