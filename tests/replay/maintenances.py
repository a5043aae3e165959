"""Stories of whole maintenances for the replay test; failover and failback are stand-ins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.testing import WorkflowEnvironment

from procedure.reports import RunOutcome
from tests.workflows.brief_runs import QUICK, BriefFailback, BriefFailover
from tests.workflows.driving import Run, start_maintenance, worker_for
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.maintenance import RENEWED_AFTER, Maintenance
from workflows.status import RunReport

GATE = "maintenance_finished"
FAILOVER = "1-failover-vm-host-1"


async def of_both(environment: WorkflowEnvironment, run: Run) -> None:
    """A failover that is begun again, a pause, the other host, a failback that was done by hand."""
    await _end(environment, run, 1, RunOutcome.FAILED)
    await run.waiting(FAILOVER)
    await run.say("retry", {"step": FAILOVER, "by": "ada"})
    await run.until(lambda s: len(s.runs) == 2)
    await run.say("pause", {"by": "ada", "reason": "the phone"})
    await run.until(lambda s: s.paused)
    await run.say("resume", {"by": "ada"})
    await _end(environment, run, 2, RunOutcome.COMPLETED_WITH_SKIPS)
    await run.approve(GATE)
    await _end(environment, run, 3, RunOutcome.FAILED)
    await run.waiting("3-failback-vm-host-1")
    await run.say("skip", {"step": "3-failback-vm-host-1", "by": "ada", "reason": "by hand"})
    await _end(environment, run, 4, RunOutcome.COMPLETED)
    await run.approve(GATE)
    await _end(environment, run, 5, RunOutcome.COMPLETED)


async def aborted(environment: WorkflowEnvironment, run: Run) -> None:
    """While its failover is under way."""
    await run.until(lambda s: s.runs)
    await run.say("abort", {"by": "ada", "reason": "not tonight"})


async def gone_on(environment: WorkflowEnvironment, run: Run) -> None:
    """For more than a week at its gate: what is recorded is the run that went on."""
    await run.at_gate(GATE)
    await environment.sleep(RENEWED_AFTER + timedelta(days=1))
    await run.approve(GATE)


async def _end(environment: WorkflowEnvironment, run: Run, number: int, outcome: RunOutcome) -> None:
    status = await run.until(lambda s: len(s.runs) == number and not s.runs[-1].is_over)
    child = environment.client.get_workflow_handle(status.runs[-1].workflow_id, run_id=status.runs[-1].run_id)
    await child.signal("end", args=[outcome.value, "so it is"])


Act = Callable[[WorkflowEnvironment, Run], Awaitable[None]]
MAINTENANCES: dict[str, tuple[Act, str, bool]] = {
    "maintenance-of-both": (of_both, "new memory", True),
    "maintenance-aborted": (aborted, "new memory", False),
    "maintenance-gone-on": (gone_on, QUICK, False),
}
"""What happens, the reason, whether both hosts."""


@asynccontextmanager
async def maintained(environment: WorkflowEnvironment, name: str, world: PaperWorld) -> AsyncIterator[RunReport]:
    """A maintenance that has ended as the story tells it, still with its worker."""
    act, reason, both = MAINTENANCES[name]
    workflows = (BriefFailover, BriefFailback, Maintenance)
    async with worker_for(environment.client, world, names.task_queue(world.inventory.cluster), workflows):
        run = await start_maintenance(environment.client, world, reason=reason, both=both)
        await act(environment, run)
        yield await run.result()
