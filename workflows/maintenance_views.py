"""What a maintenance says of itself beyond what every run says: its runs, how it ended, what is left. Pure."""

from __future__ import annotations

from procedure.reports import Outcome, RunOutcome
from workflows.messages import Abort
from workflows.status import RunReport, RunView

ENDED_WELL = (RunOutcome.COMPLETED, RunOutcome.COMPLETED_WITH_SKIPS)
GIVEN_UP = (RunOutcome.ABORTED, RunOutcome.ROLLED_BACK)


def how_it_was_given_up(abort: Abort, runs: tuple[RunView, ...]) -> tuple[RunOutcome, str]:
    """Outcome and reason of a maintenance that was aborted, itself or by one of its runs."""
    last = runs[-1] if runs else None
    if last is not None and last.outcome in GIVEN_UP:
        outcome = last.outcome or RunOutcome.ABORTED
        return outcome, f"{_capital(last.name)} was {outcome.value}. {last.outcome_reason}"
    said = f"Aborted by {abort.by}: {abort.reason.rstrip('.')}."
    return RunOutcome.ABORTED, f"{said} {_left(last)}"


def _left(last: RunView | None) -> str:
    if last is None:
        return "Nothing was touched."
    if last.outcome not in ENDED_WELL:
        return f"{_capital(last.name)} did not complete; its report says what it has touched."
    if last.direction == "failback":
        return f"{last.vacated} is back."
    return f"{last.vacated} stays vacated, on purpose."


def next_steps(report: RunReport) -> tuple[str, ...]:
    """What remains to be done by people, after a maintenance that did not simply complete."""
    return (*_unfinished_runs(report), *_still_vacated(report))


def _unfinished_runs(report: RunReport) -> tuple[str, ...]:
    """Those that nothing came after: an earlier attempt was made good by the next."""
    last = report.runs[-1] if report.runs else None
    if last is None or last.outcome is RunOutcome.COMPLETED:
        return ()
    command = f"python -m starters.report --cluster {report.cluster} --run {last.run_id}"
    return (f"See what {last.name} has left, and what it says is to be done: `{command}`",)


def _still_vacated(report: RunReport) -> tuple[str, ...]:
    last = report.runs[-1] if report.runs else None
    if last is None or (last.direction == "failback") == (last.outcome in ENDED_WELL):
        return ()
    by_hand = [record for record in report.steps if record.kind == "child_run" and record.outcome is Outcome.SKIPPED]
    if last.vacated in {record.target for record in by_hand}:
        return ()
    if last.direction == "failback":
        return (
            f"{last.vacated} is not back: what is still off there is silenced for a limited time, and nobody extends "
            "it any more. To go on: `python -m starters.failback --inventory FILE`; its health check says what is to "
            "be mended first.",
        )
    return (
        f"{last.vacated} is vacated and its machines are off; nobody extends their silence any more. When it may "
        "return: boot it and run `python -m starters.failback --inventory FILE`, which restores what was found before.",
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
