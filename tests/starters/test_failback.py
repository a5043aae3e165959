"""Which failover a failback undoes, and what is refused before anything is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from procedure.reports import RunOutcome
from starters.exit_codes import ExitCode
from tests.starters.conftest import Ended, Shell
from workflows import names
from workflows.status import RunReport


async def failback(shell: Shell, *arguments: str) -> Ended:
    return await shell.run("failback", "--inventory", str(shell.inventory), "--by", "ann", *arguments)


async def completed_failover(shell: Shell) -> str:
    started = await shell.start("nothing", "--watch")
    assert started.code == ExitCode.OK, started.err
    found = re.search(r"run +(\S+)", started.out)
    assert found
    return found.group(1)


async def restored(shell: Shell, temporal: WorkflowEnvironment) -> str:
    handle = temporal.client.get_workflow_handle(names.workflow_id(shell.cluster), result_type=RunReport)
    report: RunReport = await handle.result()
    return report.outcome_reason


async def test_the_last_completed_failover_is_undone(worked: Shell, temporal: WorkflowEnvironment) -> None:
    await completed_failover(worked)
    run_id = await completed_failover(worked)

    started = await failback(worked)

    assert started.code == ExitCode.OK, started.err
    assert f"failback of {worked.cluster}: vm-host-1 returns" in started.out
    assert "Restored is: as found before the failover of" in started.out
    assert f"(run {run_id})" in started.out
    assert await restored(worked, temporal) == f"restored what {run_id} found"


async def test_a_failover_that_a_person_names_is_undone(worked: Shell, temporal: WorkflowEnvironment) -> None:
    run_id = await completed_failover(worked)
    await completed_failover(worked)

    started = await failback(worked, "--of", f"{names.workflow_id(worked.cluster)}/{run_id}")

    assert started.code == ExitCode.OK, started.err
    assert await restored(worked, temporal) == f"restored what {run_id} found"


async def test_without_a_failover_the_normal_state_is_restored_and_the_host_must_be_named(
    worked: Shell, temporal: WorkflowEnvironment
) -> None:
    unnamed = await failback(worked)
    assert unnamed.code == ExitCode.USAGE
    assert "has no completed failover, so say who comes back: --return vm-host-1 or vm-host-2" in unnamed.err

    started = await failback(worked, "--return", "vm-host-2")

    assert started.code == ExitCode.OK, started.err
    assert "Restored is: the normal state of the inventory" in started.out
    assert await restored(worked, temporal) == "restored the normal state"


async def test_a_failover_that_was_undone_is_not_undone_again(worked: Shell, temporal: WorkflowEnvironment) -> None:
    await completed_failover(worked)
    assert (await failback(worked, "--watch")).code == ExitCode.OK

    again = await failback(worked)

    assert again.code == ExitCode.USAGE
    assert "say who comes back" in again.err


async def test_a_failback_that_was_aborted_leaves_its_failover_to_be_undone(
    worked: Shell, temporal: WorkflowEnvironment
) -> None:
    run_id = await completed_failover(worked)
    assert (await failback(worked, "--watch", "--reason", "abort")).code == ExitCode.ABORTED

    assert (await failback(worked, "--watch")).code == ExitCode.OK

    assert await restored(worked, temporal) == f"restored what {run_id} found"


async def test_what_can_not_be_undone_is_refused_with_the_reason(worked: Shell, temporal: WorkflowEnvironment) -> None:
    workflow_id = names.workflow_id(worked.cluster)
    aborted = await worked.start("gate")
    assert aborted.code == ExitCode.OK
    await worked.about("abort", "--reason", "enough", "--yes")
    handle = temporal.client.get_workflow_handle(workflow_id, result_type=RunReport)
    aborted_run = (await handle.result()).run_id
    await completed_failover(worked)
    for arguments, code, said in (
        (("--of", "cluster-other"), ExitCode.USAGE, f"its runs are called '{workflow_id}'"),
        (("--of", f"{workflow_id}/{aborted_run}"), ExitCode.REFUSED, "ended as aborted"),
        (("--of", f"{workflow_id}/no-such-run"), ExitCode.REFUSED, "has no run no-such-run"),
        (("--return", "vm-host-2"), ExitCode.REFUSED, "has vacated vm-host-1, not vm-host-2"),
        (("--return", "vm-host-9"), ExitCode.USAGE, "allowed: vm-host-1, vm-host-2"),
    ):
        refused = await failback(worked, *arguments)
        assert refused.code == code, refused
        assert said in refused.err
    assert (await handle.describe()).workflow_type == names.FAILOVER, "nothing was started"


async def test_machines_that_the_inventory_does_not_know_any_more_are_refused(worked: Shell) -> None:
    await completed_failover(worked)
    text = worked.inventory.read_text()
    worked.inventory.write_text(text.replace("acd-jb1", "acd-jb9"))

    refused = await failback(worked)

    assert refused.code == ExitCode.REFUSED, refused
    assert "found machines that the inventory does not have: acd-jb1" in refused.err


@pytest.mark.parametrize("of", ["", "/"])
async def test_an_empty_name_is_no_run(worked: Shell, of: str) -> None:
    refused = await failback(worked, "--of", of)
    assert refused.code == ExitCode.USAGE
    assert "is no run of cluster" in refused.err


async def test_a_saved_report_does_where_the_server_has_forgotten_the_run(
    worked: Shell, temporal: WorkflowEnvironment, tmp_path: Path
) -> None:
    run_id = await completed_failover(worked)
    saved = tmp_path / "report.json"
    saved.write_text((await worked.about("report", "--json")).out)

    started = await failback(worked, "--of", str(saved))

    assert started.code == ExitCode.OK, started.err
    assert await restored(worked, temporal) == f"restored what {run_id} found"


async def test_a_file_that_is_no_report_of_this_cluster_is_refused(worked: Shell, tmp_path: Path) -> None:
    await completed_failover(worked)
    report = RunReport.model_validate_json((await worked.about("report", "--json")).out)
    aborted = report.model_copy(update={"outcome": RunOutcome.ABORTED, "outcome_reason": "Aborted by bob."})
    other = report.model_copy(update={"cluster": "other"})
    for name, text, said in (
        ("no-json.json", "cluster: x", "is no report as `python -m starters.report --json` prints it"),
        ("aborted.json", aborted.model_dump_json(), "ended as aborted: Aborted by bob."),
        ("other.json", other.model_dump_json(), "reports a failover of cluster other, not a failover of"),
    ):
        (tmp_path / name).write_text(text)
        refused = await failback(worked, "--of", str(tmp_path / name))
        assert refused.code in (ExitCode.USAGE, ExitCode.REFUSED)
        assert said in refused.err
    missing = await failback(worked, "--of", str(tmp_path / "missing.json"))
    assert missing.code == ExitCode.USAGE
    assert "No such file" in missing.err
