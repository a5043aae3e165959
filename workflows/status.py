"""What a run tells about itself: status and report, complete and typed."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from procedure.as_found import AsFound
from procedure.facts import SessionCount
from procedure.material import Statement, summary
from procedure.plan import Direction
from procedure.reports import Outage, Outcome, RunOutcome, StepProblem, StepReport
from procedure.verdicts import Verdict
from workflows import names


class Told(BaseModel):
    """Base of what is told. Fields of another version are ignored."""

    model_config = ConfigDict(extra="ignore")


class StepState(StrEnum):
    """Where a step is."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting for the operator"
    ENDED = "ended"
    NOT_STARTED = "not started"
    """The run ended before."""


class Progress(Told):
    """How far a step is that waits for sessions to end."""

    sessions: tuple[SessionCount, ...] = ()
    """Those that were left when they were last looked at."""
    at: datetime
    deadline: datetime | None = None
    """Until when they are waited for; None: the step waits for a person, or the run is paused."""
    expected_end: datetime | None = None
    """At the observed pace; None: they do not become fewer, or too little was seen."""

    @property
    def total(self) -> int:
        """All that are left."""
        return sum(count.count for count in self.sessions)


class StepRecord(Told):
    """A step of the run: where it is, what came of it, and the evidence."""

    id: str
    stage: int
    title: str
    target: str = ""
    kind: str = ""
    state: StepState = StepState.PENDING
    outcome: Outcome | None = None
    reason: str = ""
    """Why it was skipped, or what a person confirmed."""
    decided_by: str = ""
    undo: tuple[str, ...] = ()
    """What would take it back, in order; written down before it acts."""
    attempts: int = 0
    """Times it was handed to a worker by this run (retries by the operator count)."""
    began: datetime | None = None
    ended: datetime | None = None
    problem: StepProblem | None = None
    """What stopped it, while it waits; the last one, when it was skipped."""
    report: StepReport | None = None
    progress: Progress | None = None
    """While it waits for sessions to end."""

    @property
    def is_over(self) -> bool:
        """Whether those that follow it may start."""
        return self.state is StepState.ENDED

    @property
    def duration(self) -> timedelta | None:
        """From its first start to its end."""
        return self.ended - self.began if self.began and self.ended else None


class Paused(Told):
    """A pause: what runs ends, nothing new begins."""

    by: str
    reason: str
    since: datetime


class Hint(Told):
    """A signal that would be understood now, with the JSON to paste."""

    signal: str
    payload: dict[str, str | bool | int]
    meaning: str = ""
    command: str = ""
    """To be typed instead, where JSON alone would not be accepted."""


class Rules(Told):
    """What approvals at a gate must be."""

    needed: int = 1
    """Of different people."""
    approvers: tuple[str, ...] = ()
    """Who may decide; empty: anybody."""
    barred: str = ""
    """Who requested the run and may not approve it; empty: nobody is barred for that."""
    valid_for: timedelta | None = None
    """How long an approval waits for another one."""
    can_be_signed: bool = False
    command: str = ""
    """What to type where only signed approvals count; empty: others do, too."""


class Given(Told):
    """An approval that counts."""

    by: str
    at: datetime
    until: datetime | None = None
    """It waits for another one so long; None: it needs no other."""
    comment: str = ""
    key: str = ""
    """Fingerprint of the key that signed it; empty: it is not signed, so the name is a claim."""


class Bound(Told):
    """What an approval at a gate is bound to; the code that is shown there is made of it."""

    plan: str
    """Digest of the plan."""
    statements: tuple[Statement, ...] = ()

    @property
    def facts(self) -> tuple[str, ...]:
        """In words for people."""
        return summary(self.statements)


class Wait(Told):
    """Something that waits for a person."""

    kind: Literal["gate", "problem", "operator task"]
    step: str
    title: str
    text: str
    vouched: tuple[str, ...] = ()
    """What the approver vouches for, at a gate."""
    checklist: tuple[str, ...] = ()
    """What the approver has tried before saying yes, at a gate."""
    gate: str = ""
    code: str = ""
    bound: Bound | None = None
    """None: in a run of an earlier version, whose codes are numbers by chance."""
    changes: tuple[str, ...] = ()
    """Why the approvals there were are void, at a gate that is shown again."""
    rules: Rules = Rules()
    approvals: tuple[Given, ...] = ()
    ends_run: bool = True
    """Whether a rejection ends the run, at a gate."""
    can_roll_back: bool = False
    """Whether an abort may take back what was done."""
    since: datetime
    deadline: datetime | None = None
    left: timedelta | None = None
    """Until the deadline, while the run is paused: it goes on to count when the run is resumed."""
    overdue: bool = False
    """Its deadline has passed. It is still waiting: a gate never opens by itself."""
    can_force: bool = False
    can_extend: bool = False
    """Whether it may be told to wait for longer."""
    hints: tuple[Hint, ...] = ()


