"""What is said to a run: its request, and the operator's signals. One JSON value each."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from inventory.models import Inventory
from procedure.adopting import Adopted
from procedure.as_found import AsFound
from procedure.signing import LONGEST_SIGNATURE
from workflows.so_far import SoFar

By = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]

Moment = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
"""With a zone, since a run may be started in one and worked on in another."""

LONGEST_EXTENSION = 480
"""Minutes. Whoever waits for a whole shift should decide again."""


class Message(BaseModel):
    """Base of all messages: unknown fields are refused, so that a typing error does not pass as a wish."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FormerRun(Message):
    """A run that ended without its clean-up, as the server knows it."""

    workflow_id: str
    run_id: str
    ended_as: str
    """Terminated, timed out, …"""
    command: str
    """What to type to carry it on."""

    @property
    def text(self) -> str:
        """For a person."""
        return (
            f"Run {self.run_id} of this cluster has not ended by itself: it was {self.ended_as}. If what is not well "
            f"is what that run left behind, carry it on: {self.command}"
        )


class RunRequest(Message):
    """What the start of every run says."""

    inventory: Inventory
    reason: Text = ""
    requested_by: Text = ""
    start_at: Moment | None = None
    """When it begins; until then it waits, and the cluster can have no other run. None, or past: at once."""
    window_ends: Moment | None = None
    """After it nothing more is changed until people have agreed; None: there is no such limit."""

    adopt: Adopted | None = None
    """A run of this cluster that ended in the middle, which this one carries on."""
    after: FormerRun | None = None
    """A run of this cluster that ended in the middle just before, and is not carried on."""

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> RunRequest:
        if self.start_at and self.window_ends and self.window_ends <= self.start_at:
            raise ValueError("the window ends before the run starts (window_ends is not later than start_at)")
        return self

    @property
    @abstractmethod
    def host(self) -> str:
        """The VM-Host it is about."""


class FailoverRequest(RunRequest):
    """Start of a controlled failover."""

    vacate: str
    """VM-Host that is to be taken down."""

    @property
    def host(self) -> str:
        """The VM-Host that goes."""
        return self.vacate


class Restored(Message):
    """Which failover a failback undoes, as the failover's report tells it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    workflow_id: str
    run_id: str
    reference: str
    """Names that run in backups, snapshots and silences."""
    as_found: AsFound
    """The state before it, which is restored."""


class FailbackRequest(RunRequest):
    """Start of a controlled failback."""

    returning: str
    """VM-Host that comes back."""
    of: Restored | None = None
    """None: the normal state of the inventory is restored."""

    @property
    def host(self) -> str:
        """The VM-Host that comes back."""
        return self.returning


class MaintenanceRequest(RunRequest):
    """Start of a whole maintenance."""

    vacate: str
    """VM-Host that is to be taken down and brought back."""
    both: bool = False
    """The other one afterwards, too."""
    so_far: SoFar | None = None
    """Of the maintenance that goes on with this request; None: it begins."""

    @property
    def host(self) -> str:
        """The VM-Host that is first."""
        return self.vacate


class HealthRequest(Message):
    """Start of a health check alone."""

    inventory: Inventory
    vacate: str | None = None
    """Judge as if this VM-Host were to be vacated; None: the one that is active."""
    returning: str | None = None
    """Judge as if this VM-Host, which was vacated, were to come back, instead."""


class Approve(Message):
    """Open a gate."""

    gate: str
    """Name of the gate."""
    seen: str
    """The code shown at the gate: it proves that this very gate was seen."""
    by: By
    comment: Text = ""
    signature: Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_SIGNATURE)] = ""
    """SSH signature of what is approved, as `python -m starters.approve --sign` makes it; empty: none."""


class Reject(Message):
    """Do not open a gate: the run ends here as aborted; at `end_sessions` nobody is cut off, and that is all."""

    gate: str
    seen: str
    by: By
    comment: Reason


class Retry(Message):
    """Try a step again that waits for the operator."""

    step: str
    by: By
    force: bool = False
    """Use the step's way by force, if it has one (cut the power of a machine that does not shut down)."""
    reason: Text = ""


class Skip(Message):
    """Go on without a step that waits for the operator. The run can then only end as completed with skips."""

    step: str
    by: By
    reason: Reason


class Abort(Message):
    """End the run where it stands, or have it roll back what it has done."""

    by: By
    reason: Reason
    roll_back: bool = False
    """Take back what was done, after a gate of its own; possible until machines are switched off or on."""


CANCELLED = Abort(by="Temporal", reason="the workflow was cancelled")
"""What a cancellation from Temporal's side means for a run."""


class Confirm(Message):
    """An operator task was done."""

    step: str
    by: By
    comment: Text = ""


class Pause(Message):
    """Begin nothing new. What runs ends by itself; silences go on being extended, deadlines wait."""

    by: By
    reason: Reason


class Resume(Message):
    """Go on after a pause. What was decided meanwhile takes effect."""

    by: By
    comment: Text = ""


class Extend(Message):
    """Wait longer for sessions to end: from now on where the step has stopped to wait, else beyond its deadline."""

    step: str
    by: By
    minutes: Annotated[int, Field(strict=True, ge=1, le=LONGEST_EXTENSION)]
    reason: Reason


SIGNAL_MODELS: dict[str, type[Message]] = {
    "approve": Approve,
    "reject": Reject,
    "retry": Retry,
    "skip": Skip,
    "abort": Abort,
    "confirm": Confirm,
    "pause": Pause,
    "resume": Resume,
    "extend": Extend,
}


class Decide(Message):
    """What the command line sends: the same wishes as an update, validated and answered at once."""

    signal: Literal["approve", "reject", "retry", "skip", "abort", "confirm", "pause", "resume", "extend"]
    payload: dict[str, str | bool | int] = Field(default_factory=dict)


class Answer(BaseModel):
    """Answer to a wish of the operator."""

    accepted: bool
    text: str
