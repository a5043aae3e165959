"""Stand-in activities with the names of the real ones; their world is the cluster on paper. No network, no machine.

Troubles are told beforehand, step by step: a failure, a silence, a hold until the test lets go.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.signatures import SignatureActivities
from activities.steps import command_kinds
from inventory.models import Inventory, Machine, ManualMonitoring
from procedure import instructions as do
from procedure.commands.base import Command
from procedure.conditions import is_service
from procedure.drawing_up import DrawnUp, draw_up
from procedure.facts import ComponentFact, DaemonFact, Fact, Facts, Observation, Silence, SilencesFact
from procedure.material import statements
from procedure.orders import (
    DRAW_UP,
    NOTIFY,
    OBSERVE,
    SEE_FACTS,
    WATCH_OUTAGE,
    DrawUpOrder,
    NotifyOrder,
    Observed,
    ObserveOrder,
    OutageOrder,
    Seen,
    SeeOrder,
    StepOrder,
)
from procedure.reports import Evidence, Outage, Outcome, Sample, StepProblem, StepReport
from procedure.situation import Situation
from procedure.subjects import ComponentOn, DaemonOn, Silences, Subject
from procedure.verdicts import Answer
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import PaperRun

BEAT = 0.1  # seconds between two heartbeats of what is held

Kind = Literal["refused", "rejected", "failed", "unknown"]
Clock = Callable[[], Awaitable[datetime]]


async def wall_clock() -> datetime:
    return datetime.now(UTC)


class LivingCluster(PaperCluster):
    """The cluster on paper with a clock, and with what only a person can see."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory)
        self.now = datetime.now(UTC)
        self.extended: list[Silence] = []

    def observe(self, subject: Subject) -> Observation:
        return super().observe(subject).model_copy(update={"at": self.now})

    def _fact(self, subject: Subject) -> Fact:
        match subject:
            case ComponentOn(machine=m, component=c) if not is_service(self.inventory.component(m, c), m):
                return ComponentFact(state="by_hand")
            case DaemonOn() if not self.inventory.daemon.commands:
                return DaemonFact(state="by_hand")
            case Silences() if isinstance(self.inventory.monitoring, ManualMonitoring):
                return SilencesFact(by_hand=True)
            case Silences():
                return SilencesFact(silences=tuple(s for s in self.silences if s.until > self.now))
        return super()._fact(subject)

    def carry_out(self, instruction: do.Instruction) -> None:
        super().carry_out(instruction)
        if isinstance(instruction, do.CreateSilence):
            self.silences[-1] = self.silences[-1].model_copy(update={"until": self.now + instruction.duration})
            self.extended.append(self.silences[-1])

    def silenced(self) -> set[str]:
        """Machines silenced at the cluster's time."""
        return {m for s in self.silences if s.until > self.now for m in s.machines}


def problem(kind: Kind, machine: str = "acd-x", seen: str = "it is not") -> StepProblem:
    return StepProblem(kind=kind, machine=machine, expected="it is so", seen=seen, next_step="look at it")


def failure(kind: Kind, seen: str = "it is not") -> ApplicationError:
    return ApplicationError(seen, problem(kind, seen=seen), type=kind, non_retryable=True)


def transient() -> ApplicationError:
    return ApplicationError("connection lost", problem("unknown", seen="connection lost"), type="transient")


class Hold:
    """Holds an activity, alive and heartbeating, until it is let go; then it goes on, or fails."""

    def __init__(self, then: Exception | None = None) -> None:
        self._then = then
        self.reached, self.go, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        try:
            while not self.go.is_set():
                activity.heartbeat("held")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.go.wait(), BEAT)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self._then is not None:
            raise self._then


class Silent:
    """A worker that has stopped answering: no heartbeat, no result.

    Attributes:
        told: by the heartbeat before.
    """

    def __init__(self, *told: object) -> None:
        self.told = told

    async def wait(self) -> NoReturn:
        if self.told:
            activity.heartbeat(*self.told)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


Trouble = Exception | Hold | Silent | StepReport


