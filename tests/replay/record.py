"""Records the histories that the replay test replays: real runs on a real server, over the cluster on paper.

    python -m tests.replay.record

Run it only as tests/replay/README.md says: a history recorded anew no longer proves that old runs go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from inventory.approval import Approval, GatePolicy
from inventory.loading import load
from inventory.notifications import Notifications, Webhook
from procedure.facts import Facts, PowerFact
from procedure.signing import Signed
from procedure.subjects import PowerOf
from tests.conftest import FAST, TEMPORAL
from tests.procedure.altered import drbd_with
from tests.replay.controlling import CONTROLLED
from tests.replay.following import FOLLOWING
from tests.replay.maintenances import MAINTENANCES, maintained
from tests.ssh_keys import Keys
from tests.workflows.conftest import add_search_attributes
from tests.workflows.driving import GATES, Run, own, start, worker_for
from tests.workflows.paper_world import Clock, PaperWorld, Silent, failure, wall_clock
from workflows import names
from workflows.converter import DATA_CONVERTER
from workflows.status import RunReport

ROOT = Path(__file__).parents[2]
HISTORIES = Path(__file__).with_name("histories")
SIGNERS = Keys(Path("/tmp/recorded-signers"))
IDENTITY = "recorded"  # instead of the name of the machine that recorded
STOP = "3-stop-wildfly-acd-jb1"
SNAPSHOT = "1-snapshot-acd-dbm1"


async def completed(run: Run) -> None:
    await run.approve_all()


async def through_troubles(run: Run) -> None:
    """A worker that dies in the middle of a step, a step that is tried again, one that is skipped."""
    await run.approve("before_start")
    await run.waiting(SNAPSHOT)
    await run.say("skip", {"step": SNAPSHOT, "by": "ada", "reason": "no room"})
    await run.waiting(STOP)
    await run.say("approve", {"gate": "before_power_off", "seen": "too early", "by": "ada"})
    await run.say("retry", {"step": STOP, "by": "ada"})
    await run.approve("before_power_off", "functionality")


async def aborted(run: Run) -> None:
    await run.approve(*GATES[:1])
    await run.at_gate("before_power_off")
    await run.say("abort", {"by": "ada", "reason": "not tonight"})


async def given_up(run: Run) -> None:
    await run.at_gate("before_start")
    await run.until(lambda s: s.notes)
    await run.say("abort", {"by": "ada", "reason": "not tonight"})


async def at_the_first_gate(run: Run) -> None:
    await run.at_gate("before_start")
    await run.say("abort", {"by": "ada", "reason": "not tonight"})


async def by_two(run: Run) -> None:
    """Each gate needs two people; the first approval of the first gate is followed by one that does not count."""
    for gate in GATES:
        code = (await run.at_gate(gate)).code
        for by in ("ada", "ada", "bob"):
            await run.say("approve", {"gate": gate, "seen": code, "by": by})


async def signed(run: Run) -> None:
    """The first signature is another person's, so it does not count."""
    wait, status = await run.at_gate("before_start"), await run.status()
    said = Signed(
        cluster=status.cluster,
        workflow_id=status.workflow_id,
        run_id=status.run_id,
        gate=wait.gate,
        code=wait.code,
        by="ada",
    )
    for signer in ("bob", "ada"):
        signature = SIGNERS.sign(signer, said.text)
        await run.decide("approve", gate=wait.gate, seen=wait.code, by="ada", signature=signature)
    await run.approve(*GATES[1:])


async def with_changed_facts(run: Run) -> None:
    """A machine goes off between showing and approving, so the approval is void and the gate shown anew."""
    await run.at_gate("before_start")
    run.world.seen = one_is_off
    await run.approve("before_start")
    await run.until(lambda s: s.waits and s.waits[0].changes)
    run.world.seen = as_it_is
    await run.approve("before_start")
    await run.until(lambda s: s.waits and "was off, is on" in s.waits[0].changes[0])
    await run.approve_all()


async def rolled_back(run: Run) -> None:
    await run.approve(*GATES[:1])
    await run.at_gate("before_power_off")
    await run.say("abort", {"by": "ada", "reason": "not tonight", "roll_back": True})
    await run.approve("roll_back")


async def nothing(run: Run) -> None:
    """The health check ends it."""


def split_brain(facts: Facts) -> Facts:
    return drbd_with(facts, "acd-store2", connection="StandAlone") if facts.drbd("acd-store2") else facts


def one_is_off(facts: Facts) -> Facts:
    off = PowerFact(state="off")
    return Facts(
        observations=tuple(
            one.model_copy(update={"fact": off}) if one.subject == PowerOf(machine="acd-jb2") else one
            for one in facts.observations
        )
    )


def as_it_is(facts: Facts) -> Facts:
    return facts


def needing_two(world: PaperWorld) -> None:
    two = GatePolicy(needed=2)
    approval = Approval(before_start=two, before_power_off=two, functionality=two)
    world.inventory = world.inventory.model_copy(update={"approval": approval})


