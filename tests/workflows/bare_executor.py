"""The executor with a plan of the test's own, and nothing around it."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from inventory.digest import digest
    from inventory.models import Inventory
    from procedure.plan import Plan
    from procedure.situation import Situation
    from workflows import names
    from workflows.executor import Executor
    from workflows.ledger import Ledger
    from workflows.messages import Answer, Decide
    from workflows.status import RunReport


class BareOrder(BaseModel):
    inventory: Inventory
    vacate: str
    plan: Plan


@workflow.defn(name="BareRun")
class BareRun:
    @workflow.init
    def __init__(self, order: BareOrder) -> None:
        self._order = order
        self._ledger = Ledger(order.inventory.approval)

    @workflow.run
    async def run(self, order: BareOrder) -> RunReport:
        situation = Situation(order.inventory, order.vacate)
        executor = Executor(situation, self._ledger, digest(order.inventory), lambda: None)
        await executor.run(order.plan)
        return self.status()

    @workflow.query
    def status(self) -> RunReport:
        return RunReport(
            cluster=self._order.inventory.cluster,
            vacated=self._order.vacate,
            surviving=self._order.plan.surviving,
            began=workflow.info().start_time,
            steps=tuple(self._ledger.records.values()),
            waits=tuple(self._ledger.waits.values()),
            decisions=tuple(self._ledger.decisions),
        )

    @workflow.update(name=names.DECIDE_UPDATE)
    def decide(self, wish: Decide) -> Answer:
        return self._ledger.hear(wish.signal, wish.payload, workflow.now())
