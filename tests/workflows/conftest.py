"""Servers and worlds for runs on paper."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Inventory
from tests.conftest import TEMPORAL
from tests.workflows.driving import own
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.converter import DATA_CONVERTER

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"


@pytest.fixture(scope="session")
def reference() -> Inventory:
    return load(REFERENCE)


@pytest.fixture
def client(temporal: WorkflowEnvironment) -> Client:
    return temporal.client


@pytest.fixture
def world(reference: Inventory) -> PaperWorld:
    return PaperWorld(own(reference))


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A server whose clock jumps to the next timer while a test waits; each test has its own."""
    async with skipping_server() as environment:
        yield environment


@asynccontextmanager
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """A server of one's own, there in a tenth of a second.

    One that had served many runs was seen to have all five threads of its timers stuck: nothing ever became due again.
    """
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=DATA_CONVERTER,
        test_server_existing_path=str(TEMPORAL.with_name("temporal-test-server")),
    ) as environment:
        await add_search_attributes(environment)
        yield environment


async def add_search_attributes(environment: WorkflowEnvironment) -> None:
    """This server can add them, but not list those it has."""
    wanted = AddSearchAttributesRequest(namespace=environment.client.namespace)
    for key in names.SEARCH_ATTRIBUTES:
        wanted.search_attributes[key.name] = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await environment.client.operator_service.add_search_attributes(wanted)
