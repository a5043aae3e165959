"""`make demo`: a whole maintenance of the reference cluster in the simulated lab, from nothing to the report.

Starts a Temporal server with its Web UI, the lab and a worker, runs `python -m starters.maintenance`, and tells what
came of it. Where nobody sits at a terminal, or with `APPROVE=auto`, it approves by itself. With `CRASH=1` it kills the
worker in the middle of each outage, with `FAILBACK=no` it ends after the failover.

`VACATE` names the VM-Host that goes, `SPEED` how many times faster than life the lab runs. With `REAL=1` (as root) the
cluster is one of real hosts instead; see lab/real/README.md.
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
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from temporalio.client import Client

from inventory.loading import load
from lab.demo_runs import Runs, say
from lab.demo_verdict import Verdict
from lab.processes import Processes, free_port
from lab.remote import RemoteLab

REFERENCE = Path(__file__).resolve().parent.parent / "deploy/inventories/reference.yaml"
READY_WITHIN = 60.0
"""Seconds for the lab to start on a slow machine; it takes about three."""
REAL_READY_WITHIN = 300.0
"""Seconds for real hosts: about 25, and a minute more the first time, when Debian is installed for them."""
POLL = 0.25
_NO = ("", "0", "no")


@dataclass(frozen=True)
class Wishes:
    """What the environment asks for."""

    vacate: str
    speed: str
    crash: bool
    auto: bool
    failback: bool = True
    real: bool = False

    @classmethod
    def from_environment(cls) -> Wishes:
        """Read VACATE, SPEED, CRASH, APPROVE, FAILBACK and REAL."""
        hosts = [host.name for host in load(REFERENCE).vm_hosts]
        vacate = os.environ.get("VACATE", hosts[0])
        if vacate not in hosts:
            raise SystemExit(f"VACATE={vacate} is no VM-Host of the reference cluster; allowed: {', '.join(hosts)}")
        person = sys.stdin.isatty() and sys.stdout.isatty()
        return cls(
            vacate=vacate,
            speed=os.environ.get("SPEED", "15"),
            crash=os.environ.get("CRASH", "") not in _NO,
            auto=not person or os.environ.get("APPROVE", "") == "auto",
            failback=os.environ.get("FAILBACK", "yes") not in _NO,
            real=os.environ.get("REAL", "") not in _NO,
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

    async def runs(self) -> Runs:
        """What is known of the runs."""
        return Runs(await Client.connect(self.server), load(Path(self.lab.inventory)).cluster)

    async def run(self) -> int:
        """The maintenance, or the failover alone, with its progress. Returns the exit code of the starter."""
        watching = ("--watch",) if self.wishes.auto else ("--watch", "--by", os.environ.get("USER", "operator"))
        what = "starters.maintenance" if self.wishes.failback else "starters.failover"
        argv = (what, "--inventory", self.lab.inventory, "--vacate", self.wishes.vacate)
        if self.wishes.failback and not self.wishes.auto:
            say(f"at the gate maintenance_finished {self.wishes.vacate} has booted, and its machines are still off")
        starter = await self.starter(*argv, "--reason", "demonstration", *watching, keyboard=not self.wishes.auto)
        async with _beside(*await self._beside_the_run()):
            return await starter.wait()

    async def _beside_the_run(self) -> list[Coroutine[Any, Any, None]]:
        runs = await self.runs()
        work = [runs.approve_everything()] if self.wishes.auto else []
        return [*work, self._crash_the_worker(runs)] if self.wishes.crash else work

    async def _crash_the_worker(self, runs: Runs) -> None:
        """Kill the worker without warning in the middle of each outage, and start another one."""
        for direction in ("failover", "failback"):
            step = await runs.move(direction)
            killed, at = await self.processes.kill("worker"), time.monotonic()
            say(f"CRASH: worker {killed} was killed with SIGKILL during “{step['title']}”")
            await self.start_worker()
            say("another worker was started; nobody tells it anything")
            await runs.end_of(direction, step["id"])
            took = time.monotonic() - at
            say(f"the run went on at the same step and ended it {took:.1f} s after the crash: “{step['title']}”")

    async def tell(self, before: dict[str, Any]) -> bool:
        """Report and verdict. Returns whether all is as it should be.

        Args:
            before: the truth of the lab at the beginning.
        """
        print()
        which = ("--maintenance",) if self.wishes.failback else ()
        await (await self.starter("starters.report", "--inventory", self.lab.inventory, *which)).wait()
        verdict = await Verdict.of(
            await self.runs(),
            self.lab,
            self.wishes.vacate,
            before,
            back=self.wishes.failback,
            real=self.wishes.real,
        )
        print(*verdict.lines, sep="\n")
        print(f"Web UI    {self.web_ui} (until this demonstration ends)")
        return verdict.good


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
                say(f"trouble beside the run: {result!r}")


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
            world = (
                "real hosts" if wishes.real else f"the lab runs {lab.speed:g} times faster than life, seed {lab.seed}"
            )
            say(f"Temporal Web UI {web_ui}; {world}")
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
    simulated = (
        *("lab", "up", "--inventory", str(REFERENCE), "--directory", str(processes.directory / "lab")),
        *("--speed", wishes.speed, "--die-with-parent"),
    )
    real = ("lab", "real", "up", "--foreground")
    lab = await processes.python(
        "lab", *(real if wishes.real else simulated), environment={}, output=asyncio.subprocess.PIPE
    )
    assert lab.stdout is not None
    if wishes.real:
        say("real hosts are being started; the first time Debian is installed for them, which takes a minute")
    line = await asyncio.wait_for(lab.stdout.readline(), REAL_READY_WITHIN if wishes.real else READY_WITHIN)
    if not line:
        raise SystemExit(f"The lab did not start:\n{processes.log('lab').read_text()}")
    ready: dict[str, Any] = json.loads(line)
    if wishes.real:
        say(f"23 hosts run; seconds it took: {json.dumps(ready['times'])}")
    return ready


async def main() -> int:
    """Run the demonstration; 0 if it completed, no invariant was broken, and all is as it was."""
    wishes = Wishes.from_environment()
    directory = Path(tempfile.mkdtemp(prefix="failover-demo-"))
    async with demonstration(wishes, directory) as demo:
        before = await demo.lab.ask("truth")
        code = await demo.run()
        content = await demo.tell(before)
        if not wishes.auto:
            await asyncio.to_thread(input, "\nPress Enter to end the demonstration. ")
    if code == 0 and content:
        shutil.rmtree(directory)
        return 0
    say(f"exit code of the starter {code}; the logs are in {directory}")
    return code or 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
