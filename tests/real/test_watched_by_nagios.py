"""Downtimes at the lab's own Nagios, over its sshd and sudo. test_there_and_back.py has a whole run that it watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from activities.hands import Hands
from activities.nagios import AUTHOR, PIPE_BUF
from inventory.models import Inventory, NagiosMonitoring
from lab.real.lab import RealLab
from lab.real.site import MONITOR
from procedure.facts import SilencesFact
from procedure.instructions import CreateSilence, LiftSilence
from procedure.subjects import Silences
from tests.real.conftest import ELSEWHERE
from tests.real.mishaps import do
from tests.real.rights import hands_for, less_sudo, refused, seen, unseen

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("hosts", [ELSEWHERE], indirect=True, scope="session"),
]

HOUR = timedelta(hours=1)
ABOUT_AN_HOUR = pytest.approx(3600, abs=30)
UNIT = "nagios4"
LIFT = LiftSilence(machines=("acd-tel1",))


@dataclass
class Site:
    """A Nagios that watches the cluster, and the product's hands for it."""

    lab: RealLab
    hands: Hands
    earlier: int
    """Lines of its log that others have caused."""

    @property
    def inventory(self) -> Inventory:
        return self.lab.inventory

    @property
    def settings(self) -> NagiosMonitoring:
        assert isinstance(self.inventory.monitoring, NagiosMonitoring)
        return self.inventory.monitoring

    @property
    def log(self) -> list[str]:
        return self.lab.truth.monitoring.log()[self.earlier :]

    def logged(self, words: str) -> bool:
        return any(words in line for line in self.log)

    async def left(self) -> dict[str, float]:
        """Seconds for which each machine is silenced still, as the product sees it."""
        fact = await seen(self.hands, Silences())
        assert isinstance(fact, SilencesFact)
        assert fact.unknown == ()
        now = datetime.now(UTC)
        return {one.machines[0]: (one.until - now).total_seconds() for one in fact.silences}

    async def silence(self, *machines: str, duration: timedelta = HOUR, comment: str = "run 7") -> None:
        await self.hands.act(CreateSilence(machines=machines, duration=duration, comment=comment))

    async def until_in_downtime(self, *hosts: str) -> None:
        """Wait until these and their services are in one, and no others."""
        whole = {(host, service) for host in hosts for service in (None, "WinRM" if "tel" in host else "SSH")}
        await self.lab.until(lambda: self.lab.truth.monitoring.downtimes() == whole, f"downtimes of {hosts}", 10)

    async def by_a_person(self, host: str) -> None:
        now = int(datetime.now(UTC).timestamp())
        words = f"{host};{now};{now + 900};1;0;900;anna;new disk"
        for kind in ("HOST", "HOST_SVC"):
            await self.tell(f"[{now}] SCHEDULE_{kind}_DOWNTIME;{words}")

    async def tell(self, command: str) -> None:
        await do(self.lab, MONITOR, "tee", self.settings.command_file, stdin=f"{command}\n")


@pytest.fixture
async def site(normal: RealLab) -> AsyncIterator[Site]:
    async with hands_for(normal) as hands:
        one = Site(normal, hands, len(normal.truth.monitoring.log()))
        yield one
        await one.hands.act(LiftSilence(machines=tuple(machine.name for machine in normal.inventory.machines)))
        await one.until_in_downtime()


async def test_silenced_extended_and_lifted_without_a_gap(site: Site) -> None:
    await site.by_a_person("acd-tel1")
    await site.until_in_downtime("acd-tel1")
    assert await site.left() == {}
    found = await site.lab.auditors.at_end()
    assert [(v.invariant, v.what) for v in found] == [(11, "monitoring of acd-tel1 is still silenced")]

    await site.silence("acd-tel1", "acd-jb1")
    assert await site.left() == {"acd-tel1": ABOUT_AN_HOUR, "acd-jb1": ABOUT_AN_HOUR}
    await site.until_in_downtime("acd-tel1", "acd-jb1.example.com")
    await site.silence("acd-jb1", duration=3 * HOUR)
    assert await site.left() == {"acd-tel1": ABOUT_AN_HOUR, "acd-jb1": pytest.approx(3 * 3600, abs=30)}
    assert not site.logged(";STOPPED;"), "never a gap"
    assert not site.logged(";CANCELLED;")

    await site.hands.act(LiftSilence(machines=("acd-tel1", "acd-jb1")))
    assert await site.left() == {}
    await site.until_in_downtime("acd-tel1")
    assert not site.logged("External command failed")
    await site.tell(f"[{int(datetime.now(UTC).timestamp())}] DEL_DOWNTIME_BY_HOST_NAME;acd-tel1")


