"""A dump goes on when its worker dies: the next attempt waits for it, and one whole dump is there in the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from activities.all_hands import all_hands
from activities.engine import StepStopped, carry_out
from inventory.loading import load
from inventory.models import Inventory
from lab.durations import Durations
from lab.faults import Fault
from lab.lab import Lab
from procedure.commands import TakeBackup
from procedure.reports import Outcome, StepReport
from procedure.situation import Situation

SPEED = 50.0
SLOW = replace(Durations(), dump=100.0)
"""Two real seconds: long enough to die in the middle of it."""
PATH = "/srv/backup/failover-reference-20261122T101500Z.sql"
"""As a run names its dump: sudo allows no other."""
COMMAND = TakeBackup(machine="acd-dbm1", path=PATH)


@pytest.fixture
def secrets() -> Iterator[None]:
    """The environment as it was, afterwards."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


async def attempt(lab: Lab) -> StepReport:
    """The step, by a worker of its own."""
    inventory = load(lab.inventory_path)
    hands = all_hands(inventory)
    try:
        return await carry_out(COMMAND, Situation(inventory, "vm-host-1"), hands)
    finally:
        await hands.close()


async def test_a_worker_that_dies_in_the_middle_of_a_dump(reference: Inventory, secrets: None) -> None:
    async with Lab.start(reference, speed=SPEED, durations=SLOW, callers=False) as lab:
        os.environ.update(lab.environment)
        state = lab.world.machines["acd-dbm1"]
        dying = asyncio.ensure_future(attempt(lab))
        await lab.wait_until(lambda: f"{PATH}.part" in state.files)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        assert state.locks == {f"{PATH}.lock"}, "the dump itself goes on"

        report = await attempt(lab)

        assert report.outcome is Outcome.DONE
        assert state.files[PATH].complete
        assert f"{PATH}.part" not in state.files
        assert state.locks == set()
        assert [lab.journal.count("acd-dbm1", words) for words in ("mysqldump", "mv")] == [2, 1]


async def test_a_dump_that_ends_short_is_told_at_once(reference: Inventory, secrets: None) -> None:
    async with Lab.start(reference, speed=SPEED, callers=False) as lab:
        os.environ.update(lab.environment)
        lab.world.faults.add(Fault("acd-dbm1", "dump_truncated"))
        with pytest.raises(StepStopped, match="its end says nothing of completion"):
            async with asyncio.timeout(10):
                await attempt(lab)
