"""Gates: nothing but the right word with the right code opens them, and everything said is answered."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from procedure.reports import RunOutcome
from tests.workflows.driving import Run, own, running
from tests.workflows.paper_world import LivingCluster, PaperWorld
from workflows import names
from workflows.status import RunReport

BY_ADA: dict[str, object] = {"by": "ada", "reason": "enough"}


def raw(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


async def test_after_its_deadline_a_gate_holds_and_says_so_and_can_still_be_opened(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(own(reference), skipping.get_current_time)
    async with running(skipping.client, world) as run:
        gate = await run.at_gate("before_start")
        assert gate.deadline == gate.since + timedelta(hours=12)
        assert not gate.overdue

        await skipping.sleep(timedelta(hours=12, minutes=1))
        await run.until(lambda s: s.waits[0].overdue)
        assert world.orders == []
        assert "Its deadline has passed. The run holds" in await run.details()

        await run.approve("before_start")
        await run.at_gate("before_power_off")
        await run.say("abort", BY_ADA)
        assert (await run.result()).outcome is RunOutcome.ABORTED


async def test_whatever_is_said_is_answered_and_opens_nothing(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        code = (await run.at_gate("before_start")).code
        right = {"gate": "before_start", "seen": code, "by": "ada"}
        said: list[tuple[str, tuple[object, ...], str]] = [
            ("approve", ({**right, "seen": "000000x"},), "shows another code"),
            ("approve", ({**right, "gate": "functionality"},), "not open; open now: before_start"),
            ("approve", ({**right, "by": ""},), "by: String should have at least 1 character"),
            ("approve", ({**right, "hurry": True},), "hurry: Extra inputs are not permitted"),
            ("approve", (right, right), "takes one JSON object"),
            ("approve", (), "takes one JSON object"),
            ("approve", ("yes",), "takes one JSON object"),
            ("approve", (True,), "takes one JSON object"),
            ("approve", (raw(b"\x00\xff{"),), "takes one JSON object"),
            ("approve", (raw(b"\x80\x81", b"binary/plain"),), "takes one JSON object"),
            ("approve", (raw(b"zip", b"no/such"),), "takes one JSON object"),
            ("approve", (raw(b"[" * 5000),), "takes one JSON object"),
            ("aprove", (right,), "unknown signal 'aprove'; understood are: approve"),
            ("go", (), "unknown signal 'go'"),
            ("skip", ({"step": "0-gate-before-start", **BY_ADA},), "can't be told to skip"),
            ("retry", ({"step": "nowhere", "by": "ada"},), "there is no step 'nowhere'"),
            ("confirm", ({"step": "3-stop-wildfly-acd-jb1", "by": "ada"},), "is pending"),
        ]
        for signal, values, _ in said:
            await run.say(signal, *values)
        status = await run.until(lambda s: len(s.decisions) == len(said))

        assert [d.signal for d in status.decisions] == [signal for signal, _, _ in said]
        for decision, (_, _, part) in zip(status.decisions, said, strict=True):
            assert not decision.accepted
            assert part in decision.answer
        assert [w.gate for w in status.waits] == ["before_start"]
        assert world.orders == []
        assert "NOT accepted" in await run.details()

        await run.approve_all()
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert world.violations == []


async def test_early_repeated_and_late_approvals(client: Client, world: PaperWorld) -> None:
    held = world.hold("0-observe-acd-jb1")
    async with running(client, world) as run:
        await held.reached.wait()
        early = await run.decide("approve", gate="before_start", seen="x", by="ada")
        assert "is not open; open now: none" in early.text
        held.go.set()

        seen = (await run.at_gate("before_start")).code
        assert (await run.decide("approve", gate="before_start", seen=seen, by="ada")).text.startswith("approved")
        await run.at_gate("before_power_off")
        late = await run.decide("approve", gate="before_start", seen=seen, by="bob")
        assert late.text == "gate before_start was already approved by ada"
        other = await run.decide("approve", gate="before_power_off", seen=seen, by="bob")
        assert "another code" in other.text
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_a_wish_from_the_command_line_is_answered_at_once(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        assert not (await run.decide("approve", gate="before_start", seen="wrong", by="ada")).accepted
        assert "takes one JSON object" in (await run.decide("approve")).text
        with pytest.raises(WorkflowUpdateFailedError):
            await run.handle.execute_update(names.DECIDE_UPDATE, {"signal": "dance", "payload": {}})
        said = {"gate": "before_start", "seen": gate.code, "by": "ada", "comment": "not tonight"}
        assert (await run.decide("reject", **said)).accepted
        report = await run.result()
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason == ("Aborted by ada: gate before_start rejected: not tonight. Nothing was touched.")
    assert world.orders == []
    assert [(d.signal, d.accepted) for d in report.decisions] == [
        ("approve", False),
        ("approve", False),
        ("reject", True),
    ]


async def test_who_is_not_named_does_not_decide(client: Client, reference: Inventory) -> None:
    approval = reference.approval.model_copy(update={"approvers": ("ada",)})
    world = PaperWorld(own(reference, approval=approval))
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        for signal, payload in (
            ("approve", {"gate": "before_start", "seen": gate.code, "by": "mallory"}),
            ("abort", {"by": "mallory", "reason": "fun"}),
        ):
            answer = await run.decide(signal, **payload)
            assert answer.text == "'mallory' may not decide here; allowed are: ada"
        assert (await run.status()).waits
        await run.say("abort", BY_ADA)
        assert (await run.result()).outcome is RunOutcome.ABORTED


async def test_the_first_gate_shows_what_is_vouched_for_and_expected(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        gate = await run.at_gate("before_start")
        details = await run.details()
        plan = await run.plan()
        status = await run.status()
        await run.say("abort", BY_ADA)
        await run.result()
    assert plan is not None
    assert plan.digest in details
    assert "storage acd-store1, load balancer acd-lb1, writes acd-dbm1" in details
    assert gate.vouched == plan.step("0-gate-before-start").action.vouched  # type: ignore[union-attr]  # it is a gate
    assert status.expected is not None
    assert status.expected_outage is not None


# --- a reset repeats old signals --------------------------------------------------------------------------------------


async def reset(client: Client, run: Run, event: int) -> Run:
    """Reset to the end of a workflow task. Signals after it are repeated, which is Temporal's default."""
    described = await run.handle.describe()
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=described.id, run_id=described.run_id),
            reason="a test",
            workflow_task_finish_event_id=event,
            request_id=uuid.uuid4().hex,
        )
    )
    handle: WorkflowHandle[Any, RunReport] = client.get_workflow_handle(
        described.id, run_id=answer.run_id, result_type=RunReport
    )
    return Run(handle, run.world)


