"""The outage watched: by itself, and as an activity on a real Temporal server."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import ActivityCancellationType

from activities.errors import Rejected
from activities.hands import Act, Hands, Observe, Observed
from activities.outage import OutageLog, begin
from activities.steps import NO_PROBE, StepActivities
from activities.watching import PATIENCE, OutageWatcher
from inventory.digest import digest
from inventory.models import Inventory
from procedure.facts import ProbeFact
from procedure.orders import WATCH_OUTAGE, OutageOrder
from procedure.reports import Outage
from procedure.subjects import ProbeOf
from tests.activities.cluster import reference

OFTEN = timedelta(milliseconds=20)


class Portal:
    """Two probes of a service that can be up, down or hanging. A `System`."""

    def __init__(self) -> None:
        self.up = True
        self.hangs = False
        self.denied = False
        self.asked: list[str] = []
        self.questions: asyncio.Queue[str] = asyncio.Queue()

    def observers(self) -> dict[type[Any], Observe]:
        return {ProbeOf: self._probe}

    def actors(self) -> dict[type[Any], Act]:
        return {}

    async def close(self) -> None:
        """Nothing is open."""

    async def _probe(self, subject: ProbeOf) -> Observed:
        self.asked.append(subject.name)
        self.questions.put_nowait(subject.name)
        if self.hangs:
            await asyncio.Event().wait()
        if self.denied:
            raise Rejected("database", "access denied")
        ok = self.up or subject.name == "two"
        return ProbeFact(ok=ok, detail="" if ok else "status 503"), "probe"


def inventory() -> Inventory:
    def change(raw: dict[str, Any]) -> None:
        raw["probes"] = [
            {"name": "one", "kind": "http", "url": "http://10.77.0.200/"},
            {"name": "two", "kind": "tcp", "address": "10.77.0.200", "port": 80, "outage": True},
            {"name": "three", "kind": "tcp", "address": "10.77.0.200", "port": 81},
        ]

    return reference(change)


INVENTORY = inventory()


def order() -> OutageOrder:
    return OutageOrder(inventory_digest=digest(INVENTORY), cluster=INVENTORY.cluster, interval=OFTEN)


def activities(portal: Portal) -> list[Callable[..., Any]]:
    return StepActivities(INVENTORY, Hands((portal,))).all()


async def answer(portal: Portal, interval: timedelta = OFTEN) -> tuple[bool, str]:
    """One measurement."""
    watcher = OutageWatcher(Hands((portal,)), ("one", "two"), begin(interval), lambda _: None)
    await watcher.measure()
    (sample,) = watcher.log.outage.samples
    return sample.ok, sample.detail


async def test_up_only_when_all_probes_are() -> None:
    portal = Portal()
    assert await answer(portal) == (True, "")
    assert sorted(portal.asked) == ["one", "two"]
    portal.up = False
    assert await answer(portal) == (False, "one: status 503")


async def test_a_probe_that_cannot_be_made_is_not_up() -> None:
    portal = Portal()
    portal.denied = True
    ok, detail = await answer(portal)
    assert not ok
    assert "one: unknown, database: access denied" in detail


async def test_a_hanging_service_is_not_up() -> None:
    portal = Portal()
    portal.hangs = True
    ok, detail = await answer(portal)
    assert not ok
    assert detail == "one: no answer within 2 s; two: no answer within 2 s"


async def test_a_measurement_that_hangs_keeps_none_waiting() -> None:
    portal = Portal()
    portal.hangs = True
    told = asyncio.Event()
    watcher = OutageWatcher(Hands((portal,)), ("one",), begin(OFTEN), lambda log: told.set() if log.ok else None)
    running = asyncio.create_task(watcher.run(stopping=lambda: False))
    await portal.questions.get()
    portal.hangs = False
    # It is asked again, and answered, while the first question is still waited for.
    await asyncio.wait_for(portal.questions.get(), 1)
    assert watcher.log.outage.measurements == 0
    await asyncio.wait_for(told.wait(), 10)
    running.cancel()
    await asyncio.wait([running])
    outage = watcher.log.outage
    assert [sample.ok for sample in outage.samples] == [False, True]
    assert outage.duration < PATIENCE


def environment(started: Callable[[], None]) -> ActivityEnvironment:
    made = ActivityEnvironment()
    made.on_heartbeat = lambda *details: started() if details else None
    return made


async def test_cancelled_by_the_run_it_returns_what_it_measured() -> None:
    measured = asyncio.Event()
    env = environment(measured.set)
    watching = asyncio.create_task(env.run(StepActivities(INVENTORY, Hands((Portal(),))).watch_outage, order()))
    await measured.wait()
    env.cancel()
    outage = await watching
    assert isinstance(outage, Outage)
    assert outage.measurements >= 1
    assert outage.interval == OFTEN


async def test_paused_it_does_not_pretend_to_be_over() -> None:
    measured = asyncio.Event()
    env = environment(measured.set)
    watching = asyncio.create_task(env.run(StepActivities(INVENTORY, Hands((Portal(),))).watch_outage, order()))
    await measured.wait()
    env.cancel(activity.ActivityCancellationDetails(paused=True))
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_a_measurement_handed_over_by_the_run_is_continued() -> None:
    before = begin(OFTEN).measured(datetime.now(UTC) - timedelta(seconds=7), ok=False, detail="down")
    measured = asyncio.Event()
    env = environment(measured.set)
    handed_over = order().model_copy(update={"so_far": before.model_dump(mode="json")})
    watching = asyncio.create_task(env.run(StepActivities(INVENTORY, Hands((Portal(),))).watch_outage, handed_over))
    await measured.wait()
    env.cancel()
    outage = await watching
    assert outage.began == before.outage.began
    assert "nobody measured, the worker was away" in outage.gaps[0]


async def test_a_measurement_that_is_lost_is_no_outage_of_nothing() -> None:
    measured = asyncio.Event()
    env = environment(measured.set)
    lost = order().model_copy(update={"so_far": {}})
    watching = asyncio.create_task(env.run(StepActivities(INVENTORY, Hands((Portal(),))).watch_outage, lost))
    await measured.wait()
    env.cancel()
    outage = await watching
    assert "measurements of an earlier attempt are lost" in outage.gaps[0]
    assert outage.interval == OFTEN


async def test_without_a_probe_it_says_so() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["probes"] = []

    bare = reference(change)
    watch = StepActivities(bare, Hands(())).watch_outage
    outage = await ActivityEnvironment().run(
        watch, OutageOrder(inventory_digest=digest(bare), cluster=bare.cluster, interval=OFTEN)
    )
    assert outage == Outage(interval=OFTEN, gaps=(NO_PROBE,))


async def test_a_worker_that_dies_again_before_it_has_measured_loses_nothing() -> None:
    """The server keeps the newest details alone."""
    before = begin(OFTEN).measured(datetime.now(UTC), ok=False, detail="down").model_dump(mode="json")
    beats: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
    env, portal = ActivityEnvironment(), Portal()
    portal.hangs = True
    env.info = dataclasses.replace(env.info, attempt=2, heartbeat_details=[before])
    env.on_heartbeat = lambda *details: beats.put_nowait(details)
    watching = asyncio.create_task(env.run(StepActivities(INVENTORY, Hands((portal,))).watch_outage, order()))
    assert await beats.get() == (before,)
    env.cancel()
    await watching


async def test_heartbeats_that_are_not_understood_are_a_gap() -> None:
    measured = asyncio.Event()
    env = environment(measured.set)
    env.info = dataclasses.replace(env.info, attempt=2, heartbeat_details=["something else"])
    watching = asyncio.create_task(env.run(StepActivities(INVENTORY, Hands((Portal(),))).watch_outage, order()))
    await measured.wait()
    env.cancel()
    assert "lost" in (await watching).gaps[0]


@workflow.defn(name="WatchForTest")
class WatchForTest:
    """Watches until told to end, as a run does."""

    def __init__(self) -> None:
        self._over = False

    @workflow.run
    async def run(self, given: OutageOrder) -> Outage:
        watch = workflow.start_activity(
            WATCH_OUTAGE,
            given,
            result_type=Outage,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=2),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.wait_condition(lambda: self._over)
        watch.cancel()
        outage: Outage = await watch
        return outage

    @workflow.signal
    def end(self) -> None:
        self._over = True


@asynccontextmanager
async def working(temporal: WorkflowEnvironment, queue: str, portal: Portal) -> AsyncIterator[None]:
    async with Worker(
        temporal.client,
        task_queue=queue,
        workflows=[WatchForTest],
        activities=activities(portal),
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        graceful_shutdown_timeout=timedelta(seconds=10),
    ):
        yield


async def until_asked(portal: Portal, times: int) -> None:
    """Until both probes were asked this often."""
    for _ in range(2 * times):
        await portal.questions.get()


async def started(temporal: WorkflowEnvironment) -> tuple[str, WorkflowHandle[Any, Outage]]:
    queue = f"watch-{uuid.uuid4()}"
    return queue, await temporal.client.start_workflow(WatchForTest.run, order(), id=queue, task_queue=queue)


async def test_the_run_gets_the_outage_when_it_cancels(temporal: WorkflowEnvironment) -> None:
    portal = Portal()
    queue, run = await started(temporal)
    async with working(temporal, queue, portal):
        await until_asked(portal, 2)
        portal.up = False
        await until_asked(portal, 3)
        portal.up = True
        await until_asked(portal, 2)
        await run.signal(WatchForTest.end)
        outage = await run.result()

    assert outage.began is not None
    assert outage.ended is not None
    assert outage.ended - outage.began == outage.duration
    assert [sample.ok for sample in outage.samples] == [True, False, True]
    assert outage.gaps == ()


async def test_another_worker_goes_on_where_one_ended(temporal: WorkflowEnvironment) -> None:
    first, second = Portal(), Portal()
    first.up = False
    queue, run = await started(temporal)
    async with working(temporal, queue, first):
        await until_asked(first, 5)
    async with working(temporal, queue, second):
        await until_asked(second, 2)
        await run.signal(WatchForTest.end)
        outage = await run.result()

    assert [sample.ok for sample in outage.samples] == [False, True]
    assert outage.measurements >= 5
    assert len(outage.gaps) == 1
    assert "nobody measured" in outage.gaps[0]


def test_a_log_is_what_is_sent() -> None:
    assert OutageLog.model_validate(begin(OFTEN).model_dump(mode="json")) == begin(OFTEN)
