"""A replica that has just connected says that it lags by nothing: it has received nothing. The product waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from activities.all_hands import all_hands
from activities.engine import carry_out
from activities.hands import Hands
from inventory.loading import load
from inventory.models import Inventory
from lab.durations import Durations
from lab.lab import Lab
from lab.replication import Channel
from procedure.commands import CheckCaughtUp, SetMaintenance
from procedure.facts import Facts, ReplicationFact
from procedure.reports import Outcome
from procedure.situation import Situation
from procedure.subjects import ReplicationOn
from procedure.verdicts import Answer

SPEED = 50.0
REPLICA = "acd-dbm2"
CHECK = CheckCaughtUp(machine=REPLICA)
# It takes the other master's writes.
MAINT = SetMaintenance(balancer="acd-lb2", machines=("acd-dbm1",))


@pytest.fixture
async def lab(reference: Inventory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    slow = replace(Durations(), first_fetch=3600.0)
    async with Lab.start(reference, speed=SPEED, durations=slow, callers=False) as lab:
        for name, value in lab.environment.items():
            monkeypatch.setenv(name, value)
        yield lab


@pytest.fixture
async def hands(lab: Lab) -> AsyncIterator[Hands]:
    hands = all_hands(load(lab.inventory_path))
    yield hands
    await hands.close()


async def reconnected(lab: Lab) -> Channel:
    """A replica that was down while its source went on writing, at the moment it is connected again."""
    (channel,) = lab.world.replication.channels_of(REPLICA)
    lab.world.stop_service(REPLICA, "mariadb")
    await lab.wait_until(lambda: not lab.world.machines[REPLICA].running("mariadb"))
    await lab.world.sleep(SPEED)
    lab.world.start_service(REPLICA, "mariadb")
    await lab.wait_until(lambda: lab.world.machines[REPLICA].running("mariadb") and channel.io == "Yes")
    await lab.settled()
    return channel


async def test_it_is_waited_for_until_it_has_replayed_all(lab: Lab, hands: Hands) -> None:
    situation = Situation(load(lab.inventory_path), "vm-host-1")
    channel = await reconnected(lab)
    waits = asyncio.Event()

    def progress(text: str, acted: bool) -> None:
        assert not acted
        if "from acd-dbm1: not yet executed: 0-" in text:
            waits.set()

    says = (await hands.observe(ReplicationOn(machine=REPLICA))).fact
    assert isinstance(says, ReplicationFact)
    assert [(c.io, c.sql, c.lag_seconds, c.caught_up) for c in says.channels] == [("Yes", "Yes", 0, True)]
    assert await is_fresh(hands, situation) is Answer.FAIL
    waiting = asyncio.create_task(carry_out(CHECK, situation, hands, progress=progress))
    seen = asyncio.create_task(waits.wait())
    await asyncio.wait({waiting, seen}, return_when=asyncio.FIRST_COMPLETED)
    assert not waiting.done(), "it was taken for caught up before it had received anything"

    channel.fetches_from = lab.world.clock.now()

    assert (await waiting).outcome is Outcome.DONE
    assert await is_fresh(hands, situation) is Answer.PASS


async def is_fresh(hands: Hands, situation: Situation) -> Answer:
    """What the step that gives it the writes finds."""
    facts = Facts(observations=await hands.observe_all(MAINT.observes(situation)))
    (verdict,) = [v for v in MAINT.conditions(situation, facts) if v.invariant == 5]
    return verdict.answer
