"""The health check alone: could a failover begin now, or a failback? It changes nothing.

python -m starters.health --inventory FILE [--vacate HOST | --return HOST] [--json]
"""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import timedelta

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy

from procedure.verdicts import Answer, Verdict
from starters import options
from starters.connection import connected
from starters.exit_codes import ExitCode
from starters.running import Stopped, run_and_exit
from starters.runs import no_worker, reason_of, workers
from starters.wording import printable, took
from workflows import names
from workflows.messages import HealthRequest
from workflows.status import HealthReport

LONGEST = timedelta(minutes=10)
"""A worker that is gone must not leave a check behind that nobody waits for."""
_ORDER = (Answer.FAIL, Answer.UNKNOWN, Answer.WARN, Answer.NOT_APPLICABLE, Answer.PASS)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "health",
        "Look at the whole cluster and judge it as a failover, or a failback, would. Nothing is changed. "
        "Exit code 10: something is not as it should be, or can't be told; 11: the check itself came to no end.",
        ExitCode.NO_WORKER,
        ExitCode.FAILED,
        ExitCode.UNFINISHED,
    )
    options.add_inventory(made, required=True)
    which = made.add_mutually_exclusive_group()
    which.add_argument(
        "--vacate", metavar="HOST", help="judge as if this VM-Host were to be vacated (default: the active one)"
    )
    which.add_argument(
        "--return", dest="returning", metavar="HOST", help="judge as if this one, which is vacated, were to come back"
    )
    made.add_argument("--json", action="store_true", help="everything, as JSON")
    made.add_argument("--all", action="store_true", help="also conditions that hold or don't concern this cluster")
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Check and show."""
    inventory = options.inventory_of(given.inventory)
    for host in filter(None, (given.vacate, given.returning)):
        options.check_host(inventory, host)
    client = await connected()
    if not await workers(client, inventory.cluster):
        raise Stopped(ExitCode.NO_WORKER, no_worker(inventory.cluster))
    report = await _checked(client, HealthRequest(inventory=inventory, vacate=given.vacate, returning=given.returning))
    print(report.model_dump_json(indent=2) if given.json else printable(_text(report, everything=given.all)))
    return ExitCode.OK if report.healthy else ExitCode.FAILED


async def _checked(client: Client, request: HealthRequest) -> HealthReport:
    cluster = request.inventory.cluster
    try:
        report: HealthReport = await client.execute_workflow(
            names.HEALTH_CHECK,
            request,
            id=names.health_workflow_id(cluster),
            task_queue=names.task_queue(cluster),
            # Somebody else's check of a moment ago would have been asked something else.
            id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
            result_type=HealthReport,
            execution_timeout=LONGEST,
            static_summary=f"Health check of {cluster}",
        )
    except WorkflowFailureError as error:
        raise Stopped(ExitCode.UNFINISHED, f"The health check came to no end: {reason_of(error)}") from error
    return report


def _text(report: HealthReport, *, everything: bool) -> str:
    verdicts = sorted(report.verdicts, key=lambda verdict: _ORDER.index(verdict.answer))
    shown = [v for v in verdicts if everything or v.answer not in (Answer.PASS, Answer.NOT_APPLICABLE)]
    counts = Counter(verdict.answer.value for verdict in verdicts)
    summary = ", ".join(f"{count} {answer}" for answer, count in counts.items())
    return "\n".join(
        [
            f"Cluster {report.cluster}, as if {report.vacated} were to {_become(report)}: "
            + ("healthy" if report.healthy else "NOT healthy"),
            f"  {summary}; looked for {took(report.ended - report.began)}",
            *(line for verdict in shown for line in _lines(verdict)),
        ]
    )


def _become(report: HealthReport) -> str:
    return "come back" if report.direction == "failback" else "be vacated"


def _lines(verdict: Verdict) -> list[str]:
    line = f"  {verdict.answer.value:14} {verdict.condition}" + (f" – {verdict.reason}" if verdict.reason else "")
    return [line, f"  {'':14} next: {verdict.next_step}"] if verdict.next_step else [line]


if __name__ == "__main__":
    run_and_exit(parser(), work)
