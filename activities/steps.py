"""The activities: one for each command of the procedure, named like it, one that observes, one that measures.

They are built from the commands themselves, so a new command needs no change here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.engine import StepStopped, carry_out
from activities.errors import Transient
from activities.failures import Log, as_failures, is_last_attempt
from activities.hands import Hands
from activities.heartbeat import Heartbeater
from activities.outage import OutageLog, begin
from activities.watching import OutageWatcher
from inventory.digest import digest
from inventory.models import Inventory
from procedure.commands import AnyCommand
from procedure.drawing_up import DrawnUp, draw_up
from procedure.facts import Facts
from procedure.material import statements
from procedure.orders import (
    DRAW_UP,
    OBSERVE,
    SEE_FACTS,
    TRANSIENT,
    WATCH_OUTAGE,
    DrawUpOrder,
    Observed,
    ObserveOrder,
    OutageOrder,
    Seen,
    SeeOrder,
    StepOrder,
)
from procedure.reports import Outage, StepProblem, StepReport
from procedure.situation import Situation

LOGGER: Final = logging.getLogger(__name__)
NO_PROBE: Final = "the inventory names no probe that measures the outage"


def command_kinds() -> tuple[str, ...]:
    """The names of all commands, and so of the activities that carry them out."""
    classes = get_args(get_args(AnyCommand)[0])
    return tuple(str(command.model_fields["kind"].default) for command in classes)


class StepActivities:
    """All activities of one worker."""

    def __init__(self, inventory: Inventory, hands: Hands) -> None:
        """Make the activities of a cluster.

        Args:
            inventory: the cluster; orders made from another inventory are rejected.
            hands: all systems of it.
        """
        self._inventory = inventory
        self._digest = digest(inventory)
        self._hands = hands

    def all(self) -> list[Callable[..., Awaitable[Any]]]:
        """For `temporalio.worker.Worker(activities=...)`."""
        steps = (self._activity_for(kind) for kind in command_kinds())
        return [self.observe, self.see_facts, self.draw_up, self.watch_outage, *steps]

    @activity.defn(name=OBSERVE)
    async def observe(self, order: ObserveOrder) -> Observed:
        """Observe subjects, all at the same time. What can't be observed is an observation that says why."""
        log = _logger(step=order.step_id)
        with as_failures(order.cluster, "the state is known", log, last_attempt=is_last_attempt()):
            self._must_be_mine(order.cluster, order.inventory_digest)
            async with _heartbeater() as heartbeat:
                heartbeat.tell(f"observing: {len(order.subjects)} subjects")
                observations = await self._hands.observe_all(order.subjects)
                return Observed(observations=observations, asked=len(order.subjects))

    @activity.defn(name=SEE_FACTS)
    async def see_facts(self, order: SeeOrder) -> Seen:
        """Look at what a gate watches, and tell what matters; a connection that is lost is tried again."""
        log, last_attempt = _logger(step=order.step_id), is_last_attempt()
        with as_failures(order.cluster, "the state is known", log, last_attempt=last_attempt):
            self._must_be_mine(order.cluster, order.inventory_digest)
            async with _heartbeater() as heartbeat:
                heartbeat.tell(f"looking once more: {len(order.subjects)} subjects")
                observations = await self._hands.observe_all(order.subjects)
            lost = next((o for o in observations if o.trouble == "transient"), None)
            if lost is not None and not last_attempt:
                raise Transient(order.cluster, lost.problem)
            situation = Situation(self._inventory, order.vacated)
            return Seen(statements=statements(situation, Facts(observations=observations), order.subjects))

    @activity.defn(name=DRAW_UP)
    async def draw_up(self, order: DrawUpOrder) -> DrawnUp:
        """Judge the facts and make the plan; the answer is kept in the history of the run."""
        log = _logger(step=DRAW_UP)
        with as_failures(order.cluster, "a plan", log, last_attempt=is_last_attempt()):
            self._must_be_mine(order.cluster, order.inventory_digest)
            return draw_up(Situation(self._inventory, order.vacated), order.intent, order.facts)

    @activity.defn(name=WATCH_OUTAGE)
    async def watch_outage(self, order: OutageOrder) -> Outage:
        """Measure the outage until cancelled; then return it instead of ending as cancelled."""
        log = _logger(step=WATCH_OUTAGE)
        with as_failures(order.cluster, "the outage is measured", log, last_attempt=is_last_attempt()):
            self._must_be_mine(order.cluster, order.inventory_digest)
            probes = tuple(probe.name for probe in self._inventory.probes if probe.outage)
            if not probes:
                return Outage(interval=order.interval, gaps=(NO_PROBE,))
            async with _heartbeater() as heartbeat:
                watcher = OutageWatcher(self._hands, probes, _continued(order), heartbeat.tell)
                return await _until_cancelled(watcher)

    def _activity_for(self, kind: str) -> Callable[[StepOrder], Awaitable[StepReport]]:
        @activity.defn(name=kind)
        async def step(order: StepOrder) -> StepReport:
            return await self._carry_out(order)

        return step

    async def _carry_out(self, order: StepOrder) -> StepReport:
        command = order.command
        log = _logger(step=order.step_id, stage=order.stage, machine=command.target)
        last_attempt = is_last_attempt(order.attempts)
        with as_failures(command.target, command.title, log, last_attempt=last_attempt):
            self._must_be_mine(order.cluster, order.inventory_digest)
            log.info("%s (attempt %d)", command.title, activity.info().attempt)
            async with _heartbeater() as heartbeat:
                report = await carry_out(
                    command,
                    Situation(self._inventory, order.vacated),
                    self._hands,
                    progress=heartbeat.tell,
                    acted_before=_acted_before(),
                    verify_only=order.verify_only,
                    patience=order.patience,
                )
            log.info("%s: %s. %s", command.title, report.outcome.value, report.seen)
            return report

    def _must_be_mine(self, cluster: str, theirs: str) -> None:
        """A worker with another inventory would do the right thing to the wrong machine."""
        if cluster == self._inventory.cluster and theirs == self._digest:
            return
        raise StepStopped(
            StepProblem(
                kind="rejected",
                machine=cluster,
                expected=f"a worker with the inventory of the run (cluster {cluster}, digest {theirs})",
                seen=f"this worker has another one (cluster {self._inventory.cluster}, digest {self._digest})",
                next_step="restart the worker with the inventory the run was started with, then retry",
            )
        )


