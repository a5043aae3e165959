"""The worker as a process: connect, work, answer for its health, stop when asked."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from activities.all_hands import all_hands
from activities.errors import Rejected
from activities.hands import Hands
from activities.notifications import NotificationActivities
from activities.secrets import resolve
from activities.signatures import SignatureActivities, trouble_with
from activities.steps import StepActivities
from inventory.digest import digest
from inventory.models import Inventory
from worker.connecting import connect_patiently
from worker.exits import Exit, end
from worker.health import Health, Loop
from worker.logs import StepContext
from worker.settings import Settings, secret_references, split_address, variable
from workflows import connection, names, search_attributes
from workflows.connection import ConnectionTrouble, Profile
from workflows.controlled_failback import ControlledFailback
from workflows.controlled_failover import ControlledFailover
from workflows.health_check import HealthCheckRun
from workflows.maintenance import Maintenance
from workflows.search_attributes import AttributesMissing

LOGGER = logging.getLogger(__name__)
STICKY = timedelta(seconds=2)
"""How long a crashed worker's cache is waited for: the default of 10 s would be part of the outage."""
HEARTBEATS = timedelta(seconds=1)
"""Heartbeats are held back no longer: steps have a heartbeat time-out of 5 s, and a cancellation travels with them."""
GARBAGE = 10_000
"""Objects that come to be before garbage is looked for. At Python's 700 a tenth of the processor time went there."""
HEALTH_CHECK = timedelta(seconds=2)
"""For the server to answer a health check of its own."""
RESTRICTIONS = SandboxRestrictions.default.with_import_notification_policy(
    SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
)
"""A workflow that imports something without saying so is refused at start, not found out in a failover."""


class CantServe(Exception):
    """An address of the settings can't be listened on."""


@dataclass
class Readiness:
    """What /readyz tells."""

    inventory: Inventory
    profile: Profile
    client: Client | None = None
    worker: Worker | None = None
    loop: Loop = field(default_factory=Loop)

    async def tell(self) -> dict[str, object]:
        """Ready when the worker polls, the server answers and all secrets can be read."""
        running = self.worker is not None and self.worker.is_running and not self.worker.is_shutdown
        server = await self._server_answers()
        unreadable = [rejected.seen for rejected in unreadable_secrets(self.inventory)]
        return {
            "ready": running and server and not unreadable,
            "worker_running": running,
            "server_answers": server,
            "unreadable_secrets": unreadable,
            "server": self.profile.address,
            "cluster": self.inventory.cluster,
            "queue": names.task_queue(self.inventory.cluster),
            "inventory_digest": digest(self.inventory),
        }

    async def _server_answers(self) -> bool:
        if self.client is None:
            return False
        try:
            return await self.client.service_client.check_health(timeout=HEALTH_CHECK)
        except RPCError:
            return False


async def work(settings: Settings, inventory: Inventory, profile: Profile) -> Exit:
    """Work until asked to stop.

    Returns:
        How it ended; the reason was logged.
    """
    _collect_garbage_seldom()
    stop = _stop_on_signals()
    readiness = Readiness(inventory, profile)
    # Before the server is looked for: whoever starts the worker looks at its log now.
    for rejected in unreadable_secrets(inventory):
        LOGGER.error("%s", rejected)
    signers = inventory.approval.allowed_signers
    if signers is not None and (trouble := trouble_with(Path(signers))):
        LOGGER.error("No signed approval will count: %s", trouble)
    try:
        runtime = make_runtime(settings)
        async with _health(settings, readiness):
            client = await connect_patiently(profile, _identity(settings), runtime, stop)
            if client is not None:
                readiness.client = client
                await _attributes(client)
                await _work(settings, inventory, readiness, client, stop)
    except (ConnectionTrouble, CantServe, RuntimeError, RPCError) as trouble:
        # RuntimeError is what the SDK raises when the server takes the worker no longer, or never did.
        LOGGER.critical("The worker can't go on: %s", trouble)
        return Exit.FAILED
    LOGGER.info("The worker has stopped.")
    return Exit.STOPPED


def _collect_garbage_seldom() -> None:
    """What is loaded by now stays, and need not be looked at again."""
    gc.freeze()
    gc.set_threshold(GARBAGE)


