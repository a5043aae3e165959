"""`make demo` as it is typed where nobody sits at a terminal: its exit code is the verdict of the lab."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.lab.whole_run import ROOT

pytestmark = [pytest.mark.whole_run, pytest.mark.timeout(360)]


async def demo(**wishes: str) -> str:
    """What it shows, if it ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.demo"),
        cwd=ROOT,
        env={**os.environ, "APPROVE": "auto", "SPEED": "25", **wishes},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    shown, _ = await process.communicate()
    assert process.returncode == 0, shown.decode()
    return shown.decode()


async def test_the_whole_maintenance_with_a_worker_that_is_killed_in_each_outage() -> None:
    shown = await demo(CRASH="1", VACATE="vm-host-2")
    assert shown.count("was killed with SIGKILL") == 2
    assert shown.count("the run went on at the same step") == 2
    assert "vm-host-2 was vacated and is back" in shown
    assert "Auditors  silent" in shown
    assert "Truth     the cluster is as it was at the beginning" in shown


async def test_the_first_half_alone() -> None:
    shown = await demo(FAILBACK="no")
    assert "vm-host-1 is vacated; the cluster runs on the other host alone" in shown
    assert "Failback" not in shown.partition("The lab (a simulation")[2]
    assert "Auditors  silent" in shown
