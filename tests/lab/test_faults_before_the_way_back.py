"""Whatever is wrong before a failback begins: it ends as failed, nothing was touched, and it says what to do."""

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
from tests.outcomes import why
from workflows.status import RunReport

pytestmark = pytest.mark.whole_run


@dataclass(frozen=True)
class Case:
    """A fault, and what a person must find in what the run says at its end."""

    machine: str
    kind: FaultKind
    said: tuple[str, ...]


CASES = {
    "DRBD StandAlone": Case(
        "acd-store2",
        "drbd_standalone",
        ("acd-store2", "StandAlone: suspicion of split brain", "Stop. Compare the data"),
    ),
    "a replica with an SQL error": Case(
        "acd-dbm2",
        "replication_stopped",
        (
            'Not so: acd-dbm2 reads "connecting"',
            "SQL thread from acd-dbm1 has stopped (1062: Error 'Duplicate entry",
            "Look at Last_SQL_Error in SHOW REPLICA STATUS on acd-dbm2",
        ),
    ),
    "an older constraint": Case(
        "acd-store1",
        "pulled_back",
        (
            "Not so: no location constraint would move the storage pair to acd-store1",
            "cli-prefer-g_storage",
            "`pcs constraint delete cli-prefer-g_storage` after thinking why",
        ),
    ),
    "a VM-Host that is not booted": Case(
        "vm-host-1", "unreachable", ("Nobody can tell whether: all machines of vm-host-1 are off", "vm-host-1: ")
    ),
    "a survivor that is away": Case("acd-jb4", "unreachable", ("acd-jb4 is on and answers", "is silent")),
}


@dataclass
class Alone:
    """A cluster that runs on VM-Host 2 alone, and the report of the failover."""

    run: WholeRun
    there: RunReport

    async def failed_untouched(self, *said: str) -> None:
        """Begin the way back, and read what it says when it has ended by itself."""
        run = self.run
        before, silences = len(run.lab.journal.entries), run.lab.silenced()
        await run.begin_failback(of=self.there)
        report = await run.report()
        told = "\n".join(report.next_steps)
        assert report.outcome is RunOutcome.FAILED, told
        assert report.outcome_reason.startswith("Not started, since the health check found ")
        assert report.outcome_reason.endswith("Nothing was touched.")
        assert run.lab.journal.entries[before:] == []
        assert run.lab.silenced() == silences
        assert {step.stage for step in report.steps} == {0}
        missing = [words for words in said if words not in told]
        assert not missing, f"{missing} is not in: {told}"
        for rubbish in ("component:", "cluster:", "drbd:", "autostart:", "balancer:", "Next:", ".. ", "None"):
            assert rubbish not in told


@pytest.fixture(scope="module")
async def alone(temporal: WorkflowEnvironment) -> AsyncIterator[Alone]:
    """One cluster for all: what ends at the health check has changed nothing."""
    async with WholeRun.start(
        temporal, worker="inside", speed=SPEED, callers=False, inventory=in_a_hurry(load(REFERENCE))
    ) as run:
        await run.begin()
        run.approve_all()
        there = await run.report()
        assert there.outcome is RunOutcome.COMPLETED, why(there)
        yield Alone(run, there)
        assert run.lab.violations == []
        assert run.lab.unknown_commands == []


@pytest.mark.parametrize("name", CASES)
async def test_what_is_wrong_before_it_begins(alone: Alone, name: str) -> None:
    case, lab = CASES[name], alone.run.lab
    fault = lab.fault(case.machine, case.kind)
    await lab.settled()
    try:
        await alone.failed_untouched(*case.said)
    finally:
        lab.clear_faults(fault)
        await lab.settled()


async def test_a_haproxy_that_has_forgotten_maint(alone: Alone) -> None:
    """As soon as the machines boot they would get traffic, and the master writes that it does not know."""
    lab = alone.run.lab
    station = lab.station("acd-lb2").balancer
    assert station
    await station.balancer.restart()
    await station.all_checked()
    await station.look()
    try:
        await alone.failed_untouched(
            "Not so: every server of vm-host-1 is in MAINT on acd-lb2",
            "db/acd-dbm1 is ",
            "Set these servers to MAINT on the admin page of acd-lb2",
        )
    finally:
        for backend in alone.run.inventory.haproxy.backends:
            for server, machine in backend.servers.items():
                if alone.run.inventory.machine(machine).host == "vm-host-1":
                    await station.balancer.socket.command(f"set server {backend.name}/{server} state maint")
        await station.look()


async def test_a_healthy_side_begins(alone: Alone) -> None:
    await alone.run.begin_failback(of=alone.there)
    await alone.run.until_gate("before_start")
    assert (await alone.run.decide("abort", reason="it was only to see")).accepted
    report = await alone.run.report()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason.endswith("Nothing was touched.")


async def test_machines_that_have_started_by_themselves(alone: Alone) -> None:
    """The last of all: they are on afterwards."""
    lab = alone.run.lab
    for machine in ("acd-tel1", "acd-jb1"):
        lab.fault(machine, "autostart")
    await lab.wait_until(lambda: all(lab.world.machines[name].on for name in ("acd-tel1", "acd-jb1")))
    await lab.settled()
    await alone.failed_untouched(
        "Not so: all machines of vm-host-1 are off",
        "on are acd-tel1, acd-jb1: nobody but this run may start them",
        "They may have damaged the cluster. Look first at the survivors",
        "switch off what started them",
        "acd-tel1 does not start by itself",
    )
