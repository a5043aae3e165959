"""`make demo`: a controlled failover of the reference cluster in the simulated lab, from nothing to the report.

Starts a Temporal server with its Web UI, the lab and a worker, runs `python -m starters.failover`, and tells what came
of it. Where nobody sits at a terminal, or with `APPROVE=auto`, it approves by itself. With `CRASH=1` it kills the
worker in the middle of the outage.

`VACATE` names the VM-Host that goes, `SPEED` how many times faster than life the lab runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from inventory.loading import load
from lab.processes import Processes, free_port
from lab.ratio import Ratio
from lab.remote import RemoteLab

REFERENCE = Path(__file__).resolve().parent.parent / "deploy/inventories/reference.yaml"
READY_WITHIN = 60.0
"""Seconds for the lab to start on a slow machine; it takes about three."""
POLL = 0.25
QUERY = timedelta(seconds=5)
NOBODY = "demo (nobody was asked)"
CRASH_DURING = "move_pair"
"""The worker is killed while storage is moving: the outage has begun, and it is the step one fears most."""


@dataclass(frozen=True)
class Wishes:
    """What the environment asks for."""

    vacate: str
    speed: str
    crash: bool
    auto: bool

    @classmethod
    def from_environment(cls) -> Wishes:
        """Read VACATE, SPEED, CRASH and APPROVE."""
        hosts = [host.name for host in load(REFERENCE).vm_hosts]
        vacate = os.environ.get("VACATE", hosts[0])
        if vacate not in hosts:
            raise SystemExit(f"VACATE={vacate} is no VM-Host of the reference cluster; allowed: {', '.join(hosts)}")
        person = sys.stdin.isatty() and sys.stdout.isatty()
        return cls(
            vacate=vacate,
            speed=os.environ.get("SPEED", "10"),
            crash=os.environ.get("CRASH", "") not in ("", "0", "no"),
            auto=not person or os.environ.get("APPROVE", "") == "auto",
        )


@dataclass
class Demo:
    """One demonstration: the processes, and how to reach them."""

    wishes: Wishes
    processes: Processes
    lab: RemoteLab
    server: str
    web_ui: str
    health: str

    @property
    def environment(self) -> dict[str, str]:
        """For worker and starters."""
        return {
            **self.lab.environment,
            "TEMPORAL_ADDRESS": self.server,
            "FAILOVER_INVENTORY": self.lab.inventory,
            "FAILOVER_WEB_UI": self.web_ui,
            "FAILOVER_METRICS": "",
            "FAILOVER_HEALTH": self.health,
        }

    async def start_worker(self) -> None:
        """One worker; it waits for the server by itself."""
        await self.processes.python("worker", "worker", environment=self.environment)

    async def until_ready(self) -> None:
        """Until the worker says that it takes up runs."""
        async with asyncio.timeout(READY_WITHIN), aiohttp.ClientSession(f"http://{self.health}") as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get("/readyz") as answer:
                        if answer.ok:
                            return
                await asyncio.sleep(POLL)

    async def starter(self, *argv: str, keyboard: bool = False) -> asyncio.subprocess.Process:
        """A command as a person types it, on this screen."""
        return await self.processes.python(
            argv[0], *argv, environment=self.environment, output=sys.stdout.fileno(), keyboard=keyboard
        )

    async def run(self) -> int:
        """The failover with its progress. Returns the exit code of the starter."""
        watching = ("--watch",) if self.wishes.auto else ("--watch", "--by", os.environ.get("USER", "operator"))
        argv = ("starters.failover", "--inventory", self.lab.inventory, "--vacate", self.wishes.vacate)
        starter = await self.starter(*argv, "--reason", "demonstration", *watching, keyboard=not self.wishes.auto)
        async with _beside(*self._beside_the_run()):
            return await starter.wait()

    def _beside_the_run(self) -> list[Coroutine[Any, Any, None]]:
        work = [self._approve_everything()] if self.wishes.auto else []
        return [*work, self._crash_the_worker()] if self.wishes.crash else work

    async def handle(self) -> WorkflowHandle[Any, Any]:
        """The run."""
        client = await Client.connect(self.server)
        return client.get_workflow_handle(f"cluster-{load(Path(self.lab.inventory)).cluster}")

    async def _approve_everything(self) -> None:
        """Do at each gate what a person does in the Web UI: read it, and send the signal it shows."""
        handle, done = await self.handle(), set[str]()
        while True:
            for wait in (await _status(handle))["waits"]:
                if wait["kind"] == "gate" and wait["code"] not in done:
                    done.add(wait["code"])
                    payload = {"gate": wait["gate"], "seen": wait["code"], "by": NOBODY}
                    _say(f"nobody is asked here, so the signal approve is sent with {json.dumps(payload)}")
                    await handle.signal("approve", payload)
            await asyncio.sleep(POLL)

    async def _crash_the_worker(self) -> None:
        """Kill the worker without warning in the middle of the outage, and start another one."""
        handle = await self.handle()
        step = await _first(handle, lambda step: step["state"] == "running" and step["kind"] == CRASH_DURING)
        killed, at = await self.processes.kill("worker"), time.monotonic()
        _say(f"CRASH: worker {killed} was killed with SIGKILL during “{step['title']}”")
        await self.start_worker()
        _say("another worker was started; nobody tells it anything")
        await _first(handle, lambda one: one["id"] == step["id"] and one["state"] == "ended")
        took = time.monotonic() - at
        _say(f"the run went on at the same step and ended it {took:.1f} s after the crash: “{step['title']}”")

    async def tell(self) -> bool:
        """Report, auditors' verdict, run time over critical path. Returns whether the auditors are content."""
        print()
        await (await self.starter("starters.report", "--inventory", self.lab.inventory)).wait()
        handle = await self.handle()
        status = await _status(handle)
        violations = await self.lab.tell("end", {"vacated": self.wishes.vacate})
        violations = violations or await self.lab.ask("violations")
        print("\nThe lab (a simulation; see lab/README.md)\n" + "-" * 41)
        print(*_callers(await self.lab.ask("callers")), sep="\n")
        for violation in violations:
            print(f"Auditors  VIOLATION of invariant {violation['invariant']}: {violation['what']}")
        if not violations:
            print("Auditors  silent: no invariant was broken at any moment")
        print(f"Run time  {Ratio.of(await handle.query('plan', rpc_timeout=QUERY), status).text}")
        print(f"Web UI    {self.web_ui} (until this demonstration ends)")
        return not violations and bool(status["outcome"] == "completed")


