"""What failover and failback have in common: health check, facts and plan, gates, stages, report.

The workflow never dies because a host did. It ends with a typed report, whatever happened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from inventory.digest import digest
    from procedure import rollback, timing
    from procedure.drawing_up import DrawnUp, Intent, draw_up, rounds
    from procedure.facts import Facts
    from procedure.plan import Direction, Plan
    from procedure.reports import Outcome, RunOutcome, StepProblem
    from procedure.rollback import Undo
    from procedure.situation import Situation
    from procedure.verdicts import Verdict
    from workflows import names
    from workflows.details import render
    from workflows.executor import Executor
    from workflows.ledger import Ledger
    from workflows.messages import CANCELLED, SIGNAL_MODELS, Abort, Answer, Decide, RunRequest
    from workflows.notifying import Notifier
    from workflows.requests import known_host, must_be_able_to_pass
    from workflows.status import RunReport, Status, StepState, Ways
    from workflows.views import carry_on, next_steps, phase, stage_views
    from workflows.way_back import begun
    from workflows.ways import ways
    from workflows.window import Window, too_short
    from workflows.workers import ENDED_WELL

LONGEST_STEPS = 3
"""Of the critical path, named at the first gate: where a run will spend its time."""


PLAN_IN_HISTORY = "plan-in-history"
"""Patch: runs begun before it derive their plan themselves, whenever they are replayed."""


THE_REST_IS_LEFT = "the-rest-is-left"
"""Patch: roll-backs begun before it show stages of their run as the place where it is."""


class ControlledRun:
    """A run of the procedure in one of its directions."""

    def __init__(self, request: RunRequest, intent: Intent) -> None:
        self._request = request
        self._intent = intent
        self._situation = Situation(request.inventory, known_host(request.inventory, request.host))
        self._began = workflow.now()
        named = f"--cluster {names.address(request.inventory.cluster, maintenance=intent.direction == 'maintenance')}"
        self._ledger = Ledger(request.inventory.approval, request.requested_by, named)
        if request.adopt is not None:
            self._ledger.way_back.adopt(request.adopt)
        must_be_able_to_pass(request)
        self._executor: Executor | None = None
        self._notifier = Notifier(request.inventory, intent.direction, lambda: self._ledger.open_waits)
        self._drawn_up = DrawnUp()
        self._back: Plan | None = None
        """What rolls the run back, once it is decided upon."""
        self._plan_told: dict[str, object] = {}
        self._inventory_digest = digest(request.inventory)
        self._outcome: RunOutcome | None = None
        self._outcome_reason = ""
        self._ended: datetime | None = None
        self._dirty = True
        self._shown: tuple[str, str] = ("", "")

    async def carry_out(self) -> RunReport:
        """Do what is intended, from the health check to the report."""
        workflow.register_random_seed_callback(self._after_reset)
        window = Window(self._window_ends)
        executor = Executor(self._situation, self._ledger, self._inventory_digest, self._changed, window=window)
        self._executor = executor
        self._notifier.begin()
        showing = asyncio.create_task(self._keep_showing())
        procedure = asyncio.create_task(self._when_it_is_time(executor))
        try:
            # Shielded: what changes something ends by itself, also when the run is cancelled from Temporal's side.
            await asyncio.shield(procedure)
        except asyncio.CancelledError:
            self._ledger.cancel(CANCELLED, workflow.now())
            self._changed()
            await procedure
        showing.cancel()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return await self._end()

    def _after_reset(self, seed: int) -> None:
        # Temporal repeats old signals when a run is reset; a gate that was open then must not take an old approval.
        # Called outside of the workflow's loop, and errors are swallowed: nothing of `workflow` may be used here.
        self._ledger.gates.renew_codes(seed)
        self._changed()

    # The procedure

    async def _when_it_is_time(self, executor: Executor) -> None:
        await self._until_the_start()
        if self._ledger.abort is not None:
            self._conclude(*self._aborted(touched=False))
            return
        await self._procedure(executor)

    async def _until_the_start(self) -> None:
        """Wait for the time it is scheduled for. Whoever pauses it meanwhile holds the health check.

        Not Temporal's `start_delay`: the first signal would end that delay early, and nobody could ask for the status.
        """
        at = self._scheduled
        if at is None:
            return
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._ledger.abort is not None,
                timeout=at - workflow.now(),
                timeout_summary=f"Scheduled for {at:%d %b %Y %H:%M %Z}",
            )
        self._changed()

    @property
    def _scheduled(self) -> datetime | None:
        at = self._request.start_at
        return at if at is not None and workflow.now() < at else None

    @property
    def _window_ends(self) -> datetime | None:
        return self._request.window_ends

    async def _procedure(self, executor: Executor) -> None:
        await executor.check_health(rounds(executor.situation, self._asked), partial(self._judge, executor))
        if self._ledger.abort is not None and self._drawn_up.plan is None:
            self._conclude(*self._aborted(touched=False))
            return
        plan = self._planned()
        if plan is None:
            return
        self._plan_is(plan)
        await executor.run(plan, digest=self._drawn_up.plan_digest, seen=self._drawn_up.seen)
        if self._ledger.abort is not None and executor.touched(plan):
            await self._give_up(executor, plan)
        self._conclude(*self._judge_the_run(plan, executor))

    async def _give_up(self, executor: Executor, plan: Plan) -> None:
        """What an aborted run still does: take back what it has done, if that is wished, or at least be heard again."""
        if self._ledger.will_roll_back:
            await self._roll_back(executor, plan)
        if self._ledger.abort is not None:
            await executor.end_watch()
            await executor.clean_up(plan)

    async def _roll_back(self, executor: Executor, plan: Plan) -> None:
        undo = Undo(run=plan, begun=begun(plan, self._ledger.records, self._request.adopt))
        intent = self._asked.model_copy(
            update={"direction": "roll-back", "as_found": self._drawn_up.as_found, "adopted": None, "undo": undo}
        )
        drawn_up = await executor.draw_up(intent, Facts())
        if isinstance(drawn_up, StepProblem) or drawn_up.plan is None:
            why = drawn_up.text if isinstance(drawn_up, StepProblem) else drawn_up.problem
            self._ledger.notes.append(f"No plan for the roll-back could be made: {why}")
            return
        if not self._ledger.will_roll_back:  # It was cancelled meanwhile, or is to end where it stands after all.
            return
        if self._ledger.abort is None or not self._ledger.abort.roll_back:  # Cancelled meanwhile.
            await executor.end_watch()
            return
        self._back = drawn_up.plan
        self._know_ways_back(drawn_up.plan)
        self._ledger.turn_back(leave_the_rest=workflow.patched(THE_REST_IS_LEFT))
        self._changed()
        await executor.run(drawn_up.plan, digest=drawn_up.plan_digest)

    def _plan_is(self, plan: Plan) -> None:
        self._plan_told = _figures(plan)
        if warning := too_short(self._window_ends, plan, workflow.now()):
            self._ledger.notes.append(warning)
        self._changed()

    async def _judge(self, executor: Executor, facts: Facts) -> tuple[Verdict, ...]:
        """Draw up what the run begins with, the health check's verdicts among it; none, if nobody could."""
        intent = self._asked
        if workflow.patched(PLAN_IN_HISTORY):
            drawn_up = await executor.draw_up(intent, facts)
        else:
            drawn_up = draw_up(executor.situation, intent, facts)
        if isinstance(drawn_up, StepProblem):
            drawn_up = DrawnUp(health=self._drawn_up.health, problem=f"no plan was made. {drawn_up.text}")
        self._drawn_up = drawn_up
        return drawn_up.health

    def _planned(self) -> Plan | None:
        """The plan; None where there is none and the run has ended."""
        plan = self._drawn_up.plan
        if plan is None:
            self._conclude(RunOutcome.FAILED, _why_not_started(self._drawn_up))
            return None
        self._know_ways_back(plan)
        self._ledger.plan(plan.steps)
        self._ledger.adopt(self._drawn_up.already, workflow.now())
        return plan

    def _know_ways_back(self, plan: Plan) -> None:
        found = self._drawn_up.as_found
        if found is not None:
            self._ledger.way_back.know(rollback.ways_back(self._situation, found, plan))

    @property
    def _asked(self) -> Intent:
        return self._intent.model_copy(update={"reference": self.reference, "adopted": self._request.adopt})

    def _aborted(self, *, touched: bool) -> tuple[RunOutcome, str]:
        abort = self._ledger.abort
        assert abort is not None  # noqa: S101 - asked by the callers
        left = "Nothing was rolled back." if touched else "Nothing was touched."
        return RunOutcome.ABORTED, f"Aborted by {abort.by}: {abort.reason.rstrip('.')}. {left}"

    def _rolled_back(self, plan: Plan, by: Abort) -> tuple[RunOutcome, str]:
        wished = f"Aborted by {by.by}: {by.reason.rstrip('.')}."
        if (abort := self._ledger.abort) is not None:
            ended = f"The roll-back was ended by {abort.by}: {abort.reason.rstrip('.')}. It stands where it was then."
            return RunOutcome.ABORTED, f"{wished} {ended}"
        records = [self._ledger.records[step.id] for step in plan.steps]
        left = [r.title for r in records if r.outcome in (None, Outcome.SKIPPED, Outcome.FAILED, Outcome.UNKNOWN)]
        if left:
            return RunOutcome.FAILED, f"{wished} It was rolled back, but not with: {', '.join(left)}."
        return RunOutcome.ROLLED_BACK, f"{wished} Everything is as it was found before the run."

    def _judge_the_run(self, plan: Plan, executor: Executor) -> tuple[RunOutcome, str]:
        if self._back is not None and self._ledger.way_back.turned is not None:
            return self._rolled_back(self._back, self._ledger.way_back.turned)
        if self._ledger.abort is not None:
            return self._aborted(touched=executor.touched(plan))
        records = self._ledger.records.values()
        if any(record.state is not StepState.ENDED for record in records):
            return RunOutcome.FAILED, "Steps were left undone."
        skipped = [record for record in records if record.outcome is Outcome.SKIPPED]
        if skipped:
            return RunOutcome.COMPLETED_WITH_SKIPS, f"Skipped: {', '.join(record.title for record in skipped)}."
        if any(record.outcome in (Outcome.FAILED, Outcome.UNKNOWN) for record in records):
            return RunOutcome.FAILED, "Not every step ended well."
        return RunOutcome.COMPLETED, self._reached

    @property
    def _reached(self) -> str:
        if self.direction == "failback":
            return f"{self._situation.vacated} is back; the cluster runs on both hosts as it was found."
        return f"{self._situation.vacated} is vacated; the cluster runs on the other host alone."

    @property
    def direction(self) -> Direction:
        """Which way the run goes."""
        return self._intent.direction

    @property
    def reference(self) -> str:
        """Names the run in backups, snapshots and silences; what an adopted run has made keeps its name."""
        if self._request.adopt is not None:
            return self._request.adopt.plan.reference
        return f"{self._request.inventory.cluster}-{self._began:%Y%m%dT%H%M%SZ}"

    def _conclude(self, outcome: RunOutcome, reason: str) -> None:
        self._outcome, self._outcome_reason = outcome, reason
        self._ledger.finish()

    async def _end(self) -> RunReport:
        self._ended = workflow.now()
        self._show()
        await self._notifier.finish(self._report())
        self._show()
        return self._report()

    # What it tells

    def _changed(self) -> None:
        self._dirty = True

    async def _keep_showing(self) -> None:
        while True:
            await workflow.wait_condition(lambda: self._dirty)
            self._dirty = False
            self._show()
            self._notifier.look()

    def _show(self) -> None:
        status = self._report() if self._ended else self._status()
        workflow.set_current_details(render(status))
        stage, waiting = phase(status)
        if (stage, waiting) != self._shown:
            self._shown = (stage, waiting)
            workflow.upsert_search_attributes(
                [names.STAGE.value_set(stage), names.WAITING.value_set(waiting)],
            )

    def _status(self) -> Status:
        return Status.model_validate(self._told())

    def _report(self) -> RunReport:
        report = RunReport.model_validate(self._told())
        report = report.model_copy(update={"ways": self._ways(carry_on(report))})
        return report.model_copy(update={"next_steps": next_steps(report)})

    def _ways(self, on_command: str) -> Ways | None:
        """On and back from where an aborted run stands, if it has changed anything."""
        plan, found, records = self._drawn_up.plan, self._drawn_up.as_found, self._ledger.records
        if self._outcome is not RunOutcome.ABORTED or plan is None or found is None:
            return None
        if self._executor is None or not self._executor.touched(plan):
            return None
        over = {r.id for r in records.values() if r.outcome in (*ENDED_WELL, Outcome.SKIPPED)}
        known = begun(plan, records, self._request.adopt)
        undo = Undo(run=plan, begun=known)
        return ways(self._situation, undo, found, over=over, carry_on=on_command, begun=self._back)

    def _told(self) -> dict[str, object]:
        info, request = workflow.info(), self._request
        told: dict[str, object] = {
            "cluster": request.inventory.cluster,
            "direction": self.direction,
            "vacated": self._situation.vacated,
            "surviving": self._situation.surviving,
            "reason": request.reason,
            "requested_by": request.requested_by,
            "reference": self.reference,
            "workflow_id": info.workflow_id,
            "run_id": info.run_id,
            "began": self._began,
            "scheduled": self._scheduled,
            "window_ends": self._window_ends,
            "ended": self._ended,
            "outcome": self._outcome,
            "outcome_reason": self._outcome_reason,
            "inventory_digest": self._inventory_digest,
            "rolled_back_by": turned.by if (turned := self._ledger.way_back.turned) else "",
            "adopted": request.adopt.run_id if request.adopt else "",
            "carry_on": request.after.text if request.after else "",
            "health": self._drawn_up.health,
            "as_found": self._drawn_up.as_found,
            "steps": tuple(self._ledger.records.values()),
            "waits": self._ledger.open_waits,
            "paused": self._ledger.paused,
            "decisions": tuple(self._ledger.decisions),
            "outage": self._executor.outage if self._executor else None,
            "notes": self._notes,
        }
        told |= self._plan_told
        told["stages"] = stage_views(self._plans, self._ledger, ended=self._outcome is not None)
        told["phase"] = ""
        status = Status.model_validate(told)
        stage, waiting = phase(status)
        told["phase"] = stage + (f" – waits for: {waiting}" if status.waits or status.paused else "")
        return told

    @property
    def _plans(self) -> tuple[Plan, ...]:
        """That of the run, and what would take it back."""
        return tuple(plan for plan in (self._drawn_up.plan, self._back) if plan is not None)

    @property
    def _notes(self) -> tuple[str, ...]:
        notes = [*self._ledger.notes, *(self._executor.notes if self._executor else ())]
        if self._ledger.unrecorded:
            notes.append(f"{self._ledger.unrecorded} further signals were answered but not recorded")
        return (*notes, *self._notifier.notes)

    @workflow.query(description="Everything about the run: stages, steps, what waits, who decided what, problems")
    def status(self) -> Status:
        """Complete and typed."""
        return self._status()

    @workflow.query(description="The plan: every step with its predecessors; none before the health check is over")
    def plan(self) -> Plan | None:
        """The plan, or None before it was made."""
        return self._drawn_up.plan

    @workflow.query(description="The plan of the roll-back; none unless the run is rolled back")
    def roll_back_plan(self) -> Plan | None:
        """What takes back what the run has done."""
        return self._back

    @workflow.query(description="The report as it would be now")
    def report(self) -> RunReport:
        """Also before the end."""
        return self._report()

    # What people say

    @workflow.signal(description='Open a gate: {"gate": "…", "seen": "code shown there", "by": "your name"}')
    def approve(self, *values: object) -> None:
        """Open a gate."""
        self._hear("approve", values)

    @workflow.signal(
        description='Do not open a gate, end the run: {"gate": "…", "seen": "code", "by": "you", "comment": "why"}'
    )
    def reject(self, *values: object) -> None:
        """End the run at a gate."""
        self._hear("reject", values)

    @workflow.signal(description='Try a waiting step again: {"step": "…", "by": "your name"}')
    def retry(self, *values: object) -> None:
        """Try again."""
        self._hear("retry", values)

    @workflow.signal(description='Go on without a waiting step: {"step": "…", "by": "your name", "reason": "why"}')
    def skip(self, *values: object) -> None:
        """Go on without."""
        self._hear("skip", values)

    @workflow.signal(
        description='End the run: {"by": "your name", "reason": "why"}; to undo what was done also "roll_back": true'
    )
    def abort(self, *values: object) -> None:
        """End the run."""
        self._hear("abort", values)

    @workflow.signal(description='An operator task was done: {"step": "…", "by": "your name"}')
    def confirm(self, *values: object) -> None:
        """A person did it."""
        self._hear("confirm", values)

    @workflow.signal(description='Begin no further step; what runs ends: {"by": "your name", "reason": "why"}')
    def pause(self, *values: object) -> None:
        """Begin nothing new."""
        self._hear("pause", values)

    @workflow.signal(description='Go on after a pause: {"by": "your name"}')
    def resume(self, *values: object) -> None:
        """Go on."""
        self._hear("resume", values)

    @workflow.signal(
        description='Wait longer for sessions to end: {"step": "…", "minutes": 30, "by": "your name", "reason": "why"}'
    )
    def extend(self, *values: object) -> None:
        """Wait longer."""
        self._hear("extend", values)

    @workflow.signal(dynamic=True)
    def unknown_signal(self, name: str, values: Sequence[RawValue]) -> None:
        """A signal with a name nobody knows is recorded and answered, not lost."""
        self._hear(name, [_decoded(value) for value in values])

    def _hear(self, signal: str, values: Sequence[object]) -> None:
        # One value each; the Web UI sends none at all for an empty input.
        said = values[0] if len(values) == 1 else list(values) or None
        self._ledger.hear(signal, said, workflow.now())
        self._changed()

    @workflow.update(name=names.DECIDE_UPDATE, description="The same wishes from the command line, answered at once")
    async def decide(self, wish: Decide) -> Answer:
        """Apply a wish and answer it; a signed one when its signature was verified."""
        answer = self._ledger.hear(wish.signal, wish.payload, workflow.now())
        self._changed()
        check = self._ledger.gates.check_behind(answer)
        if check is None:
            return answer
        await workflow.wait_condition(lambda: check.answer is not None)
        return check.answer or answer


def _figures(plan: Plan) -> dict[str, object]:
    path = timing.critical_path(plan)
    longest = sorted(map(plan.step, path.steps), key=lambda step: step.expected, reverse=True)[:LONGEST_STEPS]
    return {
        "plan_digest": plan.digest,
        "expected": timing.expected_duration(plan),
        "expected_outage": timing.expected_outage(plan),
        "critical_path": path.duration,
        "longest_steps": tuple(f"{step.title} ({step.expected.total_seconds():.0f} s)" for step in longest),
    }


def _why_not_started(drawn_up: DrawnUp) -> str:
    if drawn_up.problem:
        return f"Not started: {drawn_up.problem.rstrip('.')}. Nothing was touched."
    bad = sum(not verdict.allows for verdict in drawn_up.health)
    return f"Not started, since the health check found {_things(bad)} not well. Nothing was touched."


def _things(count: int) -> str:
    return "1 thing that is" if count == 1 else f"{count} things that are"


def _decoded(value: RawValue) -> object:
    """What was sent, whatever it was; never an error."""
    return value.payload.data.decode("utf-8", "replace")


assert set(SIGNAL_MODELS) == set(names.SIGNALS)  # noqa: S101 - each signal has its model
