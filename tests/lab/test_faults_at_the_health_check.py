"""Whatever is wrong before a failover begins: the run ends as failed, nothing was touched, and it says what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from lab.faults import FaultKind
from procedure.reports import RunOutcome
from tests.lab.faulty_run import SPEED, in_a_hurry
from tests.lab.whole_run import REFERENCE, WholeRun

pytestmark = pytest.mark.whole_run


@dataclass(frozen=True)
class Case:
    """A fault, and what a person must find in what the run says at its end."""

    machine: str
    kind: FaultKind
    said: tuple[str, ...]
    operation: str = "*"


CASES = {
    "a key that is refused": Case(
        "acd-jb1",
        "wrong_password",
        (
            "Nobody can tell whether: Wildfly runs on acd-jb1",
            "Permission denied for user failover",
            "Check the authorized keys",
        ),
    ),
    "a Windows password": Case(
        "acd-tel1",
        "wrong_password",
        ("8-Server runs on acd-tel1", "credentials were rejected", "Check user and password of the connection"),
    ),
    "a database password": Case(
        "acd-dbm1",
        "wrong_password",
        ("all sessions of acd-dbm1 can be seen", "1045 Access denied", "Check user, password and host of the account"),
        "database",
    ),
    "a changed host key": Case(
        "acd-store2",
        "host_key_changed",
        ("acd-store2", "changed host key: expected ssh-ed25519 SHA256:", "console, then renew known_hosts"),
    ),
    "a host that hangs": Case(
        "acd-chat1", "hangs", ("Chat Server runs on acd-chat1", "no answer ", "Look at its console: it may hang")
    ),
    "a host that is away": Case(
        "acd-api1",
        "unreachable",
        ("Not so: acd-api1 is on and answers", "is silent", "Start acd-api1, or repair the way to it"),
    ),
    "a VM-Host that is away": Case(
        "vm-host-1",
        "unreachable",
        ("acd-tel1 does not start by itself", "and 7 more. Seen: vm-host-1: ", "Check that the machine is on"),
    ),
    "a connection that drops each time": Case(
        "acd-jb2", "drop", ("Wildfly runs on acd-jb2", "Check that the machine is on"), "systemctl show *"
    ),
    "DRBD StandAlone": Case(
        "acd-store1",
        "drbd_standalone",
        ("DRBD on acd-store2", "acd-store1 is StandAlone: suspicion of split brain", "Stop. Compare the data"),
    ),
    "a replication that has stopped": Case(
        "acd-dbm2", "replication_stopped", ("acd-dbm2 replicates", "SQL No", "1062", "SHOW REPLICA STATUS on acd-dbm2")
    ),
    "a replica that lags": Case(
        "acd-dbs2", "replication_held", ("acd-dbs2 replicates", "from acd-dbm1: ", "Repair the replication")
    ),
    "sudo that refuses": Case(
        "acd-store1", "sudo_denied", ("storage pair", "sudo refused `crm_mon --output-as=xml`", "NOPASSWD (sudoers)")
    ),
}


@pytest.fixture(scope="module")
async def run(temporal: WorkflowEnvironment) -> AsyncIterator[WholeRun]:
    """One cluster for all: what ends at the health check has changed nothing."""
    async with WholeRun.start(
        temporal, worker="inside", speed=SPEED, callers=False, inventory=in_a_hurry(load(REFERENCE))
    ) as whole:
        yield whole


async def _failed_untouched(run: WholeRun, *said: str) -> None:
    """Begin, and read what the run says when it has ended by itself."""
    before, silences = len(run.lab.journal.entries), run.lab.silenced()
    await run.begin()
    report = await run.report()
    told = "\n".join(report.next_steps)
    assert report.outcome is RunOutcome.FAILED, told
    assert report.outcome_reason.startswith("Not started, since the health check found ")
    assert report.outcome_reason.endswith("Nothing was touched.")
    assert run.lab.journal.entries[before:] == []
    assert run.lab.silenced() == silences
    assert {step.stage for step in report.steps} == {0}
    assert report.next_steps[-1].startswith("Nothing was touched. When this is mended, start the run again")
    for words in said:
        assert words in told
    for rubbish in ("component:", "cluster:", "drbd:", "autostart:", "balancer:", "Next:", ".. ", "None"):
        assert rubbish not in told


@pytest.mark.parametrize("name", CASES)
async def test_what_is_wrong_before_it_begins(run: WholeRun, name: str) -> None:
    case = CASES[name]
    fault = run.lab.fault(case.machine, case.kind, case.operation)
    await run.lab.settled()
    try:
        await _failed_untouched(run, *case.said)
    finally:
        run.lab.clear_faults(fault)
        await run.lab.settled()


async def test_a_monitoring_server_that_is_away(run: WholeRun) -> None:
    assert run.lab.monitoring
    await run.lab.monitoring.stop()
    try:
        await _failed_untouched(run, "monitoring can be silenced", "/api/v2/silences")
    finally:
        await run.lab.monitoring.start()


async def test_slow_answers_are_no_fault_and_a_healthy_cluster_begins(run: WholeRun) -> None:
    slow = run.lab.fault("acd-jb2", "slow", "systemctl show *")
    try:
        await run.begin()
        await run.until_gate("before_start")
        assert (await run.decide("abort", reason="it was only to see")).accepted
        report = await run.report()
    finally:
        run.lab.clear_faults(slow)
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason.endswith("Nothing was touched.")
    assert report.next_steps == ("Nothing was touched. The run can be started again at any time.",)
    assert run.lab.journal.entries == []
    assert run.lab.violations == []
