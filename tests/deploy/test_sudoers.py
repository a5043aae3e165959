"""The delivered sudoers file allows what the product sends with root's rights, and nothing that nobody needs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities.backup import Backups
from activities.completed import Completed
from activities.daemon import Daemon
from activities.drbd import Drbd
from activities.errors import SystemTrouble
from activities.hands import System
from activities.haproxy import HaproxySystem
from activities.machines import Machines
from activities.nagios import NagiosSystem
from activities.pacemaker import Pacemaker
from activities.services import Services
from activities.shell import KEEP
from activities.windows import Windows
from inventory.models import Inventory, NagiosMonitoring
from lab.sudoers import Rule, read
from procedure import failback, failover, health_check
from procedure.as_found import AsFound
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.instructions import LiftSilence, RunOn, SetServers
from procedure.plan import Observe, Plan
from procedure.situation import Situation
from procedure.subjects import BackupAt, ClusterOn, SnapshotOf
from tests.activities.test_nagios import taken_now
from tests.procedure.altered import unseen
from tests.procedure.paper_cluster import PaperCluster

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "sudoers.d" / "controlled-failover"
REFERENCE = "reference-20261122T101500Z"
"""As a run is named: the cluster, and its beginning in UTC."""
DUMP = f"/srv/backup/failover-{REFERENCE}.sql"
Sent = tuple[str, tuple[str, ...]]
"""Where, and what, with root's rights."""


def cluster(*, sysv: bool = False) -> Inventory:
    """The reference cluster, at addresses that refuse at once."""
    raw: dict[str, Any] = yaml.safe_load((DEPLOY / "inventories" / "reference.yaml").read_text())
    for machine in raw["machines"]:
        machine |= {"address": "127.0.0.1", "port": 1}
    for component in raw["components"]:
        if sysv and component["role"] != "telephony":
            component["manager"] = "sysv"
    raw["haproxy"] |= {"admin_page": None, "change_by": "socket"}
    return Inventory.model_validate(raw)


# --- what is sent -----------------------------------------------------------------------------------------------------


def acted(inventory: Inventory) -> Iterator[Sent]:
    """Every instruction of all plans, of what undoes them, and of what is only done with the operator's word.

    Either master may be the one that takes writes, and so the one that is backed up.
    """
    for host, writer in product(("vm-host-1", "vm-host-2"), ("acd-dbm1", "acd-dbm2")):
        situation = Situation(inventory, host)
        found = AsFound.normal(inventory).model_copy(update={"writer": writer})
        there = failover.plan(situation, found, REFERENCE)
        back = failback.plan(situation, found, REFERENCE, earlier=REFERENCE)
        for command in (*commands_of(there), *commands_of(back)):
            yield from sent_by(command, situation)


def commands_of(plan: Plan) -> Iterator[Command]:
    planned = [step.action for step in (*plan.steps, *plan.on_abort)]
    for command in (*planned, *(upkeep.command for upkeep in plan.upkeep)):
        if isinstance(command, Command):
            yield from (command, *command.compensation(), *filter(None, (command.forced(),)))


def sent_by(command: Command, situation: Situation) -> Iterator[Sent]:
    facts = PaperCluster(situation.inventory).facts(command.observes(situation))
    blind = [unseen(facts, subject) for subject in command.observes(situation) if isinstance(subject, ClusterOn)]
    for known in (Facts(), facts, *blind):
        for instruction in command.instructions(situation, known):
            if isinstance(instruction, RunOn) and instruction.sudo:
                yield instruction.machine, instruction.argv


class RecordingShell:
    """Implements `activities.shell.Shell`: notes what wants root's rights. Answers all alike; a dump is whole."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.sent: list[Sent] = []
        self._answer = (status, stdout, stderr)

    async def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - the protocol's
        stdin: str | None = None,
        detached: bool = False,
        keep: int = KEEP,
    ) -> Completed:
        if sudo:
            self.sent.append((machine, tuple(argv)))
        whole = argv[0] == "tail" and self._answer[0] == 0
        return Completed(machine, " ".join(argv), *((0, "-- Dump completed\n", "") if whole else self._answer))


ANSWERS = (
    (0, "", ""),
    (0, "regular file:5:1790000000\n", ""),
    (1, "", "unknown option; No such file or directory"),
    (0, "version: 9.2.1 (api:2/proto:86-122)\nGIT-hash: 0\n", ""),
)
"""What leads observers to their other ways: older versions, a dump that is there or not, DRBD 9."""


async def observed(inventory: Inventory) -> list[Sent]:
    """Every command that any observer sends with root's rights."""
    sent: list[Sent] = []
    for answer in ANSWERS:
        shell = RecordingShell(*answer)
        windows = Windows(inventory)
        for make in makers(inventory, shell, windows):
            await observe_everything(make(), inventory)
        await windows.close()
        sent += shell.sent
    return sent


async def sent_to_nagios() -> list[Sent]:
    """A downtime is seen and ended. The monitoring server is called `acd-mon` in the delivered file."""
    settings = NagiosMonitoring(address="127.0.0.1", connection="linux")
    shell = RecordingShell(0, taken_now("05-extended"), "")
    await NagiosSystem(cluster(), settings, shell).lift(LiftSilence(machines=("acd-tel1",)))
    return [("acd-mon", argv) for _, argv in shell.sent]