def _heartbeater() -> Heartbeater:
    info = activity.info()
    return Heartbeater(activity.heartbeat, info.heartbeat_timeout, info.heartbeat_details)


def _logger(*, step: str, stage: int | None = None, machine: str | None = None) -> Log:
    context = {"run": activity.info().workflow_id, "stage": stage, "step": step, "machine": machine}
    return logging.LoggerAdapter(LOGGER, {key: value for key, value in context.items() if value is not None})


def _acted_before() -> bool:
    """Whether an earlier attempt had already sent an instruction: the second detail of its last heartbeat."""
    details = activity.info().heartbeat_details
    return len(details) > 1 and details[1] is True


def _continued(order: OutageOrder) -> OutageLog:
    """The log of the attempt before, with the gap in between; a new one on the first attempt."""
    info, at = activity.info(), activity.info().started_time
    told = info.heartbeat_details or ([order.so_far] if order.so_far is not None else [])
    if info.attempt == 1 and not told:
        return begin(order.interval)
    try:
        log = OutageLog.model_validate(told[0]) if told and told[0] else begin(order.interval)
    except ValidationError:
        log = begin(order.interval)
    return log.resumed(at)


async def _until_cancelled(watcher: OutageWatcher) -> Outage:
    """Measure until the run asks to end. A pause or the worker's own end is no such request: another attempt goes on.

    Raises:
        ApplicationError: the worker shuts down; measured again elsewhere.
    """
    try:
        await watcher.run(stopping=activity.is_worker_shutdown)
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        if details is None or not details.cancel_requested:
            raise
        return watcher.log.outage
    raise ApplicationError("the worker shuts down; another one goes on measuring", type=TRANSIENT)
