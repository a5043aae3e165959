"""No secret of the lab is found anywhere after a run with faults, and the search is shown to find them."""

from __future__ import annotations

import base64
import sys
import uuid
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from lab.processes import Processes
from procedure.reports import RunOutcome
from starters.exit_codes import ExitCode
from tests.lab.secret_search import command_lines, forms, found_in
from tests.lab.whole_run import WholeRun
from tests.outcomes import why
from workflows import names

pytestmark = [pytest.mark.whole_run, pytest.mark.timeout(300)]


async def stored(client: Client, workflow_id: str) -> dict[str, bytes]:
    """Everything that the server holds of all runs of a workflow: raw events, memo, search attributes, descriptions."""
    found: dict[str, bytes] = {}
    handle = client.get_workflow_handle(workflow_id)
    description = await handle.describe()
    found[f"{workflow_id}: description"] = description.raw_description.SerializeToString()
    found[f"{workflow_id}: details"] = repr(
        (await description.static_summary(), await description.static_details(), await description.memo())
    ).encode()
    async for event in handle.fetch_history_events():
        found[f"{workflow_id}: event {event.event_id}"] = event.SerializeToString()
    return found


async def test_no_secret_is_found_anywhere(temporal: WorkflowEnvironment) -> None:
    settings = {"FAILOVER_LOG_LEVEL": "DEBUG"}
    async with command_lines() as lines, WholeRun.start(temporal, worker="process", settings=settings) as run:
        inventory = ("--inventory", str(run.lab.inventory_path))
        outputs = [await run.type("failover", *inventory, "--vacate", "vm-host-1", "--reason", "a rehearsal")]
        await run.until_gate("before_start")
        outputs.append(await run.type("health", *inventory))
        # What comes after the approval and before the first step: at the gate it would make the approval void.
        outputs.append(await run.type("pause", *inventory, "--by", "anna", "--reason", "one more look"))
        outputs.append(await run.type("approve", *inventory, "--yes", "--by", "anna"))
        assert [typed.code for typed in outputs[-2:]] == [ExitCode.OK, ExitCode.OK], outputs[-2:]
        # All that is open is dropped, and what is opened anew is refused: Windows, SSH, database, hypervisor.
        early = {
            "1-back-up-acd-dbm1": run.lab.fault("acd-dbm1", "wrong_password"),
            "1-snapshot-": run.lab.fault("vm-host-1", "host_key_changed"),
        }
        for machine in ("acd-tel1", "acd-jb2"):
            run.lab.fault(machine, "wrong_password")
        run.lab.fault("acd-jb3", "host_key_changed")
        outputs.append(await run.type("resume", *inventory, "--yes", "--by", "anna"))
        assert outputs[-1].code == ExitCode.OK, outputs[-1]
        for step, fault in early.items():
            assert "rejected" in (await run.until_problem(step)).text
            outputs.append(await run.type("status", *inventory))
            run.lab.clear_faults(fault)
            await _retry_all(run)
        # Whichever of stage 3 meets the others first.
        assert "rejected" in (await run.until_problem("3-")).text
        outputs.append(await run.type("status", *inventory))
        run.lab.clear_faults()
        await _retry_all(run)
        run.approve_all()
        report = await run.report()
        assert report.outcome is RunOutcome.COMPLETED, why(report)
        outputs.append(await run.type("report", *inventory))
        outputs.append(await run.type("report", *inventory, "--json"))
        assert outputs[-1].code == ExitCode.OK
        places = {
            **await stored(run.client, names.workflow_id(run.cluster)),
            **await stored(run.client, names.health_workflow_id(run.cluster)),
            "worker's log": run.worker_log.encode(),
            "inventory": run.lab.inventory_path.read_bytes(),
            "command lines": b"\n".join(lines),
            **{f"output {number}": typed.output.encode() for number, typed in enumerate(outputs)},
        }
        assert len(places) > 300
        assert "host key" in run.worker_log
        # Three passwords, and the private key line by line.
        assert len(run.lab.secrets) >= 8
        assert found_in(places, run.lab.secrets) == []


async def _retry_all(run: WholeRun) -> None:
    """Retry everything that waits with a problem now."""
    status = await run.status()
    for wait in status.waits:
        if wait.kind == "problem":
            assert (await run.decide("retry", step=wait.step)).accepted


async def test_the_search_finds_a_planted_secret(temporal: WorkflowEnvironment, tmp_path: Path) -> None:
    secret = uuid.uuid4().hex
    processes = Processes(tmp_path)
    async with command_lines() as lines, WholeRun.start(temporal, worker="process", callers=False) as run:
        inventory = ("--inventory", str(run.lab.inventory_path))
        await processes.start("planted", sys.executable, "-c", "input()", secret, environment={})
        started = await run.type("failover", *inventory, "--vacate", "vm-host-1", "--reason", secret)
        # The worker may not yet be in sight.
        assert started.code in (ExitCode.OK, ExitCode.NO_WORKER)
        await run.until_gate("before_start")
        status = await run.type("status", *inventory)
        report = await run.type("report", *inventory, "--json")
        kept = await stored(run.client, names.workflow_id(run.cluster))
        await run.client.get_workflow_handle(names.workflow_id(run.cluster)).terminate("the test is over")
        await processes.stop_all()
        texts = {"status": status.output, "report": report.output}
        found = found_in(
            {**kept, "command lines": b"\n".join(lines), **{k: v.encode() for k, v in texts.items()}}, [secret]
        )
    workflow = names.workflow_id(run.cluster)
    for place in ("event 1", "description", "details"):
        assert f"{workflow}: {place}: secret 0" in found
    assert "command lines: secret 0" in found
    assert "report: secret 0" in found


@pytest.mark.parametrize("before", ["", "a", "ab", "user:"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_the_search_finds_what_is_encoded(before: str, encoding: str) -> None:
    secret = "mF4kT9xQ2pLw8vRz"
    text = (before + secret + "\r\n").encode(encoding)
    for written in (text, text.hex().encode(), base64.b64encode(text)):
        assert found_in({"there": b"before " + written + b" after"}, [secret]), written
    assert found_in({"there": b"nothing"}, [secret]) == []
    assert all(len(form) >= len(secret) for form in forms(secret))
