"""The way back of a run: whether it is still open, and that it is being gone. Pure: no clock, no Temporal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from procedure.adopting import Adopted
from procedure.plan import ChildRun, Gate, Plan, Step
from procedure.reports import Outcome
from procedure.rollback import Begun, ends_the_way_back
from workflows.messages import Abort
from workflows.status import StepRecord, StepState

_NOT_BEGUN = (StepState.PENDING, StepState.NOT_STARTED)


class WayBack:
    """What a run has passed of what can't be taken back by itself."""

    def __init__(self, records: Mapping[str, StepRecord], resolved: Callable[[str], bool]) -> None:
        self._records = records
        self._resolved = resolved
        self._ends: dict[str, bool] = {}
        """Steps after which there is no way back; whether it is a gate, which must be passed."""
        self._has_runs = False
        self._adopted: Adopted | None = None
        self._of: Mapping[str, tuple[str, ...]] = {}
        self.turned: Abort | None = None
        """Who has the run rolled back, since when it is."""
        self.has_left_the_rest = False
        """What the run has not begun is not to come any more."""

    def plan(self, steps: Iterable[Step]) -> None:
        """Steps that the run may do."""
        for step in steps:
            self._has_runs = self._has_runs or isinstance(step.action, ChildRun)
            if ends_the_way_back(step):
                self._ends[step.id] = isinstance(step.action, Gate)

    def adopt(self, adopted: Adopted) -> None:
        """What an earlier run has passed is passed for the one that carries it on, too."""
        self._adopted = adopted

    def know(self, ways_back: Mapping[str, tuple[str, ...]]) -> None:
        """What would take back each step, by its id."""
        self._of = ways_back

    def of(self, step: str) -> tuple[str, ...]:
        """What would take back a step, in order."""
        return self._of.get(step, ())

    @property
    def is_open(self) -> bool:
        """Whether the run could be rolled back now."""
        return self.turned is None and not self._has_runs and not any(map(self._is_passed, self._ends))

    def why_closed(self) -> str:
        """Why a roll-back is refused; empty: it is not."""
        if self.turned is not None:
            return (
                f"the run is being rolled back already, as {self.turned.by} wished; abort without roll_back ends it "
                "where it stands"
            )
        if self._has_runs:
            return "a maintenance is not rolled back as a whole: abort its run, which is under way, with roll_back"
        passed = [self._records[step].title for step in self._ends if self._is_passed(step)]
        if not passed:
            return ""
        return (
            f"there is no roll-back any more since {passed[0]!r}: abort without roll_back ends the run where it "
            "stands, and the report says how to go on and how to go back"
        )

    def _is_passed(self, step: str) -> bool:
        record = self._records[step]
        if self._ends[step]:
            return record.outcome in (Outcome.DONE, Outcome.UNCHANGED) or self._resolved(step)
        return record.state not in _NOT_BEGUN or _had_begun(self._adopted, step)


def begun(plan: Plan, records: Mapping[str, StepRecord], adopted: Adopted | None) -> tuple[Begun, ...]:
    """How far each step of a plan that was begun has come, by this run or by the one that it carries on."""
    known = (records[step.id] for step in plan.steps if step.id in records)
    return tuple(
        _begun(record, adopted) for record in known if record.state not in _NOT_BEGUN or _had_begun(adopted, record.id)
    )


def _begun(record: StepRecord, adopted: Adopted | None) -> Begun:
    if adopted is None or not adopted.has_begun(record.id):
        return Begun(step=record.id, outcome=record.outcome or Outcome.UNKNOWN, attempts=record.attempts)
    if record.attempts == 0:
        return Begun(step=record.id, outcome=adopted.outcome_of(record.id) or Outcome.UNKNOWN, attempts=1)
    # What this run has found unchanged may be the work of the earlier one.
    return Begun(step=record.id, outcome=record.outcome or Outcome.UNKNOWN, attempts=record.attempts + 1)


def _had_begun(adopted: Adopted | None, step: str) -> bool:
    return adopted is not None and adopted.has_begun(step)
