"""The worker as a process: refused settings, an absent server, readiness, stopping."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment

from starters.runs import workers
from tests.conftest import TEMPORAL
from worker.exits import Exit
from workflows import names

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "deploy" / "inventories" / "reference.yaml"
WITHIN = 40
"""Seconds for a worker to say or do anything: it loads the SDK and all systems' libraries."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Process:
    """A worker's process and what it logs."""

    process: asyncio.subprocess.Process
    health: int
    metrics: int
    seen: list[str] = field(default_factory=list)

    async def says(self, words: str) -> str:
        """Wait for a line that holds these words."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WITHIN):
            while True:
                line = (await self.process.stderr.readline()).decode()
                self.seen.append(line)
                assert line, f"ended without {words!r}: {''.join(self.seen)}"
                if words in line:
                    return line

    async def ends(self) -> int:
        assert self.process.stderr is not None
        async with asyncio.timeout(WITHIN):
            self.seen.append((await self.process.stderr.read()).decode())
            return await self.process.wait()

    @property
    def log(self) -> str:
        return "".join(self.seen)


@asynccontextmanager
async def worker(inventory: Path, address: str, **settings: str) -> AsyncIterator[Process]:
    """A worker's process; killed if it is still there at the end."""
    health, metrics = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "TEMPORAL_ADDRESS": address,
        "FAILOVER_INVENTORY": str(inventory),
        "FAILOVER_HEALTH": f"127.0.0.1:{health}",
        "FAILOVER_METRICS": f"127.0.0.1:{metrics}",
        "FAILOVER_DATABASE_PASSWORD": "correct-horse",
        "FAILOVER_WINDOWS_PASSWORD": "correct-horse",
        "FAILOVER_HAPROXY_PASSWORD": "correct-horse",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process, health, metrics)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


@pytest.fixture
def cluster() -> str:
    return f"w-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def inventory(tmp_path: Path, cluster: str) -> Path:
    """The reference with an SSH key that is there; whether it is one is not looked at."""
    key = tmp_path / "id_ed25519"
    key.write_text("a key")
    key.chmod(0o600)
    text = REFERENCE.read_text().replace("/etc/failover/ssh/id_ed25519", str(key))
    file = tmp_path / "cluster.yaml"
    file.write_text(text.replace("\ncluster: reference\n", f"\ncluster: {cluster}\n"))
    return file


def address_of(environment: WorkflowEnvironment) -> str:
    return str(environment.client.service_client.config.target_host)


async def test_it_works_tells_so_and_stops_when_asked(
    temporal: WorkflowEnvironment, inventory: Path, cluster: str
) -> None:
    async with worker(inventory, address_of(temporal), FAILOVER_IDENTITY="one-of-two") as process:
        line = json.loads(await process.says("Working for cluster"))
        assert names.task_queue(cluster) in line["message"]
        async with asyncio.timeout(WITHIN):
            while "one-of-two" not in await workers(temporal.client, cluster):  # noqa: ASYNC110 - the server tells no event
                await asyncio.sleep(0.05)
        status, body = await get(process.health, "/readyz")
        told = json.loads(body)
        assert (status, told["ready"], told["cluster"], told["queue"]) == (
            200,
            True,
            cluster,
            names.task_queue(cluster),
        )
        assert len(told["inventory_digest"]) == 16
        assert told["unreadable_secrets"] == []
        assert "temporal_num_pollers" in (await get(process.metrics, "/metrics"))[1]
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == Exit.STOPPED
    assert "The worker has stopped." in process.log
    assert "correct-horse" not in process.log


async def test_a_worker_without_a_secret_says_so_at_once_and_is_not_ready(
    temporal: WorkflowEnvironment, inventory: Path
) -> None:
    key = inventory.with_name("id_ed25519")
    key.chmod(0o644)
    async with worker(inventory, address_of(temporal), FAILOVER_HAPROXY_PASSWORD="") as process:
        await process.says("Working for cluster")
        assert "the secret env:FAILOVER_HAPROXY_PASSWORD is empty" in process.log
        status, body = await get(process.health, "/readyz")
        told = json.loads(body)
        assert (status, told["ready"], told["server_answers"]) == (503, False, True)
        open_to_others = f"the secret file:{key} is open to others (mode 0644)"
        assert sorted(told["unreadable_secrets"]) == [
            "the secret env:FAILOVER_HAPROXY_PASSWORD is empty",
            open_to_others,
        ]
        assert "correct-horse" not in body + process.log
        key.chmod(0o600)
        assert open_to_others not in (await get(process.health, "/readyz"))[1]


