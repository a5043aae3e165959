"""Former runs of a cluster, found by what the server remembers of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus

from procedure.as_found import AsFound
from procedure.reports import RunOutcome
from starters.exit_codes import ExitCode
from starters.running import Stopped
from starters.runs import Run
from starters.wording import moment
from workflows import names
from workflows.status import RunReport

ENDED_WELL = (RunOutcome.COMPLETED, RunOutcome.COMPLETED_WITH_SKIPS)
LOOKED_AT = 20
"""Runs of a cluster that are looked at, the latest first: health checks that failed may lie between."""


@dataclass(frozen=True)
class Former:
    """A failover that completed."""

    report: RunReport
    as_found: AsFound

    @property
    def text(self) -> str:
        """For a person."""
        return f"the failover of {moment(self.report.began)} (run {self.report.run_id})"


async def last_failover(client: Client, cluster: str) -> Former | None:
    """The last failover of a cluster that completed; None if there is none, or if it was undone already."""
    query = f"WorkflowId = '{names.workflow_id(cluster)}' AND ExecutionStatus = 'Completed'"
    async for found in client.list_workflows(query, limit=LOOKED_AT):
        if found.workflow_type not in (names.FAILOVER, names.FAILBACK):
            continue
        report = await Run(client, cluster, found.run_id).result()
        if report.outcome in ENDED_WELL:
            return _former(report) if found.workflow_type == names.FAILOVER else None
    return None


def parsed(cluster: str, name: str) -> str | None:
    """The run id in WORKFLOW_ID or WORKFLOW_ID/RUN_ID; None: the latest run is meant.

    Raises:
        Stopped: it belongs to another cluster.
    """
    workflow_id, _, run_id = name.partition("/")
    if workflow_id != names.workflow_id(cluster):
        text = f"{workflow_id!r} is no run of cluster {cluster}; its runs are called {names.workflow_id(cluster)!r}."
        raise Stopped(ExitCode.USAGE, text)
    return run_id or None


async def named_failover(client: Client, cluster: str, name: str) -> Former:
    """The failover that a person named by its workflow id, with or without its run id.

    Raises:
        Stopped: it belongs to another cluster, is no failover, or did not complete.
    """
    run_id = parsed(cluster, name)
    if not run_id:
        former = await last_failover(client, cluster)
        if former is None:
            raise Stopped(ExitCode.REFUSED, f"Cluster {cluster} has no completed failover that is not undone yet.")
        return former
    run = Run(client, cluster, run_id)
    description = await run.describe()
    if description.workflow_type != names.FAILOVER:
        raise Stopped(ExitCode.REFUSED, f"Run {run_id} is no failover, but a {description.workflow_type}.")
    if description.status is not WorkflowExecutionStatus.COMPLETED:
        state = description.status.name.lower() if description.status else "in no known state"
        raise Stopped(ExitCode.REFUSED, f"Run {run_id} has not completed: it is {state}.")
    report = await run.result()
    _must_have_completed(report)
    return _former(report)


def saved_failover(cluster: str, file: Path) -> Former:
    """The failover whose report was saved with `python -m starters.report --json`: servers forget runs after a time.

    Raises:
        Stopped: it is no such report, of another cluster, or of a run that did not complete.
    """
    try:
        report = RunReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = (
            f"{error.error_count()} things in it are not as expected" if isinstance(error, ValidationError) else error
        )
        text = f"{file} is no report as `python -m starters.report --json` prints it: {reason}"
        raise Stopped(ExitCode.USAGE, text) from error
    if report.cluster != cluster or report.direction != "failover":
        text = f"{file} reports a {report.direction} of cluster {report.cluster}, not a failover of {cluster}."
        raise Stopped(ExitCode.REFUSED, text)
    _must_have_completed(report)
    return _former(report)


def _must_have_completed(report: RunReport) -> None:
    if report.outcome not in ENDED_WELL:
        ended = report.outcome.value if report.outcome else "not over yet"
        raise Stopped(ExitCode.REFUSED, f"Run {report.run_id} ended as {ended}: {report.outcome_reason}")


def _former(report: RunReport) -> Former:
    if report.as_found is None:
        raise Stopped(ExitCode.REFUSED, f"The report of run {report.run_id} does not say how the cluster was found.")
    return Former(report, report.as_found)