async def ends_of_tasks(run: Run) -> tuple[int, int]:
    """The first end of a workflow task, and the last one before the first approval."""
    ends: list[int] = []
    async for event in run.handle.fetch_history_events():
        if event.HasField("workflow_task_completed_event_attributes"):
            ends.append(event.event_id)
        if event.workflow_execution_signaled_event_attributes.signal_name == "approve":
            break
    return ends[0], ends[-1]


@pytest.mark.parametrize("where", ["the beginning", "the open gate"])
async def test_after_a_reset_an_old_approval_opens_no_gate(client: Client, world: PaperWorld, where: str) -> None:
    async with running(client, world) as run:
        old = await run.at_gate("before_start")
        # A task of its own, so that the gate is already open where the run is reset to: that task alone is done again.
        await run.say("hello")
        await run.until(lambda s: s.decisions)
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        done = len(world.orders)
        first, before_signal = await ends_of_tasks(run)
        world.cluster = LivingCluster(world.inventory)  # somebody has put everything back

        again = await reset(client, run, first if where == "the beginning" else before_signal)
        status = await again.until(lambda s: len(s.decisions) == 2 and s.waits)

        assert [w.gate for w in status.waits] == ["before_start"]
        assert status.waits[0].code != old.code
        assert [d.signal for d in status.decisions] == ["hello", "approve"]
        assert (await again.decide("approve", gate="before_start", seen=old.code, by="ada")).accepted is False
        assert len(world.orders) == done
        await again.say("abort", BY_ADA)
        assert (await again.result()).outcome is RunOutcome.ABORTED


async def test_after_a_reset_behind_a_gate_the_run_goes_on(client: Client, world: PaperWorld) -> None:
    async with running(client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        ends = [
            e.event_id
            async for e in run.handle.fetch_history_events()
            if e.HasField("workflow_task_completed_event_attributes")
        ]
        again = await reset(client, run, ends[-1])
        await again.approve("before_power_off", "functionality")
        assert (await again.result()).outcome is RunOutcome.COMPLETED
    assert world.violations == []
