"""A whole maintenance as a person leads it: one command to start and watch, the others to decide and to read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from inventory.loading import load
from starters.exit_codes import ExitCode
from tests.starters.conftest import Ended, Shell
from tests.starters.stand_in import WORKFLOWS
from tests.starters.test_watching import on_terminal, piped
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.maintenance import Maintenance

GATE = "maintenance_finished"


@pytest.fixture
async def maintained(shell: Shell, temporal: WorkflowEnvironment) -> AsyncIterator[Shell]:
    """Commands about a cluster with a worker that knows maintenances; failover and failback are stand-ins."""
    async with Worker(
        temporal.client,
        task_queue=names.task_queue(shell.cluster),
        workflows=[*WORKFLOWS, Maintenance],
        activities=PaperWorld(load(shell.inventory)).activities(),
    ):
        yield shell


def options(shell: Shell, *arguments: str) -> tuple[str, ...]:
    return ("--inventory", str(shell.inventory), "--vacate", "vm-host-1", "--by", "ann", *arguments)


async def maintain(shell: Shell, *arguments: str) -> Ended:
    return await shell.run("maintenance", *options(shell, *arguments))


async def test_from_the_start_to_the_report(maintained: Shell) -> None:
    started = await maintain(maintained, "--reason", "new memory")
    assert started.code == ExitCode.OK, started.err
    assert f"Started: maintenance of {maintained.cluster}: vm-host-1 is vacated and returns" in started.out
    assert f"starters.status --cluster {maintained.cluster} --maintenance --watch" in started.out

    waits = await waiting(maintained)
    assert "failover of vm-host-1" in waits.out
    assert f"starters.approve --cluster {maintained.cluster} --maintenance --gate {GATE}" in waits.out

    approved = await maintained.about("approve", "--gate", GATE, "--yes")
    assert approved.code == ExitCode.OK, approved.err
    assert "this is about its maintenance" in approved.err
    assert "still off" in approved.out

    ended = await maintained.about("status", "--maintenance", "--watch")
    assert ended.code == ExitCode.OK, ended.err
    report = await maintained.about("report", "--maintenance")
    assert report.code == ExitCode.OK
    assert "vm-host-1 was vacated and is back" in report.out
    assert "outage 7.0 s" in report.out
    runs = json.loads((await maintained.about("report", "--maintenance", "--json")).out)["runs"]
    assert [run["direction"] for run in runs] == ["failover", "failback"]
    for run in runs:
        told = await maintained.about("report", "--run", run["run_id"])
        assert f"run {run['run_id']}" in told.out
        assert f"--cluster {maintained.cluster} --run {run['run_id']}" in report.out


async def waiting(shell: Shell) -> Ended:
    """Its status at the gate."""
    for _ in range(20):
        status = await shell.about("status", "--maintenance")
        if status.code == ExitCode.WAITING:
            return status
    raise AssertionError(f"it never waited: {status}")


async def test_a_second_maintenance_is_refused(maintained: Shell) -> None:
    await maintain(maintained)
    await waiting(maintained)

    refused = await maintain(maintained)

    assert refused.code == ExitCode.REFUSED
    assert f"Cluster {maintained.cluster} already has a maintenance since" in refused.err
    assert f"python -m starters.status --cluster {maintained.cluster} --maintenance" in refused.err
    await maintained.about("abort", "--reason", "over", "--yes")


async def test_beside_a_run_none_is_started(maintained: Shell) -> None:
    await maintained.start("gate")

    refused = await maintain(maintained)

    assert refused.code == ExitCode.REFUSED
    assert "Nothing was started: let it end first." in refused.err
    none = await maintained.about("status", "--maintenance")
    assert none.code == ExitCode.REFUSED
    assert f"Cluster {maintained.cluster} has no maintenance" in none.err
    assert "python -m starters.maintenance --inventory FILE --vacate HOST" in none.err
    await maintained.about("abort", "--reason", "over", "--yes")


async def test_a_run_that_is_started_beside_it_says_so(maintained: Shell) -> None:
    await maintain(maintained)
    await waiting(maintained)
    named = (
        f"A maintenance of the cluster is under way: python -m starters.status --cluster {maintained.cluster} --main"
    )

    beside = await maintained.start("gate")

    assert beside.code == ExitCode.OK, beside.err
    assert named in beside.out
    assert "It did not start this run" in beside.out
    assert named in (await maintained.about("status")).out
    assert named not in (await maintained.about("status", "--maintenance")).out
    await maintained.about("abort", "--reason", "over", "--yes")
    await maintained.about("abort", "--maintenance", "--reason", "over", "--yes")


async def test_a_wrong_host_is_refused_with_those_there_are(shell: Shell) -> None:
    refused = await shell.run("maintenance", "--inventory", str(shell.inventory), "--vacate", "vm-host-9")
    assert refused.code == ExitCode.USAGE
    assert "There is no VM-Host 'vm-host-9'" in refused.err
    assert "allowed: vm-host-1, vm-host-2" in refused.err


async def test_an_abort_at_the_gate_says_how_the_host_comes_back(maintained: Shell) -> None:
    await maintain(maintained)
    await waiting(maintained)
    aborted = await maintained.about("abort", "--maintenance", "--reason", "no memory to be had", "--yes")
    assert aborted.code == ExitCode.OK, aborted.err
    ended = await maintained.about("status", "--maintenance", "--watch")
    assert ended.code == ExitCode.ABORTED
    assert "vm-host-1 stays vacated, on purpose" in ended.out
    assert "python -m starters.failback" in ended.out


async def test_watching_follows_the_run_that_is_under_way(maintained: Shell) -> None:
    async with piped(maintained, "maintenance", *options(maintained, "--reason", "gate", "--watch")) as screen:
        await screen.shows(f"Maintenance of {maintained.cluster}")
        await screen.shows(f"Failover of {maintained.cluster}")
        await screen.shows(f"starters.approve --cluster {maintained.cluster} --gate before_start")
        await maintained.about("approve", "--yes")
        await screen.shows("ended: completed")
        await screen.shows(f"starters.approve --cluster {maintained.cluster} --maintenance --gate {GATE}")
        await maintained.about("approve", "--yes")
        await screen.shows("failback of vm-host-1")
        await screen.shows(f"The report: python -m starters.report --cluster {maintained.cluster} --maintenance")
        assert await screen.ends() == ExitCode.OK


async def test_what_waits_is_decided_where_it_is_watched(maintained: Shell) -> None:
    async with on_terminal(maintained, "maintenance", *options(maintained, "--reason", "gate", "--watch")) as screen:
        await screen.shows("Or here, as ann")
        screen.type("approve before_start")
        await screen.shows("Accepted")
        await screen.shows(f"approve {GATE}")
        screen.type(f"approve {GATE}")
        await screen.shows("Accepted")
        assert await screen.ends() == ExitCode.OK
