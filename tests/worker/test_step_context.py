"""What any library logs while a step runs says which step it is about."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from procedure.commands.software import StopComponent
    from procedure.orders import StepOrder
    from worker.logs import Context, StepContext

LIBRARY = "asyncssh.connection"


@activity.defn(name="stop_component")
async def stop_component(order: StepOrder) -> str:
    logging.getLogger(LIBRARY).warning("a library speaks")
    return order.step_id


@workflow.defn
class OneStep:
    @workflow.run
    async def run(self) -> str:
        order = StepOrder(
            step_id="3-stop-wildfly-acd-jb1",
            stage=3,
            cluster="acd",
            inventory_digest="0" * 16,
            vacated="vm-host-1",
            command=StopComponent(machine="acd-jb1", component="Wildfly"),
        )
        return await workflow.execute_activity(
            stop_component, order, activity_id=order.step_id, start_to_close_timeout=timedelta(seconds=10)
        )


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def test_a_library_s_words_carry_run_stage_step_and_machine(temporal: WorkflowEnvironment) -> None:
    kept = Kept()
    kept.addFilter(Context())
    logging.getLogger(LIBRARY).addHandler(kept)
    name = f"step-context-{uuid.uuid4().hex[:8]}"
    try:
        async with Worker(
            temporal.client,
            task_queue=name,
            workflows=[OneStep],
            activities=[stop_component],
            interceptors=[StepContext()],
        ):
            await temporal.client.execute_workflow(OneStep.run, id=name, task_queue=name)
    finally:
        logging.getLogger(LIBRARY).removeHandler(kept)
    (record,) = kept.records
    told = {field: getattr(record, field) for field in ("run", "stage", "step", "machine", "attempt")}
    assert told == {"run": name, "stage": 3, "step": "3-stop-wildfly-acd-jb1", "machine": "acd-jb1", "attempt": 1}
