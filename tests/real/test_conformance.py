"""The simulated cluster tells the truth: the same observations and commands on real hosts, and the same is seen.

Everything that can be observed and every command is tried on both; a kind that is new makes this fail until it is
here. Windows machines are simulated in both, and so is not compared what only they have: their services and
AcdGroupDistribute. Real hosts have no DRBD; what the product reads of it is tested on recordings of a real pair.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import get_args

import pytest

from inventory.loading import load
from lab.real.lab import RealLab
from lab.real.site import REFERENCE
from procedure.commands import (
    AnyCommand,
    AwaitDrained,
    AwaitServersUp,
    CheckBalancer,
    CheckCaughtUp,
    CheckPair,
    CheckReplication,
    CheckRestored,
    CheckStopped,
    CheckWholePair,
    ClearMove,
    Command,
    CutPower,
    DeleteSnapshot,
    EndSessions,
    LiftSilence,
    LookAgain,
    LookAgainAlone,
    MovePair,
    RejoinNode,
    RemoveBackup,
    RunProbe,
    SetMaintenance,
    ShutDownMachine,
    SilenceMonitoring,
    StartComponent,
    StartDaemon,
    StartMachine,
    StopComponent,
    StopDaemon,
    TakeBackup,
    TakeSnapshot,
)
from procedure.commands.restored import ServerFound
from procedure.subjects import BalancerOn, ClusterOn, DaemonOn, DrbdOn, ReplicationOn, Subject
from tests.deploy.test_sudoers import DUMP
from tests.real.conformance import SNAPSHOT, Worlds, side_by_side, subjects
from tests.real.faulty_run import without_callers
from tests.real.rights import less_sudo

pytestmark = pytest.mark.timeout(300)

NOT_COMPARED: dict[type[object], str] = {
    DaemonOn: "runs on Windows, which is simulated in both",
    StopDaemon: "as above",
    StartDaemon: "as above",
    LookAgainAlone: "a whole side must be off: test_there_and_back.py does it",
    DrbdOn: "real hosts have no kernel module for it",
}
_BEHIND = {
    "web": tuple(f"acd-jb{number}" for number in range(1, 7)),
    "soap": tuple(f"acd-jb{number}" for number in range(1, 7)),
    "chat": ("acd-chat1", "acd-chat2"),
    "api": ("acd-api1", "acd-api2"),
    "db": ("acd-dbm1", "acd-dbm2"),
}
SERVERS = tuple(
    ServerFound(backend=backend, server=server, backup=server == "acd-dbm2")
    for backend, servers in _BEHIND.items()
    for server in servers
)
FOUND = {"storage": "acd-store1", "load_balancer": "acd-lb1", "writer": "acd-dbm1", "daemon": ("acd-tel1",)}
SIDE = ("acd-jb1", "acd-jb2", "acd-jb3", "acd-chat1", "acd-api1", "acd-dbs1", "acd-dbm1", "acd-lb1", "acd-store1")
BALANCERS = ("acd-lb1", "acd-lb2")


@dataclass(frozen=True)
class Forced:
    """Sent although its conditions are against it: whoever tries a command alone has not done what comes before."""

    command: Command


Act = Command | Forced


def maint(machine: str, state: str) -> tuple[Command, ...]:
    return tuple(
        SetMaintenance.model_validate({"balancer": balancer, "machines": (machine,), "state": state})
        for balancer in BALANCERS
    )


def stop(machine: str, component: str) -> StopComponent:
    return StopComponent(machine=machine, component=component)


def start(machine: str, component: str) -> StartComponent:
    return StartComponent(machine=machine, component=component)


def there_and_back(pair: str, one: str, other: str) -> tuple[Act, ...]:
    there = MovePair.model_validate({"pair": pair, "to": other, "leaver": one, "sessions_accepted": True})
    back = MovePair.model_validate({"pair": pair, "to": one, "leaver": other, "sessions_accepted": True})
    return (
        there,
        RejoinNode.model_validate({"pair": pair, "machine": one}),
        CheckWholePair.model_validate({"pair": pair, "primary": other, "other": one}),
        ClearMove.model_validate({"pair": pair, "machine": other}),
        back,
        RejoinNode.model_validate({"pair": pair, "machine": other}),
    )


def with_all_software(of: type[StopComponent | StartComponent]) -> tuple[Command, ...]:
    """Of both sides: each component holds sessions that a drain waits for."""
    inventory = load(REFERENCE)
    return tuple(of(machine=m.name, component=c.name) for m in inventory.machines for c in inventory.components_on(m))


ACTS: dict[str, tuple[Act, ...]] = {
    "looks": (
        LookAgain.model_validate(FOUND),
        CheckRestored.model_validate(FOUND),
        CheckBalancer(balancer="acd-lb1", found=SERVERS),
        *(CheckCaughtUp(machine=m) for m in ("acd-dbm1", "acd-dbm2", "acd-dbs1", "acd-dbs2")),
        *(RunProbe(name=p) for p in ("portal-login", "soap", "chat", "rest-api", "database", "storage")),
    ),
    "backup": (
        TakeBackup(machine="acd-dbm1", path=DUMP),
        RemoveBackup(machine="acd-dbm1", path=DUMP),
        TakeSnapshot(machine="acd-lb1", name=SNAPSHOT),
        DeleteSnapshot(machine="acd-lb1", name=SNAPSHOT),
    ),
    "monitoring": (
        SilenceMonitoring(machines=SIDE, comment="a test"),
        SilenceMonitoring(machines=SIDE, comment="a test", for_maintenance=True),
        LiftSilence(machines=SIDE),
    ),
    "software": (
        stop("acd-jb1", "Wildfly"),
        CheckStopped(machines=("acd-jb1",)),
        start("acd-jb1", "Wildfly"),
        AwaitServersUp(balancer="acd-lb1", machines=("acd-jb1",)),
        stop("acd-dbm1", "Platform UDP Listener"),
        start("acd-dbm1", "Platform UDP Listener"),
    ),
    "sessions": (
        *with_all_software(StopComponent),
        AwaitDrained(balancer="acd-lb1", master="acd-dbm1"),
        EndSessions(balancer="acd-lb1", master="acd-dbm1"),
        *with_all_software(StartComponent),
        AwaitServersUp(balancer="acd-lb1", machines=tuple(f"acd-jb{number}" for number in range(1, 7))),
    ),
    "writes": (
        *maint("acd-dbm1", "maint"),
        *maint("acd-dbm1", "ready"),
    ),
    "pairs": (
        *there_and_back("load_balancer", "acd-lb1", "acd-lb2"),
        *there_and_back("storage", "acd-store1", "acd-store2"),
    ),
    "power that nobody may take away": (
        CutPower(machine="acd-dbm2"),
        Forced(CutPower(machine="acd-dbm2")),
        CheckReplication(machine="acd-dbm1", away=("acd-dbm2",)),
        Forced(StartMachine(machine="acd-dbm2")),
        CheckReplication(machine="acd-dbm1"),
        CheckCaughtUp(machine="acd-dbm2"),
        Forced(ShutDownMachine(machine="acd-lb2")),
        CheckPair(pair="load_balancer", primary="acd-lb1", offline="acd-lb2"),
        Forced(StartMachine(machine="acd-lb2")),
    ),
    "power of an application": (
        *maint("acd-jb1", "maint"),
        stop("acd-jb1", "Wildfly"),
        ShutDownMachine(machine="acd-jb1"),
        StartMachine(machine="acd-jb1"),
        *maint("acd-jb1", "ready"),
        AwaitServersUp(balancer="acd-lb1", machines=("acd-jb1",)),
    ),
}


@pytest.fixture(scope="module")
async def worlds(hosts: RealLab) -> AsyncIterator[Worlds]:
    async with side_by_side(hosts) as both:
        yield both
    # Where an address has moved, HAProxy keeps connections of clients that are gone: a drain would wait for them.
    await hosts.reset()


def command_of(act: Act) -> Command:
    return act.command if isinstance(act, Forced) else act


def test_every_kind_of_command_is_compared() -> None:
    kinds = {type(command_of(act)) for acts in ACTS.values() for act in acts}
    assert kinds | set(NOT_COMPARED) >= set(get_args(get_args(AnyCommand)[0]))


def test_every_kind_of_observation_is_compared(hosts: RealLab) -> None:
    kinds = {type(subject) for subject in subjects(hosts.inventory)}
    assert kinds | set(NOT_COMPARED) >= set(get_args(get_args(Subject)[0]))


async def test_in_the_normal_state(worlds: Worlds, normal: RealLab) -> None:
    await worlds.alike(subjects(normal.inventory), "in the normal state")


@pytest.mark.parametrize("name", ACTS)
async def test_after_the_same_commands(name: str, worlds: Worlds, normal: RealLab) -> None:
    # Only the real hosts have callers: a call in the wrong moment is a session that the simulation does not have.
    async with without_callers(normal):
        for act in ACTS[name]:
            await worlds.do(command_of(act), all_the_same=isinstance(act, Forced))
    await worlds.alike(subjects(normal.inventory), f"after {name}")


async def test_how_a_refused_sudo_reads(worlds: Worlds, normal: RealLab) -> None:
    fault = worlds.lab.fault("acd-store1", "sudo_denied")
    async with less_sudo(normal, ["acd-store1"], "FAILOVER_SEE_PAIR"):
        await worlds.alike_unseen(ClusterOn(machine="acd-store1"), "with a sudo that refuses")
    worlds.lab.clear_faults(fault)


async def test_how_a_wrong_password_reads(worlds: Worlds, normal: RealLab, monkeypatch: pytest.MonkeyPatch) -> None:
    for world in (worlds.real, worlds.simulated):
        page = world.inventory.haproxy.admin_page
        assert page is not None
        monkeypatch.setenv(page.password.removeprefix("env:"), "wrong")
    await worlds.alike_unseen(BalancerOn(machine="acd-lb2"), "with a wrong password")
    monkeypatch.undo()
    for world in (worlds.real, worlds.simulated):
        await world.anew()


async def test_how_a_database_that_does_not_run_reads(worlds: Worlds, normal: RealLab) -> None:
    await normal.hosts["acd-dbs2"].run("systemctl", "stop", "mariadb")
    worlds.lab.world.stop_service("acd-dbs2", "mariadb")
    await worlds.lab.wait_until(lambda: not worlds.lab.world.machines["acd-dbs2"].running("mariadb"))
    await worlds.lab.settled()
    await worlds.alike_unseen(ReplicationOn(machine="acd-dbs2"), "without a database")
    await normal.hosts["acd-dbs2"].run("systemctl", "start", "mariadb")
    worlds.lab.world.start_service("acd-dbs2", "mariadb")
    await worlds.alike([ReplicationOn(machine="acd-dbs2")], "with a database again")
