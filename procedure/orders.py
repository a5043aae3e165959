"""Orders: what a run hands to a worker, and what it gets back. The one language both sides import."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from inventory.models import Timings
from procedure.commands import AnyCommand
from procedure.drawing_up import Intent
from procedure.facts import Facts, Observation
from procedure.material import Statement
from procedure.notices import Notice
from procedure.subjects import Subject
from procedure.values import Value

OBSERVE: Final = "observe"
"""Name of the activity that observes subjects and changes nothing: `ObserveOrder` in, `Observed` out."""
WATCH_OUTAGE: Final = "watch_outage"
"""Name of the activity that measures the outage until it is cancelled: `OutageOrder` in, `Outage` out.

Cancel it with `ActivityCancellationType.WAIT_CANCELLATION_COMPLETED`: it returns its measurements then."""

DRAW_UP: Final = "draw_up_plan"
"""Name of the activity that judges the health check and makes the plan: `DrawUpOrder` in, `DrawnUp` out."""
NOTIFY: Final = "notify"
"""Name of the activity that tells one target of one notice: `NotifyOrder` in, what the target answered out."""

SEE_FACTS: Final = "see_facts"
"""Name of the activity that looks at what a gate watches and tells what matters: `SeeOrder` in, `Seen` out."""

TRANSIENT: Final = "transient"
"""Type of the one activity failure that is retried. All other types are a `StepProblem.kind` and are not."""


class RunOrder(Value):
    """What every order says: which inventory it was made from."""

    inventory_digest: str
    """Of the inventory the plan was made from; a worker with another one refuses the order."""
    cluster: str


class StepOrder(RunOrder):
    """Carry out one command. The activity has the name of the command's `kind` and answers with a `StepReport`."""

    step_id: str
    stage: int
    stage_title: str = ""
    command: AnyCommand
    vacated: str
    """Name of the VM-Host that goes down."""
    verify_only: bool = False
    """Only wait for the wanted state and never act, for example after a person confirmed an operator task."""
    patience: timedelta | None = None
    """How long to wait for the wanted state before reporting *not yet*; None: until the command's own deadline, which
    is a failure. Only for commands that are carried out in slices."""
    attempts: int | None = None
    """How often the run tries at most; on the last attempt a lost connection is *unknown*. None: the activity's
    own retry policy says it."""


class ObserveOrder(RunOrder):
    """Observe subjects, all at the same time."""

    step_id: str
    subjects: tuple[Subject, ...]


class Observed(Value):
    """What was observed, one observation for each subject, in the order of the subjects."""

    observations: tuple[Observation, ...] = ()
    asked: int | None = None
    """For how many subjects: of one that is missing nothing is known. None: a worker that did not say."""

    @property
    def complete(self) -> bool:
        """Whether something was seen of each subject, as far as can be told."""
        return len(self.observations) == self.asked if self.asked is not None else bool(self.observations)


class DrawUpOrder(RunOrder):
    """Judge facts and make a plan from them. Nothing is looked at and nothing is touched."""

    vacated: str
    """Name of the VM-Host that goes down, or comes back."""
    intent: Intent
    facts: Facts


class SeeOrder(RunOrder):
    """Look at what a gate watches, all at the same time. Nothing is touched."""

    step_id: str
    vacated: str
    """Name of the VM-Host that goes down, or comes back."""
    subjects: tuple[Subject, ...]


class Seen(Value):
    """What matters of it, in words that stay in the history of the run."""

    statements: tuple[Statement, ...] = ()


class OutageOrder(RunOrder):
    """Measure the outage by the inventory's probes until cancelled."""

    interval: timedelta = Timings().probe
    """Between two measurements."""
    so_far: dict[str, JsonValue] | None = None
    """What a worker had measured that died, as its last heartbeat told; the activity's own, to be handed back. Empty:
    there was one, and what it had measured is lost."""


class NotifyOrder(Value):
    """Tell one target, so that each is tried again on its own.

    Without the inventory's digest: a worker with another inventory refuses the steps of the run, and that a person is
    needed then must be told all the same.
    """

    cluster: str
    target: str
    """Its name in the inventory. Addresses and secrets stay with the worker."""
    notice: Notice
