"""A whole maintenance: failover, a gate that may be open for weeks, failback; for one VM-Host, or for both in turn.

Failover and failback are runs of their own. While nothing but the gate waits the maintenance goes on as a new run of
the same id now and then, so that its history stays small.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from procedure.drawing_up import DrawnUp, Intent
    from procedure.facts import Facts
    from procedure.plan import Plan
    from procedure.reports import RunOutcome
    from workflows import names
    from workflows.children import Children
    from workflows.controlled_run import ControlledRun
    from workflows.executor import Executor
    from workflows.maintenance_views import how_it_was_given_up
    from workflows.messages import MaintenanceRequest
    from workflows.requests import understood
    from workflows.so_far import SoFar
    from workflows.status import RunReport

RENEWED_AFTER = timedelta(days=7)
"""About 500 events at the most, far below what the server or the Web UI minds; a history of months would not be."""
MOST_NOTES = 20
"""Taken along, the latest: a monitoring server that is away for weeks must not fill the input of the next run."""


@workflow.defn(name=names.MAINTENANCE)
class Maintenance(ControlledRun):
    """Vacates a VM-Host, waits for the work on it to be done, and brings it back."""

    @workflow.init
    def __init__(self, *values: object) -> None:
        request = understood(MaintenanceRequest, values)
        super().__init__(request, Intent(direction="maintenance", both=request.both))
        so_far = request.so_far
        self._children = Children(request, self._ledger, so_far.runs if so_far else (), self._changed)
        self._maintenance = request
        if so_far:
            self._began = so_far.began
            self._ledger.take_over(so_far.ledger, workflow.now())
            self._notifier.take_over(so_far.told)
            self._children.notes += so_far.notes
            self._drawn_up = DrawnUp(plan=so_far.plan, plan_digest=so_far.plan_digest)
        self._is_old = False

    @workflow.run
    async def run(self, *values: object) -> RunReport:
        """Run it. Takes one `MaintenanceRequest`; fails at once, with a readable message, where it makes no sense."""
        return await self.carry_out()

    async def _procedure(self, executor: Executor) -> None:
        executor.begin_run = self._children.carry_out
        plan = self._drawn_up.plan
        if plan is None:
            await self._judge(executor, Facts())
            plan = self._planned()
        if plan is None:
            return
        self._plan_is(plan)
        steps = asyncio.create_task(executor.run(plan, digest=self._drawn_up.plan_digest))
        growing_old = asyncio.create_task(self._grow_old())
        while not steps.done():
            await workflow.wait_condition(lambda: steps.done() or self._may_go_on_as_new(executor))
            # Again, since in this very moment a step or an upkeep may have begun.
            if self._may_go_on_as_new(executor):
                self._go_on_as_new(plan)
        growing_old.cancel()
        await steps
        self._conclude(*self._judge_the_run(plan, executor))

    # Going on as a new run

    async def _grow_old(self) -> None:
        await workflow.sleep(RENEWED_AFTER, summary="Until a new history is begun")
        self._is_old = True

    def _may_go_on_as_new(self, executor: Executor) -> bool:
        """Whether it is time, and nothing would be lost: no step is at work, and nobody is just told or heard."""
        due = self._is_old or workflow.info().is_continue_as_new_suggested()
        idle = executor.is_idle and self._notifier.is_idle
        return due and idle and workflow.all_handlers_finished() and self._ledger.only_gates_wait

    def _go_on_as_new(self, plan: Plan) -> NoReturn:
        so_far = SoFar(
            began=self._began,
            plan=plan,
            plan_digest=self._drawn_up.plan_digest,
            ledger=self._ledger.carried_over(),
            runs=tuple(self._children.runs),
            told=self._notifier.carried_over(),
            notes=self._notes[-MOST_NOTES:],
        )
        workflow.continue_as_new(self._maintenance.model_copy(update={"so_far": so_far}))

    @property
    def _window_ends(self) -> datetime | None:
        """It is the first failover that has a window: the failback begins when the work on the VM-Host is done."""
        return None

    # What it tells

    @property
    def _reached(self) -> str:
        hosts = f"{self._situation.vacated} was"
        if self._maintenance.both:
            hosts = f"{self._situation.vacated} and then {self._situation.surviving} were"
        back = "are" if self._maintenance.both else "is"
        return f"{hosts} vacated and {back} back; the cluster runs on both hosts as it was found."

    def _aborted(self, *, touched: bool) -> tuple[RunOutcome, str]:
        abort = self._ledger.abort
        assert abort is not None  # noqa: S101 - asked by the caller
        return how_it_was_given_up(abort, tuple(self._children.runs))

    @property
    def _notes(self) -> tuple[str, ...]:
        return (*self._children.notes, *super()._notes)

    def _told(self) -> dict[str, object]:
        return super()._told() | {"runs": tuple(self._children.runs)}