class DecisionRecord(Told):
    """Everything anyone said to the run, accepted or not."""

    at: datetime
    signal: str
    by: str = ""
    about: str = ""
    accepted: bool
    answer: str
    said: str = ""
    """What was said, shortened, if it was not understood or not accepted."""


class StageView(Told):
    """A stage as a person reads it."""

    number: int
    label: str
    title: str
    note: str = ""
    state: Literal["pending", "running", "waiting", "ended", "not started", "not needed"] = "pending"
    """`not needed`: there is nothing to do in it, as the notes of the plan say."""
    done: int = 0
    total: int = 0
    began: datetime | None = None
    ended: datetime | None = None


class RunView(Told):
    """A run that a maintenance has begun, in a few of the words of its report."""

    direction: Literal["failover", "failback"]
    vacated: str
    """VM-Host that goes, or comes back."""
    workflow_id: str
    run_id: str
    reference: str = ""
    began: datetime
    ended: datetime | None = None
    outcome: RunOutcome | None = None
    outcome_reason: str = ""
    outage: Outage | None = None
    as_found: AsFound | None = None

    @property
    def name(self) -> str:
        """For example "the failover of vm-host-1"."""
        return f"the {self.direction} of {self.vacated}"

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.ended is not None


class Status(Told):
    """The whole state of a run."""

    cluster: str
    direction: Direction = "failover"
    vacated: str
    surviving: str
    reason: str = ""
    requested_by: str = ""
    reference: str = ""
    """Names the run in backups, snapshots and silences."""
    rolled_back_by: str = ""
    """Who has it rolled back; from then on its steps are those of the roll-back."""
    adopted: str = ""
    """The run that this one carries on."""
    carry_on: str = ""
    """A run that ended in the middle before this one, and what to type to carry it on."""
    workflow_id: str = ""
    run_id: str = ""
    phase: str = ""
    """In one line: where it is."""
    began: datetime
    scheduled: datetime | None = None
    """When it begins; None: it has begun."""
    window_ends: datetime | None = None
    """After it nothing more is changed until people have agreed."""
    ended: datetime | None = None
    outcome: RunOutcome | None = None
    outcome_reason: str = ""
    inventory_digest: str = ""
    plan_digest: str = ""
    expected: timedelta | None = None
    expected_outage: timedelta | None = None
    critical_path: timedelta | None = None
    longest_steps: tuple[str, ...] = ()
    """The longest ones of those that decide how long the run takes, each with its usual time."""
    stages: tuple[StageView, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    waits: tuple[Wait, ...] = ()
    paused: Paused | None = None
    decisions: tuple[DecisionRecord, ...] = ()
    health: tuple[Verdict, ...] = ()
    outage: Outage | None = None
    as_found: AsFound | None = None
    runs: tuple[RunView, ...] = ()
    """Of a maintenance, in the order in which they began."""
    notes: tuple[str, ...] = ()
    """What a person should know: a silence that could not be extended, for example."""

    @property
    def address(self) -> str:
        """What stands behind `--cluster` in commands about it."""
        return names.address(self.cluster, maintenance=self.direction == "maintenance")

    @property
    def intention(self) -> str:
        """What becomes of the VM-Host, in words."""
        if self.direction != "maintenance":
            return f"{self.vacated} {'returns' if self.direction == 'failback' else 'is vacated'}"
        follows = any(step.kind == "child_run" and step.target == self.surviving for step in self.steps)
        return f"{self.vacated} is vacated and returns" + (f", then {self.surviving}" if follows else "")


class Ways(Told):
    """From where an aborted run stands: how to go on, and how to go back. For people, in order."""

    on_command: str = ""
    """Carries the run on by itself."""
    on: tuple[str, ...] = ()
    """What remains, each step with its commands."""
    back: tuple[str, ...] = ()
    """What would undo all that was done, each step with its commands."""


class RunReport(Status):
    """The result of a run: its last status, with what remains to be done."""

    next_steps: tuple[str, ...] = ()
    ways: Ways | None = None
    """After an abort of a run that has changed something."""


class HealthReport(Told):
    """Result of a health check alone."""

    cluster: str
    direction: Direction = "failover"
    """Of the run that could begin now."""
    began: datetime
    ended: datetime
    vacated: str
    healthy: bool
    verdicts: tuple[Verdict, ...]
