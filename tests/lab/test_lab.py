"""The whole lab: real servers of twenty machines follow the model, and the product's own hands reach them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from activities.all_hands import all_hands
from activities.errors import Transient
from activities.hands import Hands
from activities.ssh import Ssh
from inventory.loading import load
from inventory.models import CommandPower, Inventory
from lab.durations import Durations
from lab.faults import StateFault
from lab.lab import Lab
from procedure.facts import (
    BalancerFact,
    ClusterFact,
    ComponentFact,
    DaemonFact,
    DrbdFact,
    Fact,
    PowerFact,
    ProbeFact,
    ReplicationFact,
    SessionsFact,
)
from procedure.instructions import RunOn, SetServers, WindowsCommand, WindowsServiceAction, WindowsShutdown
from procedure.subjects import (
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    DrbdOn,
    PowerOf,
    ProbeOf,
    ReplicationOn,
    SessionsOn,
    Subject,
)
from tests.lab.conftest import REFERENCE

SPEED = 50.0
STARTUP_SECONDS = 5.0


@pytest.fixture
def secrets() -> Iterator[None]:
    """The environment as it was, afterwards."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def quick(reference: Inventory) -> Inventory:
    """The reference cluster with HAProxies that know soon who is up."""
    haproxy = reference.haproxy.model_copy(update={"check_interval": timedelta(milliseconds=100)})
    return reference.model_copy(update={"haproxy": haproxy})


@pytest.fixture
async def lab(quick: Inventory, secrets: None) -> AsyncIterator[Lab]:
    async with Lab.start(quick, speed=SPEED) as started:
        os.environ.update(started.environment)
        yield started


@pytest.fixture
async def hands(lab: Lab) -> AsyncIterator[Hands]:
    hands = all_hands(load(lab.inventory_path))
    yield hands
    await hands.close()


async def see(hands: Hands, subject: Subject) -> Fact:
    """What the product sees of a subject."""
    observation = await hands.observe(subject)
    assert observation.fact is not None, observation.problem
    return observation.fact


def content(path: str) -> str:
    """What a file holds."""
    return Path(path).read_text(encoding="utf-8")


async def test_it_starts_soon_and_in_the_normal_state(reference: Inventory) -> None:
    began = time.monotonic()
    async with Lab.start(reference, speed=SPEED, callers=False) as lab:
        assert time.monotonic() - began < STARTUP_SECONDS
        assert load(lab.inventory_path) == lab.inventory
        truth = lab.truth()
        assert truth["writer"] == "acd-dbm1"
        assert set(truth["balancers"]["acd-lb1"].values()) == {"ready up"}
        directory = lab.site.directory
    assert not directory.exists()


async def test_the_product_sees_the_simulated_cluster_as_it_is(lab: Lab, hands: Hands) -> None:
    component = await see(hands, ComponentOn(machine="acd-tel1", component="Platform UDP Listener"))
    assert isinstance(component, ComponentFact)
    assert component.state == "running"
    linux = await see(hands, ComponentOn(machine="acd-jb1", component="Wildfly"))
    assert isinstance(linux, ComponentFact)
    assert linux.state == "running"
    cluster = await see(hands, ClusterOn(machine="acd-store1"))
    assert isinstance(cluster, ClusterFact)
    assert (cluster.quorum, cluster.transition_idle, cluster.mounts) == (True, True, ("/srv/acd",))
    assert lab.inventory.pairs.storage.address in cluster.addresses
    drbd = await see(hands, DrbdOn(machine="acd-store2"))
    assert isinstance(drbd, DrbdFact)
    assert (drbd.connection, drbd.role, drbd.peer_role) == ("Connected", "Secondary", "Primary")
    balancer = await see(hands, BalancerOn(machine="acd-lb2"))
    assert isinstance(balancer, BalancerFact)
    assert {server.status for server in balancer.servers} == {"UP"}
    replication = await see(hands, ReplicationOn(machine="acd-dbm2"))
    assert isinstance(replication, ReplicationFact)
    assert [(c.io, c.sql, c.lag_seconds) for c in replication.channels] == [("Yes", "Yes", 0)]
    sessions = await see(hands, SessionsOn(machine="acd-dbm1"))
    assert isinstance(sessions, SessionsFact)
    assert sessions.complete
    assert sessions.count > 0
    daemon = await see(hands, DaemonOn(machine="acd-tel1"))
    assert isinstance(daemon, DaemonFact)
    assert daemon.state == "running"
    power = await see(hands, PowerOf(machine="acd-jb1"))
    assert isinstance(power, PowerFact)
    assert power.state == "on"
    assert lab.unknown_commands == []


async def test_every_probe_of_the_inventory_finds_what_it_looks_for(lab: Lab, hands: Hands) -> None:
    for probe in lab.inventory.probes:
        fact = await see(hands, ProbeOf(name=probe.name))
        assert isinstance(fact, ProbeFact)
        assert fact.ok, f"{probe.name}: {fact.detail}"