def wanting_signatures(world: PaperWorld) -> None:
    SIGNERS.folder.mkdir(parents=True, exist_ok=True)
    SIGNERS.allow("ada")
    approval = Approval(allowed_signers=str(SIGNERS.signers), before_start=GatePolicy(signed=True))
    world.inventory = world.inventory.model_copy(update={"approval": approval})


def jammed(world: PaperWorld) -> None:
    world.trouble(SNAPSHOT, failure("failed", "no room"))
    # A worker that is gone says nothing more: Temporal hands the step to the next.
    world.trouble(STOP, Silent(), failure("failed", "still running"))


def ill(world: PaperWorld) -> None:
    world.seen = split_brain


def ill_at_first(world: PaperWorld) -> None:
    """What is not well is over at the third look."""
    world.seen = lambda facts: split_brain(facts) if world.attempts["0-observe-acd-store2"] < 3 else facts


def not_all_seen(world: PaperWorld) -> None:
    """Each round lacks a subject that it was asked for."""
    world.seen = lambda facts: facts.model_copy(update={"observations": facts.observations[:-1] or facts.observations})


def telling(world: PaperWorld) -> None:
    """People are told, one of them in vain."""
    targets = tuple(Webhook(name=name, url="https://hooks.example.com") for name in ("on-call", "channel"))
    world.inventory = world.inventory.model_copy(update={"notifications": Notifications(targets=targets)})
    world.trouble("channel", failure("rejected", "no such channel"))


def well(world: PaperWorld) -> None:
    """No trouble."""


Story = tuple[str, Callable[[PaperWorld], None], Callable[[Run], Awaitable[None]]]
STORIES: dict[str, Story] = {
    "completed-vm-host-1": ("vm-host-1", well, completed),
    "completed-vm-host-2": ("vm-host-2", well, completed),
    "worker-lost-retry-and-skip": ("vm-host-1", jammed, through_troubles),
    "aborted": ("vm-host-1", well, aborted),
    "rolled-back": ("vm-host-1", well, rolled_back),
    "rolled-back-vm-host-2": ("vm-host-2", well, rolled_back),
    "two-approvals": ("vm-host-1", needing_two, by_two),
    "signed-approval": ("vm-host-1", wanting_signatures, signed),
    "facts-changed": ("vm-host-1", well, with_changed_facts),
    "health-check-failed": ("vm-host-1", ill, nothing),
    "health-check-looked-again": ("vm-host-1", ill_at_first, at_the_first_gate),
    "not-all-seen": ("vm-host-1", not_all_seen, nothing),
    "people-told": ("vm-host-1", telling, given_up),
}


BEGUN = {**FOLLOWING, **CONTROLLED}


def world_of(name: str, clock: Clock = wall_clock) -> PaperWorld:
    inventory = load(ROOT / "deploy" / "inventories" / "reference.yaml")
    return PaperWorld(own(inventory, cluster=f"replay-{name}"), clock)


async def record(client: Client, name: str) -> None:
    vacate, prepare, act = STORIES[name]
    world = world_of(name)
    prepare(world)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await start(client, world, vacate)
        await act(run)
        report = await run.result()
        history = await run.handle.fetch_history()
    write(name, history, report)


async def record_begun(client: Client, name: str) -> None:
    """A run that is begun in a way of its own."""
    world = world_of(name)
    async with worker_for(client, world, names.task_queue(world.inventory.cluster)):
        run = await BEGUN[name](client, world)
        report = await run.result()
        history = await run.handle.fetch_history()
    write(name, history, report)


async def record_maintenance(name: str) -> None:
    """On a server whose clock jumps: a maintenance takes weeks."""
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=DATA_CONVERTER,
        identity=IDENTITY,
        test_server_existing_path=str(TEMPORAL.with_name("temporal-test-server")),
    ) as environment:
        await add_search_attributes(environment)
        world = world_of(name, environment.get_current_time)
        async with maintained(environment, name, world) as report:
            handle = environment.client.get_workflow_handle(report.workflow_id, run_id=report.run_id)
            write(name, await handle.fetch_history(), report)


def write(name: str, history: WorkflowHistory, report: RunReport) -> None:
    # Stack traces name the folder of whoever records; replaying doesn't need it.
    told = history.to_json().replace(f"{Path.cwd()}/", "")
    (HISTORIES / f"{name}.json").write_text(told + "\n", encoding="utf-8")
    print(f"{name}: {len(history.events)} events, {report.outcome}")  # noqa: T201 - a script tells what it did


async def main() -> None:
    async with await WorkflowEnvironment.start_local(
        data_converter=DATA_CONVERTER,
        identity=IDENTITY,
        search_attributes=list(names.SEARCH_ATTRIBUTES),
        dev_server_existing_path=str(TEMPORAL),
        dev_server_extra_args=list(FAST),
        dev_server_log_level="error",
    ) as environment:
        for name in sys.argv[1:] or (*STORIES, *BEGUN, *MAINTENANCES):
            if name in MAINTENANCES:
                await record_maintenance(name)
            elif name in BEGUN:
                await record_begun(environment.client, name)
            else:
                await record(environment.client, name)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # the client's runtime may crash while the interpreter ends
