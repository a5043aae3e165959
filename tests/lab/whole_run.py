"""A whole failover, and the way back, as a test: real Temporal server, real worker, simulated cluster.

async with WholeRun.start(temporal, vacate="vm-host-1") as run:
    await run.begin()
    run.approve_all()
    report = await run.report()
    await run.begin_failback(of=report)

Each has its own cluster name, and so its own workflow id and task queue, and its own loopback net: runs of different
tests can't meet, also where tests run in parallel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.all_hands import all_hands
from inventory.digest import digest
from inventory.loading import load
from inventory.models import Inventory
from lab.durations import Durations
from lab.lab import Lab
from lab.processes import Processes
from worker.process import make_worker
from worker.settings import Settings
from workflows import names
from workflows.messages import Answer, Decide, FailbackRequest, FailoverRequest, Restored, RunRequest
from workflows.opening import TASK_TIMEOUT
from workflows.status import RunReport, Status, Wait

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "deploy" / "inventories" / "reference.yaml"
WITHIN = 120.0
"""Seconds that a run may take to come anywhere, on a busy machine."""
_LOOK_SECONDS = 0.25
_ANSWER = timedelta(seconds=5)
_THREADS = 40
_TAIL = 3000

WorkerKind = Literal["process", "inside", "none"]
Decision = Literal["approve", "reject", "retry", "skip", "abort", "confirm", "pause", "resume", "extend"]


@dataclass
class Typed:
    """What a command that was typed said, and how it ended."""

    code: int
    output: str


class AnyLab(Protocol):
    """What a run needs of the cluster that it is about."""

    @property
    def inventory_path(self) -> Path:
        """What the worker loads."""

    @property
    def environment(self) -> dict[str, str]:
        """The worker's secrets."""


LabT = TypeVar("LabT", bound=AnyLab)


