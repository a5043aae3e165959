"""The line between the sites is cut; and a whole VM-Host loses its power.

Worker, monitoring server and power supplies stand at the first site: the pairs' nodes there cut off those of the second
site, which they can't see any more. A person mends the line and switches on what was cut off.

| vacated | stage | what goes wrong | what comes of it |
|---|---|---|---|
| vm-host-2 | 4 | the line, while sessions drain at the first site | goes on; the storage pair waits for its node |
| vm-host-2 | gate | the line | an approval of what has changed is void; what is shut down without a line waits |
| vm-host-2 | 9 | all of vm-host-2 | waits until vm-host-2 can tell that all its machines are off, then goes on |
| vm-host-1 | 5 | the line, when the storage has been ordered to the other site | waits; what was done is rolled back |
"""

from __future__ import annotations

import pytest

from procedure.reports import RunOutcome
from tests.lab.attended import words
from tests.real.conftest import Faulty
from tests.real.faulty_run import FaultyRun
from tests.real.mishaps import (
    line_cut,
    line_mended,
    power_cut,
    session_that_never_ends,
    stands_by,
    switch_on,
)

pytestmark = pytest.mark.timeout(400)
DRAIN, MOVE_STORAGE = "4-drain-sessions", "5-move-storage"
AT_ONCE = tuple(f"9-shut-down-acd-{name}" for name in ("tel2", "jb4", "jb5", "jb6", "chat2", "api2"))


async def test_to_the_side_that_is_vacated(faulty: Faulty) -> None:
    async with faulty(vacate="vm-host-2") as one:
        await one.begin()
        await _while_sessions_drain(one)
        await _before_the_power_off(one)
        await _a_vm_host_loses_its_power(one)
        await one.approve("functionality")
        await one.ended(RunOutcome.COMPLETED)
        assert await one.lab.auditors.at_end(vacated="vm-host-2") == []
        assert one.lab.auditors.violations == []


async def _while_sessions_drain(one: FaultyRun) -> None:
    async with session_that_never_ends(one.lab, "acd-jb2"):
        await one.approve("before_start")
        await one.until_running(DRAIN)
        await line_cut(one.lab)
        words((await one.problems(DRAIN))[DRAIN], "1 from app@10.77.0.81 (acd-lb1, Query)")
    await one.retry(DRAIN)
    wait = (await one.problems(MOVE_STORAGE))[MOVE_STORAGE]
    words(wait, "acd-store1: refused", "nothing was sent", "acd-store2 is online in Pacemaker. Seen: offline")
    await line_mended(one.lab)
    await one.retry(MOVE_STORAGE)


async def _before_the_power_off(one: FaultyRun) -> None:
    gate = "before_power_off"
    await one.until_gate(gate)
    await line_cut(one.lab)
    await one.approve_in_vain(gate, "acd-store1: sees acd-store2 was standby, is offline", "acd-jb4: power was known")
    await one.approve(gate)
    waits = await one.problems(*AT_ONCE)
    words(waits["9-shut-down-acd-jb4"], "acd-jb4: unknown", "acd-jb4 is off", "vm-host-2: 10.77.0.2 port 22: ")
    one.lab.set_line(up=True)


async def _a_vm_host_loses_its_power(one: FaultyRun) -> None:
    """Who can't be asked is not taken for off."""
    own = [m.name for m in one.lab.inventory.machines if m.host == "vm-host-2"]
    await power_cut(one.lab, "vm-host-2", *own)
    await one.retry(*AT_ONCE)
    waits = await one.problems(*AT_ONCE)
    words(waits["9-shut-down-acd-api2"], "acd-api2: unknown", "acd-api2 is off", "vm-host-2: 10.77.0.2 port 22: ")
    await switch_on(one.lab, "vm-host-2")
    await one.retry(*AT_ONCE)


async def test_to_the_side_that_is_to_go_on(faulty: Faulty) -> None:
    async with faulty(vacate="vm-host-1") as one:
        before = await one.lab.truth.whole()
        await one.begin()
        await one.approve("before_start")
        await _while_storage_moves(one)
        answer = await one.run.decide("abort", reason="the line is weak tonight", roll_back=True)
        assert answer.accepted, answer.text
        await one.approve("roll_back")
        report = await one.ended(RunOutcome.ROLLED_BACK)
        assert "the line is weak tonight" in report.outcome_reason
        assert await one.lab.truth.whole() == before
        assert await one.lab.auditors.at_end() == []
        assert one.lab.auditors.violations == []


async def _while_storage_moves(one: FaultyRun) -> None:
    """The node that stands by cuts off the one that takes over: nobody is primary."""
    await stands_by(one.lab, one.lab.inventory.pairs.storage, "acd-store1")
    await line_cut(one.lab)
    wait = (await one.problems(MOVE_STORAGE))[MOVE_STORAGE]
    words(wait, "acd-store2: unknown", "the storage pair is on acd-store2", "port 22: ")
    await line_mended(one.lab)
