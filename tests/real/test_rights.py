"""What deploy/sudoers.d allows is enough on real hosts, and none of it too much: with less, what is missing is said.

There and back with all of it is test_there_and_back.py. Windows is simulated in this lab, so its rights are not proved.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import pytest

from activities.engine import StepStopped, carry_out
from inventory.models import Inventory
from lab.real.lab import RealLab
from procedure import health_check
from procedure.commands.backup import DeleteSnapshot, RemoveBackup, TakeBackup, TakeSnapshot
from procedure.commands.base import Command
from procedure.commands.machines import CutPower, ShutDownMachine, StartMachine
from procedure.commands.pairs import MovePair, RejoinNode
from procedure.commands.software import StartComponent, StopComponent
from procedure.facts import BackupFact, Facts, PowerFact
from procedure.instructions import RunOn
from procedure.situation import Situation
from procedure.subjects import AutostartOf, BackupAt, BalancerOn, ClusterOn, PowerOf, SnapshotOf, Subject
from procedure.verdicts import Answer
from tests.deploy.test_sudoers import DUMP, FILE, REFERENCE, Sent, acted, cluster, observed
from tests.real.rights import SUDOERS, hands_for, less_sudo, refused, rules, seen, unseen, write

pytestmark = pytest.mark.timeout(300)

ALLOW = "user failover there to run it with NOPASSWD (sudoers)"
CHAT, API, LISTENER = "Chat Server", "REST API", "Platform UDP Listener"
SNAPSHOT = f"failover-{REFERENCE}"
MOVE_STORAGE = MovePair(pair="storage", to="acd-store2", leaver="acd-store1")
MOVE_BALANCER = MovePair(pair="load_balancer", to="acd-lb2", leaver="acd-lb1")


@dataclass(frozen=True)
class Tried:
    """What needs a rule: on which host, and what the product does there."""

    host: str
    what: tuple[Subject | Command, ...]
    sysv: bool = False
    """Services by init scripts; and HAProxy by its socket alone."""


def software(machine: str, component: str, *, sysv: bool = False) -> Tried:
    return Tried(
        machine,
        (StopComponent(machine=machine, component=component), StartComponent(machine=machine, component=component)),
        sysv,
    )


def hypervisor(host: str, machine: str) -> dict[str, Tried]:
    alias = f"FAILOVER_HOST_{host[-1]}"
    snapshots = (TakeSnapshot(machine=machine, name=SNAPSHOT), DeleteSnapshot(machine=machine, name=SNAPSHOT))
    return {
        f"{alias}_SEE": Tried(host, (AutostartOf(machine=machine), SnapshotOf(machine=machine, name=SNAPSHOT))),
        f"{alias}_ON": Tried(host, (StartMachine(machine=machine),)),
        f"{alias}_OFF": Tried(host, (CutPower(machine=machine),)),
        f"{alias}_SNAPSHOT": Tried(host, snapshots),
    }


NEEDS: dict[str, Tried] = {
    "FAILOVER_POWER_OFF": Tried("acd-jb1", (ShutDownMachine(machine="acd-jb1"),)),
    "FAILOVER_WEB_SOFTWARE": software("acd-jb1", "Wildfly"),
    "FAILOVER_WEB_SYSV": software("acd-jb1", "Wildfly", sysv=True),
    "FAILOVER_CHAT_SOFTWARE": software("acd-chat1", CHAT),
    "FAILOVER_CHAT_SYSV": software("acd-chat1", CHAT, sysv=True),
    "FAILOVER_API_SOFTWARE": software("acd-api1", API),
    "FAILOVER_API_SYSV": software("acd-api1", API, sysv=True),
    "FAILOVER_MASTER_SOFTWARE": software("acd-dbm1", LISTENER),
    "FAILOVER_MASTER_SYSV": software("acd-dbm1", LISTENER, sysv=True),
    "FAILOVER_DUMP": Tried("acd-dbm1", (TakeBackup(machine="acd-dbm1", path=DUMP),)),
    "FAILOVER_REMOVE_DUMP": Tried("acd-dbm1", (RemoveBackup(machine="acd-dbm1", path=DUMP),)),
    "FAILOVER_SEE_DUMP": Tried("acd-dbm1", (BackupAt(machine="acd-dbm1", path=DUMP),)),
    "FAILOVER_SEE_PAIR": Tried("acd-lb2", (ClusterOn(machine="acd-lb2"),)),
    "FAILOVER_MOVE_STORAGE": Tried("acd-store2", (MOVE_STORAGE,)),
    "FAILOVER_MOVE_BALANCER": Tried("acd-lb2", (MOVE_BALANCER,)),
    "FAILOVER_HAPROXY": Tried("acd-lb2", (BalancerOn(machine="acd-lb2"),), sysv=True),
    **{
        f"/usr/sbin/pcs node unstandby {name}{number}": Tried(
            f"{name}{3 - number}", (RejoinNode(pair=pair, machine=f"{name}{number}"),)
        )
        for name, pair in (("acd-store", "storage"), ("acd-lb", "load_balancer"))
        for number in (1, 2)
    },
    **hypervisor("vm-host-1", "acd-lb1"),
    **hypervisor("vm-host-2", "acd-dbm2"),
}
ELSEWHERE = {"FAILOVER_SEE_NAGIOS", "FAILOVER_NAGIOS"}
"""Tried in test_watched_by_nagios.py."""
NOT_HERE = {"FAILOVER_SEE_DRBD": "no DRBD in this lab"}


def variant(inventory: Inventory, tried: Tried) -> Inventory:
    """The cluster with what this rule is for."""
    data: dict[str, Any] = inventory.model_dump(exclude_unset=True)
    data["backup"]["snapshots"] = True
    if tried.sysv:
        data["haproxy"] |= {"admin_page": None, "change_by": "socket"}
        for component in data["components"]:
            if component["role"] != "telephony":
                component["manager"] = "sysv"
    return Inventory.model_validate(data)


def test_every_rule_is_tried() -> None:
    members = {member for _, member in rules(FILE.read_text(encoding="utf-8"))}
    assert members == {*NEEDS, *ELSEWHERE, *NOT_HERE}


@pytest.mark.parametrize("rule", NEEDS)
async def test_without_a_rule_what_needs_it_says_so(rule: str, hosts: RealLab) -> None:
    tried = NEEDS[rule]
    inventory = variant(hosts.inventory, tried)
    async with hands_for(hosts, inventory) as hands, less_sudo(hosts, [tried.host], rule):
        for what in tried.what:
            if not isinstance(what, Command):
                observation = await unseen(hands, what)
                assert f"{tried.host}: sudo refused `" in observation.problem
                assert observation.next_step == f"allow {ALLOW}"
                continue
            sent = what.instructions(Situation(inventory, "vm-host-1"), Facts())
            assert sent
            for instruction in sent:
                assert isinstance(instruction, RunOn)
                trouble = await refused(hands, instruction)
                assert trouble.machine == tried.host
                assert f"sudo refused `{shlex.join(instruction.argv)}`"[:100] in trouble.seen
                assert trouble.next_step == f"allow {ALLOW}"


async def test_real_sudo_allows_all_that_is_sent(hosts: RealLab) -> None:
    usual, older = cluster(), cluster(sysv=True)
    sent = {*acted(usual), *acted(older), *await observed(usual), *await observed(older)}
    here = sorted((host, argv) for host, argv in sent if argv[0] != "drbdsetup")
    assert {host for host, _ in here} >= {"acd-jb1", "acd-dbm2", "acd-lb1", "acd-store2", "vm-host-1", "vm-host-2"}
    assert [one for one in here if not await allowed(hosts, one)] == []
    assert not await allowed(hosts, ("acd-jb1", ("systemctl", "stop", "ssh"))), "it says no to something"


async def allowed(lab: RealLab, sent: Sent) -> bool:
    host, argv = sent
    done = await lab.hosts[host].run("sudo", "-n", "-l", "-U", "failover", "--", *argv)
    return done.code == 0


async def test_what_only_reads_is_enough_for_the_health_check(normal: RealLab) -> None:
    """As deploy/privileges.md promises."""
    changes = {member for _, member in rules(FILE.read_text(encoding="utf-8")) if "SEE" not in member}
    situation = Situation(normal.inventory, "vm-host-1")
    async with hands_for(normal) as hands, less_sudo(normal, list(normal.hosts), *changes - {"FAILOVER_HAPROXY"}):
        facts = Facts(observations=await hands.observe_all(health_check.subjects(normal.inventory)))
        verdicts = health_check.judge(situation, facts)
        # The Windows machines are simulated beside the hosts, and have nothing of this file.
        assert [v for v in verdicts if not v.allows and "WinRM" not in v.reason] == []
        with pytest.raises(StepStopped) as stopped:
            await carry_out(TakeBackup(machine="acd-dbm1", path=DUMP), situation, hands)
    problem = stopped.value.problem
    assert problem.kind == "rejected"
    assert problem.seen.startswith("acd-dbm1: sudo refused `flock --wait 3600")
    assert problem.seen.endswith("Afterwards: it is not there")
    assert problem.next_step == f"Allow {ALLOW}. Then retry."


async def test_a_health_check_without_a_right_ends_before_anything_is_touched(normal: RealLab) -> None:
    situation = Situation(normal.inventory, "vm-host-1")
    async with hands_for(normal) as hands, less_sudo(normal, ["acd-store1"], "FAILOVER_SEE_PAIR"):
        facts = Facts(observations=await hands.observe_all(health_check.subjects(normal.inventory)))
    # The Windows machines are simulated beside the hosts, and have nothing of this file.
    against = [v for v in health_check.judge(situation, facts) if not v.allows and "WinRM" not in v.reason]
    assert against
    for verdict in against:
        assert verdict.answer is Answer.UNKNOWN
        assert "acd-store1: sudo refused `c" in verdict.reason
        assert f"llow {ALLOW}" in verdict.next_step


async def test_a_host_that_tells_no_power_does_not_make_a_silent_machine_off(normal: RealLab) -> None:
    silent = PowerOf(machine="acd-dbs2")
    async with hands_for(normal) as hands:
        normal.hosts["acd-dbs2"].set_network(up=False)
        try:
            async with less_sudo(normal, ["vm-host-2"], "FAILOVER_HOST_2_SEE"):
                assert "sudo refused `virsh --connect" in (await unseen(hands, silent)).problem
            told = await seen(hands, silent)
        finally:
            normal.hosts["acd-dbs2"].set_network(up=True)
    assert isinstance(told, PowerFact)
    assert (told.state, told.provider) == ("on", "on")
    await normal.normal_state()


async def test_what_a_whole_run_does_not_send_works_with_its_rule(normal: RealLab) -> None:
    """By init scripts, by the socket, snapshots, and a dump that is made, seen and removed."""
    inventory = variant(normal.inventory, Tried("", (), sysv=True))
    situation = Situation(inventory, "vm-host-1")
    async with hands_for(normal, inventory) as hands:
        for command in (
            StopComponent(machine="acd-api2", component=API),
            StartComponent(machine="acd-api2", component=API),
            TakeBackup(machine="acd-dbm1", path=DUMP),
            TakeSnapshot(machine="acd-lb1", name=SNAPSHOT),
            DeleteSnapshot(machine="acd-lb1", name=SNAPSHOT),
            RemoveBackup(machine="acd-dbm1", path=DUMP),
        ):
            report = await carry_out(command, situation, hands)
            assert report.outcome == "done", command.title
        assert await seen(hands, BackupAt(machine="acd-dbm1", path=DUMP)) == BackupFact(exists=False)
    await normal.normal_state()


async def test_no_rule_at_all(hosts: RealLab) -> None:
    """An account that sudo does not know."""
    whole = FILE.read_text(encoding="utf-8")
    async with hands_for(hosts) as hands:
        try:
            await write(hosts, "acd-lb2", SUDOERS, "# nothing\n")
            assert "acd-lb2: sudo refused `" in (await unseen(hands, ClusterOn(machine="acd-lb2"))).problem
        finally:
            await write(hosts, "acd-lb2", SUDOERS, whole)


async def test_visudo_finds_nothing(hosts: RealLab) -> None:
    done = await hosts.hosts["acd-lb1"].run("visudo", "-c", "-s", "-f", SUDOERS)
    assert (done.code, done.stderr) == (0, "")