@dataclass
class RunOn(Generic[LabT]):
    """One cluster, its worker and its run, on a lab that is there."""

    client: Client
    lab: LabT
    vacate: str
    kind: WorkerKind
    inventory: Inventory
    processes: Processes
    settings: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    _inside: AsyncExitStack = field(default_factory=AsyncExitStack)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker runs; all ends with the context."""
        try:
            await self.start_worker()
            yield
        finally:
            await self._end()

    # --- the run -----------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> str:
        """Name of this test's cluster."""
        return self.inventory.cluster

    @property
    def handle(self) -> WorkflowHandle[Any, RunReport]:
        """The run that was begun last."""
        return self.client.get_workflow_handle(
            names.workflow_id(self.cluster), run_id=self.run_id, result_type=RunReport
        )

    async def begin(self, vacate: str | None = None) -> None:
        """Start a run as the command line does.

        Raises:
            WorkflowAlreadyStartedError: one is under way.
        """
        request = FailoverRequest(
            inventory=self.inventory, vacate=vacate or self.vacate, reason="a test", requested_by="tester"
        )
        await self._start(names.FAILOVER, request)

    async def begin_failback(self, of: RunReport | None = None) -> None:
        """Start the way back as the command line does.

        Args:
            of: report of the failover that is undone; None: the normal state of the inventory is restored.

        Raises:
            WorkflowAlreadyStartedError: a run is under way.
        """
        request = FailbackRequest(
            inventory=self.inventory,
            returning=of.vacated if of else self.vacate,
            of=Restored.model_validate(of.model_dump()) if of else None,
            reason="a test",
            requested_by="tester",
        )
        await self._start(names.FAILBACK, request)

    async def _start(self, workflow: str, request: RunRequest) -> None:
        # Whoever opened the gates of the run before does not open those of this one.
        await self._dismiss()
        handle: WorkflowHandle[Any, RunReport] = await self.client.start_workflow(
            workflow,
            request,
            id=names.workflow_id(self.cluster),
            task_queue=names.task_queue(self.cluster),
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            task_timeout=TASK_TIMEOUT,
            result_type=RunReport,
            memo={"inventory_digest": digest(self.inventory)},
            search_attributes=TypedSearchAttributes([SearchAttributePair(names.CLUSTER, self.cluster)]),
        )
        self.run_id = handle.result_run_id

    async def status(self) -> Status:
        """What the run says of itself.

        Raises:
            RPCError: no worker answers.
        """
        found: Status = await self.handle.query(names.STATUS_QUERY, result_type=Status, rpc_timeout=_ANSWER)
        return found

    async def until(self, predicate: Callable[[Status], bool], within: float = WITHIN) -> Status:
        """Wait until the status is as wanted. Workers may come and go meanwhile.

        Raises:
            AssertionError: it is not so in time; with what the run and the worker say.
        """
        last: Status | None = None
        try:
            async with asyncio.timeout(within):
                while True:
                    # RPCError: nobody answers now. A run tells no event to those outside, so it is asked again.
                    with contextlib.suppress(RPCError):
                        last = await self.status()
                        if predicate(last):
                            return last
                        if last.outcome is not None:
                            raise AssertionError(f"the run has ended and it is not so: {self._words(last)}")
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not so within {within} s: {self._words(last)}") from None

    async def until_wait(self, predicate: Callable[[Wait], bool], within: float = WITHIN) -> Wait:
        """Wait until the run waits for such a thing."""
        status = await self.until(lambda status: any(predicate(wait) for wait in status.waits), within)
        return next(wait for wait in status.waits if predicate(wait))

    async def until_gate(self, gate: str, within: float = WITHIN) -> Wait:
        """Wait until a gate is reached."""
        return await self.until_wait(lambda wait: wait.gate == gate, within)

    async def until_problem(self, step: str = "", within: float = WITHIN) -> Wait:
        """Wait until a step (its id, or its beginning) waits with a problem."""
        return await self.until_wait(lambda wait: wait.kind == "problem" and wait.step.startswith(step), within)

    async def report(self, within: float = WITHIN) -> RunReport:
        """The result of the run.

        Raises:
            AssertionError: it has not ended in time; with what the run and the worker say.
        """
        try:
            async with asyncio.timeout(within):
                return await self.handle.result(follow_runs=False)
        except TimeoutError:
            with contextlib.suppress(RPCError):
                raise AssertionError(f"not ended within {within} s: {self._words(await self.status())}") from None
            raise AssertionError(f"not ended within {within} s: {self._words(None)}") from None

    def _words(self, status: Status | None) -> str:
        log = self.processes.log("worker")
        tail = log.read_text(errors="replace")[-_TAIL:] if log.exists() else ""
        if status is None:
            return f"the run never answered\n{tail}"
        waits = "\n".join(f"  {wait.kind} {wait.step}: {wait.text}" for wait in status.waits)
        running = ", ".join(step.id for step in status.steps if step.state == "running")
        ill = "\n".join(f"  {verdict.text}" for verdict in status.health if not verdict.allows)
        return f"{status.phase} {status.outcome_reason}, running {running}, waits\n{waits}\nnot well\n{ill}\n{tail}"

    # --- people ------------------------------------------------------------------------------------------------------

    async def decide(self, signal: Decision, **payload: str | bool | int) -> Answer:
        """Say something as the command line does, answered at once; `by` is added. A worker that is away is awaited."""
        wish = Decide(signal=signal, payload={"by": "tester", **payload})
        # The same wish under the same id is the same wish: the server keeps it for a worker that is away.
        update = uuid.uuid4().hex
        while True:
            try:
                answer: Answer = await self.handle.execute_update(
                    names.DECIDE_UPDATE, wish, id=update, result_type=Answer, rpc_timeout=_ANSWER
                )
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                continue
            except WorkflowUpdateFailedError as failed:
                raise AssertionError(f"{signal} was not understood: {failed.cause}") from failed
            return answer

    async def say(self, signal: str, payload: object) -> None:
        """Send a plain signal, as the Web UI does. Its answer is in the status."""
        await self.handle.signal(signal, payload)

    async def approve(self, gate: str, within: float = WITHIN) -> Answer:
        """Wait for a gate and open it."""
        wait = await self.until_gate(gate, within)
        return await self.decide("approve", gate=gate, seen=wait.code)

    def approve_all(self, *, but: tuple[str, ...] = ()) -> None:
        """Open every gate as soon as it is reached, in the background; those in `but` stay closed."""
        self._in_background(self._approve_all(but))

    async def _approve_all(self, but: tuple[str, ...]) -> None:
        def is_open(wait: Wait) -> bool:
            return wait.kind == "gate" and wait.gate not in but

        while True:
            status = await self.until(lambda status: status.outcome is not None or any(map(is_open, status.waits)), 600)
            for wait in filter(is_open, status.waits):
                await self.decide("approve", gate=wait.gate, seen=wait.code)
            if status.outcome is not None:
                return

    def do_all_tasks(self, do: Callable[[Wait], Awaitable[None]]) -> None:
        """Do whatever a person is asked to do, in the background, and confirm it."""
        self._in_background(self._do_all_tasks(do))

    async def _do_all_tasks(self, do: Callable[[Wait], Awaitable[None]]) -> None:
        def is_task(wait: Wait) -> bool:
            return wait.kind == "operator task"

        while True:
            status = await self.until(lambda status: status.outcome is not None or any(map(is_task, status.waits)), 600)
            for wait in filter(is_task, status.waits):
                await do(wait)
                await self.decide("confirm", step=wait.step, comment="done so")
            if status.outcome is not None:
                return

    def _in_background(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            # The run has ended or the test is over: nobody is left to ask.
            with contextlib.suppress(RPCError):
                await work

        self._tasks.append(asyncio.create_task(guarded()))

    async def type(self, command: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Typed:
        """Type a command of `starters/` and wait for its end; the inventory (or cluster) is to be given."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"starters.{command}",
            *arguments,
            cwd=ROOT,
            env={**os.environ, **self.connection, **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return Typed(process.returncode or 0, output.decode())

    # --- the worker --------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> dict[str, str]:
        """Environment of a process that is to reach the server."""
        return {"TEMPORAL_ADDRESS": self.client.service_client.config.target_host, "FAILOVER_WEB_UI": ""}

    @property
    def worker_log(self) -> str:
        """What the worker's process has logged so far."""
        return self.processes.log("worker").read_text(errors="replace")

    async def start_worker(self) -> None:
        """Start the worker (again)."""
        if self.kind == "process":
            nowhere = {"FAILOVER_METRICS": "", "FAILOVER_HEALTH": ""}
            environment = {
                **self.lab.environment,
                **self.connection,
                **nowhere,
                "FAILOVER_INVENTORY": str(self.lab.inventory_path),
                **self.settings,
            }
            await self.processes.python("worker", "worker", environment=environment)
        elif self.kind == "inside":
            await self._work_inside()

    async def kill_worker(self) -> None:
        """SIGKILL to the worker's process, as a power cut does."""
        assert self.kind == "process", "only a process can be killed"
        await self.processes.kill("worker")

    async def _work_inside(self) -> None:
        self._inside.enter_context(_environment(self.lab.environment))
        # pywinrm blocks, so it works in threads: as many as the worker's own process has.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        hands = all_hands(self.inventory)
        self._inside.push_async_callback(hands.close)
        settings = Settings(inventory=self.lab.inventory_path, graceful_shutdown=_ANSWER)
        await self._inside.enter_async_context(make_worker(settings, self.inventory, self.client, hands))

    # --- looking closely ---------------------------------------------------------------------------------------------

    async def history(self) -> list[HistoryEvent]:
        """All events of the run so far."""
        return [event async for event in self.handle.fetch_history_events()]

    async def handed_out(self, prefix: str, within: float = WITHIN) -> str:
        """Wait until a step whose id begins so was handed to a worker; returns its id."""

        def is_it(event: HistoryEvent) -> bool:
            return event.activity_task_scheduled_event_attributes.activity_id.startswith(prefix)

        event = await self.happened(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, is_it, within)
        return event.activity_task_scheduled_event_attributes.activity_id

    async def happened(
        self,
        kind: EventType.ValueType,
        which: Callable[[HistoryEvent], bool] = lambda _: True,
        within: float = WITHIN,
    ) -> HistoryEvent:
        """Wait for an event of the run's history; the server tells it at once."""
        async with asyncio.timeout(within):
            async for event in self.handle.fetch_history_events(wait_new_event=True):
                if event.event_type == kind and which(event):
                    return event
        raise AssertionError(f"the run ended without {EventType.Name(kind)}: {self._words(await self.status())}")

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _dismiss(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _end(self) -> None:
        await self._dismiss()
        if self.run_id is not None:
            with contextlib.suppress(RPCError):
                description = await self.handle.describe()
                if description.status is WorkflowExecutionStatus.RUNNING:
                    await self.handle.terminate("the test is over")
        await self._inside.aclose()
        with contextlib.suppress(KeyError):
            await self.processes.kill("worker")
        await self.processes.stop_all()


class WholeRun(RunOn[Lab]):
    """A run on a simulated cluster of its own. Made by `WholeRun.start`."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        temporal: WorkflowEnvironment,
        *,
        vacate: str = "vm-host-1",
        worker: WorkerKind = "process",
        speed: float = 40.0,
        seed: int = 1,
        inventory: Inventory | None = None,
        durations: Durations | None = None,
        callers: bool = True,
        settings: Mapping[str, str] | None = None,
        pcs: Literal["0.10", "0.11"] = "0.11",
    ) -> AsyncIterator[WholeRun]:
        """Start a lab of the reference cluster and a worker for it; no run yet.

        Args:
            temporal: the server.
            vacate: the VM-Host to vacate.
            worker: `process` can be killed; `inside` shares this process and is there at once; `none` starts none.
            speed: simulated seconds in a real one.
            seed: of the lab.
            inventory: another cluster than the reference; its name is replaced.
            durations: how long things take in the lab.
            callers: whether simulated callers and agents use the cluster.
            settings: further environment of the worker's process.
            pcs: its version in the lab.
        """
        cluster = f"lab-{uuid.uuid4().hex[:8]}"
        # Shown by pytest when a test fails: what it takes to repeat it.
        sys.stdout.write(f"cluster {cluster}: vacate {vacate}, lab seed {seed}, speed {speed}\n")
        original = (inventory or load(REFERENCE)).model_copy(update={"cluster": cluster})
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whole-run-")))
            lab = await stack.enter_async_context(
                Lab.start(
                    original,
                    speed=speed,
                    seed=seed,
                    directory=directory / "lab",
                    durations=durations,
                    callers=callers,
                    pcs=pcs,
                )
            )
            found = load(lab.inventory_path)
            run = cls(temporal.client, lab, vacate, worker, found, Processes(directory), settings or {})
            await stack.enter_async_context(run.working())
            yield run


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables of a worker inside this process."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
