"""When a worker is killed, and what that has made the server do again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType

from inventory.models import Role
from lab.journal import Entry
from tests.lab.whole_run import WholeRun

PATIENCE = 300
"""Seconds for a test: runs that nothing disturbed, perhaps in another process, a failover, and six deaths; on a busy
machine."""


@dataclass(frozen=True)
class Moment:
    """When to kill: the worst one, where an operation has reached the machine and its answer has not left."""

    reached: Callable[[Entry], bool] | None = None
    """The operation; None: the stage changes nothing, so the moment is when its first step was handed out."""


def begins(*words: str) -> Moment:
    """An operation that begins so."""
    return Moment(lambda entry: entry.operation.startswith(words))


def standby(role: Role) -> Moment:
    """A node of the storages or load balancers is sent into standby."""
    name = "store" if role is Role.STORAGE else "lb"
    return Moment(lambda entry: entry.operation == "pcs node standby" and name in entry.machine)


async def kill_in(run: WholeRun, stage: int, moment: Moment, *, since: int = 0) -> None:
    """Wait for the moment, kill the worker, and start another one.

    Args:
        run: the run.
        stage: of the procedure.
        moment: in it.
        since: how long the journal was when the run began.
    """
    reached, journal = moment.reached, run.lab.journal.entries
    if reached is None:
        await run.handed_out(f"{stage}-")
    else:
        await run.lab.wait_until(lambda: any(map(reached, journal[since:])))
    await run.kill_worker()
    await run.start_worker()


async def stages_run_again(run: WholeRun) -> set[int]:
    """Stages with a step that was begun, lost with its worker, and begun again."""
    names: dict[int, str] = {}
    again = set()
    for event in await run.history():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_id
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            if started.attempt > 1 and names[started.scheduled_event_id][0].isdigit():
                again.add(int(names[started.scheduled_event_id].split("-")[0]))
    return again