async def test_windows_services_commands_and_shutdown(lab: Lab, hands: Hands) -> None:
    state = lab.world.machines["acd-tel1"]
    await hands.act(WindowsServiceAction(machine="acd-tel1", service="robot5", action="stop"))
    await lab.wait_until(lambda: state.services["robot5"].status == "stopped")
    commands = lab.inventory.daemon.commands
    assert commands is not None
    await hands.act(WindowsCommand(machine="acd-tel1", argv=commands.stop))
    assert state.daemon == "stopped"
    await hands.act(WindowsShutdown(machine="acd-tel1"))
    await lab.wait_until(lambda: state.power == "off")
    fact = await see(hands, PowerOf(machine="acd-tel1"))
    assert isinstance(fact, PowerFact)
    assert fact.state == "off"


async def test_a_service_that_stops_is_seen_by_the_real_haproxy(lab: Lab, hands: Hands) -> None:
    await hands.act(RunOn(machine="acd-chat1", argv=("systemctl", "stop", "jtel-clientmessenger")))
    await lab.wait_until(lambda: lab.truth()["balancers"]["acd-lb1"]["chat/acd-chat1"] == "ready down")


async def test_maint_on_the_real_haproxy_moves_the_writes(lab: Lab, hands: Hands) -> None:
    for balancer in ("acd-lb1", "acd-lb2"):
        await hands.act(SetServers(balancer=balancer, backend="db", servers=("acd-dbm1",), state="maint"))
    await lab.wait_until(lambda: lab.world.writer() == "acd-dbm2")
    await lab.wait_until(lambda: lab.journal.count("acd-lb2", "haproxy db/acd-dbm1 maint") == 1)
    assert lab.violations == []


async def test_the_runtime_socket_is_the_real_haproxys(lab: Lab, hands: Hands) -> None:
    ssh = Ssh(load(lab.inventory_path))
    words = ["socat", "-", "UNIX-CONNECT:/run/haproxy/admin.sock"]
    done = await ssh.run("acd-lb1", words, sudo=True, stdin="show info\n")
    assert "Name: HAProxy" in done.stdout
    await ssh.run("acd-lb1", words, sudo=True, stdin="set server web/acd-jb1 state maint\n")
    assert lab.truth()["balancers"]["acd-lb1"]["web/acd-jb1"].startswith("maint")
    await ssh.close()


async def test_standby_moves_the_address_that_clients_use(lab: Lab, hands: Hands) -> None:
    await hands.act(RunOn(machine="acd-lb1", argv=("pcs", "node", "standby", "acd-lb1")))
    await lab.wait_until(lambda: lab.world.primaries("load_balancer") == ["acd-lb2"])
    await lab.settled()
    assert lab.callers is not None
    served = lab.callers.tally.served
    async with asyncio.timeout(10):
        await lab.callers.tally.reaches(lambda tally: tally.served > served)
    assert lab.violations == []


