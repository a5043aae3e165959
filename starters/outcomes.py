"""How the outcome of a run becomes an exit code."""

from __future__ import annotations

from procedure.reports import RunOutcome
from starters.exit_codes import ExitCode
from workflows.status import Status

_CODES = {
    RunOutcome.COMPLETED: ExitCode.OK,
    RunOutcome.COMPLETED_WITH_SKIPS: ExitCode.COMPLETED_WITH_SKIPS,
    RunOutcome.ROLLED_BACK: ExitCode.ABORTED,
    RunOutcome.ABORTED: ExitCode.ABORTED,
    RunOutcome.FAILED: ExitCode.FAILED,
}


def exit_code(status: Status) -> ExitCode:
    """Of a run that has ended: its outcome. Of one under way: whether it waits for a person."""
    if status.outcome is not None:
        return _CODES[status.outcome]
    return ExitCode.WAITING if status.waits or status.paused else ExitCode.OK
