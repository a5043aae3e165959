"""Steps that a person goes on without: what follows begins, and the end says what was left out."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from procedure.reports import Outcome, RunOutcome
from tests.lab.attended import words
from tests.lab.faulty_run import FaultyRun, deviations

pytestmark = pytest.mark.whole_run


async def test_steps_that_are_skipped_are_left_out_and_named_at_the_end(temporal: WorkflowEnvironment) -> None:
    async with FaultyRun.start(temporal) as faulty:
        run = faulty.run
        snapshot, stop, drain = "1-snapshot-acd-lb1", "3-stop-imap-connector-acd-tel1", "4-drain-sessions"
        faulty.fault("vm-host-1", "refuse", "virsh * snapshot-create-as acd-lb1 *")
        faulty.fault("acd-tel1", "service_stuck", "jtelIMAPMailService")
        faulty.fault("acd-jb2", "session_stuck")
        await run.approve("before_start")

        waits = await faulty.problems(snapshot)
        words(waits[snapshot], "acd-lb1", "operation refused", "exit 1")
        await faulty.skip(snapshot)
        waits = await faulty.problems(stop)
        words(waits[stop], "IMAP Connector on acd-tel1 is stopped", "it is stopping")
        await faulty.skip(stop)
        await faulty.problems(drain)
        await faulty.skip(drain)
        # Whoever skips the wait has not said yet that those who are left may be cut off.
        for move in ("5-move-storage", "6-move-load-balancer"):
            waits = await faulty.problems(move)
            words(
                waits[move],
                "refused",
                "nothing was sent",
                "1 from acd@",
                "retry with force",
                "sessions left will be cut",
            )
            assert (await run.decide("retry", step=move, force=True, reason="nobody works at night")).accepted

        await faulty.until_gate("before_power_off")
        start = "11-start-imap-connector-acd-tel2"
        faulty.fault("acd-tel2", "lie", "Start-Service jtelIMAPMailService")
        await run.approve("before_power_off")
        await faulty.problems(start)
        await faulty.skip(start)

        # What was skipped can't be told to anything any more.
        late = await run.decide("retry", step=stop)
        assert not late.accepted
        assert f"{stop} is ended and can't be told to retry" in late.text

        await run.approve("functionality")
        found = await faulty.ended()
    report, skipped = found.report, (snapshot, stop, drain, start)
    assert report.outcome is RunOutcome.COMPLETED_WITH_SKIPS
    assert {step.id for step in report.steps if step.outcome is Outcome.SKIPPED} == set(skipped)
    assert all("Skipped by tester (decided in a test)" in step for step in report.next_steps)
    titles = {step.title for step in report.steps if step.id in skipped}
    assert all(any(title in step for step in report.next_steps) for title in titles)
    assert all(title in report.outcome_reason for title in titles)
    assert deviations(found, run.inventory) == {"acd-tel2": ("on", {"jtelIMAPMailService": "stopped"})}


async def test_a_machine_that_stays_on_when_its_shutdown_is_skipped_holds_those_after_it(
    temporal: WorkflowEnvironment,
) -> None:
    """Skipping is no way around the order of power-off: what comes after looks for itself, and refuses."""
    async with FaultyRun.start(temporal, vacate="vm-host-2") as faulty:
        run = faulty.run
        await run.approve("before_start")
        await faulty.until_gate("before_power_off")
        faulty.fault("acd-api2", "shutdown_stuck")
        await run.approve("before_power_off")

        await faulty.problems("9-shut-down-acd-api2")
        await faulty.skip("9-shut-down-acd-api2")
        waits = await faulty.problems("9-shut-down-acd-dbs2")
        words(
            waits["9-shut-down-acd-dbs2"],
            "refused",
            "nothing was sent",
            "still on: acd-api2",
            "Shut down acd-api2 first",
        )
        # Somebody pulls the plug at last.
        run.lab.world.cut_power("acd-api2")
        await run.lab.settled()
        await faulty.retry("9-shut-down-acd-dbs2")

        await run.approve("functionality")
        found = await faulty.ended()
    assert found.report.outcome is RunOutcome.COMPLETED_WITH_SKIPS
    assert deviations(found, run.inventory) == {}