async def test_nothing_answers_when_a_machine_is_off_and_all_returns_when_it_boots(lab: Lab, hands: Hands) -> None:
    machine = lab.inventory.machine("acd-lb2")
    lab.world.shut_down("acd-lb2")
    await lab.wait_until(lambda: lab.world.machines["acd-lb2"].power == "off")
    await lab.settled()
    page = lab.inventory.haproxy.admin_page
    assert page is not None
    for port in (machine.port, page.port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(machine.address, port)
    power = lab.inventory.vm_host(machine.host).power
    assert isinstance(power, CommandPower)
    argv = tuple(word.replace("{vm}", "acd-lb2") for word in power.commands.on)
    await hands.act(RunOn(machine=machine.host, argv=argv))
    await lab.wait_until(lambda: lab.world.pairs["load_balancer"].nodes["acd-lb2"].online)
    await lab.wait_until(lambda: lab.truth()["balancers"]["acd-lb2"] is not None)
    balancer = await see(hands, BalancerOn(machine="acd-lb2"))
    assert isinstance(balancer, BalancerFact)
    assert {server.admin for server in balancer.servers} == {"ready"}


async def test_faults_of_whole_machines(lab: Lab, hands: Hands) -> None:
    subject = ComponentOn(machine="acd-jb1", component="Wildfly")
    kinds: tuple[tuple[StateFault, str], ...] = (
        ("host_key_changed", "rejected"),
        ("wrong_password", "rejected"),
        ("unreachable", "transient"),
    )
    for kind, trouble in kinds:
        fault = lab.fault("acd-jb1", kind)
        await lab.settled()
        # The connection that was open until now is lost first.
        seen = [(await hands.observe(subject)).trouble for _ in range(2)]
        assert seen[-1] == trouble, kind
        lab.clear_faults(fault)
        await lab.settled()
        seen = [(await hands.observe(subject)).trouble for _ in range(2)]
        assert seen[-1] == "", kind


async def test_a_machine_that_hangs_answers_nothing(lab: Lab) -> None:
    inventory = load(lab.inventory_path)
    soon = {"connect": timedelta(seconds=1), "command": timedelta(seconds=1)}
    impatient = inventory.model_copy(update={"timings": inventory.timings.model_copy(update=soon)})
    hands = all_hands(impatient)
    subjects = (BalancerOn(machine="acd-lb2"), ClusterOn(machine="acd-lb2"), ReplicationOn(machine="acd-dbs2"))
    faults = [lab.fault(machine, "hangs") for machine in ("acd-lb2", "acd-dbs2")]
    await lab.settled()
    assert {o.trouble for o in await hands.observe_all(subjects)} == {"transient"}
    lab.clear_faults(*faults)
    await lab.settled()
    await hands.observe_all(subjects)
    assert {o.trouble for o in await hands.observe_all(subjects)} == {""}
    await hands.close()


async def test_windows_connections_are_cut_before_or_after_the_work(lab: Lab, hands: Hands) -> None:
    service = lab.world.machines["acd-tel1"].services["robot5"]
    stop = WindowsServiceAction(machine="acd-tel1", service="robot5", action="stop")
    lab.fault("acd-tel1", "drop", "Stop-Service *", times=1)
    with pytest.raises(Transient):
        await hands.act(stop)
    assert lab.journal.count("acd-tel1", "stop robot5") == 0
    await lab.settled()
    lab.fault("acd-tel1", "lose", "Stop-Service *", times=1)
    with pytest.raises(Transient):
        await hands.act(stop)
    await lab.wait_until(lambda: service.status == "stopped")
    await lab.settled()
    assert (await hands.observe(DaemonOn(machine="acd-tel1"))).trouble == ""


async def test_a_wrong_windows_password(lab: Lab, hands: Hands) -> None:
    subject = DaemonOn(machine="acd-tel1")
    lab.fault("acd-tel1", "wrong_password")
    await lab.settled()
    assert (await hands.observe(subject)).trouble == "rejected"
    lab.clear_faults()
    await lab.settled()
    assert (await hands.observe(subject)).trouble == ""


async def test_reset_begins_anew_at_the_same_addresses(lab: Lab, hands: Hands) -> None:
    lab.fault("acd-jb1", "unreachable")
    lab.world.shut_down("acd-store1")
    await lab.wait_until(lambda: lab.world.machines["acd-store1"].power == "off")
    assert lab.violations
    await lab.reset()
    assert lab.violations == []
    assert lab.journal.entries == []
    assert lab.world.primaries("storage") == ["acd-store1"]
    fact = await see(hands, ComponentOn(machine="acd-jb1", component="Wildfly"))
    assert isinstance(fact, ComponentFact)
    assert fact.state == "running"


async def test_durations_can_be_set(reference: Inventory) -> None:
    durations = replace(Durations(), boot=1.0, shutdown=1.0)
    async with Lab.start(reference, speed=SPEED, durations=durations, callers=False) as lab:
        lab.world.shut_down("acd-jb1")
        await lab.wait_until(lambda: lab.world.machines["acd-jb1"].power == "off", within=2)
        lab.world.power_on("acd-jb1")
        await lab.wait_until(lambda: lab.world.machines["acd-jb1"].on, within=2)


async def test_in_another_process_with_a_control_endpoint(tmp_path: Path) -> None:
    words = (
        "-m",
        "lab",
        "up",
        "--inventory",
        str(REFERENCE),
        "--directory",
        str(tmp_path / "lab"),
        "--die-with-parent",
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, cwd=REFERENCE.parents[2]
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            ready = json.loads(await process.stdout.readline())
        token = content(ready["token"])
        assert "FAILOVER_DATABASE_PASSWORD=" in content(ready["environment"])
        async with httpx.AsyncClient(base_url=ready["control"], trust_env=False) as client:
            assert (await client.get("/status")).status_code == 401
            client.headers["Authorization"] = f"Bearer {token}"
            assert (await client.get("/status")).json()["writer"] == "acd-dbm1"
            assert (await client.get("/nothing")).status_code == 404
            fault = {"machine": "acd-jb1", "kind": "service_stuck"}
            assert (await client.post("/faults", json=fault)).json()["kind"] == "service_stuck"
            assert (await client.post("/faults", json={**fault, "kind": "flood"})).status_code == 400
            assert (await client.post("/faults", json={**fault, "machine": "nobody"})).status_code == 400
            stop = {"machine": "acd-jb1", "service": "wildfly", "action": "stop"}
            assert (await client.post("/by-hand", json=stop)).json() == {"effect": "done"}
            assert (await client.get("/truth")).json()["machines"]["acd-jb1"]["services"] == {"wildfly": "stopping"}
            assert (await client.get("/journal")).json()[0]["operation"] == "stop wildfly"
            assert (await client.delete("/faults")).json() == {"cleared": True}
            assert (await client.get("/violations")).json() == []
            assert (await client.post("/end", json={"vacated": None})).json() == []
            assert (await client.post("/reset")).json() == {"reset": True}
            assert (await client.get("/journal")).json() == []
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            code = await process.wait()
    assert code == 0
