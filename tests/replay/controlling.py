"""Runs whose leader holds them: paused, given more time for the sessions and then none, begun late and out of time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from procedure.facts import Session
from procedure.reports import Outcome, StepReport
from procedure.verdicts import unknown
from tests.workflows.driving import Run, start, step_of
from tests.workflows.paper_world import PaperWorld, failure
from workflows.status import StepState

HOST = "vm-host-1"
STOP = "3-stop-wildfly-acd-jb1"
DRAIN = "4-drain-sessions"
STUCK = Session(id=77, user="app", address="10.77.0.81:40000", command="Sleep")
SOON = timedelta(seconds=3)


async def pause(run: Run) -> None:
    await run.say("pause", {"by": "ada", "reason": "the vendor calls"})
    await run.until(lambda s: s.paused)


async def resume(run: Run) -> None:
    await run.say("resume", {"by": "bob"})


async def paused(client: Client, world: PaperWorld) -> Run:
    """In the health check, at a gate that is approved meanwhile, and at a problem that is answered meanwhile."""
    world.trouble(STOP, failure("failed", "still running"))
    held = world.hold("0-observe-acd-jb1")
    run = await start(client, world, HOST)
    await held.reached.wait()
    await pause(run)
    held.go.set()
    await run.approve("before_start")
    await run.until(lambda s: not s.waits)
    await resume(run)
    await run.waiting(STOP)
    await pause(run)
    await run.say("retry", {"step": STOP, "by": "ada"})
    await run.until(lambda s: not s.waits)
    await resume(run)
    await run.at_gate("before_power_off")
    await pause(run)
    await resume(run)
    await run.approve("before_power_off", "functionality")
    return run


async def drain_extended_and_forced(client: Client, world: PaperWorld) -> Run:
    """Extended when its deadline has passed, and while it is waited for; cut after a first no."""
    timings = world.inventory.timings.model_copy(update={"drain": timedelta(seconds=1)})
    world.inventory = world.inventory.model_copy(update={"timings": timings})
    world.cluster.stuck.append(STUCK)
    run = await start(client, world, HOST)
    await run.approve("before_start")
    more = {"step": DRAIN, "minutes": 1, "by": "ada", "reason": "the last callers"}
    await run.waiting(DRAIN)
    await run.say("extend", more)
    await run.until(lambda s: step_of(s, DRAIN).state is StepState.RUNNING)
    await run.say("extend", more)
    world.trouble(DRAIN, failure("failed", "access denied for a moment"))
    by_force = {"step": DRAIN, "by": "ada", "force": True, "reason": "it hangs"}
    for answer in ("reject", "approve"):
        await run.waiting(DRAIN)
        await run.say("retry", by_force)
        gate = await run.at_gate("end_sessions")
        await run.say(answer, {"gate": gate.gate, "seen": gate.code, "by": "bob", "comment": answer})
    await run.approve("before_power_off", "functionality")
    return run


async def drain_unseen(client: Client, world: PaperWorld) -> Run:
    """Nobody can tell who is left, until it is tried again."""
    at = datetime.now(UTC)
    verdict = unknown("no session is active", "connection lost", "Look at the database.")
    world.trouble(
        DRAIN,
        *(
            StepReport(outcome=Outcome.NOT_YET, verdicts=(verdict,), began=at, ended=at + timedelta(minutes=i))
            for i in range(3)
        ),
    )
    run = await start(client, world, HOST)
    await run.approve("before_start")
    await run.waiting(DRAIN)
    await run.say("retry", {"step": DRAIN, "by": "ada"})
    await run.approve("before_power_off", "functionality")
    return run


async def window_ended(client: Client, world: PaperWorld) -> Run:
    """Scheduled; its window ends while it waits at a problem, so the retry waits too."""
    world.trouble(STOP, failure("failed", "still running"))
    begins = datetime.now(UTC) + SOON
    run = await start(client, world, HOST, start_at=begins, window_ends=begins + 3 * SOON)
    await run.approve("before_start")
    await run.waiting(STOP)
    await run.until(lambda s: s.window_ends is not None and datetime.now(UTC) > s.window_ends)
    await run.say("retry", {"step": STOP, "by": "ada"})
    await run.approve("after_window", "before_power_off", "functionality")
    return run


CONTROLLED: dict[str, Callable[[Client, PaperWorld], Awaitable[Run]]] = {
    "paused": paused,
    "drain-extended-and-forced": drain_extended_and_forced,
    "drain-unseen": drain_unseen,
    "window-ended": window_ended,
}
