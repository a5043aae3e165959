"""Show where the run of a cluster is, and what it waits for.

python -m starters.status --cluster NAME [--watch | --json]
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus

from starters import options
from starters.deciding import run_of
from starters.exit_codes import ExitCode
from starters.outcomes import exit_code
from starters.running import Stopped, run_and_exit
from starters.runs import NoAnswer, Run
from starters.screens import status_lines
from starters.watching import watch
from starters.wording import moment, printable
from workflows import names
from workflows.status import Status

_CODES = (
    ExitCode.NO_WORKER,
    ExitCode.REFUSED,
    ExitCode.WAITING,
    ExitCode.ABORTED,
    ExitCode.COMPLETED_WITH_SKIPS,
    ExitCode.FAILED,
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "status",
        "Show the run of a cluster: stages, running steps, what waits for a person and what to type. "
        "The exit code is the outcome of the run, or whether it waits.",
        *_CODES,
    )
    options.add_cluster(made)
    how = made.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="go on showing it until the run ends")
    how.add_argument("--json", action="store_true", help="everything, as JSON")
    options.add_by(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Show it."""
    run = await run_of(given)
    if given.watch:
        return await watch(run, given.by)
    status = await _status(run)
    lines = status_lines(status, datetime.now(UTC))
    print(status.model_dump_json(indent=2) if given.json else printable("\n".join(lines)))
    if not given.json and (beside := await run.about_its_maintenance()):
        print(f"\n{beside}")
    return exit_code(status)


async def _status(run: Run) -> Status:
    description = await run.describe()
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return await run.result()
    try:
        return await run.status()
    except NoAnswer as trouble:
        raise Stopped(ExitCode.NO_WORKER, f"{trouble}\n{_known(description)}") from trouble


def _known(description: WorkflowExecutionDescription) -> str:
    """What the server knows by itself: as the run told it last."""
    attributes = description.typed_search_attributes
    return "\n".join(
        [
            f"The run goes on when one is there. The last it told (began {moment(description.start_time)}):",
            f"  stage    {attributes.get(names.STAGE) or 'unknown'}",
            f"  waits    {attributes.get(names.WAITING) or 'unknown'}",
        ]
    )


if __name__ == "__main__":
    run_and_exit(parser(), work)
