"""The way back as the product sees it, over the real protocols: power, HAProxy, Pacemaker of an older pcs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from activities.all_hands import all_hands
from activities.hands import Hands
from inventory.loading import load
from inventory.models import Inventory
from lab.lab import Lab
from procedure.facts import AutostartFact, BalancerFact, ClusterFact, LocationConstraint, PowerFact, ServerState
from procedure.instructions import RunOn
from procedure.subjects import AutostartOf, BalancerOn, ClusterOn, PowerOf, Subject

SPEED = 50


@pytest.fixture
def secrets() -> Iterator[None]:
    """The environment as it was, afterwards."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@asynccontextmanager
async def started(inventory: Inventory, pcs: Literal["0.10", "0.11"] = "0.11") -> AsyncIterator[tuple[Lab, Hands]]:
    """A lab, and the product's hands in it."""
    async with Lab.start(inventory, speed=SPEED, callers=False, pcs=pcs) as lab:
        os.environ.update(lab.environment)
        hands = all_hands(load(lab.inventory_path))
        yield lab, hands
        await hands.close()
        assert lab.unknown_commands == []


async def see(hands: Hands, subject: Subject) -> object:
    """What the product sees of a subject."""
    observation = await hands.observe(subject)
    assert observation.fact is not None, observation.problem
    return observation.fact


async def test_a_machine_that_hangs_in_its_boot_has_power_and_answers_nobody(
    reference: Inventory, secrets: None
) -> None:
    async with started(reference) as (lab, hands):
        lab.world.cut_power("acd-api1")
        lab.fault("acd-api1", "boot_stuck")
        lab.by_hand("acd-api1", "power_on")
        await lab.settled()
        fact = await see(hands, PowerOf(machine="acd-api1"))
        assert isinstance(fact, PowerFact)
        assert (fact.provider, fact.answering) == ("on", ())
        lab.clear_faults()
        await lab.wait_until(lambda: lab.world.machines["acd-api1"].on)
        await lab.settled()
        fact = await see(hands, PowerOf(machine="acd-api1"))
        assert isinstance(fact, PowerFact)
        assert (fact.provider, fact.state, fact.silent) == ("on", "on", ())


async def test_a_machine_that_starts_with_its_host_says_so(reference: Inventory, secrets: None) -> None:
    async with started(reference) as (lab, hands):
        lab.world.cut_power("acd-api1")
        assert await see(hands, AutostartOf(machine="acd-api1")) == AutostartFact(enabled=False)
        lab.fault("acd-api1", "autostart")
        assert await see(hands, AutostartOf(machine="acd-api1")) == AutostartFact(enabled=True)
        await lab.wait_until(lambda: lab.world.machines["acd-api1"].on)


async def test_haproxy_that_starts_again_has_forgotten_maint_and_may_have_another_configuration(
    reference: Inventory, secrets: None
) -> None:
    async with started(reference) as (lab, hands):
        before = await see(hands, BalancerOn(machine="acd-lb2"))
        assert isinstance(before, BalancerFact)
        station = lab.station("acd-lb2").balancer
        assert station
        await station.balancer.socket.command("set server web/acd-jb1 state maint")
        for what in ("weight", "backup"):
            lab.fault("acd-lb2", "haproxy_differs", what)
        await _restart_haproxy(lab)
        after = await see(hands, BalancerOn(machine="acd-lb2"))
        assert isinstance(after, BalancerFact)
        differ = [new for old, new in zip(before.servers, after.servers, strict=True) if _fixed(new) != _fixed(old)]
        assert [(s.backend, s.server, s.admin, s.weight, s.backup) for s in differ] == [
            ("web", "acd-jb1", "ready", 5, True)
        ]
        lab.clear_faults()
        await _restart_haproxy(lab)
        again = await see(hands, BalancerOn(machine="acd-lb2"))
        assert isinstance(again, BalancerFact)
        assert [_fixed(s) for s in again.servers] == [_fixed(s) for s in before.servers]


async def _restart_haproxy(lab: Lab) -> None:
    service = lab.world.machines["acd-lb2"].services["haproxy"]
    lab.by_hand("acd-lb2", "stop", "haproxy")
    await lab.wait_until(lambda: service.status == "stopped")
    await lab.settled()
    lab.by_hand("acd-lb2", "start", "haproxy")
    await lab.wait_until(lambda: service.status == "running")
    await lab.settled()


def _fixed(server: ServerState) -> dict[str, object]:
    """What does not change by itself."""
    data = server.model_dump()
    return {name: data[name] for name in ("backend", "server", "admin", "backup", "weight", "address")}


async def test_an_older_pcs_leaves_a_constraint_that_the_product_sees_and_clears(
    reference: Inventory, secrets: None
) -> None:
    # A pair that is moved so: where it goes into standby instead, sudo has no rule for it.
    storage = reference.pairs.storage.model_copy(update={"method": "move"})
    moving = reference.model_copy(update={"pairs": reference.pairs.model_copy(update={"storage": storage})})
    async with started(moving, pcs="0.10") as (lab, hands):
        move = ("pcs", "resource", "move", "fs_r0", "acd-store2")
        await hands.act(RunOn(machine="acd-store2", argv=move))
        await lab.wait_until(lambda: lab.world.primaries("storage") == ["acd-store2"])
        assert [c.id for c in await _constraints(hands)] == ["cli-prefer-fs_r0"]
        await hands.act(RunOn(machine="acd-store2", argv=("pcs", "resource", "clear", "fs_r0")))
        assert await _constraints(hands) == ()
        assert lab.world.primaries("storage") == ["acd-store2"]


async def _constraints(hands: Hands) -> tuple[LocationConstraint, ...]:
    fact = await see(hands, ClusterOn(machine="acd-store2"))
    assert isinstance(fact, ClusterFact)
    return fact.constraints
