"""Commands as a person runs them: own processes, a real server, a worker with the stand-in workflow."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.starters.stand_in import WORKFLOWS
from workflows import names

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "deploy" / "inventories" / "reference.yaml"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Runs commands against one server, about one cluster of its own."""

    address: str
    cluster: str
    inventory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TEMPORAL_ADDRESS": self.address, "COLUMNS": "100"}

    def words(self, command: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", f"starters.{command}", *arguments]

    async def run(self, command: str, *arguments: str, within: float = 30) -> Ended:
        process = await asyncio.create_subprocess_exec(
            *self.words(command, *arguments),
            cwd=ROOT,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), within)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def about(self, command: str, *arguments: str) -> Ended:
        """The same about this cluster."""
        return await self.run(command, "--cluster", self.cluster, *arguments)

    async def start(self, script: str, *arguments: str) -> Ended:
        """Start a run; the stand-in does what the words of the script say."""
        named = ("--inventory", str(self.inventory), "--vacate", "vm-host-1", "--by", "ann", "--reason", script)
        return await self.run("failover", *named, *arguments)


@pytest.fixture
def shell(temporal: WorkflowEnvironment, tmp_path: Path) -> Shell:
    """Commands about a cluster nobody works for."""
    cluster = f"c-{uuid.uuid4().hex[:8]}"
    inventory = tmp_path / "cluster.yaml"
    text = REFERENCE.read_text()
    assert "\ncluster: reference\n" in text
    inventory.write_text(text.replace("\ncluster: reference\n", f"\ncluster: {cluster}\n"))
    return Shell(temporal.client.service_client.config.target_host, cluster, inventory)


@pytest.fixture
async def worked(shell: Shell, temporal: WorkflowEnvironment) -> AsyncIterator[Shell]:
    """Commands about a cluster with a worker."""
    async with Worker(temporal.client, task_queue=names.task_queue(shell.cluster), workflows=WORKFLOWS):
        yield shell