@pytest.fixture
def without_signers(inventory: Path) -> Path:
    """The inventory with a file of allowed signers that is not there."""
    commented, text = "  # allowed_signers: /etc/failover/allowed_signers ", inventory.read_text()
    assert commented in text
    inventory.write_text(text.replace(commented, f"  allowed_signers: {inventory.with_name('signers')} #"))
    return inventory


async def test_a_worker_that_could_verify_no_signature_says_so_at_once(
    temporal: WorkflowEnvironment, without_signers: Path
) -> None:
    async with worker(without_signers, address_of(temporal)) as process:
        await process.says("Working for cluster")
        assert "No signed approval will count: the file of allowed signers" in process.log


async def test_it_waits_for_a_server_and_creates_the_search_attributes(inventory: Path) -> None:
    port = free_port()
    async with worker(inventory, f"127.0.0.1:{port}") as process:
        line = await process.says("Attempt 1")
        assert "Connection refused" in line
        assert "temporal server start-dev" in line
        assert (await get(process.health, "/healthz"))[0] == 200
        status, body = await get(process.health, "/readyz")
        assert (status, json.loads(body)["server_answers"]) == (503, False)
        async with await WorkflowEnvironment.start_local(port=port, dev_server_existing_path=str(TEMPORAL)) as late:
            await process.says("Created the search attributes ClusterName, Stage, WaitingFor.")
            await process.says("Working for cluster")
            request = ListSearchAttributesRequest(namespace="default")
            found = await late.client.operator_service.list_search_attributes(request)
            assert found.custom_attributes["Stage"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
            process.process.send_signal(signal.SIGINT)
            assert await process.ends() == Exit.STOPPED


async def test_stopping_while_there_is_no_server(inventory: Path) -> None:
    async with worker(inventory, f"127.0.0.1:{free_port()}") as process:
        await process.says("Attempt 1")
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == Exit.STOPPED


async def test_a_search_attribute_of_another_type_is_told(inventory: Path) -> None:
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL), search_attributes=[SearchAttributeKey.for_int("Stage")]
    )
    async with environment, worker(inventory, address_of(environment)) as process:
        line = await process.says("exists with another type")
        assert "The search attribute Stage" in line
        await process.says("Working for cluster")


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"FAILOVER_LOG_FORMAT": "xml"}, Exit.BAD_SETTINGS, "FAILOVER_LOG_FORMAT"),
        ({"FAILOVER_HEATH": "x"}, Exit.BAD_SETTINGS, "FAILOVER_HEATH: no setting"),
        ({"FAILOVER_SETTINGS": "/nowhere.toml"}, Exit.BAD_SETTINGS, "/nowhere.toml: can't be read"),
        ({"TEMPORAL_PROFILE": "nowhere"}, Exit.BAD_SETTINGS, "Profile 'nowhere' not found"),
        ({"TEMPORAL_TLS_CLIENT_CERT_PATH": "/nowhere.pem"}, Exit.BAD_SETTINGS, "nowhere.pem"),
        ({"FAILOVER_INVENTORY": "/nowhere.yaml"}, Exit.BAD_INVENTORY, "/nowhere.yaml:1:1"),
    ],
)
async def test_what_can_not_be_used_starts_nothing(
    inventory: Path, settings: dict[str, str], code: Exit, said: str
) -> None:
    async with worker(inventory, f"127.0.0.1:{free_port()}", **settings) as process:
        assert await process.ends() == code
    assert said in process.log
    assert "Nothing was started." in process.log
    assert "Traceback" not in process.log


async def test_a_taken_port_is_told(temporal: WorkflowEnvironment, inventory: Path) -> None:
    taken = address_of(temporal)
    for setting in ("FAILOVER_METRICS", "FAILOVER_HEALTH"):
        async with worker(inventory, taken, **{setting: taken}) as process:
            assert await process.ends() == Exit.FAILED
        assert f"can't listen on {taken}" in process.log
        assert f"allowed: a free address in {setting}" in process.log


async def test_an_unknown_namespace_ends_it(temporal: WorkflowEnvironment, inventory: Path) -> None:
    async with worker(inventory, address_of(temporal), TEMPORAL_NAMESPACE="nowhere") as process:
        assert await process.ends() == Exit.FAILED
    assert "Namespace nowhere" in process.log
