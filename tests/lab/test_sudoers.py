"""The simulated sudo obeys the delivered file, as real ones do. tests/real/test_rights.py tries every rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from activities.all_hands import all_hands
from activities.engine import StepStopped, carry_out
from activities.errors import SystemTrouble
from activities.hands import Hands
from inventory.loading import load
from inventory.models import Inventory, NagiosMonitoring
from lab.clock import ScaledClock
from lab.lab import Lab
from lab.shell import Answer, Shell
from lab.sudoers import FILE, Rule, Sudoers, adapted, read
from lab.world import World
from procedure.commands.backup import TakeBackup
from procedure.commands.software import StopComponent
from procedure.instructions import RunOn
from procedure.situation import Situation
from procedure.subjects import ClusterOn
from tests.lab.test_other_inventories import another

REFUSED = Answer(1, stderr="sudo: a password is required\n")
ALLOW = "llow user failover there to run it with NOPASSWD (sudoers)"


@pytest.fixture
async def lab(reference: Inventory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    async with Lab.start(reference, speed=50, callers=False) as lab:
        for name, value in lab.environment.items():
            monkeypatch.setenv(name, value)
        yield lab


@pytest.fixture
async def hands(lab: Lab) -> AsyncIterator[Hands]:
    hands = all_hands(load(lab.inventory_path))
    yield hands
    await hands.close()


async def nothing() -> bytes:
    return b""


async def done(text: str) -> Answer:
    return Answer(stdout=text)


def shell(reference: Inventory, host: str, *, root: bool = False) -> Shell:
    """A machine whose commands all say that they were run."""
    found = Shell(World(reference, ScaledClock(1)), host, user_is_root=root, may=Sudoers.of(reference).on(host))
    found.knows({name: lambda call: done(call.text) for name in ("systemctl", "virsh", "cat", "true")})
    return found


def without(lab: Lab, host: str, words: str) -> None:
    """Take the rules away that let these words, and whatever follows them, run on a host."""
    rules = lab.site.sudoers.rules
    assert rules is not None
    kept = [rule for rule in rules if not (rule.host == host and words in rule.command)]
    assert len(kept) < len(rules)
    lab.site.sudoers.rules = kept


# --- one machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("acd-jb1", "systemctl stop wildfly"),
        ("acd-jb1", "/usr/bin/systemctl stop wildfly"),
        ("vm-host-1", "virsh --connect qemu:///system start acd-jb1"),
        ("acd-mon", "cat /var/lib/nagios4/status.dat"),
    ],
)
async def test_what_the_file_lists_is_run(host: str, words: str, reference: Inventory) -> None:
    answer = await shell(reference, host).run(f"sudo -n {words}", nothing)
    assert answer == Answer(stdout=words.removeprefix("/usr/bin/"))


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("acd-jb1", "true"),
        ("acd-jb1", "systemctl stop sshd"),
        ("acd-jb1", "systemctl stop wildfly sshd"),
        ("acd-jb1", "/tmp/systemctl stop wildfly"),
        ("acd-jb1", "env systemctl stop wildfly"),
        ("acd-chat1", "systemctl stop wildfly"),
        ("vm-host-2", "virsh --connect qemu:///system start acd-jb1"),
        ("acd-jb1", "cat /var/lib/nagios4/status.dat"),
    ],
)
async def test_anything_else_is_refused(host: str, words: str, reference: Inventory) -> None:
    there = shell(reference, host)
    assert await there.run(f"env LC_ALL=C sudo -n {words}", nothing) == REFUSED
    assert there.world.unknown_commands == []


async def test_root_may_do_anything(reference: Inventory) -> None:
    assert await shell(reference, "acd-jb1", root=True).run("sudo -n true", nothing) == Answer(stdout="true")


def test_arguments_are_those_of_the_rule_and_a_bare_program_takes_any() -> None:
    assert not Rule("acd-jb1", "/usr/bin/true again").allows("acd-jb1", ("true",))
    assert Rule("acd-jb1", "/usr/bin/true").allows("acd-jb1", ("true", "again"))


@pytest.mark.parametrize(
    "line",
    [
        "failover acd-jb1 = (root) NOPASSWD: !/usr/bin/true",
        'failover acd-jb1 = (root) NOPASSWD: /usr/bin/true ""',
        r"failover acd-jb1 = (root) NOPASSWD: /usr/bin/true \*",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true [^a]",
        "another acd-jb1 = (root) NOPASSWD: /usr/bin/true",
        "failover acd-jb1 = (root) /usr/bin/true",
        "failover acd-jb1 = (root) NOPASSWD: NOEXEC: /usr/bin/true",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true, PASSWD: /usr/bin/false",
        "failover acd-jb1 = (root) NOPASSWD: sha256:abcd /usr/bin/true",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true, UNDEFINED",
        "failover acd-jb1 = (root) NOPASSWD: ALL",
        "failover ALL = (root) NOPASSWD: /usr/bin/true",
        "failover acd-* = (root) NOPASSWD: /usr/bin/true",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/*",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true ^a.*$",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true --a=b",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true : acd-jb2 = (root) NOPASSWD: /usr/bin/true",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/true # again",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/",
        "failover acd-jb1 = (root) NOPASSWD: /usr/bin/../bin/true",
        "#include /etc/sudoers.d/more",
        "#includedir /etc/more",
        "#1000 ALL=(ALL) ALL",
        "@include /etc/sudoers.d/more",
    ],
)
def test_what_is_not_read_as_sudo_does_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read(line)
    assert str(refused.value) in line


# --- which sites ------------------------------------------------------------------------------------------------------


def changed(inventory: Inventory, **parts: object) -> Inventory:
    return inventory.model_copy(update=parts)


def test_the_file_is_adapted_as_its_header_says(reference: Inventory) -> None:
    backup = reference.backup.model_copy(update={"directory": "/var/dumps", "defaults_file": "/root/my.cnf"})
    timings = reference.timings.model_copy(update={"backup": timedelta(seconds=14.2)})
    text = FILE.read_text(encoding="utf-8")
    assert read(adapted(text, reference)) == read(text)
    rules = Sudoers.of(changed(reference, cluster="north", backup=backup, timings=timings)).rules
    assert rules is not None
    assert len(rules) == len(read(text))
    dump = "/var/dumps/failover-north-20261122T101500Z.sql"
    lock = ("flock", "--nonblock", "--conflict-exit-code", "75", f"{dump}.lock", "mysqldump")
    options = ("--all-databases", "--single-transaction", "--routines", "--events", f"--result-file={dump}.part")
    for words in (
        ("flock", "--wait", "15", "--conflict-exit-code", "75", f"{dump}.lock", "true"),
        (*lock, "--defaults-file=/root/my.cnf", *options),
        ("rm", "--force", "--", dump, f"{dump}.part", f"{dump}.lock"),
    ):
        assert any(rule.allows("acd-dbm1", words) for rule in rules), words
        assert not any(rule.allows("acd-dbm1", words) for rule in read(text)), words


def test_a_site_that_it_was_not_written_for_has_no_rules(reference: Inventory) -> None:
    assert Sudoers.of(another(reference)).rules is None
    machines = tuple(m.model_copy(update={"name": m.name.replace("acd", "pbx")}) for m in reference.machines)
    assert Sudoers.of(changed(reference, machines=machines)).rules is None
    storage = reference.pairs.storage.model_copy(update={"method": "move"})
    pairs = reference.pairs.model_copy(update={"storage": storage})
    assert Sudoers.of(changed(reference, pairs=pairs)).rules is None
    nagios = NagiosMonitoring(address="10.77.0.5", connection="linux")
    assert Sudoers.of(changed(reference, monitoring=nagios)).rules is not None
    elsewhere = nagios.model_copy(update={"status_file": "/tmp/status.dat"})
    assert Sudoers.of(changed(reference, monitoring=elsewhere)).rules is None


# --- the product ------------------------------------------------------------------------------------------------------


async def test_without_a_rule_the_product_says_what_is_missing(lab: Lab, hands: Hands) -> None:
    without(lab, "acd-jb1", "systemctl stop wildfly")
    situation = Situation(lab.inventory, "vm-host-1")
    with pytest.raises(StepStopped) as stopped:
        await carry_out(StopComponent(machine="acd-jb1", component="Wildfly"), situation, hands)
    problem = stopped.value.problem
    assert problem.kind == "rejected"
    assert "acd-jb1: sudo refused `systemctl stop wildfly`" in problem.seen
    assert ALLOW in problem.next_step
    assert lab.world.machines["acd-jb1"].services["wildfly"].status == "running"
    report = await carry_out(StopComponent(machine="acd-jb2", component="Wildfly"), situation, hands)
    assert report.outcome == "done", "it is missing on one machine only"


async def test_without_the_rule_to_look_nothing_is_seen(lab: Lab, hands: Hands) -> None:
    without(lab, "acd-store1", "crm_mon")
    observation = await hands.observe(ClusterOn(machine="acd-store1"))
    assert observation.fact is None
    assert "acd-store1: sudo refused `crm_mon" in observation.problem
    assert ALLOW in observation.next_step
    assert (await hands.observe(ClusterOn(machine="acd-store2"))).fact is not None


async def test_a_dump_under_another_name_than_a_runs_is_refused(lab: Lab, hands: Hands) -> None:
    situation = Situation(lab.inventory, "vm-host-1")
    with pytest.raises(StepStopped, match="sudo refused `stat --format=%F"):
        await carry_out(TakeBackup(machine="acd-dbm1", path="/srv/backup/mine.sql"), situation, hands)


async def test_a_hypervisor_switches_its_own_machines_only(lab: Lab, hands: Hands) -> None:
    with pytest.raises(SystemTrouble, match="sudo refused `virsh"):
        await hands.act(RunOn(machine="vm-host-1", argv=("virsh", "--connect", "qemu:///system", "destroy", "acd-jb4")))
    assert lab.world.machines["acd-jb4"].power == "on"
