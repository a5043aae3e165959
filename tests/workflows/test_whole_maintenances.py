"""A whole maintenance with the real failover and the real failback, over the cluster on paper."""

from __future__ import annotations

from temporalio.client import Client

from procedure.reports import RunOutcome
from tests.outcomes import why
from tests.workflows.driving import Run, start_maintenance, worker_for
from tests.workflows.paper_world import PaperWorld
from workflows import names
from workflows.status import RunReport

GATE = "maintenance_finished"


async def approve_runs(client: Client, run: Run, count: int) -> None:
    """Approve all gates of the run that the maintenance has begun as its n-th."""
    status = await run.until(lambda s: len(s.runs) == count)
    view = status.runs[-1]
    handle = client.get_workflow_handle(view.workflow_id, run_id=view.run_id, result_type=RunReport)
    child = Run(handle, run.world)
    passed: set[str] = set()
    while True:
        now = await child.until(lambda s: s.ended or any(w.code and w.code not in passed for w in s.waits))
        if now.ended:
            return
        for wait in now.waits:
            assert wait.kind == "gate", wait
            passed.add(wait.code)
            await child.say("approve", {"gate": wait.gate, "seen": wait.code, "by": "ada"})


async def test_both_hosts_one_after_the_other_and_all_is_as_it_was(client: Client, world: PaperWorld) -> None:
    before = picture(world)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start_maintenance(client, world, both=True)
        for number, host in enumerate(("vm-host-1", "vm-host-2")):
            await approve_runs(client, run, 2 * number + 1)
            await run.at_gate(GATE)
            assert world.cluster.off == world.machines_of(host)
            assert world.cluster.silenced() == world.machines_of(host)
            await run.approve(GATE)
            await approve_runs(client, run, 2 * number + 2)
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED, why(report)
    assert [r.outcome for r in report.runs] == [RunOutcome.COMPLETED] * 4
    assert all(r.outage is not None for r in report.runs)
    assert world.violations == []
    assert picture(world) == before
    assert world.cluster.silenced() == set()


def picture(world: PaperWorld) -> dict[str, object]:
    """What the cluster is, apart from its clock."""
    cluster = world.cluster
    return {
        "off": set(cluster.off),
        "primary": dict(cluster.primary),
        "running": set(cluster.running),
        "maint": set(cluster.maint),
        "daemon": set(cluster.daemon),
        "standby": set(cluster.standby),
        "writer": cluster.writer(),
    }
