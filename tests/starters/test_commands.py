"""What a person types, what comes back, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from starters.exit_codes import ExitCode
from starters.wording import moment
from tests.starters.conftest import ROOT, Shell
from tests.starters.stand_in import WORKFLOWS
from workflows import names
from workflows.status import RunReport, Status


async def test_start_approve_and_report(worked: Shell, temporal: WorkflowEnvironment) -> None:
    started = await worked.start("gate problem")
    assert started.code == ExitCode.OK, started.err
    assert f"workflow {names.workflow_id(worked.cluster)}" in started.out
    assert re.search(r"Web UI   http://localhost:\d+/namespaces/default/workflows/", started.out)
    assert f"python -m starters.status --cluster {worked.cluster} --watch" in started.out

    waiting = await worked.about("status")
    assert waiting.code == ExitCode.WAITING
    assert f"python -m starters.approve --cluster {worked.cluster} --gate before_start" in waiting.out

    approved = await worked.about("approve", "--yes", "--by", "bob", "--comment", "seen it")
    assert approved.code == ExitCode.OK, approved.err
    for shown in (
        "Vacate vm-host-1 now?",
        "no machine starts by itself",
        "outage 9 min 00 s",
        "Stop Wildfly on acd-jb1",
    ):
        assert shown in approved.out

    retried = await worked.about("retry", "--by", "bob")
    assert (retried.code, retried.out) == (ExitCode.OK, "Accepted: will be tried again: Stop Wildfly on acd-jb1\n")
    await temporal.client.get_workflow_handle(names.workflow_id(worked.cluster)).result()

    ended = await worked.about("status")
    assert ended.code == ExitCode.OK
    assert "ended: completed" in ended.out

    report = await worked.about("report")
    assert report.code == ExitCode.OK
    for shown in (
        "Outcome       completed",
        'bob: approve before_start "seen it" – accepted',
        "systemctl stop wildfly",
    ):
        assert shown in report.out

    as_json = await worked.about("report", "--json")
    assert RunReport.model_validate_json(as_json.out).decisions[0].by == "bob"


async def test_skipping_and_confirming(worked: Shell) -> None:
    await worked.start("problem task")
    assert (await worked.about("skip", "--by", "bob")).code == ExitCode.USAGE
    skipped = await worked.about("skip", "--reason", "stopped by hand", "--by", "bob")
    assert skipped.code == ExitCode.OK, skipped.err
    unasked = await worked.about("confirm")
    assert unasked.code == ExitCode.USAGE
    assert "add --yes" in unasked.err
    confirmed = await worked.about("confirm", "--yes")
    assert confirmed.code == ExitCode.OK, confirmed.err
    status = await worked.about("status", "--json")
    assert status.code == ExitCode.COMPLETED_WITH_SKIPS
    assert Status.model_validate_json(status.out).steps[1].reason == "stopped by hand"


async def test_rejecting_ends_as_aborted(worked: Shell) -> None:
    await worked.start("gate")
    rejected = await worked.about("reject", "--comment", "not today", "--by", "bob")
    assert rejected.code == ExitCode.OK, rejected.err
    assert (await worked.about("report")).code == ExitCode.ABORTED


async def test_aborting_asks_or_needs_yes(worked: Shell) -> None:
    await worked.start("task")
    assert (await worked.about("abort", "--reason", "enough")).code == ExitCode.USAGE
    aborted = await worked.about("abort", "--reason", "enough", "--yes")
    assert aborted.code == ExitCode.OK, aborted.err
    assert (await worked.about("status")).code == ExitCode.ABORTED


async def test_pausing_and_resuming(worked: Shell) -> None:
    await worked.start("gate")
    assert (await worked.about("pause")).code == ExitCode.USAGE
    early = await worked.about("resume", "--by", "bob")
    assert (early.code, early.err) == (ExitCode.REFUSED, "Not accepted: the run is not paused\n")
    paused = await worked.about("pause", "--reason", "the vendor calls", "--by", "bob")
    assert paused.code == ExitCode.OK, paused.err
    assert paused.out.startswith("Accepted: paused: steps that run end")
    again = await worked.about("pause", "--reason", "too", "--by", "ann")
    assert again.code == ExitCode.REFUSED
    assert "already paused, by bob since" in again.err

    status = await worked.about("status")
    assert status.code == ExitCode.WAITING
    assert "⚑ Paused by bob since" in status.out
    assert f"To go on: python -m starters.resume --cluster {worked.cluster}" in status.out
    unasked = await worked.about("resume")
    assert unasked.code == ExitCode.USAGE
    assert "add --yes" in unasked.err
    resumed = await worked.about("resume", "--yes", "--by", "bob")
    assert (resumed.code, resumed.out.splitlines()[-1]) == (ExitCode.OK, "Accepted: the run goes on")


async def test_a_time_to_begin_and_a_window(worked: Shell) -> None:
    for words, said in (
        (("--start-at", "tonight"), "--start-at: 'tonight' is no time; allowed: \"2026-11-26 02:00\" (local time)"),
        (("--start-at", "2020-01-01 02:00"), "is in the past; it is"),
        (("--window", "3"), "--window: '3' is no duration"),
        (("--until", "2020-01-01 02:00"), "is in the past; it is"),
    ):
        refused = await worked.start("gate", *words)
        assert refused.code == ExitCode.USAGE
        assert said in refused.err
        assert refused.err.endswith("Nothing was started.\n")
    begins = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    started = await worked.start("gate", "--start-at", begins.isoformat(), "--window", "3h")
    assert started.code == ExitCode.OK, started.err
    assert f"begins   {moment(begins)}" in started.out
    assert f"window   until {moment(begins + timedelta(hours=3))}" in started.out


async def test_waiting_longer_for_sessions_to_end(worked: Shell) -> None:
    await worked.start("drain")
    status = await worked.about("status")
    assert status.code == ExitCode.OK
    assert "3 left at" in status.out
    assert "– database: 3 from app on acd-lb1" in status.out
    assert "None left, at the observed pace: nobody can tell when; waits until" in status.out

    assert (await worked.about("extend", "--minutes", "soon", "--reason", "x")).code == ExitCode.USAGE
    too_long = await worked.about("extend", "--minutes", "900", "--reason", "x")
    assert too_long.code == ExitCode.USAGE
    assert "extend: minutes: input should be less than or equal to 480. Nothing was sent." in too_long.err
    other = await worked.about("extend", "--minutes", "5", "--reason", "x", "--step", "5-move")
    assert other.code == ExitCode.REFUSED
    assert "No step called '5-move' waits for sessions to end now." in other.err
    extended = await worked.about("extend", "--minutes", "45", "--reason", "the last callers", "--by", "bob")
    assert extended.code == ExitCode.OK, extended.err
    assert extended.out.startswith("Accepted: 45 minutes more for: Stop Wildfly on acd-jb1. It waits until")


async def test_what_is_not_understood_is_refused_with_what_would_be(worked: Shell) -> None:
    await worked.start("gate")
    for command, arguments, said in (
        ("retry", (), "No problem waits now"),
        ("approve", ("--yes", "--gate", "functionality"), "No gate called 'functionality' waits"),
        ("confirm", ("--yes", "--step", "3-x"), "gate: Approve the start (before_start)"),
    ):
        refused = await worked.about(command, *arguments)
        assert refused.code == ExitCode.REFUSED
        assert said in refused.err


async def test_the_run_itself_can_refuse(worked: Shell) -> None:
    text = worked.inventory.read_text()
    without = re.sub(r"\n *(# *)?approvers:.*", "", text)
    worked.inventory.write_text(without.replace("\napproval:\n", "\napproval:\n  approvers: [eve]\n"))
    started = await worked.start("gate")
    assert started.code == ExitCode.OK, started.err
    refused = await worked.about("approve", "--yes", "--by", "mallory")
    assert refused.code == ExitCode.REFUSED
    assert "Not accepted: 'mallory' may not decide here; allowed are: eve" in refused.err


async def test_two_runs_at_once_are_refused(worked: Shell) -> None:
    await worked.start("gate")
    second = await worked.start("gate")
    assert second.code == ExitCode.REFUSED
    assert "already has a run since" in second.err
    assert f"python -m starters.status --cluster {worked.cluster}" in second.err


async def test_without_a_worker(shell: Shell) -> None:
    started = await shell.start("gate")
    assert started.code == ExitCode.NO_WORKER
    assert "python -m worker" in started.out
    for command, arguments in (("status", ()), ("approve", ("--yes",)), ("report", ())):
        silent = await shell.about(command, *arguments)
        assert silent.code == ExitCode.NO_WORKER, silent
        assert f"No worker of cluster {shell.cluster} answers" in silent.err
        assert "python -m worker" in silent.err
    checked = await shell.run("health", "--inventory", str(shell.inventory))
    assert checked.code == ExitCode.NO_WORKER


async def test_without_a_server(shell: Shell) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = replace(shell, address=f"127.0.0.1:{free.getsockname()[1]}")
        ended = await nowhere.start("gate")
    assert ended.code == ExitCode.NO_SERVER
    assert "temporal server start-dev" in ended.err


async def test_without_a_run(shell: Shell) -> None:
    ended = await shell.about("status")
    assert ended.code == ExitCode.REFUSED
    assert "has no run" in ended.err
    assert "python -m starters.failover" in ended.err


async def test_a_bad_inventory_and_an_unknown_host(shell: Shell) -> None:
    bad = shell.inventory.with_name("bad.yaml")
    bad.write_text("cluster: x\nnonsense: 1\n")
    ended = await shell.run("failover", "--inventory", str(bad), "--vacate", "vm-host-1")
    assert ended.code == ExitCode.BAD_INVENTORY
    assert "bad.yaml:2:1" in ended.err
    assert "problems in the inventory; nothing was done." in ended.err
    unknown = await shell.run("failover", "--inventory", str(shell.inventory), "--vacate", "vm-host-9")
    assert unknown.code == ExitCode.USAGE
    assert "allowed: vm-host-1, vm-host-2" in unknown.err


async def test_a_terminated_run_has_failed(worked: Shell, temporal: WorkflowEnvironment) -> None:
    await worked.start("gate")
    await temporal.client.get_workflow_handle(names.workflow_id(worked.cluster)).terminate("testing")
    ended = await worked.about("status")
    assert ended.code == ExitCode.FAILED
    assert "ended without a report" in ended.err


async def test_health(worked: Shell) -> None:
    good = await worked.run("health", "--inventory", str(worked.inventory))
    assert good.code == ExitCode.OK, good.err
    assert "healthy" in good.out
    bad = await worked.run("health", "--inventory", str(worked.inventory), "--vacate", "vm-host-2")
    assert bad.code == ExitCode.FAILED
    assert "fail           DRBD is connected – it is StandAlone" in bad.out
    as_json = await worked.run("health", "--inventory", str(worked.inventory), "--json")
    assert json.loads(as_json.out)["healthy"] is True


async def test_a_health_check_that_came_to_no_end_says_nothing_about_the_cluster(
    shell: Shell, temporal: WorkflowEnvironment
) -> None:
    broken = f"{shell.cluster}-broken"
    shell.inventory.write_text(shell.inventory.read_text().replace(shell.cluster, broken))
    async with Worker(temporal.client, task_queue=names.task_queue(broken), workflows=WORKFLOWS):
        ended = await shell.run("health", "--inventory", str(shell.inventory))
    assert ended.code == ExitCode.UNFINISHED, ended.err
    assert "came to no end: the check broke off" in ended.err


async def test_a_reader_who_has_seen_enough_does_not_stop_what_is_done(worked: Shell) -> None:
    await worked.start("gate")
    words = worked.words("approve", "--cluster", worked.cluster, "--yes")
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, env={**worked.environment, "PYTHONUNBUFFERED": "1"}, stdout=writer
    )
    os.close(writer)
    assert await asyncio.wait_for(process.wait(), 30) == ExitCode.OK
    assert (await worked.about("status")).code != ExitCode.WAITING