def makers(inventory: Inventory, shell: RecordingShell, windows: Windows) -> tuple[Callable[[], System], ...]:
    return (
        lambda: Services(inventory, shell, windows),
        lambda: Machines(inventory, shell),
        lambda: Pacemaker(inventory, shell),
        lambda: Drbd(inventory, shell),
        lambda: HaproxySystem(inventory, shell),
        lambda: Daemon(inventory, shell, windows),
        lambda: Backups(inventory, shell),
    )


async def observe_everything(system: System, inventory: Inventory) -> None:
    on_windows = {m.name for m in inventory.machines if m.os == "windows"}
    rounds = [step.action for step in health_check.rounds(Situation(inventory, "vm-host-1"))]
    subjects = [s for r in rounds if isinstance(r, Observe) for s in r.subjects]
    dumps = [BackupAt(machine=m, path=DUMP) for m in ("acd-dbm1", "acd-dbm2")]
    critical = [m for s in ("dbm", "lb", "store") for m in (f"acd-{s}1", f"acd-{s}2")]
    snapshots = [SnapshotOf(machine=m, name=f"failover-{REFERENCE}") for m in critical]
    for subject in (*subjects, *dumps, *snapshots):
        observe = system.observers().get(type(subject))
        if observe and (getattr(subject, "machine", "") not in on_windows or isinstance(system, Machines)):
            with suppress(SystemTrouble):
                await observe(subject)
    if act := system.actors().get(SetServers):
        with suppress(SystemTrouble):
            await act(SetServers(balancer="acd-lb1", backend="web", servers=("acd-jb1",), state="maint"))


@pytest.fixture(scope="module")
def rules() -> list[Rule]:
    return read(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
async def needed() -> set[Sent]:
    """All that is sent with root's rights."""
    usual, older = cluster(), cluster(sysv=True)
    seen = (*await observed(usual), *await observed(older))
    return {*acted(usual), *acted(older), *seen, *await sent_to_nagios()}


# --- what is allowed --------------------------------------------------------------------------------------------------


async def test_what_is_sent_is_known_here(needed: set[Sent]) -> None:
    """The tests below prove nothing if nothing is collected."""
    programs = {argv[0] for _, argv in needed}
    assert programs == {
        *("systemctl", "service", "shutdown", "flock", "mv", "rm", "stat", "tail", "sha256sum"),
        *("crm_mon", "cibadmin", "drbdsetup", "pcs", "socat", "virsh", "cat", "timeout"),
    }


async def test_everything_that_is_sent_is_allowed(rules: list[Rule], needed: set[Sent]) -> None:
    refused = [sent for sent in sorted(needed) if not any(rule.allows(*sent) for rule in rules)]
    assert refused == []


async def test_no_rule_is_there_that_nothing_needs(rules: list[Rule], needed: set[Sent]) -> None:
    idle = [rule for rule in rules if not any(rule.allows(*sent) for sent in needed)]
    assert idle == []


def test_no_rule_leaves_more_open_than_digits(rules: list[Rule]) -> None:
    for rule in rules:
        path, _, arguments = rule.command.partition(" ")
        assert path.startswith("/")
        assert arguments, f"{path} without arguments would be allowed with any"
        assert not set("*?!^") & set(arguments.replace("[0-9]", "")), rule
        assert "[" not in arguments.replace("[0-9]", "")


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("acd-dbm1", "systemctl stop mariadb"),
        ("acd-jb1", "systemctl stop sshd"),
        ("acd-jb1", "systemctl stop jtelrest"),
        ("acd-dbm1", f"rm --force -- /etc/passwd {DUMP}.part {DUMP}.lock"),
        ("acd-dbm1", f"rm --force -- {DUMP} {DUMP}.part {DUMP}.lock /etc/passwd"),
        ("acd-dbm1", f"mv -- {DUMP}.part /etc/passwd"),
        ("acd-dbm1", "sha256sum -- /srv/backup/../../etc/shadow"),
        ("acd-dbm1", f"flock --nonblock --conflict-exit-code 75 {DUMP}.lock sh -c id"),
        ("acd-jb1", "pcs node standby acd-store1"),
        ("acd-jb1", "cat /var/lib/nagios4/status.dat"),
        ("acd-mon", "cat /etc/shadow"),
        ("acd-mon", "timeout 5 dd bs=4096 iflag=fullblock conv=nocreat,notrunc status=none of=/etc/passwd"),
        ("acd-store1", "pcs node standby acd-lb1"),
        ("acd-store1", "drbdsetup down r0"),
        ("vm-host-1", "virsh --connect qemu:///system destroy acd-tel2"),
        ("vm-host-1", "virsh --connect qemu:///system undefine acd-tel1"),
    ],
)
def test_anything_else_is_refused(host: str, line: str, rules: list[Rule]) -> None:
    assert not any(rule.allows(host, tuple(line.split())) for rule in rules)


def test_sudo_itself_reads_the_file(tmp_path: Path) -> None:
    visudo = shutil.which("visudo", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if visudo is None:
        pytest.skip("visudo is not installed here")
    copy = tmp_path / "controlled-failover"
    copy.write_bytes(FILE.read_bytes())
    copy.chmod(0o440)
    checked = subprocess.run([visudo, "-c", "-s", "-f", str(copy)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
