"""Downtimes at a real Nagios 4, over SSH: skipped where the program `nagios4` is not installed.

Nagios, its command file and its status file are real, and so are `timeout`, `dd` and `cat`. The SSH server is one of
this process that runs what it is told, without a shell. Nothing is checked and nobody is notified.
"""

from __future__ import annotations

import asyncio
import getpass
import grp
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.errors import Transient
from activities.monitoring import monitoring_system
from activities.nagios import AUTHOR, PIPE_BUF, NagiosSystem
from activities.nagios_status import Downtime, read_status
from activities.ssh import Ssh
from inventory.models import Inventory
from procedure.facts import SilencesFact
from procedure.instructions import CreateSilence, LiftSilence
from procedure.subjects import Silences
from tests.activities.ssh_server import Command, SshServer

PROGRAM = shutil.which("nagios4", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="nagios4 is not installed here (Debian: nagios4-core)")

HOUR = timedelta(hours=1)
WITHIN = 20.0
"""Seconds for Nagios to begin or to end, on a busy machine."""
ALL_BUT_ONE = "acd-store2"
"""The machine that this Nagios does not watch."""
HOST_NAMES = {"acd-jb1": "acd-jb1.example.com"}

CONFIGURATION = """\
log_file={place}/nagios.log
cfg_file={place}/objects.cfg
object_cache_file={place}/objects.cache
status_file={place}/status.dat
status_update_interval=1
nagios_user={user}
nagios_group={group}
check_external_commands=1
command_file={place}/nagios.cmd
query_socket={place}/nagios.qh
lock_file={place}/nagios.pid
temp_file={place}/nagios.tmp
temp_path={place}
check_result_path={place}
state_retention_file={place}/retention.dat
retain_state_information=1
use_syslog=0
execute_service_checks=0
execute_host_checks=0
enable_notifications=0
check_for_updates=0
"""
OBJECTS = """\
define timeperiod {
  timeperiod_name always
  alias always
}
define command {
  command_name nothing
  command_line /bin/true
}
define contact {
  contact_name nobody
  host_notification_period always
  service_notification_period always
  host_notification_commands nothing
  service_notification_commands nothing
}
"""
HOST = """\
define host {{
  host_name {host}
  address 127.0.0.1
  max_check_attempts 3
  check_period always
  notification_period always
  contacts nobody
}}
"""
SERVICE = """\
define service {{
  host_name {host}
  service_description {service}
  check_command nothing
  max_check_attempts 3
  check_interval 5
  retry_interval 1
  check_period always
  notification_period always
  contacts nobody
}}
"""


