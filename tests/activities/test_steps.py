"""The activities as Temporal runs them: names, failures, heartbeats, log context; the outage on a real server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.steps import StepActivities, command_kinds
from inventory.digest import digest
from procedure.commands import StopComponent
from procedure.facts import ComponentFact
from procedure.orders import DRAW_UP, OBSERVE, SEE_FACTS, TRANSIENT, WATCH_OUTAGE, Observed, ObserveOrder, StepOrder
from procedure.reports import Outcome, StepProblem, StepReport
from tests.activities.small_world import COMPONENT, MACHINE, SUBJECT, SmallWorld, small_inventory

INVENTORY = small_inventory()
SECRET = "hunter2-never-shown"
LOST = Transient(MACHINE, "connection lost")


def order(**changes: object) -> StepOrder:
    return StepOrder.model_validate(
        {
            "step_id": "3-stop-wildfly-acd-jb1",
            "stage": 3,
            "command": StopComponent(machine=MACHINE, component=COMPONENT),
            "vacated": "vm-host-1",
            "inventory_digest": digest(INVENTORY),
            "cluster": INVENTORY.cluster,
            **changes,
        }
    )


def named(world: SmallWorld, name: str) -> Callable[..., Any]:
    """The activity of that name, as a worker registers it."""
    made = StepActivities(INVENTORY, world.hands).all()
    by_name = {getattr(one, "__temporal_activity_definition").name: one for one in made}
    return by_name[name]


def environment(attempt: int = 1, maximum: int = 4, details: tuple[object, ...] = ()) -> ActivityEnvironment:
    made = ActivityEnvironment()
    made.info = dataclasses.replace(
        made.info,
        attempt=attempt,
        retry_policy=RetryPolicy(maximum_attempts=maximum),
        heartbeat_details=details,
        heartbeat_timeout=timedelta(milliseconds=100),
    )
    return made


async def stopped(world: SmallWorld, env: ActivityEnvironment | None = None, **changes: object) -> StepReport:
    report = await (env or environment()).run(named(world, "stop_component"), order(**changes))
    assert isinstance(report, StepReport)
    return report


async def failure_of(
    world: SmallWorld, env: ActivityEnvironment | None = None, **changes: object
) -> tuple[ApplicationError, StepProblem]:
    with pytest.raises(ApplicationError) as failed:
        await stopped(world, env, **changes)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__, "Temporal would write the words of a library into the history"
    (problem,) = failed.value.details
    assert isinstance(problem, StepProblem)
    return failed.value, problem


def test_there_is_an_activity_for_every_command() -> None:
    names = {
        getattr(one, "__temporal_activity_definition").name
        for one in StepActivities(INVENTORY, SmallWorld().hands).all()
    }
    assert names == {DRAW_UP, OBSERVE, SEE_FACTS, WATCH_OUTAGE, *command_kinds()}
    assert "stop_component" in names
    assert len(command_kinds()) == len(set(command_kinds()))


async def test_a_step_is_carried_out() -> None:
    world = SmallWorld()
    assert (await stopped(world)).outcome is Outcome.DONE
    assert (await stopped(world)).outcome is Outcome.UNCHANGED
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("trouble", "kind", "retried"),
    [
        (LOST, TRANSIENT, True),
        (Rejected(MACHINE, "permission denied"), "rejected", False),
        (NotUnderstood(MACHINE, "what?"), "unknown", False),
    ],
)
async def test_trouble_becomes_a_failure(trouble: SystemTrouble, kind: str, retried: bool) -> None:
    world = SmallWorld()
    world.looks = [trouble]
    failed, problem = await failure_of(world)
    assert (failed.type, failed.non_retryable) == (kind, not retried)
    assert problem.machine == MACHINE
    assert trouble.seen in problem.seen
    assert problem.text in failed.message


async def test_a_failed_condition_is_refused_with_what_was_seen() -> None:
    failed, problem = await failure_of(SmallWorld("missing"))
    assert (failed.type, failed.non_retryable) == ("refused", True)
    assert problem.next_step
    assert problem.report is not None


@pytest.mark.parametrize(
    ("attempt", "maximum", "attempts", "kind"),
    [
        (3, 4, None, TRANSIENT),
        (4, 4, None, "unknown"),
        (9, 0, None, TRANSIENT),
        (2, 4, 2, "unknown"),
        (1, 1, 2, TRANSIENT),
    ],
)
async def test_on_the_last_attempt_a_lost_connection_is_unknown(
    attempt: int, maximum: int, attempts: int | None, kind: str
) -> None:
    world = SmallWorld()
    world.looks = [LOST]
    failed, problem = await failure_of(world, environment(attempt, maximum), attempts=attempts)
    assert failed.type == kind
    assert failed.non_retryable is (kind == "unknown")
    assert problem.kind == "unknown"


async def test_a_bug_waits_for_the_operator_and_says_nothing_it_should_not(caplog: pytest.LogCaptureFixture) -> None:
    world = SmallWorld()

    def bug() -> None:
        raise ValueError(SECRET)

    world.on_act = bug
    failed, problem = await failure_of(world)
    assert (failed.type, failed.non_retryable) == ("unknown", True)
    assert "ValueError at test_steps.py:" in problem.seen
    assert SECRET not in failed.message + problem.model_dump_json() + caplog.text


@pytest.mark.parametrize(
    "changes", [{"inventory_digest": "0123456789abcdef"}, {"cluster": "another"}], ids=["digest", "cluster"]
)
async def test_orders_of_another_inventory_are_rejected(changes: dict[str, str]) -> None:
    world = SmallWorld()
    failed, problem = await failure_of(world, None, **changes)
    assert failed.type == "rejected"
    assert "restart the worker" in problem.next_step
    assert (world.looked, world.sent) == (0, [])

    observe = ObserveOrder.model_validate({**order().model_dump(), "step_id": "0", "subjects": (SUBJECT,), **changes})
    with pytest.raises(ApplicationError) as rejected:
        await environment().run(named(world, OBSERVE), observe)
    assert rejected.value.type == "rejected"
    assert world.looked == 0


async def test_observes() -> None:
    world = SmallWorld()
    world.looks = [LOST]
    observe = ObserveOrder(
        step_id="0-acd-jb1",
        subjects=(SUBJECT, SUBJECT),
        inventory_digest=digest(INVENTORY),
        cluster=INVENTORY.cluster,
    )
    observed = await environment().run(named(world, OBSERVE), observe)
    assert isinstance(observed, Observed)
    lost, seen = observed.observations
    assert (lost.fact, lost.trouble) == (None, "transient")
    assert seen.fact == ComponentFact(state="running")


async def test_heartbeats_say_what_is_waited_for_and_go_on() -> None:
    world, env = SmallWorld(), environment()
    beats: list[tuple[object, ...]] = []
    waited = asyncio.Event()

    def beat(*details: object) -> None:
        beats.append(details)
        # The activity does nothing while it hangs, so further heartbeats come from the background.
        if beats[-3:] == [("sending: ssh acd-jb1 sudo -n systemctl stop wildfly", True)] * 3:
            waited.set()

    env.on_heartbeat = beat
    world.hang = True
    step = asyncio.create_task(stopped(world, env))
    async with asyncio.timeout(10):
        await waited.wait()
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert world.cancelled.is_set(), "cancelling ends the remote command"
    assert ("observing: Stop Wildfly on acd-jb1", False) in beats
    count = len(beats)
    await asyncio.sleep(0)
    assert len(beats) == count, "no heartbeat after the end"


async def test_what_an_earlier_attempt_did_is_done_and_not_unchanged() -> None:
    details = ("sending: ...", True)
    assert (await stopped(SmallWorld("stopped"), environment(2, details=details))).outcome is Outcome.DONE
    details = ("observing: ...", False)
    assert (await stopped(SmallWorld("stopped"), environment(2, details=details))).outcome is Outcome.UNCHANGED


async def test_logs_tell_run_stage_step_and_machine(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="activities"):
        await stopped(SmallWorld())
    records = [record for record in caplog.records if record.name == "activities.steps"]
    assert records
    for record in records:
        context = {key: record.__dict__[key] for key in ("run", "stage", "step", "machine")}
        assert context == {"run": "test", "stage": 3, "step": "3-stop-wildfly-acd-jb1", "machine": MACHINE}


def test_the_activities_are_asynchronous() -> None:
    for one in StepActivities(INVENTORY, SmallWorld().hands).all():
        assert asyncio.iscoroutinefunction(one), activity.defn
