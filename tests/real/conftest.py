"""What tests on real hosts share: one lab of them, started once, and put right again by whoever has broken it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from lab.processes import Processes
from lab.real.image import ArchiveError, image
from lab.real.lab import RealLab
from lab.real.places import Places
from lab.real.requirements import missing
from lab.real.site import Options
from tests.real.faulty_run import FaultyRun
from tests.real.real_run import RealRun

Run = Callable[..., AbstractAsyncContextManager[RealRun]]
Faulty = Callable[..., AbstractAsyncContextManager[FaultyRun]]
_PROBE = 0.25
"""Seconds between two measurements of the outage: its figure is to agree with that of the callers within a second."""
HERE = Options(probe=_PROBE)
ELSEWHERE = Options(haproxy="clone", replication="positions", monitoring="nagios", probe=_PROBE)
"""A site at which everything that may be otherwise is otherwise."""


@pytest.fixture(scope="session")
def possible() -> None:
    """Skip what needs real hosts where there can be none, and say why."""
    lacking = missing()
    if lacking:
        pytest.skip(f"real hosts can't run here; it takes {'; '.join(lacking)}")
    try:
        image(Places.default().home)
    except ArchiveError as error:
        # A machine without a network can't install Debian. Anything else that is wrong with the image fails.
        pytest.skip(f"real hosts can't be installed here: {error}")


@pytest.fixture(scope="session")
async def hosts(possible: None, request: pytest.FixtureRequest) -> AsyncIterator[RealLab]:
    """The cluster of real hosts, in its normal state at first; `Options` as parameter: one of another site."""
    async with RealLab.start(options=getattr(request, "param", HERE)) as lab:
        sys.stdout.write(f"real lab: {lab.times}\n")
        yield lab


@pytest.fixture
async def normal(hosts: RealLab) -> AsyncIterator[RealLab]:
    """The cluster in its normal state; begun anew if a test has left it otherwise."""
    hosts.auditors.forget()
    yield hosts
    if not await hosts.is_normal():
        await hosts.reset()


@pytest.fixture
def run(normal: RealLab, temporal: WorkflowEnvironment, tmp_path: Path) -> Run:
    """Begins the work on a cluster in its normal state: `async with run(vacate="vm-host-1") as one:`."""

    @asynccontextmanager
    async def begin(vacate: str = "vm-host-1") -> AsyncIterator[RealRun]:
        one = RealRun.of(temporal, normal, tmp_path, vacate=vacate)
        async with one.working():
            yield one

    return begin


@pytest.fixture
def faulty(normal: RealLab, temporal: WorkflowEnvironment, tmp_path: Path) -> Faulty:
    """Begins the work on a cluster in which something will go wrong: `async with faulty() as one:`."""

    def begin(vacate: str = "vm-host-1") -> AbstractAsyncContextManager[FaultyRun]:
        return FaultyRun.start(temporal, normal, Processes(tmp_path), vacate=vacate)

    return begin
