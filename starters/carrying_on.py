"""Carrying on a run that ended in the middle: terminated in the Web UI, timed out, or aborted by a person."""

from __future__ import annotations

import argparse
from pathlib import Path

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from inventory.digest import digest
from inventory.models import Inventory
from procedure import rollback
from procedure.adopting import Adopted, Begun
from procedure.plan import Plan
from procedure.reports import RunOutcome
from starters.exit_codes import ExitCode
from starters.former import parsed
from starters.running import Stopped
from starters.runs import NoAnswer, Run
from workflows import names
from workflows.messages import FormerRun
from workflows.status import RunReport, StepRecord, StepState

NOTHING_LEFT = (RunOutcome.COMPLETED, RunOutcome.COMPLETED_WITH_SKIPS, RunOutcome.ROLLED_BACK)
_STARTERS = {names.FAILOVER: "failover", names.FAILBACK: "failback"}


def add_adopt(to: argparse.ArgumentParser) -> None:
    """`--adopt`."""
    to.add_argument(
        "--adopt",
        metavar="WORKFLOW_ID",
        help="carry on a run that was terminated or aborted: WORKFLOW_ID (its latest run) or WORKFLOW_ID/RUN_ID. What "
        "it had done is found done, the rest is done; a person decides first",
    )


async def adopted(client: Client, inventory: Inventory, name: str, workflow: str, host: str | None) -> Adopted:
    """The run that a person wants to be carried on.

    Args:
        client: of the server.
        inventory: that the run must have been started with.
        name: WORKFLOW_ID or WORKFLOW_ID/RUN_ID.
        workflow: its type in Temporal.
        host: the VM-Host it must be about; None: whichever it is.

    Raises:
        Stopped: there is nothing to carry on, or not with this inventory or by this command.
    """
    run = Run(client, inventory.cluster, parsed(inventory.cluster, name))
    description = await run.describe()
    _must_be(description, workflow)
    report, plan = await _told(run, description)
    if report.outcome in NOTHING_LEFT:
        ended = report.outcome.value if report.outcome else ""
        raise _refused(description, f"it ended as {ended}, so nothing is left to be done.")
    if plan is None or report.as_found is None:
        raise _refused(description, "it had made no plan yet, and so has touched nothing. Start without --adopt.")
    if host not in (None, report.vacated):
        raise _refused(description, f"it is about {report.vacated}, not about {host}.")
    if report.inventory_digest != digest(inventory):
        raise _refused(
            description,
            f"it was started with another inventory (digest {report.inventory_digest}, this one has "
            f"{digest(inventory)}). Use the file that it was started with.",
        )
    return Adopted(
        workflow_id=description.id,
        run_id=description.run_id,
        as_found=report.as_found,
        plan=plan,
        begun=_all_begun(report, plan),
    )


async def ended_in_the_middle(client: Client, cluster: str, inventory: Path) -> FormerRun | None:
    """The latest run of the cluster, if it has left something behind; None: it has not, or there is none.

    Args:
        client: of the server.
        cluster: its name.
        inventory: its file, as the person has typed it.
    """
    run = Run(client, cluster)
    try:
        description = await run.describe()
    except Stopped:
        return None
    if description.status is WorkflowExecutionStatus.RUNNING or description.workflow_type not in _STARTERS:
        return None
    ended_as = _status_of(description)
    if description.status is WorkflowExecutionStatus.COMPLETED:
        report = await run.result()
        if report.outcome in NOTHING_LEFT or not report.plan_digest:
            return None
        ended_as = report.outcome.value if report.outcome else ended_as
    return FormerRun(
        workflow_id=description.id,
        run_id=description.run_id,
        ended_as=ended_as,
        command=await _command(description, inventory),
    )


async def _command(description: WorkflowExecutionDescription, inventory: Path) -> str:
    starter, host = _STARTERS[description.workflow_type], (await description.memo()).get("host", "HOST")
    which = f" --vacate {host}" if starter == "failover" else ""
    run = f"{description.id}/{description.run_id}"
    return f"python -m starters.{starter} --inventory {inventory}{which} --adopt {run}"


def _must_be(description: WorkflowExecutionDescription, workflow: str) -> None:
    if description.status is WorkflowExecutionStatus.RUNNING:
        raise _refused(description, "it is still under way: it goes on by itself.")
    if description.workflow_type != workflow:
        starter = _STARTERS.get(description.workflow_type, "")
        raise _refused(description, f"it is a {description.workflow_type}: use python -m starters.{starter}.")


async def _told(run: Run, description: WorkflowExecutionDescription) -> tuple[RunReport, Plan | None]:
    try:
        completed = description.status is WorkflowExecutionStatus.COMPLETED
        return (await run.result() if completed else await run.report()), await run.plan()
    except NoAnswer as trouble:
        raise Stopped(ExitCode.NO_WORKER, f"{trouble}\nA worker must tell how far that run came.") from trouble


def _refused(description: WorkflowExecutionDescription, why: str) -> Stopped:
    text = f"Run {description.run_id} of {description.id} can't be carried on: {why}"
    return Stopped(ExitCode.REFUSED, text)


def _status_of(description: WorkflowExecutionDescription) -> str:
    return description.status.name.lower().replace("_", " ") if description.status else "ended"


def _has_begun(record: StepRecord) -> bool:
    return record.state not in (StepState.PENDING, StepState.NOT_STARTED)


def _all_begun(report: RunReport, plan: Plan) -> tuple[Begun, ...]:
    """How far each step has come. One that a roll-back may have taken back is to be done anew, and asked about anew."""
    steps = {step.id for step in plan.steps}
    known = [record for record in report.steps if _has_begun(record)]
    if any(record.stage > rollback.DECIDE for record in known):
        return tuple(Begun(step=record.id) for record in known if record.id in steps)
    return tuple(_begun(record) for record in known)


def _begun(record: StepRecord) -> Begun:
    words = ": ".join(filter(None, (record.decided_by, record.reason)))
    outcome = record.outcome if record.state is StepState.ENDED else None
    return Begun(step=record.id, outcome=outcome, words=words)
