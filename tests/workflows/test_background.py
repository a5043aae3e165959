"""What goes on beside the steps: silences are kept up while a run lasts, and the outage is measured."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from inventory.models import Inventory
from procedure.reports import Outage, RunOutcome
from tests.workflows.driving import own, running
from tests.workflows.paper_world import PaperWorld, Silent, failure


def without_outage_probes(inventory: Inventory) -> Inventory:
    """Measuring would keep the server's clock from jumping."""
    probes = tuple(p.model_copy(update={"outage": False}) for p in inventory.probes)
    return own(inventory, probes=probes)


async def test_silences_last_as_long_as_a_gate_is_open_and_not_a_step_longer(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(without_outage_probes(reference), skipping.get_current_time)
    vacated, surviving = world.machines_of("vm-host-1"), world.machines_of("vm-host-2")
    async with running(skipping.client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        for _ in range(3):
            await skipping.sleep(timedelta(hours=2))
            world.cluster.now = await skipping.get_current_time()
            assert world.cluster.silenced() == vacated | surviving
        assert len(world.cluster.extended) > 2

        await run.approve("before_power_off")
        await run.at_gate("functionality")
        assert world.cluster.silenced() == vacated
        count = len(world.cluster.extended)
        await skipping.sleep(timedelta(hours=5))
        world.cluster.now = await skipping.get_current_time()
        later = world.cluster.extended[count:]
        assert later
        assert all(set(silence.machines) == vacated for silence in later)
        assert world.cluster.silenced() == vacated

        await run.approve("functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.notes == ()
    assert report.outage is None
    assert not world.outage_began.is_set()


async def test_a_silence_that_is_being_extended_is_lifted_only_afterwards(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    """Else it would be silenced again behind the back of the step that lifted it."""
    world = PaperWorld(without_outage_probes(reference), skipping.get_current_time)
    surviving = world.machines_of("vm-host-2")
    lift = "12-lift-silence-vm-host-2"
    async with running(skipping.client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        held = world.hold("upkeep-silence-monitoring"), world.hold("upkeep-silence-monitoring")
        # The clock stands still while the two are held.
        sleeping = asyncio.create_task(skipping.sleep(timedelta(minutes=16)))
        await asyncio.gather(*(each.reached.wait() for each in held))

        await run.approve("before_power_off")
        ready = {"13-probe-portal-login", "10-check-replication-acd-dbs2"}
        await run.until(lambda s: all(r.is_over for r in s.steps if r.id in ready))
        assert lift not in world.done()
        for each in held:
            each.go.set()
        await sleeping
        await run.until(lambda s: all(r.is_over for r in s.steps if r.id == lift))
        assert not world.cluster.silenced() & surviving
        await run.approve("functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_a_silence_that_can_not_be_extended_is_told_and_stops_nothing(
    skipping: WorkflowEnvironment, reference: Inventory
) -> None:
    world = PaperWorld(without_outage_probes(reference), skipping.get_current_time)
    async with running(skipping.client, world) as run:
        await run.approve("before_start")
        await run.at_gate("before_power_off")
        world.trouble("upkeep-silence-monitoring", failure("failed", "the monitoring server is away"))
        await skipping.sleep(timedelta(minutes=20))
        status = await run.until(lambda s: s.notes)
        assert "the monitoring server is away" in status.notes[0]
        assert "the monitoring server is away" in await run.details()
        await run.approve("before_power_off", "functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_the_outage_is_measured_from_the_first_stop_to_the_last_probe(client: Client, world: PaperWorld) -> None:
    stop, probe = world.hold("3-stop-wildfly-acd-jb1"), world.hold("13-probe-portal-login")
    async with running(client, world) as run:
        await run.at_gate("before_start")
        assert not world.outage_began.is_set()
        await run.approve("before_start")
        await stop.reached.wait()
        await asyncio.wait_for(world.outage_began.wait(), 10)
        stop.go.set()
        await run.approve("before_power_off")
        await probe.reached.wait()
        assert not world.outage_ended.is_set()
        probe.go.set()
        await run.at_gate("functionality")
        await asyncio.wait_for(world.outage_ended.wait(), 10)
        status = await run.until(lambda s: s.outage)
        assert status.outage is not None
        assert status.outage.measurements == 9
        await run.approve("functionality")
        assert (await run.result()).outcome is RunOutcome.COMPLETED


async def test_what_was_measured_is_kept_though_nobody_measures_the_end(client: Client, world: PaperWorld) -> None:
    measured = Outage(began=datetime.now(UTC), duration=timedelta(seconds=7), measurements=8)
    world.outage_hold = Silent({"outage": measured.model_dump(mode="json"), "last": None, "ok": False})
    async with running(client, world) as run:
        await run.approve("before_start", "before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.outage is not None
    assert report.outage.duration == timedelta(seconds=7)
    assert report.outage.gaps == ("nobody measured its end",)
    assert any("the outage could not be measured to its end" in note for note in report.notes)


async def test_without_anyone_who_measured_there_is_no_figure_but_a_note(client: Client, world: PaperWorld) -> None:
    world.outage_hold = Silent()
    async with running(client, world) as run:
        await run.approve("before_start", "before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert report.outage is None
    assert any("the outage could not be measured" in note for note in report.notes)
