"""The Temporal server is killed with SIGKILL, and the worker with it: its database is on disk, and the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from inventory.loading import load
from lab.processes import Processes, free_port
from lab.real.lab import RealLab
from procedure.reports import RunOutcome
from tests.conftest import FAST, TEMPORAL
from tests.real.faulty_run import FaultyRun, without_callers
from tests.real.real_run import WITHIN, RealRun
from workflows import names
from workflows.converter import DATA_CONVERTER

pytestmark = pytest.mark.timeout(300)
_UP_SECONDS = 60.0


@dataclass
class Server:
    """A Temporal server with its database on disk, that can be killed."""

    processes: Processes
    port: int

    async def start(self) -> None:
        """Start it, or start it again."""
        database = str(self.processes.directory / "temporal.db")
        await self.processes.start(
            "temporal",
            *(str(TEMPORAL), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)),
            *("--db-filename", database, "--log-level", "error", *FAST),
            *(word for key in names.SEARCH_ATTRIBUTES for word in ("--search-attribute", f"{key.name}=Keyword")),
            environment={},
        )

    async def kill(self) -> None:
        """As a power cut does."""
        await self.processes.kill("temporal")


async def test_server_and_worker_are_killed_while_storage_moves_and_while_machines_go_off(
    normal: RealLab, tmp_path: Path
) -> None:
    processes = Processes(tmp_path)
    server = Server(processes, free_port())
    await server.start()
    client = await _connected(normal, server)
    run = RealRun(client, normal, "vm-host-1", "process", load(normal.inventory_path), processes, {})
    one = FaultyRun(run, within=WITHIN)
    async with without_callers(normal), run.working():
        await one.begin()
        await one.approve("before_start")
        await _all_dies_while(one, server, "5-move-storage")
        await one.approve("before_power_off")
        await _all_dies_while(one, server, "9-shut-down-acd-jb1")
        await one.approve("functionality")
        report = await one.ended(RunOutcome.COMPLETED)
    assert len([step for step in report.steps if step.attempts]) > 40
    assert await normal.auditors.at_end(vacated="vm-host-1") == []
    assert normal.auditors.violations == []


async def _connected(lab: RealLab, server: Server) -> Client:
    found: list[Client] = []

    async def answers() -> bool:
        try:
            found.append(await Client.connect(f"127.0.0.1:{server.port}", data_converter=DATA_CONVERTER))
        except (RPCError, RuntimeError):
            return False
        return True

    await lab.until(answers, "the Temporal server answers", _UP_SECONDS)
    return found[0]


async def _all_dies_while(one: FaultyRun, server: Server, step: str) -> None:
    await one.until_running(step)
    await server.kill()
    await one.run.kill_worker()
    await server.start()
    await one.run.start_worker()