@dataclass
class RealNagios:
    """A Nagios of our own, with its files in one directory."""

    place: Path
    group: list[int] = field(default_factory=list)
    """Its process groups: the process that reads the command file may outlive the main one."""
    process: asyncio.subprocess.Process | None = None

    def configure(self, hosts: list[str]) -> None:
        user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        self._write("nagios.cfg", CONFIGURATION.format(place=self.place, user=user, group=group))
        objects = [OBJECTS]
        for host in hosts:
            objects += [HOST.format(host=host), *(SERVICE.format(host=host, service=s) for s in services_of(host))]
        self._write("objects.cfg", "".join(objects))

    def _write(self, name: str, text: str) -> None:
        (self.place / name).write_text(text, encoding="utf-8")

    async def start(self) -> None:
        assert PROGRAM
        # It may not begin where a command file was left behind: systemd removes it, too.
        (self.place / "nagios.cmd").unlink(missing_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM,
            str(self.place / "nagios.cfg"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self.group.append(self.process.pid)
        async with asyncio.timeout(WITHIN):
            # Nagios tells nobody when it has begun: its files are all there is to look at.
            while not ((self.place / "nagios.cmd").is_fifo() and (self.place / "status.dat").exists()):
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(WITHIN):
            await self.process.wait()

    async def clear_away(self) -> None:
        """Whatever is left of it."""
        for group in self.group:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process:
            await self.process.wait()

    @property
    def log(self) -> str:
        return (self.place / "nagios.log").read_text(encoding="utf-8")

    @property
    def downtimes(self) -> tuple[Downtime, ...]:
        """As its status file tells them."""
        return read_status((self.place / "status.dat").read_text(encoding="utf-8")).downtimes

    def silenced(self) -> set[str]:
        """Hosts that are in a downtime with all their services."""
        found: dict[str, set[str | None]] = {}
        for downtime in self.downtimes:
            found.setdefault(downtime.host, set()).add(downtime.service)
        return {host for host, objects in found.items() if objects == {None, *services_of(host)}}


def services_of(host: str) -> list[str]:
    """acd-dbm1 has none: its host alone counts."""
    return [] if host == "acd-dbm1" else ["PING", "SSH"]


async def run_it(command: Command) -> None:
    """Run the words that came over SSH, without a shell; what is in front of them is `env LC_ALL=C`."""
    await command.read_all.wait()
    process = await asyncio.create_subprocess_exec(
        *command.words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    out, err = await process.communicate(command.stdin.encode())
    command.exits(process.returncode or 0, out.decode(), err.decode())


@dataclass
class Site:
    """A real Nagios, and the product's hands for it."""

    nagios: RealNagios
    monitoring: NagiosSystem
    inventory: Inventory
    ssh: Ssh

    async def fact(self) -> SilencesFact:
        fact, _ = await self.monitoring.observe(Silences())
        assert isinstance(fact, SilencesFact)
        return fact

    async def left(self) -> dict[str, float]:
        """Seconds for which each machine is silenced still."""
        now = datetime.now(UTC)
        return {one.machines[0]: (one.until - now).total_seconds() for one in (await self.fact()).silences}

    def by_a_person(self, host: str) -> None:
        now = int(datetime.now(UTC).timestamp())
        words = f"{host};{now};{now + 900};1;0;900;anna;new disk"
        with (self.nagios.place / "nagios.cmd").open("w", encoding="utf-8") as command_file:
            command_file.write(f"[{now}] SCHEDULE_HOST_DOWNTIME;{words}\n")


def inventory_of(server: SshServer, place: Path, **timings: str) -> Inventory:
    def change(raw: dict[str, Any]) -> None:
        # Whoever runs the tests owns the files, so nothing needs root.
        raw["connections"]["monitoring"] = {**raw["connections"]["linux"], "sudo": False}
        raw["monitoring"] = {
            "provider": "nagios",
            "address": "127.0.0.1",
            "port": server.port,
            "connection": "monitoring",
            "command_file": str(place / "nagios.cmd"),
            "status_file": str(place / "status.dat"),
            "host_names": HOST_NAMES,
        }

    return server.inventory(change, **{"command": "10s", **timings})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    server = SshServer(tmp_path, run_it)
    await server.start()
    inventory = inventory_of(server, tmp_path)
    nagios = RealNagios(tmp_path)
    names = [machine.name for machine in inventory.machines if machine.name != ALL_BUT_ONE]
    nagios.configure([HOST_NAMES.get(name, name) for name in names])
    ssh = Ssh(inventory)
    monitoring = monitoring_system(inventory, ssh)
    assert isinstance(monitoring, NagiosSystem)
    try:
        await nagios.start()
        yield Site(nagios, monitoring, inventory, ssh)
    finally:
        await ssh.close()
        await server.stop()
        await nagios.clear_away()


def silence(*machines: str, duration: timedelta = HOUR, comment: str = "run 7") -> CreateSilence:
    return CreateSilence(machines=machines, duration=duration, comment=comment)


async def test_silenced_extended_and_lifted_without_a_gap(site: Site) -> None:
    assert (await site.fact()) == SilencesFact(unknown=(ALL_BUT_ONE,))
    site.by_a_person("acd-tel1")

    await site.monitoring.create(silence("acd-tel1", "acd-jb1", "acd-dbm1"))
    about = pytest.approx(3600, abs=30)
    assert await site.left() == {"acd-tel1": about, "acd-jb1": about, "acd-dbm1": about}
    assert site.nagios.silenced() == {"acd-tel1", "acd-jb1.example.com", "acd-dbm1"}
    first = {downtime.id for downtime in site.nagios.downtimes if downtime.author == AUTHOR}

    await site.monitoring.create(silence("acd-tel1", "acd-jb1", duration=3 * HOUR))
    about_three = pytest.approx(3 * 3600, abs=30)
    assert await site.left() == {"acd-tel1": about_three, "acd-jb1": about_three, "acd-dbm1": about}
    kept = [downtime.host for downtime in site.nagios.downtimes if downtime.id in first]
    assert kept == ["acd-dbm1"], "what was replaced is gone, the rest is not"
    assert "CANCELLED" not in site.nagios.log
    assert "STOPPED" not in site.nagios.log, "nobody heard of a machine in between"

    await site.monitoring.lift(LiftSilence(machines=("acd-tel1", "acd-jb1")))
    assert await site.left() == {"acd-dbm1": about}
    assert {(d.host, d.author) for d in site.nagios.downtimes} == {("acd-tel1", "anna"), ("acd-dbm1", AUTHOR)}
    assert "External command failed" not in site.nagios.log


async def test_all_machines_at_once_are_more_than_a_pipe_takes_as_one_piece(site: Site) -> None:
    names = [machine.name for machine in site.inventory.machines if machine.name != ALL_BUT_ONE]
    comment = "Controlled failover reference-20261125T194500Z; vm-host-1 is vacated\nand its machines go off"
    await site.monitoring.create(silence(*names, comment=comment))
    assert set(await site.left()) == set(names)
    assert len(site.nagios.silenced()) == len(names) == 19
    told = [line for line in site.nagios.log.splitlines() if "EXTERNAL COMMAND" in line]
    assert len(told) == 2 * len(names)
    assert sum(len(line) for line in told) > PIPE_BUF
    (told_comment,) = {downtime.comment for downtime in site.nagios.downtimes}
    assert told_comment == comment.replace(";", ",").replace("\n", " ")


async def test_downtimes_outlive_a_nagios_that_is_started_anew(site: Site) -> None:
    await site.monitoring.create(silence("acd-tel1"))
    await site.nagios.end()
    with pytest.raises(Transient, match=r"there is no .*status\.dat: Nagios removes it when it ends"):
        await site.monitoring.observe(Silences())
    with pytest.raises(Transient, match=r"there is no .*status\.dat"):
        await site.monitoring.lift(LiftSilence(machines=("acd-tel1",)))

    await site.nagios.start()
    assert set(await site.left()) == {"acd-tel1"}
    await site.monitoring.lift(LiftSilence(machines=("acd-tel1",)))
    assert await site.left() == {}


async def test_a_nagios_that_was_killed_still_takes_commands_and_tells_nothing(site: Site) -> None:
    await site.monitoring.create(silence("acd-tel1"))
    await site.nagios.end(signal.SIGKILL)
    timings = site.inventory.timings.model_copy(update={"command": timedelta(seconds=3)})
    hasty = monitoring_system(site.inventory.model_copy(update={"timings": timings}), site.ssh)
    assert isinstance(hasty, NagiosSystem)
    assert await hasty.lift(LiftSilence(machines=("acd-tel1",))) == "Nagios was told to end 3 downtimes"
    with pytest.raises(Transient, match="not again within 3 s"):
        await hasty.observe(Silences())
    assert site.nagios.silenced() == {"acd-tel1"}


async def test_a_command_file_that_nobody_reads(site: Site) -> None:
    await site.monitoring.create(silence("acd-tel1"))
    status = (site.nagios.place / "status.dat").read_bytes()
    await site.nagios.end()
    (site.nagios.place / "status.dat").write_bytes(status)
    left_behind = site.nagios.place / "nagios.cmd"
    if not left_behind.exists():
        os.mkfifo(left_behind)
    with pytest.raises(Transient, match=r"nobody reads .*nagios\.cmd"):
        await site.monitoring.lift(LiftSilence(machines=("acd-tel1",)))
    left_behind.unlink()
    with pytest.raises(Transient, match=r"there is no .*nagios\.cmd"):
        await site.monitoring.lift(LiftSilence(machines=("acd-tel1",)))
    assert not left_behind.exists(), "nothing makes a file in its place"
