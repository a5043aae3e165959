"""What only a person can do: a cluster with programs on desktops, monitoring and the daemon by hand."""

from __future__ import annotations

import uuid
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from inventory.models import Daemon, Inventory, ManualMonitoring, Role
from procedure.commands import StopComponent
from procedure.plan import OperatorTask, Plan, Stage, Step
from procedure.reports import Outcome, RunOutcome
from tests.workflows.bare_executor import BareOrder, BareRun
from tests.workflows.driving import GATES, Run, own, running, step_of
from tests.workflows.paper_world import PaperWorld
from workflows.status import RunReport

STOP = "3-stop-8-server-acd-tel1"


def by_hand(inventory: Inventory) -> Inventory:
    components = tuple(
        component.model_copy(update={"control": "operator"}) if component.role is Role.TELEPHONY else component
        for component in inventory.components
    )
    daemon = Daemon(instructions="Press the button.")
    return own(inventory, components=components, monitoring=ManualMonitoring(), daemon=daemon)


async def confirm_all(run: Run) -> set[str]:
    """Do and confirm whatever is asked, and open the gates, until the end."""
    confirmed: set[str] = set()
    while (status := await run.until(lambda s: s.outcome or [w for w in s.waits if w.step not in confirmed])).waits:
        for wait in (w for w in status.waits if w.step not in confirmed):
            confirmed.add(wait.step)
            if wait.kind == "gate":
                assert (await run.decide("approve", gate=wait.gate, seen=wait.code, by="ada")).accepted
            else:
                do_it(run.world, wait.title)
                assert (await run.decide("confirm", step=wait.step, by="ada", comment="done so")).accepted
    return confirmed


def do_it(world: PaperWorld, title: str) -> None:
    """What a person does to the world: "Stop 8-Server on acd-tel1 by hand"."""
    verb, _, rest = title.removesuffix(" by hand").partition(" ")
    component, _, machine = rest.rpartition(" on ")
    if component == "AcdGroupDistribute":
        world.cluster.daemon = {machine} if verb == "Start" else world.cluster.daemon - {machine}
    elif verb == "Stop" and component:
        world.cluster.running.discard((machine, component))
        world.cluster.daemon.discard(machine)
    elif verb == "Start" and component:
        world.cluster.running.add((machine, component))


async def test_every_task_is_asked_for_and_confirmed(client: Client, reference: Inventory) -> None:
    world = PaperWorld(by_hand(reference))
    async with running(client, world) as run:
        asked = await confirm_all(run)
        report = await run.result()

    assert report.outcome is RunOutcome.COMPLETED
    assert {
        STOP,
        "2-silence-by-hand",
        "12-restore-by-hand",
        "8-stop-daemon-acd-tel1",
        "8-start-daemon-acd-tel2",
    } <= asked
    record = step_of(report, STOP)
    assert (record.outcome, record.reason, record.decided_by) == (Outcome.DONE, "done so", "ada")
    assert world.cluster.daemon == {"acd-tel2"}
    assert world.violations == []
    assert len([a for a in asked if "gate" in a]) == len(GATES)


async def test_a_task_can_be_skipped_and_an_abort_asks_for_what_is_owed(client: Client, reference: Inventory) -> None:
    world = PaperWorld(by_hand(reference))
    async with running(client, world) as run:
        await run.approve("before_start")
        wait = next(w for w in (await run.waiting("2-silence-by-hand")).waits)
        assert [hint.signal for hint in wait.hints] == ["confirm", "skip", "abort", "abort"]
        assert (await run.decide("confirm", step="2-silence-by-hand", by="ada")).accepted
        await run.waiting(STOP)
        assert "has no" not in (await run.decide("skip", step=STOP, by="ada", reason="it never ran")).text
        await run.say("abort", {"by": "ada", "reason": "enough"})
        status = await run.waiting("12-on-abort-restore-by-hand")
        assert [w.step for w in status.waits] == ["12-on-abort-restore-by-hand"]
        assert [hint.signal for hint in status.waits[0].hints] == ["confirm", "skip"]
        assert (await run.decide("confirm", step="12-on-abort-restore-by-hand", by="ada")).accepted
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert step_of(report, STOP).outcome is Outcome.SKIPPED
    assert step_of(report, "12-on-abort-restore-by-hand").outcome is Outcome.DONE


async def test_what_is_confirmed_is_looked_at_where_it_can_be_seen(client: Client, world: PaperWorld) -> None:
    check = StopComponent(machine="acd-jb1", component="Wildfly")
    action = OperatorTask(
        target="acd-jb1", instructions="Stop it.", check=check, expected=check.expected(world.inventory)
    )
    plan = Plan(
        direction="failover",
        cluster=world.inventory.cluster,
        vacated="vm-host-1",
        surviving="vm-host-2",
        reference="test",
        stages=(Stage(number=3, label="step 3", title="Stop software"),),
        steps=(Step(id="3-by-hand", stage=3, title="Stop Wildfly by hand", action=action),),
    )
    queue = uuid.uuid4().hex
    async with Worker(client, task_queue=queue, workflows=[BareRun], activities=world.activities()):
        order = BareOrder(inventory=world.inventory, vacate="vm-host-1", plan=plan)
        handle: WorkflowHandle[Any, RunReport] = await client.start_workflow(
            "BareRun", order, id=queue, task_queue=queue, result_type=RunReport
        )
        run = Run(handle, world)
        await run.waiting("3-by-hand")
        assert (await run.decide("confirm", step="3-by-hand", by="ada")).accepted

        status = await run.until(lambda s: s.waits and s.waits[0].kind == "problem")
        assert world.orders[0].verify_only
        assert ("acd-jb1", "Wildfly") in world.cluster.running
        assert status.steps[0].problem is not None

        assert (await run.decide("retry", step="3-by-hand", by="ada")).accepted
        await run.until(lambda s: s.waits and s.waits[0].kind == "operator task")
        world.cluster.running.discard(("acd-jb1", "Wildfly"))
        assert (await run.decide("confirm", step="3-by-hand", by="ada")).accepted
        report = await run.result()
    assert step_of(report, "3-by-hand").outcome is Outcome.DONE
    assert step_of(report, "3-by-hand").report is not None
    assert step_of(report, "3-by-hand").problem is None
