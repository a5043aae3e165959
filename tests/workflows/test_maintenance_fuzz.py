"""Whatever is sent to a maintenance, whenever: it never breaks, nothing begins before its gate is approved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from procedure.reports import RunOutcome
from tests.workflows.brief_runs import BriefFailback, BriefFailover
from tests.workflows.driving import Run, own, start_maintenance, worker_for
from tests.workflows.paper_world import PaperWorld
from tests.workflows.test_fuzz import anything, bytes_of_any_kind, signals
from workflows import names
from workflows.maintenance import RENEWED_AFTER, Maintenance

GATE = "maintenance_finished"
MOMENTS = ("failover", "gate", "weeks later", "failback")

plausible = st.fixed_dictionaries(
    {"by": st.sampled_from(["eve", ""])},
    optional={
        "gate": st.sampled_from([GATE, "before_start", ""]),
        "seen": st.sampled_from(["guess", "", "abc123"]),
        "step": st.sampled_from(["1-failover-vm-host-1", "2-gate-maintenance-finished", "3-failback-vm-host-1"]),
        "reason": st.just("because"),
        "comment": st.text(max_size=5),
    },
)
values = st.lists(anything | plausible | bytes_of_any_kind, max_size=2)


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=st.lists(st.tuples(st.sampled_from(MOMENTS), signals, values), min_size=5, max_size=30))
async def test_no_sequence_of_signals_breaks_a_maintenance(
    skipping: WorkflowEnvironment, reference: Inventory, sent: list[tuple[str, str, list[Any]]]
) -> None:
    world = PaperWorld(own(reference), skipping.get_current_time)
    queue = names.task_queue(world.inventory.cluster)
    async with worker_for(skipping.client, world, queue, (BriefFailover, BriefFailback, Maintenance)):
        run = await start_maintenance(skipping.client, world)

        async def send(moment: str) -> int:
            """Say it all, and go on if that has paused the maintenance; how often that was."""
            for _, signal, said in (s for s in sent if s[0] == moment):
                await run.say(signal, *said)
            paused = (await run.status()).paused is not None
            if paused:
                await run.say("resume", {"by": "ada"})
            return paused

        await run.until(lambda s: len(s.runs) == 1)
        resumed = await send("failover")
        await complete(skipping, run)
        wait = await run.at_gate(GATE)
        resumed += await send("gate")
        await skipping.sleep(RENEWED_AFTER + timedelta(days=1))
        resumed += await send("weeks later")
        status = await run.status()
        assert [w.gate for w in status.waits] == [GATE]
        assert len(status.runs) == 1
        await run.say("approve", {"gate": GATE, "seen": wait.code, "by": "ada"})
        await run.until(lambda s: len(s.runs) == 2)
        resumed += await send("failback")
        await complete(skipping, run)
        report = await run.result()

    assert report.outcome is RunOutcome.COMPLETED
    assert len(report.decisions) == len(sent) + 1 + resumed
    assert [d.by for d in report.decisions if d.accepted and d.signal == "approve"] == ["ada"]


async def complete(environment: WorkflowEnvironment, run: Run) -> None:
    """End the run that is under way."""
    view = (await run.status()).runs[-1]
    child = environment.client.get_workflow_handle(view.workflow_id, run_id=view.run_id)
    await child.signal("end", args=[RunOutcome.COMPLETED.value, "so it is"])
