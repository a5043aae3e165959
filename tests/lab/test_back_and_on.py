"""A failover that is given up in the lab: taken back to what it was, or carried on by another run."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from lab.truth import truth_of
from procedure.reports import RunOutcome
from starters.exit_codes import ExitCode
from tests.lab.whole_run import WholeRun
from tests.outcomes import why
from workflows import names

pytestmark = pytest.mark.whole_run


@pytest.mark.parametrize("host", ["vm-host-1", "vm-host-2"])
async def test_an_abort_before_the_power_off_takes_everything_back(temporal: WorkflowEnvironment, host: str) -> None:
    async with WholeRun.start(temporal, vacate=host, worker="inside") as run:
        before = truth_of(run.lab.world)
        await run.begin()
        await run.approve("before_start")
        await run.until_gate("before_power_off")
        answer = await run.decide("abort", reason="the other site burns", roll_back=True)
        assert answer.accepted, answer.text
        await run.approve("roll_back")
        report = await run.report(within=180)

        assert report.outcome is RunOutcome.ROLLED_BACK, why(report)
        await run.lab.wait_until(lambda: truth_of(run.lab.world) == before)
        assert run.lab.violations == []
        assert run.lab.auditors.at_end() == []
        assert run.lab.world.unknown_commands == []


async def test_a_failover_that_was_terminated_is_carried_on(temporal: WorkflowEnvironment) -> None:
    async with WholeRun.start(temporal) as run:
        await run.begin()
        await run.approve("before_start")
        await run.handed_out("5-move-storage")
        await run.handle.terminate("the browser was open on the wrong page")
        run_id = run.run_id

        named = ("--inventory", str(run.lab.inventory_path), "--vacate", run.vacate, "--by", "tester")
        plain = await run.type("failover", *named)
        assert plain.code == ExitCode.OK, plain.output
        run.run_id = None
        refused = await run.report()
        assert refused.outcome is RunOutcome.FAILED
        adopt = f"--adopt {names.workflow_id(run.cluster)}/{run_id}"
        assert adopt in refused.next_steps[0]

        carried = await run.type("failover", *named, *adopt.split())
        assert carried.code == ExitCode.OK, carried.output
        run.approve_all()
        report = await run.report(within=180)

        assert report.outcome is RunOutcome.COMPLETED, why(report)
        assert report.adopted == run_id
        assert run.lab.violations == []
        assert run.lab.auditors.at_end(vacated=run.vacate) == []
