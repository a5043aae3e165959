"""The lab takes any inventory: other ways to power machines, move pairs, name services, reach machines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.all_hands import all_hands
from activities.hands import Hands
from inventory.loading import load
from inventory.models import Inventory
from lab.certificates import CertificateAuthority
from lab.lab import Lab
from lab.stations import Station
from procedure import health_check
from procedure.facts import Facts, PowerFact
from procedure.instructions import RunOn
from procedure.plan import Observe
from procedure.situation import Situation
from procedure.subjects import PowerOf


@pytest.fixture
def secrets() -> Iterator[None]:
    """The environment as it was, afterwards."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def another(reference: Inventory) -> Inventory:
    """A cluster that differs from the reference wherever an inventory lets it."""
    data: dict[str, Any] = reference.model_dump()
    data["vm_hosts"] = (data["vm_hosts"][0], {"name": "vm-host-2", "power": {"provider": "manual"}})
    data["connections"]["linux"] |= {"user": "root", "sudo": False, "key": None}
    data["connections"]["windows"] |= {"transport": "basic", "password": "file:/etc/failover/windows"}
    for machine in data["machines"]:
        machine["signals"] = (445,)
        if machine["role"] == "storage":
            machine["node"] = f"node-{machine['name']}"
        if machine["role"] == "telephony":
            machine |= {"os": "linux", "connection": "linux"}
    for component in data["components"]:
        if component["role"] in ("web", "telephony"):
            component |= {"manager": "sysv", "service": component["service"].replace(" ", "-")}
    data["daemon"]["commands"] = {
        "status": ("/opt/acd/distribute", "status"),
        "running": "is running",
        "start": ("/opt/acd/distribute", "start"),
        "stop": ("/opt/acd/distribute", "stop"),
    }
    data["pairs"]["storage"]["method"] = "move"
    data["pairs"]["load_balancer"]["resources"] = ("vip", "haproxy")
    data["haproxy"] |= {"change_by": "socket", "admin_page": None}
    data["monitoring"] |= {
        "url": "https://10.77.0.5/alertmanager",
        "user": "failover",
        "password": "env:FAILOVER_ALERTMANAGER_PASSWORD",
        "tls": {},
    }
    probe = {"kind": "command", "name": "mounted", "machine": "acd-store1", "command": ("mountpoint", "/srv/acd")}
    sql = {"kind": "sql", "name": "calls", "address": "portal.example.com", "query": "SELECT id FROM Calls LIMIT 1"}
    data["probes"] = (*data["probes"], probe, sql)
    return Inventory.model_validate(data)


async def test_a_quite_different_cluster_is_healthy(reference: Inventory, secrets: None) -> None:
    async with Lab.start(another(reference), speed=50) as lab:
        os.environ.update(lab.environment)
        inventory = load(lab.inventory_path)
        hands = all_hands(inventory)
        situation = Situation(inventory, "vm-host-1")
        rounds = [step.action for step in health_check.rounds(situation)]
        seen = await asyncio.gather(*(hands.observe_all(r.subjects) for r in rounds if isinstance(r, Observe)))
        facts = Facts(observations=tuple(observation for observations in seen for observation in observations))
        assert [(o.subject.key, o.problem) for o in facts.observations if o.fact is None] == []
        bad = [v.text for v in health_check.judge(situation, facts) if v.answer.value in ("fail", "unknown")]
        assert bad == []
        assert lab.unknown_commands == []
        move = ("pcs", "resource", "move", "drbd_r0-clone", "node-acd-store2")
        await hands.act(RunOn(machine="acd-store1", argv=move))
        assert lab.world.primaries("storage") == ["acd-store2"]
        await hands.act(RunOn(machine="acd-tel1", argv=("/opt/acd/distribute", "stop")))
        assert lab.world.machines["acd-tel1"].daemon == "stopped"
        await hands.close()
        assert lab.violations == []


async def test_without_a_provider_only_silence_proves_that_a_machine_is_off(
    reference: Inventory, secrets: None
) -> None:
    async with Lab.start(another(reference), speed=50) as lab:
        os.environ.update(lab.environment)
        inventory = load(lab.inventory_path)
        hands = all_hands(inventory)
        name = next(m.name for m in inventory.machines if m.host == "vm-host-2" and m.role == "web")
        assert (await _power(hands, name)).state == "on"
        lab.world.cut_power(name)
        off = await _power(hands, name)
        while off.state != "off":  # its ports may still be closing
            off = await _power(hands, name)
        assert (len(off.silent), off.refused, off.provider) == (2, (), None)
        lab.world.power_on(name)
        on = await _power(hands, name)
        while on.state != "on":
            on = await _power(hands, name)
        await hands.close()


async def test_a_machine_beside_real_hosts_is_silent_when_it_is_off(
    reference: Inventory, secrets: None, tmp_path: Path
) -> None:
    name = "acd-tel1"
    async with Lab.start(reference, speed=50) as lab:
        os.environ.update(lab.environment)
        await lab._stations[name].end()
        authority = CertificateAuthority(tmp_path)
        station = Station(lab.world, lab.site, lab.inventory.machine(name), authority, always_silent=True)
        lab.world.cut_power(name)
        station.begin()
        await station.settled()
        hands = all_hands(lab.inventory)
        off = await _power(hands, name)
        assert (off.state, off.refused, len(off.silent)) == ("off", (), 1)
        await hands.close()
        await station.end()


async def _power(hands: Hands, machine: str) -> PowerFact:
    fact = (await hands.observe(PowerOf(machine=machine))).fact
    assert isinstance(fact, PowerFact)
    return fact