async def test_all_machines_at_once_are_more_than_a_pipe_takes_as_one_piece(site: Site) -> None:
    names = [machine.name for machine in site.inventory.machines]
    comment = "Controlled failover reference-20261125T194500Z; vm-host-1 is vacated\nand its machines go off"
    await site.silence(*names, comment=comment)
    assert set(await site.left()) == set(names)
    await site.until_in_downtime(*map(site.settings.host_name, names))
    commands = [line for line in site.log if "EXTERNAL COMMAND" in line]
    assert len(commands) == 2 * len(names)
    assert sum(map(len, commands)) > PIPE_BUF
    written = comment.replace(";", ",").replace("\n", " ")
    assert all(line.endswith(f";{AUTHOR};{written}") for line in commands)


async def test_whoever_is_on_call_hears_of_what_is_not_silenced(site: Site) -> None:
    lab, monitoring = site.lab, site.lab.truth.monitoring
    await site.silence("acd-jb5")
    for name in ("acd-jb5", "acd-jb6"):
        await do(lab, name, "systemctl", "stop", "ssh")
    for words in ("HOST ALERT: acd-jb5;DOWN;HARD", "HOST NOTIFICATION: on-call;acd-jb6;DOWN"):
        await lab.until(partial(site.logged, words), words)
    for name in ("acd-jb5", "acd-jb6"):
        await do(lab, name, "systemctl", "start", "ssh")
    for words in ("HOST ALERT: acd-jb5;UP;HARD", "HOST NOTIFICATION: on-call;acd-jb6;UP"):
        await lab.until(partial(site.logged, words), words)
    assert monitoring.told_of(site.log) == ["acd-jb6"]


async def test_downtimes_outlive_a_nagios_that_is_started_anew(site: Site) -> None:
    await site.silence("acd-tel1")
    await do(site.lab, MONITOR, "systemctl", "stop", UNIT)
    gone = f"there is no {site.settings.status_file}: Nagios removes it when it ends"
    assert gone in (await unseen(site.hands, Silences(), "transient")).problem
    assert gone in (await refused(site.hands, LIFT, "transient")).seen

    await do(site.lab, MONITOR, "systemctl", "start", UNIT)
    await site.until_in_downtime("acd-tel1")
    assert set(await site.left()) == {"acd-tel1"}


async def test_a_nagios_that_hangs_still_takes_commands_and_tells_nothing(site: Site) -> None:
    await site.silence("acd-tel1")
    timings = site.inventory.timings.model_copy(update={"command": timedelta(seconds=3)})
    async with hands_for(site.lab, site.inventory.model_copy(update={"timings": timings})) as hasty:
        await do(site.lab, MONITOR, "systemctl", "kill", "--kill-who=main", "--signal=STOP", UNIT)
        try:
            assert (await hasty.act(LIFT)).answer == "Nagios was told to end 2 downtimes"
            assert "not again within 3 s" in (await unseen(hasty, Silences(), "transient")).problem
            assert site.lab.truth.monitoring.silenced() == ["acd-tel1"]
        finally:
            await do(site.lab, MONITOR, "systemctl", "kill", "--kill-who=main", "--signal=CONT", UNIT)
    await site.until_in_downtime()


async def test_a_nagios_that_was_killed_leaves_its_status_file_and_nobody_reads_commands(site: Site) -> None:
    await site.silence("acd-tel1")
    lab, file = site.lab, site.settings.command_file
    there = lab.hosts[MONITOR].root / file.lstrip("/")
    await do(lab, MONITOR, "systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT)
    await lab.until(lambda: not there.exists(), "systemd has cleared away after it")
    assert f"there is no {file}" in (await refused(site.hands, LIFT, "transient")).seen
    assert not there.exists(), "nothing makes a file in its place"
    await do(lab, MONITOR, "mkfifo", file)
    assert f"nobody reads {file}" in (await refused(site.hands, LIFT, "transient")).seen
    await do(lab, MONITOR, "systemctl", "start", UNIT)
    await site.until_in_downtime("acd-tel1")


async def test_without_its_rule_what_needs_it_says_so(site: Site) -> None:
    async with less_sudo(site.lab, [MONITOR], "FAILOVER_SEE_NAGIOS"):
        assert "sudo refused `cat /var/lib/nagios4/status.dat`" in (await unseen(site.hands, Silences())).problem
    async with less_sudo(site.lab, [MONITOR], "FAILOVER_NAGIOS"):
        silence = CreateSilence(machines=("acd-tel1",), duration=HOUR, comment="run 7")
        assert "sudo refused `timeout 5 dd bs=4096" in (await refused(site.hands, silence)).seen