def make_runtime(settings: Settings) -> Runtime:
    """The SDK's runtime with metrics, logging through Python.

    Raises:
        CantServe: the address for metrics is taken or not ours.
    """
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
    )
    metrics = PrometheusConfig(bind_address=settings.metrics, durations_as_seconds=True) if settings.metrics else None
    try:
        return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics))
    except (RuntimeError, ValueError) as error:
        raise CantServe(_taken("metrics", settings.metrics, error)) from error


def make_worker(settings: Settings, inventory: Inventory, client: Client, hands: Hands) -> Worker:
    """A worker for one cluster."""
    return Worker(
        client,
        task_queue=names.task_queue(inventory.cluster),
        workflows=[ControlledFailover, ControlledFailback, Maintenance, HealthCheckRun],
        activities=[
            *StepActivities(inventory, hands).all(),
            *NotificationActivities(inventory, settings.web_ui).all(),
            *SignatureActivities(inventory).all(),
        ],
        workflow_runner=SandboxedWorkflowRunner(restrictions=RESTRICTIONS),
        interceptors=[StepContext()],
        max_concurrent_activities=settings.max_concurrent_activities,
        sticky_queue_schedule_to_start_timeout=STICKY,
        max_heartbeat_throttle_interval=HEARTBEATS,
        default_heartbeat_throttle_interval=HEARTBEATS,
        graceful_shutdown_timeout=settings.graceful_shutdown,
    )


async def _work(
    settings: Settings, inventory: Inventory, readiness: Readiness, client: Client, stop: asyncio.Event
) -> None:
    # Names are looked up in these threads, and a lookup blocks: where the name server goes down with a machine, the few
    # that Python would take on a small host are all held by it.
    threads = ThreadPoolExecutor(settings.max_concurrent_activities, thread_name_prefix="names")
    asyncio.get_running_loop().set_default_executor(threads)
    hands = all_hands(inventory)
    try:
        worker = make_worker(settings, inventory, client, hands)
        readiness.worker = worker
        await _run(worker, stop, inventory, readiness.profile)
    finally:
        await hands.close()


async def _run(worker: Worker, stop: asyncio.Event, inventory: Inventory, profile: Profile) -> None:
    running = asyncio.create_task(worker.run())
    asked = asyncio.create_task(stop.wait())
    LOGGER.info(
        "Working for cluster %s (inventory %s): task queue %s, %s",
        inventory.cluster,
        digest(inventory),
        worker.task_queue,
        profile.text,
    )
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set() and not running.done():
        LOGGER.info("Asked to stop: running steps may end, nothing new is begun.")
        await worker.shutdown()
    asked.cancel()
    await running


def unreadable_secrets(inventory: Inventory) -> Iterator[Rejected]:
    """What would otherwise be told by a step in the middle of the night. Secrets that can be read are not kept."""
    for reference in secret_references(inventory):
        try:
            resolve(reference, "this worker")
        except Rejected as rejected:
            yield rejected


async def _attributes(client: Client) -> None:
    try:
        created = await search_attributes.ensure(client)
    except AttributesMissing as missing:
        LOGGER.warning("%s", missing)
    else:
        if created:
            LOGGER.info("Created the search attributes %s.", ", ".join(created))


@asynccontextmanager
async def _health(settings: Settings, readiness: Readiness) -> AsyncIterator[None]:
    if not settings.health:
        yield
        return
    watching = asyncio.create_task(readiness.loop.watch())
    try:
        server = await Health(readiness.loop, readiness.tell).serve(*split_address(settings.health))
    except OSError as error:
        raise CantServe(_taken("health", settings.health, error)) from error
    try:
        yield
    finally:
        watching.cancel()
        server.close()


def _taken(setting: str, address: str, error: Exception) -> str:
    reason = connection.shortened(str(error))
    return f"{setting} can't listen on {address} ({reason}); allowed: a free address in {variable(setting)}, or empty"


def _identity(settings: Settings) -> str:
    return settings.identity or connection.identity("worker")


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            LOGGER.warning("Asked to stop again: ending at once. Running steps are taken on by another worker.")
            end(Exit.FAILED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    return stop
