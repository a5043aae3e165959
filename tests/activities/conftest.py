"""Real servers for the tests of the hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activities.ssh import Ssh
from tests.activities.ssh_server import SshServer


@pytest.fixture
async def ssh_server(tmp_path: Path) -> AsyncIterator[SshServer]:
    server = SshServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def ssh(ssh_server: SshServer) -> AsyncIterator[Ssh]:
    hands = Ssh(ssh_server.inventory())
    yield hands
    await hands.close()
