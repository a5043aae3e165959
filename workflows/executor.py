"""Runs a plan durably: each step as soon as its own predecessors are over, each problem in front of the operator.

The executor knows no command by name. It hands a step to a worker, believes its report, and where there is none asks
the operator: retry, skip, abort.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from inventory.approval import GateName
    from procedure.commands.base import Command
    from procedure.drawing_up import DrawnUp, Intent, first_gate
    from procedure.facts import Facts
    from procedure.material import Statement
    from procedure.plan import ChildRun, Gate, OperatorTask, Plan, Step, Upkeep
    from procedure.reports import Outage, Outcome, StepProblem, StepReport
    from procedure.situation import Situation
    from procedure.verdicts import Verdict
    from workflows.book import Resolution
    from workflows.draining import overdue
    from workflows.gates import Fresh, GateKeeper
    from workflows.health_rounds import HealthRounds, Judge
    from workflows.ledger import Ledger
    from workflows.messages import Confirm, Extend, Retry, Skip
    from workflows.outage_watch import OutageWatch
    from workflows.status import StepState
    from workflows.window import Window, question
    from workflows.workers import Workers

BeginRun = Callable[[ChildRun], Awaitable[StepReport | StepProblem]]
A_BLIND_WAIT_IS_TOLD = "a-blind-wait-is-told"
"""Patch: runs recorded before it waited until the deadline, also where nobody answered, and gave more time to that."""


@dataclass(frozen=True)
class Attempt:
    """What is tried for a step."""

    command: Command
    longest: timedelta | None = None
    """Of a wait in slices; None: as long as usual."""


@dataclass
class Executor:
    """Carries out one plan."""

    situation: Situation
    ledger: Ledger
    inventory_digest: str
    changed: Callable[[], None]
    """Called whenever something that people see has changed."""
    notes: list[str] = field(default_factory=list)
    window: Window = field(default_factory=Window)
    """After its end people are asked before anything else is changed."""
    begin_run: BeginRun | None = None
    """Begins a run of its own and waits for it; None: the plan has none."""
    _plan: Plan | None = None
    _held: list[str] = field(default_factory=list)
    """Steps that don't begin yet, since an upkeep that they end is at work."""
    _steps_are_over: bool = False
    _cleaning_up: bool = False
    _workers: Workers = field(init=False)
    _watch: OutageWatch = field(init=False)
    _gates: GateKeeper = field(init=False)

    def __post_init__(self) -> None:
        self._workers = Workers(
            self.situation,
            self.inventory_digest,
            aborted=lambda: self._aborted,
            gives_up=lambda: self._gives_up,
        )
        self._watch = OutageWatch(self.situation.inventory, self.inventory_digest, self.notes)
        self._gates = GateKeeper(self.ledger, self.changed, self._workers)

    @property
    def outage(self) -> Outage | None:
        """As measured; None: not yet."""
        return self._watch.outage

    # Health check

    async def check_health(self, rounds: tuple[Step, ...], judge: Judge) -> tuple[Verdict, ...]:
        """Observe and judge; see `HealthRounds`."""
        health = HealthRounds(self.ledger, self._workers, self.notes, changed=self.changed, resumed=self._resumed)
        return await health.check(rounds, judge)

    # The plan

    async def draw_up(self, intent: Intent, facts: Facts) -> DrawnUp | StepProblem:
        """Have the facts judged and the plan made."""
        return await self._workers.draw_up(intent, facts, self._workers.next_id(f"draw-up-the-{intent.direction}"))

    async def run(self, plan: Plan, *, digest: str = "", seen: tuple[Statement, ...] = ()) -> None:
        """Run a plan to its end, or to the end of an abort.

        Args:
            plan: what to do.
            digest: of the plan, as it was when it was drawn up; empty: it is made anew.
            seen: just before, of what its first gate watches.
        """
        self._plan = plan
        self._steps_are_over = False
        gate = first_gate(plan)
        fresh = Fresh(gate.watches, seen, workflow.now()) if gate and seen else None
        self._gates.begin(digest or plan.digest, fresh)
        self.ledger.plan(plan.steps)
        upkeep = [asyncio.create_task(self._keep_up(each)) for each in plan.upkeep]
        interrupting = asyncio.create_task(self._workers.interrupt_when_aborted(self.changed))
        try:
            await asyncio.gather(*(self._follow(step, plan) for step in plan.steps))
        finally:
            interrupting.cancel()
            self._steps_are_over = True
        # An upkeep at work is waited for: it must not silence again what is lifted now.
        await asyncio.gather(*upkeep)
        if not self.ledger.will_roll_back:  # Else the outage lasts until the roll-back has ended it.
            await self.end_watch()

    def touched(self, plan: Plan) -> bool:
        """Whether anything that changes a system was begun."""
        return any(self.ledger.records[step.id].began is not None for step in plan.steps if step.mutates)

    async def clean_up(self, plan: Plan) -> None:
        """What an aborted run still owes: nothing stays silenced that is not off on purpose."""
        self._cleaning_up = True
        self.ledger.plan(plan.on_abort)
        await asyncio.gather(*(self._clean_up(step) for step in plan.on_abort))

    async def _clean_up(self, step: Step) -> None:
        over = self.ledger.is_over
        await workflow.wait_condition(lambda: all(over(before) for before in step.after))
        await self._perform(step)
        self.changed()

    async def _follow(self, step: Step, plan: Plan) -> None:
        await self._turn_of(step)
        if self._aborted or self.ledger.is_over(step.id):
            return
        if step.mutates and step.stage >= plan.outage_from:
            self._watch.begin()
        await self._perform(step)
        self.changed()
        if step.stage == plan.outage_until and self._is_complete(plan, step.stage):
            await self.end_watch()

    async def _turn_of(self, step: Step) -> None:
        """Until it may begin, or the run is aborted."""
        # Again and again, since meanwhile a pause may have begun, or an upkeep that ends with this step.
        while not self._aborted:
            if not self._is_due(step):
                await workflow.wait_condition(lambda: self._is_due(step) or self._aborted)
            elif step.mutates and self._window_is_over and not self.ledger.is_over(step.id):
                await self._ask_to_go_on(step.stage)
            else:
                return

    def _is_due(self, step: Step) -> bool:
        # A gate may open while the run is paused: people decide meanwhile, and what follows waits.
        if self.ledger.paused and not isinstance(step.action, Gate):
            return False
        return step.id not in self._held and all(self.ledger.is_over(before) for before in step.after)

    async def _perform(self, step: Step) -> None:
        if isinstance(step.action, Gate):
            await self._gates.keep(step, step.action)
        elif isinstance(step.action, OperatorTask):
            await self._ask_operator(step, step.action)
        elif isinstance(step.action, ChildRun):
            await self._see_through(step, step.action)
        elif isinstance(step.action, Command):
            await self._carry_out(step, step.action)

    # Commands

    async def _carry_out(self, step: Step, wanted: Command) -> None:
        attempt: Attempt | None = Attempt(wanted)
        while attempt is not None:
            self.ledger.begin(step.id, workflow.now())
            self.changed()
            result = await (
                self._wait_in_slices(attempt, step)
                if attempt.command.in_slices
                else self._workers.order(attempt.command, step, self._workers.next_id(step.id))
            )
            if isinstance(result, StepReport):
                self.ledger.end(step.id, result.outcome, workflow.now(), result)
                return
            attempt = await self._what_next(step, wanted, result)
            if attempt is not None and not await self._may_go_on(attempt.command, step):
                return

    async def _may_go_on(self, command: Command, step: Step) -> bool:
        """Wait where the run is paused or its window is over; False: it was aborted instead."""
        # Again and again: the window may end while the run is paused, and a pause may begin while people are asked.
        while (is_over := command.mutates and self._window_is_over) or self.ledger.paused:
            await (self._ask_to_go_on(step.stage) if is_over else self._resumed())
        if self._gives_up:
            self.ledger.leave(step.id, workflow.now())
        return not self._gives_up

    async def _what_next(self, step: Step, wanted: Command, problem: StepProblem) -> Attempt | None:
        """What is tried next, as people decide; None: nothing, the step is over."""
        forced = wanted.forced()
        while True:
            can_force, can_extend = forced is not None, self._can_extend(wanted, problem)
            answer = await self._ask_about(step, problem, can_force=can_force, can_extend=can_extend)
            if answer is None or isinstance(answer, Skip):
                return None
            if isinstance(answer, Extend):
                return Attempt(wanted, timedelta(minutes=answer.minutes))
            # By force only as often as the operator says so.
            if forced is None or not answer.force:
                return Attempt(wanted)
            if forced.approval is None or await self._is_approved(step, forced, forced.approval, problem):
                return Attempt(forced)
            if self._gives_up:
                self.ledger.leave(step.id, workflow.now())
                return None

    def _can_extend(self, wanted: Command, problem: StepProblem) -> bool:
        """Whether more time would help: not where nobody can tell what is waited for."""
        ran_out = problem.kind != "unknown"
        return wanted.in_slices and (ran_out or not workflow.patched(A_BLIND_WAIT_IS_TOLD))

    async def _is_approved(self, step: Step, forced: Command, name: GateName, problem: StepProblem) -> bool:
        """Ask at a gate of its own. Who rejects it is asked again what to do about the problem."""
        deadline = self.situation.inventory.approval.at(name).deadline
        gate = Gate(name=name, question=forced.question(problem.seen), deadline=deadline)
        asked = self.ledger.add(f"{step.id}-gate-{name.replace('_', '-')}", step.stage, f"{forced.title}?", gate)
        return await self._gates.keep(asked, gate, ends_run=False) and not self._gives_up

    async def _wait_in_slices(self, attempt: Attempt, step: Step) -> StepReport | StepProblem:
        """Have a state waited for, a little at a time, until it is there or the deadline passes.

        A history recorded before there were slices needs no patch: the first activity is the same, and another one
        follows only a report that says *not yet*, which no worker gave then.
        """
        command = attempt.command
        longest = attempt.longest or command.deadline(self.situation.inventory)
        drain = self.ledger.drains.begin(self.ledger.records[step.id], longest, workflow.now())
        try:
            while True:
                patience = drain.next_slice(workflow.now())
                result = await self._workers.order(command, step, self._workers.next_id(step.id), patience=patience)
                if not isinstance(result, StepReport) or result.outcome is not Outcome.NOT_YET:
                    return result
                drain.take(result)
                self.changed()
                await self._resumed()
                blind = drain.is_blind(self.situation.inventory.timings.command)
                if drain.is_late(workflow.now()) or (blind and workflow.patched(A_BLIND_WAIT_IS_TOLD)):
                    return overdue(result, command)
        finally:
            self.ledger.drains.stop(step.id)

    async def _ask_about(
        self, step: Step, problem: StepProblem, *, can_force: bool = False, can_extend: bool = False
    ) -> Retry | Skip | Extend | None:
        """Wait for the operator's word about a problem; None: the run is aborted, nobody is asked."""
        if self._gives_up:
            self.ledger.leave(step.id, workflow.now(), problem)
            return None
        self.ledger.wait_with_problem(step, problem, can_force, workflow.now(), can_extend=can_extend)
        answer = await self._word_about(step)
        if isinstance(answer, Skip):
            self._skip(step, answer)
            return answer
        if answer is None or self._gives_up:  # A retry that came just before the abort is not begun any more.
            self.ledger.leave(step.id, workflow.now())
            return None
        assert isinstance(answer, Retry | Extend)  # noqa: S101 - the ledger accepts nothing else for a problem
        self.ledger.records[step.id].decided_by = answer.by
        return answer

    async def _word_about(self, step: Step) -> Resolution | None:
        """What a person decided about a step that waits; None: the run is aborted instead."""
        self.changed()
        await workflow.wait_condition(
            lambda: (self.ledger.resolved(step.id) and not self.ledger.paused) or self._gives_up
        )
        return self.ledger.take(step.id) if self.ledger.resolved(step.id) else None

    def _skip(self, step: Step, answer: Skip) -> None:
        record = self.ledger.records[step.id]
        record.reason, record.decided_by = answer.reason, answer.by
        self.ledger.end(step.id, Outcome.SKIPPED, workflow.now())

    # After the window

    @property
    def _window_is_over(self) -> bool:
        # Whoever aborts is in no window: what is owed then is done at once, and what was done is taken back.
        ends = self._aborted or self.ledger.way_back.turned is not None
        return not ends and self.window.is_over(workflow.now())

    async def _ask_to_go_on(self, stage: int) -> None:
        """Ask once, at a gate that stands where the run has come to; whoever comes later waits for the same answer."""
        if self.window.asked:
            await workflow.wait_condition(lambda: not self._window_is_over)
            return
        assert self.window.ends is not None  # noqa: S101 - else it would not be over
        assert self._plan is not None  # noqa: S101 - it is carried out
        self.window.asked = True
        asks = question(self.window.ends, self._plan, self.ledger.records)
        deadline = self.situation.inventory.approval.after_window.deadline
        gate = Gate(name="after_window", question=asks, deadline=deadline)
        title = "Go on after the end of the window?"
        self.window.unlimited = await self._gates.keep(
            self.ledger.add(f"{stage}-gate-after-window", stage, title, gate), gate
        )

    # Runs of their own

    async def _see_through(self, step: Step, child: ChildRun) -> None:
        """A run that does not end well is a problem of its step, like a command that does not."""
        assert self.begin_run is not None  # noqa: S101 - who draws up such a plan can begin its runs
        answer: Retry | Skip | Extend | None = None
        while answer is None or isinstance(answer, Retry):
            self.ledger.begin(step.id, workflow.now())
            self.changed()
            result = await self.begin_run(child)
            if isinstance(result, StepReport):
                self.ledger.end(step.id, result.outcome, workflow.now(), result)
                return
            answer = await self._ask_about(step, result, can_force=False)
            if answer is None:
                return

    # People

    async def _ask_operator(self, step: Step, task: OperatorTask) -> None:
        while not self._gives_up:
            self.ledger.wait_for_task(step, task, workflow.now())
            answer = await self._word_about(step)
            if isinstance(answer, Skip):
                self._skip(step, answer)
            if not isinstance(answer, Confirm) or await self._is_so(step, task, answer):
                return

    async def _is_so(self, step: Step, task: OperatorTask, answer: Confirm) -> bool:
        """Look whether what was confirmed can be seen. Without a check the person's word is all there is.

        Returns:
            Whether the step is over; if not, the person is asked again to do it.
        """
        record = self.ledger.begin(step.id, workflow.now())
        record.reason, record.decided_by = answer.comment or "confirmed", answer.by
        self.changed()
        name = f"{step.id}.check" if record.attempts == 1 else f"{step.id}.check.{record.attempts}"
        seen = await self._workers.order(task.check, step, name, verify_only=True) if task.check else None
        if isinstance(seen, StepProblem):
            decision = await self._ask_about(step, seen)
            return not isinstance(decision, Retry)
        self.ledger.end(step.id, Outcome.DONE, workflow.now(), seen)
        return True

    # In the background

    async def _keep_up(self, upkeep: Upkeep) -> None:
        over = self.ledger.is_over
        if all(over(step) for step in upkeep.after):
            # The run goes on where another one left off, and when that one did it last nobody here knows.
            await self._keep_up_once(upkeep)
        await workflow.wait_condition(lambda: self._is_at_end(upkeep) or all(over(step) for step in upkeep.after))
        while not self._is_at_end(upkeep):
            try:
                await workflow.wait_condition(
                    lambda: self._is_at_end(upkeep),
                    timeout=upkeep.every,
                    timeout_summary=f"Until the next: {upkeep.command.title}",
                )
            except TimeoutError:
                await self._keep_up_once(upkeep)

    def _is_at_end(self, upkeep: Upkeep) -> bool:
        """Whether an upkeep is needed no longer: from the moment on at which a step begins that ends it."""
        begun = any(self.ledger.records[step].state is not StepState.PENDING for step in upkeep.until)
        return begun or self._steps_are_over or self._aborted

    async def _keep_up_once(self, upkeep: Upkeep) -> None:
        if self._is_at_end(upkeep):
            return
        step = Step(id=f"upkeep-{upkeep.command.kind}".replace("_", "-"), stage=0, title="", action=upkeep.command)
        self._held += upkeep.until
        try:
            result = await self._workers.order(upkeep.command, step, f"{step.id}.{workflow.uuid4().hex[:4]}")
        finally:
            for held in upkeep.until:
                self._held.remove(held)
        if isinstance(result, StepProblem):
            self.notes.append(f"{workflow.now():%H:%M:%S} {upkeep.command.title}: {result.text}")
            self.changed()

    async def end_watch(self) -> None:
        """Nobody is out of service any more, or nobody will see to it: the measuring of the outage ends."""
        if await self._watch.end():
            self.changed()

    def _is_complete(self, plan: Plan, stage: int) -> bool:
        """Whether all of a stage is over but its gates."""
        return all(self.ledger.is_over(step.id) for step in plan.steps_of(stage) if not isinstance(step.action, Gate))

    async def _resumed(self) -> None:
        """Wait while the run is paused; an abort ends a pause too."""
        while self.ledger.paused:
            await workflow.wait_condition(lambda: not self.ledger.paused)

    # Small things

    @property
    def is_idle(self) -> bool:
        """Whether nothing is kept up at this moment."""
        return not self._held

    @property
    def _aborted(self) -> bool:
        return self.ledger.abort is not None

    @property
    def _gives_up(self) -> bool:
        """Whether nobody is asked any more. What an aborted run still owes is asked about, though."""
        return self._aborted and not self._cleaning_up