class PaperWorld:
    """All activities of one worker, over one cluster on paper."""

    def __init__(self, inventory: Inventory, clock: Clock = wall_clock) -> None:
        self.inventory = inventory
        self.cluster = LivingCluster(inventory)
        self.clock = clock
        self.orders: list[StepOrder] = []
        self.told: list[NotifyOrder] = []
        """Each try of each notice."""
        self.attempts: dict[str, int] = defaultdict(int)
        self.troubles: dict[str, list[Trouble]] = defaultdict(list)
        """By step id, for one attempt each."""
        self.violations: list[str] = []
        self.seen: Callable[[Facts], Facts] = lambda facts: facts
        """Changes what the health check sees."""
        self.outage_began, self.outage_ended = asyncio.Event(), asyncio.Event()
        self.outage_hold: Silent | None = None

    def trouble(self, step: str, *troubles: Trouble) -> None:
        self.troubles[step] += troubles

    def hold(self, step: str, then: Exception | None = None) -> Hold:
        held = Hold(then)
        self.trouble(step, held)
        return held

    def done(self) -> list[str]:
        """Steps that were handed over, once each."""
        return list(dict.fromkeys(order.step_id for order in self.orders))

    def machines_of(self, host: str) -> set[str]:
        machines: tuple[Machine, ...] = self.inventory.machines
        return {m.name for m in machines if m.host == host}

    # Activities

    def activities(self) -> list[Callable[..., Awaitable[Any]]]:
        return [
            self._observe(),
            self._see(),
            self._watch(),
            self._draw_up(),
            self._notify(),
            *SignatureActivities(self.inventory).all(),
            *(self._step(kind) for kind in command_kinds()),
        ]

    def _observe(self) -> Callable[[ObserveOrder], Awaitable[Observed]]:
        @activity.defn(name=OBSERVE)
        async def observe(order: ObserveOrder) -> Observed:
            self.attempts[order.step_id] += 1
            await self._troubled(order.step_id)
            self.cluster.now = await self.clock()
            seen = self.seen(self.cluster.facts(order.subjects)).observations
            return Observed(observations=seen, asked=len(order.subjects))

        return observe

    def _draw_up(self) -> Callable[[DrawUpOrder], Awaitable[DrawnUp]]:
        @activity.defn(name=DRAW_UP)
        async def draw(order: DrawUpOrder) -> DrawnUp:
            self.attempts[DRAW_UP] += 1
            await self._troubled(DRAW_UP)
            return draw_up(Situation(self.inventory, order.vacated), order.intent, order.facts)

        return draw

    def _notify(self) -> Callable[[NotifyOrder], Awaitable[str]]:
        @activity.defn(name=NOTIFY)
        async def notify(order: NotifyOrder) -> str:
            self.told.append(order)
            await self._troubled(order.target)
            return "taken"

        return notify

    def _see(self) -> Callable[[SeeOrder], Awaitable[Seen]]:
        @activity.defn(name=SEE_FACTS)
        async def see_facts(order: SeeOrder) -> Seen:
            self.attempts[order.step_id] += 1
            await self._troubled(order.step_id)
            facts = self.seen(self.cluster.facts(order.subjects))
            return Seen(statements=statements(Situation(self.inventory, order.vacated), facts, order.subjects))

        return see_facts

    def _watch(self) -> Callable[[OutageOrder], Awaitable[Outage]]:
        @activity.defn(name=WATCH_OUTAGE)
        async def watch_outage(order: OutageOrder) -> Outage:
            began = await self.clock()
            self.outage_began.set()
            if self.outage_hold is not None:
                await self.outage_hold.wait()
            try:
                await Hold().wait()
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if details is None or not details.cancel_requested:
                    raise
            self.outage_ended.set()
            samples = (Sample(at=began, ok=False),)
            return Outage(began=began, duration=timedelta(seconds=9), measurements=9, samples=samples)

        return watch_outage

    def _step(self, kind: str) -> Callable[[StepOrder], Awaitable[StepReport]]:
        @activity.defn(name=kind)
        async def step(order: StepOrder) -> StepReport:
            self.orders.append(order)
            self.attempts[order.step_id] += 1
            told = await self._troubled(order.step_id)
            return told or await self._carry_out(order)

        return step

    async def _troubled(self, step: str) -> StepReport | None:
        trouble = self.troubles[step].pop(0) if self.troubles[step] else None
        if isinstance(trouble, Exception):
            raise trouble
        if isinstance(trouble, Hold | Silent):
            await trouble.wait()
        return trouble if isinstance(trouble, StepReport) else None

    async def _carry_out(self, order: StepOrder) -> StepReport:
        self.cluster.now = await self.clock()
        command, situation = order.command, Situation(self.inventory, order.vacated)
        wanted = command.wanted(situation, self._facts(command, situation))
        if wanted.answer is Answer.NOT_APPLICABLE:
            return self._report(Outcome.NOT_APPLICABLE, wanted.reason)
        if wanted.allows:
            return self._report(Outcome.UNCHANGED if command.mutates else Outcome.DONE, wanted.text)
        if order.patience is not None and await self._comes(command, situation, order.patience):
            return self._report(Outcome.DONE, wanted.condition)
        if order.patience is not None:
            return self._not_yet(command, situation)
        if not command.mutates or order.verify_only:
            raise failure("failed", wanted.text)
        facts = self._facts(command, situation)
        against = [v.text for v in command.conditions(situation, facts) if not v.allows]
        if against:
            raise failure("refused", "; ".join(against))
        for instruction in command.instructions(situation, facts):
            self.cluster.carry_out(instruction)
            self._audit(order, situation)
        return self._report(Outcome.DONE, command.wanted(situation, self._facts(command, situation)).text)

    async def _comes(self, command: Command, situation: Situation, patience: timedelta) -> bool:
        """Look on for as long as a worker would."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                while not command.wanted(situation, self._facts(command, situation)).allows:
                    activity.heartbeat("waiting")
                    await asyncio.sleep(BEAT)
                return True
        return False

    def _not_yet(self, command: Command, situation: Situation) -> StepReport:
        facts, at = self._facts(command, situation), datetime.now(UTC)
        return StepReport(
            outcome=Outcome.NOT_YET,
            verdicts=(command.wanted(situation, facts),),
            sessions=command.sessions_left(situation, facts),
            began=at,
            ended=at,
        )

    def _facts(self, command: Command, situation: Situation) -> Facts:
        return self.cluster.first_look(command, situation)

    def _audit(self, order: StepOrder, situation: Situation) -> None:
        try:
            PaperRun(situation, self.cluster).audit(order.step_id)
        except AssertionError as broken:
            self.violations.append(str(broken))

    def _report(self, outcome: Outcome, seen: str) -> StepReport:
        at = self.cluster.now
        proof = Evidence(at=at, instruction="on paper", answer="done")
        return StepReport(outcome=outcome, seen=seen, evidence=(proof,), began=at, ended=at)