async def _first(handle: WorkflowHandle[Any, Any], fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first step that fits, as soon as there is one."""
    while True:
        for step in (await _status(handle))["steps"]:
            if fits(step):
                return dict(step)
        await asyncio.sleep(POLL)


def _callers(counted: dict[str, Any]) -> list[str]:
    return [
        f"{who.capitalize():<9} {tally['served']} of {tally['attempted']} served, {tally['lost']} lost in the middle, "
        f"{tally['refused']} refused; out of service for {tally['outage_seconds']:.1f} s"
        for who, tally in counted.items()
    ]


def _say(text: str) -> None:
    print(f"demo: {text}", flush=True)


async def _status(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
    with contextlib.suppress(RPCError):  # no run yet, or no worker just now
        status: dict[str, Any] = await handle.query("status", rpc_timeout=QUERY)
        return status
    return {"waits": [], "steps": []}


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something beside; what fails there is told, not lost."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                _say(f"trouble beside the run: {result!r}")


@contextlib.asynccontextmanager
async def demonstration(wishes: Wishes, directory: Path) -> AsyncIterator[Demo]:
    """Temporal server with Web UI, lab, worker; all of them ended afterwards, whatever happened."""
    processes = Processes(directory)
    try:
        server, web_ui = await _start_server(processes)
        async with RemoteLab(await _start_lab(processes, wishes)) as lab:
            demo = Demo(wishes, processes, lab, server, web_ui, health=f"127.0.0.1:{free_port()}")
            await demo.start_worker()
            await demo.until_ready()
            _say(f"Temporal Web UI {web_ui}; the lab runs {lab.speed:g} times faster than life, seed {lab.seed}")
            yield demo
    finally:
        await processes.stop_all()


async def _start_server(processes: Processes) -> tuple[str, str]:
    port, ui_port = free_port(), free_port()
    await processes.start(
        "temporal",
        str(Path(sys.executable).parent / "temporal"),
        *("server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), "--ui-port", str(ui_port)),
        *("--db-filename", str(processes.directory / "temporal.db"), "--log-level", "error"),
        # Without it the server paces itself to one step in 50 ms.
        *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
        environment={},
    )
    return f"127.0.0.1:{port}", f"http://127.0.0.1:{ui_port}"


async def _start_lab(processes: Processes, wishes: Wishes) -> dict[str, Any]:
    lab = await processes.python(
        "lab",
        *("lab", "up", "--inventory", str(REFERENCE), "--directory", str(processes.directory / "lab")),
        *("--speed", wishes.speed, "--die-with-parent"),
        environment={},
        output=asyncio.subprocess.PIPE,
    )
    assert lab.stdout is not None
    line = await asyncio.wait_for(lab.stdout.readline(), READY_WITHIN)
    if not line:
        raise SystemExit(f"The lab did not start:\n{processes.log('lab').read_text()}")
    ready: dict[str, Any] = json.loads(line)
    return ready


async def main() -> int:
    """Run the demonstration; 0 if the run completed and no invariant was broken."""
    wishes = Wishes.from_environment()
    directory = Path(tempfile.mkdtemp(prefix="failover-demo-"))
    async with demonstration(wishes, directory) as demo:
        code = await demo.run()
        content = await demo.tell()
        if not wishes.auto:
            await asyncio.to_thread(input, "\nPress Enter to end the demonstration. ")
    if code == 0 and content:
        shutil.rmtree(directory)
        return 0
    _say(f"exit code of the starter {code}; the logs are in {directory}")
    return code or 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
