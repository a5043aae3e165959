"""A stand-in for the failover's workflow: the real ledger, messages, status and report, and no machine anywhere.

What it does follows from the words in the request's reason: `gate`, `problem` (a step that fails until it is retried or
skipped), `drain` (a step that waits for sessions to end), `task` (an operator task). Without any it ends at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from procedure.as_found import AsFound
    from procedure.commands.software import StopComponent
    from procedure.facts import SessionCount
    from procedure.plan import Gate, OperatorTask, Plan, Stage, Step
    from procedure.reports import Evidence, Outage, Outcome, RunOutcome, StepProblem, StepReport
    from procedure.verdicts import failed, passed, warned
    from workflows import names
    from workflows.ledger import Ledger
    from workflows.messages import Answer, Decide, FailbackRequest, FailoverRequest, HealthRequest, Retry, Skip
    from workflows.status import HealthReport, RunReport, StageView

GATE = Gate(
    name="before_start",
    question="Vacate vm-host-1 now?",
    deadline=timedelta(hours=1),
    vouched=("no machine starts by itself",),
    checklist=("a call goes through",),
)
TASK = OperatorTask(
    target="acd-tel1",
    instructions="Close the starter window on acd-tel1.",
    expected=timedelta(minutes=1),
)
STEPS = (
    Step(id="0-gate-before-start", stage=0, title="Approve the start", action=GATE),
    Step(
        id="3-stop-wildfly-acd-jb1",
        stage=3,
        title="Stop Wildfly on acd-jb1",
        action=StopComponent(machine="acd-jb1", component="Wildfly"),
    ),
    Step(id="3-close-window-acd-tel1", stage=3, title="Close the window on acd-tel1", action=TASK),
)
PLAN = Plan(
    direction="failover",
    cluster="any",
    vacated="vm-host-1",
    surviving="vm-host-2",
    reference="stand-in",
    stages=(
        Stage(number=0, label="preconditions", title="Health check"),
        Stage(number=3, label="step 3", title="Stop software"),
    ),
    steps=STEPS,
)


def problem() -> StepProblem:
    return StepProblem(
        kind="failed",
        machine="acd-jb1",
        expected="wildfly is stopped",
        seen="still running",
        next_step="look at its log",
    )


def left_over(at: datetime) -> StepReport:
    sessions = (SessionCount(kind="database", machine="acd-lb1", user="app", count=3),)
    return StepReport(outcome=Outcome.NOT_YET, sessions=sessions, began=at, ended=at)


@workflow.defn(name=names.FAILOVER)
class StandInFailover:
    @workflow.init
    def __init__(self, request: FailoverRequest) -> None:
        self._request = request
        self._ledger = Ledger(request.inventory.approval)
        self._began = workflow.now()
        self._outcome: RunOutcome | None = None

    @workflow.run
    async def run(self, request: FailoverRequest) -> RunReport:
        self._ledger.plan(STEPS)
        gate, stop, task = STEPS
        if "gate" in request.reason:
            self._ledger.wait_at_gate(gate, GATE, "k7f2", workflow.now())
            await self._decided(gate)
        if "drain" in request.reason and not self._is_over:
            self._ledger.begin(stop.id, workflow.now())
            record = self._ledger.records[stop.id]
            self._ledger.drains.begin(record, timedelta(minutes=30), workflow.now()).take(left_over(workflow.now()))
            await workflow.wait_condition(lambda: self._ledger.abort is not None)
            self._outcome = RunOutcome.ABORTED
        if "problem" in request.reason and not self._is_over:
            self._ledger.begin(stop.id, workflow.now())
            self._ledger.wait_with_problem(stop, problem(), False, workflow.now())
            await self._decided(stop)
        if "task" in request.reason and not self._is_over:
            self._ledger.wait_for_task(task, TASK, workflow.now())
            await self._decided(task)
        self._outcome = self._outcome or self._judge()
        self._ledger.finish()
        return self._report()

    async def _decided(self, step: Step) -> None:
        await workflow.wait_condition(lambda: self._ledger.resolved(step.id) or self._ledger.abort is not None)
        if self._ledger.abort is not None:
            self._outcome = RunOutcome.ABORTED
            return
        said = self._ledger.take(step.id)
        record = self._ledger.records[step.id]
        record.decided_by = said.by
        if isinstance(said, Skip):
            record.reason = said.reason
        outcome = Outcome.SKIPPED if isinstance(said, Skip) else Outcome.DONE
        self._ledger.end(step.id, outcome, workflow.now(), _proof() if isinstance(said, Retry) else None)
        if type(said).__name__ == "Reject":
            self._outcome = RunOutcome.ABORTED

    @property
    def _is_over(self) -> bool:
        return self._outcome is not None

    def _judge(self) -> RunOutcome:
        skipped = any(record.outcome is Outcome.SKIPPED for record in self._ledger.records.values())
        return RunOutcome.COMPLETED_WITH_SKIPS if skipped else RunOutcome.COMPLETED

    def _report(self) -> RunReport:
        info, now = workflow.info(), workflow.now()
        return RunReport(
            cluster=self._request.inventory.cluster,
            vacated=self._request.vacate,
            surviving="vm-host-2",
            reason=self._request.reason,
            requested_by=self._request.requested_by,
            reference="stand-in",
            as_found=AsFound.normal(self._request.inventory),
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            phase="03 Stop software" if not self._outcome else f"ended: {self._outcome.value}",
            began=self._began,
            ended=now if self._outcome else None,
            outcome=self._outcome,
            plan_digest=PLAN.digest,
            expected=timedelta(minutes=25),
            expected_outage=timedelta(minutes=9),
            stages=(StageView(number=3, label="step 3", title="Stop software", state="running", total=2, began=now),),
            steps=tuple(self._ledger.records.values()),
            waits=self._ledger.open_waits,
            paused=self._ledger.paused,
            decisions=tuple(self._ledger.decisions),
            health=(passed("acd-lb1 is reachable"), warned("acd-dbs2 has no lag", "it has 2 s", "wait a little")),
            outage=Outage(began=now, ended=now, duration=timedelta(seconds=7), measurements=9),
        )

    @workflow.query
    def status(self) -> RunReport:
        return self._report()

    @workflow.query
    def report(self) -> RunReport:
        return self._report()

    @workflow.query
    def plan(self) -> Plan:
        return PLAN

    @workflow.update(name=names.DECIDE_UPDATE)
    def decide(self, wish: Decide) -> Answer:
        return self._ledger.hear(wish.signal, wish.payload, workflow.now())


def _proof() -> StepReport:
    at = workflow.now()
    asked = Evidence(at=at, instruction="systemctl stop wildfly", answer="exit code 0")
    return StepReport(outcome=Outcome.DONE, seen="wildfly is stopped", evidence=(asked,), began=at, ended=at)


@workflow.defn(name=names.FAILBACK)
class StandInFailback:
    """Ends at once, and says what it was to restore."""

    @workflow.run
    async def run(self, request: FailbackRequest) -> RunReport:
        info, now, of = workflow.info(), workflow.now(), request.of
        return RunReport(
            direction="failback",
            cluster=request.inventory.cluster,
            vacated=request.returning,
            surviving="vm-host-2",
            began=now,
            ended=now,
            run_id=info.run_id,
            outcome=RunOutcome.ABORTED if "abort" in request.reason else RunOutcome.COMPLETED,
            outcome_reason=f"restored what {of.run_id} found" if of else "restored the normal state",
        )


@workflow.defn(name=names.HEALTH_CHECK)
class StandInHealthCheck:
    @workflow.run
    async def run(self, request: HealthRequest) -> HealthReport:
        if request.inventory.cluster.endswith("-broken"):
            raise ApplicationError("the check broke off", non_retryable=True)
        at = workflow.now()
        good = request.vacate != "vm-host-2"
        sick = failed("DRBD is connected", "it is StandAlone", "stop: this may be a split brain")
        verdicts = (passed("acd-lb1 is reachable"),) if good else (passed("acd-lb1 is reachable"), sick)
        return HealthReport(
            cluster=request.inventory.cluster,
            began=at,
            ended=at,
            vacated=request.vacate or "vm-host-1",
            healthy=good,
            verdicts=verdicts,
        )


WORKFLOWS: Sequence[type] = (StandInFailover, StandInFailback, StandInHealthCheck)
