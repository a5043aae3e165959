"""Whole runs of a cluster that Nagios watches: there and back, and with a Nagios that does not work."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.loading import load
from inventory.models import Inventory
from lab.faults import Fault
from lab.stations import MONITORING
from procedure.reports import RunOutcome
from tests.lab.faulty_run import FaultyRun, in_a_hurry
from tests.lab.test_faults_aborted import NO_DAEMON
from tests.lab.there_and_back import Travel
from tests.lab.whole_run import REFERENCE, WholeRun
from tests.outcomes import why

pytestmark = pytest.mark.whole_run

PATIENCE = 300
"""Seconds for a failover and its failback, on a machine that is busy with other tests."""
SPEED = 100.0
"""Simulated seconds in a real one."""


def watched_by_nagios(reference: Inventory) -> Inventory:
    data: dict[str, Any] = reference.model_dump()
    data["monitoring"] = {
        "provider": "nagios",
        "address": "10.77.0.5",
        "connection": "linux",
        "host_names": {"acd-jb1": "acd-jb1.example.com"},
    }
    return Inventory.model_validate(data)


@pytest.mark.timeout(PATIENCE)
async def test_all_are_silenced_the_vacated_stay_so_and_at_the_end_nobody_is(
    temporal: WorkflowEnvironment, reference: Inventory
) -> None:
    inventory = watched_by_nagios(reference)
    async with Travel.start(temporal, speed=SPEED, callers=False, inventory=inventory) as travel:
        lab = travel.run.lab
        assert lab.nagios
        there = await travel.there("vm-host-1")
        vacated = {m.name for m in inventory.machines if m.host == "vm-host-1"}
        assert lab.silenced() == vacated
        hosts = {"acd-jb1.example.com" if name == "acd-jb1" else name for name in vacated}
        assert {host for host in lab.nagios.hosts if lab.nagios.is_wholly_silenced(host)} == hosts
        back = await travel.back(there)
        assert lab.silenced() == set()
        assert lab.nagios.downtimes == {}
        scheduled = [c for c in lab.nagios.received if "SCHEDULE_HOST_DOWNTIME" in c]
        names = {c.split(";")[1] for c in scheduled}
        assert len(names) == 20, "each machine was silenced"
        assert all(there.report.reference in c or back.report.reference in c for c in scheduled)
    for ended in (there, back):
        assert ended.report.outcome is RunOutcome.COMPLETED, why(ended.report)
        assert ended.violations == ()
        assert ended.unknown_commands == ()
        assert ended.done_twice == {}
    assert back.truth == travel.before


async def test_what_is_wrong_with_it_before_a_run_begins(temporal: WorkflowEnvironment) -> None:
    inventory = in_a_hurry(watched_by_nagios(load(REFERENCE)))
    async with WholeRun.start(temporal, worker="inside", speed=SPEED, callers=False, inventory=inventory) as run:
        nagios = run.lab.nagios
        assert nagios
        services = nagios.hosts.pop("acd-jb1.example.com")
        await _not_started(run, "it knows no host of these names: acd-jb1 (there acd-jb1.example.com)", "host_names")
        nagios.hosts["acd-jb1.example.com"] = services
        nagios.end()
        await _not_started(run, "there is no /var/lib/nagios4/status.dat", "Start Nagios there")
        nagios.start()
        await _with_fault(run, Fault(MONITORING, "unreachable"), "monitoring server", "Connect call failed")
        await _with_fault(run, Fault(MONITORING, "sudo_denied", "cat"), "sudo refused `cat /var/lib/nagios4/status.dat")
        assert nagios.received == []


async def _with_fault(run: WholeRun, fault: Fault, *said: str) -> None:
    made = run.lab.fault(fault.machine, fault.kind, fault.operation)
    await run.lab.settled()
    await _not_started(run, *said)
    run.lab.clear_faults(made)
    await run.lab.settled()


async def _not_started(run: WholeRun, *said: str) -> None:
    await run.begin()
    report = await run.report()
    told = "\n".join(report.next_steps)
    assert report.outcome is RunOutcome.FAILED, told
    for words in ("monitoring can be silenced", *said):
        assert words in told


async def test_it_is_killed_while_all_wait_for_the_silence_and_the_run_is_aborted_later(
    temporal: WorkflowEnvironment,
) -> None:
    silences = ("2-silence-vm-host-1", "2-silence-vm-host-2")
    async with FaultyRun.start(temporal, inventory=watched_by_nagios(load(REFERENCE))) as faulty:
        lab = faulty.run.lab
        assert lab.nagios
        lab.nagios.kill()
        await faulty.run.approve("before_start")
        waits = await faulty.problems(*silences)
        for step in silences:
            assert "status.dat was written" in waits[step].text
            assert "not again within 5 s" in waits[step].text
        assert lab.silenced() == set()

        lab.nagios.start()
        await faulty.retry(*silences)
        await faulty.until_gate("before_power_off")
        assert lab.silenced() == set(lab.world.machines)
        answer = await faulty.run.decide("abort", reason="not tonight")
        assert answer.accepted, answer.text
        found = await faulty.ended(NO_DAEMON)
    assert found.report.outcome is RunOutcome.ABORTED
    assert found.truth["silenced"] == []
