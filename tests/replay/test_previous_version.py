"""A run that the previous version began is finished by this one: real workers of both, one after the other.

The previous version is the commit before this one, or the one that `PREVIOUS` names:

    PREVIOUS=v1.2 python -m pytest tests/replay/test_previous_version.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from temporalio.testing import WorkflowEnvironment

from inventory.digest import ADDED
from procedure.reports import RunOutcome
from tests.lab.whole_run import ROOT, WholeRun
from tests.outcomes import why

PATIENCE = 240
"""Seconds for a run: two workers and a starter are processes that import everything anew."""


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The previous version, in a folder of its own."""
    commit = os.environ.get("PREVIOUS", "HEAD^")
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        pytest.skip(f"{commit} is not here: this is no git checkout, or one without its history")
    folder = tmp_path / "previous"
    folder.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", found.stdout.strip()], capture_output=True, check=True)
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive.stdout, check=True)
    sys.stdout.write(f"previous version: {found.stdout}")
    return folder


def without_later_settings(file: Path) -> None:
    """An inventory as it was before: the previous version may not know what came since."""
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    for *around, last in ADDED:
        place = told
        for key in around:
            place = place.get(key) or {}
        place.pop(last, None)
    file.write_text(yaml.safe_dump(told), encoding="utf-8")


def of(folder: Path, module: str) -> tuple[str, ...]:
    """A command of that version: its folder is the first place where modules are looked for."""
    return ("env", f"--chdir={folder}", sys.executable, "-m", module)


@pytest.mark.whole_run
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("gate", ["before_start", "before_power_off", "functionality"])
async def test_a_run_of_the_previous_version_is_finished_by_this_one(
    gate: str, previous: Path, temporal: WorkflowEnvironment
) -> None:
    async with WholeRun.start(temporal, worker="none") as run:
        without_later_settings(run.lab.inventory_path)
        environment = {
            **run.lab.environment,
            **run.connection,
            "FAILOVER_INVENTORY": str(run.lab.inventory_path),
            "FAILOVER_METRICS": "",
            "FAILOVER_HEALTH": "",
        }
        await run.processes.start("previous", *of(previous, "worker"), environment=environment)
        named = ("--inventory", str(run.lab.inventory_path), "--vacate", run.vacate, "--by", "tester")
        starter = await run.processes.start(
            "starter", *of(previous, "starters.failover"), *named, environment=environment
        )
        await starter.wait()
        for before in ("before_start", "before_power_off"):
            if before == gate:
                break
            await run.approve(before)
        await run.until_gate(gate)
        await run.processes.kill("previous")

        run.kind = "process"
        await run.start_worker()
        run.approve_all()
        report = await run.report(within=PATIENCE)

        assert report.outcome is RunOutcome.COMPLETED, why(report)
        assert run.lab.violations == []
        assert run.lab.auditors.at_end(vacated=run.vacate) == []
