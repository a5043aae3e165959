"""The report of a run, for whoever was not there.

python -m starters.report --cluster NAME [--run RUN_ID] [--json]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from temporalio.client import WorkflowExecutionStatus

from starters import options
from starters.connection import connected
from starters.exit_codes import ExitCode
from starters.outcomes import exit_code
from starters.report_text import report_text
from starters.running import Stopped, run_and_exit
from starters.runs import NoAnswer, Run
from starters.wording import printable
from workflows.status import RunReport


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "report",
        "Print the report of a run: outcome, decisions, stages, steps with their evidence, outage, state as found. "
        "A run that has ended is reported without a worker. The exit code is the outcome of the run.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
        ExitCode.WAITING,
        ExitCode.ABORTED,
        ExitCode.COMPLETED_WITH_SKIPS,
        ExitCode.FAILED,
    )
    options.add_cluster(made)
    made.add_argument("--run", metavar="RUN_ID", help="a former run (default: the latest)")
    made.add_argument("--json", action="store_true", help="everything, as JSON")
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Print it."""
    cluster = options.cluster_of(given)
    report = await _report(Run(await connected(), cluster, given.run, maintenance=given.maintenance))
    print(report.model_dump_json(indent=2) if given.json else printable(report_text(report)))
    return exit_code(report)


async def _report(run: Run) -> RunReport:
    status = (await run.describe()).status
    if status is WorkflowExecutionStatus.CONTINUED_AS_NEW:  # a maintenance, whose latest run knows all that was before
        return await _report(replace(run, run_id=None))
    if status is not WorkflowExecutionStatus.RUNNING:
        return await run.result()
    try:
        return await run.report()
    except NoAnswer as trouble:
        raise Stopped(ExitCode.NO_WORKER, str(trouble)) from trouble


if __name__ == "__main__":
    run_and_exit(parser(), work)
