"""Downtimes of Nagios: against recordings of a real one, and against the lab's over SSH."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.monitoring import monitoring_system
from activities.nagios import AUTHOR, MAX_AGE, PIPE_BUF, NagiosSystem
from activities.shell import KEEP, MONITORING_SERVER
from activities.ssh import Ssh
from inventory.models import Inventory, NagiosMonitoring
from lab.addresses import derive
from lab.clock import ScaledClock
from lab.faults import Fault
from lab.nagios import Nagios
from lab.stations import MONITORING, NagiosStation
from lab.world import World
from procedure.facts import Silence, SilencesFact
from procedure.instructions import CreateSilence, LiftSilence
from procedure.subjects import Silences
from tests.activities.cluster import reference
from tests.activities.recorded import RecordedShell, Reply, recorded

HOUR = timedelta(hours=1)
STATUS_FILE = "/var/lib/nagios4/status.dat"
COMMAND_FILE = "/var/lib/nagios4/rw/nagios.cmd"
RUN = "Controlled failover reference-20261125T194500Z: vm-host-1 is vacated"


def inventory(**timings: str) -> Inventory:
    def change(raw: dict[str, Any]) -> None:
        raw["timings"] |= timings
        raw["monitoring"] = {
            "provider": "nagios",
            "address": "10.77.0.5",
            "connection": "linux",
            "host_names": {"acd-jb1": "acd-jb1.example.com"},
        }

    return reference(change)


def silence(*machines: str, duration: timedelta = HOUR, comment: str = RUN) -> CreateSilence:
    return CreateSilence(machines=machines, duration=duration, comment=comment)


async def fact_of(monitoring: NagiosSystem) -> SilencesFact:
    fact, _ = await monitoring.observe(Silences())
    assert isinstance(fact, SilencesFact)
    return fact


async def seen(monitoring: NagiosSystem) -> dict[str, float]:
    """How many seconds each machine is silenced still."""
    now = datetime.now(UTC)
    return {one.machines[0]: (one.until - now).total_seconds() for one in (await fact_of(monitoring)).silences}


# --- recordings of a real Nagios --------------------------------------------------------------------------------------


def taken_now(name: str, *, seconds: float = 0) -> str:
    """A recorded status file as if it had been written now, or so many seconds later."""
    text = recorded("nagios", f"{name}.dat")
    written = int(re.findall(r"^\tcreated=(\d+)$", text, re.MULTILINE)[0])
    by = int(datetime.now(UTC).timestamp() + seconds) - written
    return re.sub(r"=(1795\d{6})$", lambda found: f"={int(found[1]) + by}", text, flags=re.MULTILINE)


@dataclass
class Files:
    """A shell on which one status file follows the other; the last one stays."""

    files: list[str]
    reads: int = 0
    written: list[str | None] = field(default_factory=list)

    async def run(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - the signature of the real one
        stdin: str | None = None,
        keep: int = KEEP,
    ) -> Completed:
        assert machine == MONITORING_SERVER
        assert sudo
        if argv[0] == "cat":
            text = self.files[min(self.reads, len(self.files) - 1)]
            self.reads += 1
            return Completed(machine, " ".join(argv), 0, text, "")
        self.written.append(stdin)
        return Completed(machine, " ".join(argv), 0, "", "")


def recording(*files: str, **timings: str) -> tuple[NagiosSystem, Files]:
    shell = Files(list(files))
    made = monitoring_system(inventory(**timings), shell)
    assert isinstance(made, NagiosSystem)
    return made, shell


def one(fact: SilencesFact, machine: str) -> Silence:
    return next(silence for silence in fact.silences if machine in silence.machines)


async def of_recording(name: str) -> SilencesFact:
    monitoring, _ = recording(taken_now(name), taken_now(name, seconds=2))
    return await fact_of(monitoring)


LEFT = {
    "01-started": {},
    "02-silenced": {"acd-tel1": 7200, "acd-jb1": 7200, "acd-dbm1": 7200},
    "03-others-and-later": {"acd-tel1": 7200, "acd-jb1": 7200, "acd-dbm1": 7200},
    "04-longer-ones-beside": {"acd-tel1": 14400, "acd-jb1": 7200, "acd-dbm1": 7200},
    "05-extended": {"acd-tel1": 14400, "acd-jb1": 7200, "acd-dbm1": 7200},
    "06-deleted-as-the-wrong-kind": {"acd-tel1": 14400, "acd-jb1": 7200, "acd-dbm1": 7200},
    # Its services are in their downtime still: it is not silenced, and yet something is left.
    "07-host-alone-lifted": {"acd-tel1": 14400, "acd-jb1": 0, "acd-dbm1": 7200},
    "08-restarted-with-check-results": {"acd-tel1": 14400, "acd-jb1": 0, "acd-dbm1": 7200},
}


@pytest.mark.parametrize("name", LEFT)
async def test_what_a_real_nagios_has_silenced(name: str) -> None:
    left = {
        silence.machines[0]: (silence.until - datetime.now(UTC)).total_seconds()
        for silence in (await of_recording(name)).silences
    }
    assert left == {machine: pytest.approx(seconds, abs=60) for machine, seconds in LEFT[name].items()}


async def test_a_real_nagios_tells_whose_they_are_and_what_it_does_not_know() -> None:
    fact = await of_recording("05-extended")
    assert one(fact, "acd-jb1").comment == RUN
    assert one(fact, "acd-tel1").comment.startswith("Maintenance reference-20261125T194500Z")
    assert one(fact, "acd-tel1").id == "9 10 11", "and not the one of Anna"
    assert len(fact.unknown) == 17
    assert not {"acd-tel1", "acd-jb1", "acd-dbm1"} & set(fact.unknown)


async def test_a_file_from_before_the_question_is_not_believed() -> None:
    before, after = taken_now("02-silenced"), taken_now("01-started", seconds=1)
    monitoring, shell = recording(before, before, before, after)
    assert (await fact_of(monitoring)).silences == ()
    assert shell.reads == 4


async def test_a_nagios_that_writes_no_more_tells_nothing() -> None:
    monitoring, _ = recording(taken_now("01-started"), command="300ms")
    with pytest.raises(Transient, match=r"status.dat was written .* and not again within 0.3 s") as trouble:
        await monitoring.observe(Silences())
    assert "status_update_interval" in trouble.value.next_step


@pytest.mark.parametrize("away", [-MAX_AGE - timedelta(seconds=5), MAX_AGE + timedelta(seconds=5)])
async def test_a_stale_file_and_clocks_apart_tell_nothing_at_once(away: timedelta) -> None:
    monitoring, shell = recording(taken_now("01-started", seconds=away.total_seconds()))
    with pytest.raises(Transient, match="it tells nothing"):
        await monitoring.observe(Silences())
    assert shell.reads == 1


async def test_what_is_replaced_is_deleted_by_its_kind_once_the_longer_one_is_seen() -> None:
    before, both = taken_now("03-others-and-later"), taken_now("04-longer-ones-beside", seconds=2)
    monitoring, shell = recording(before, before, both)
    await monitoring.create(silence("acd-tel1", duration=timedelta(seconds=14000)))
    scheduled, deleted = shell.written
    assert scheduled is not None
    assert [line.split(";")[0].split()[1] for line in scheduled.splitlines()] == [
        "SCHEDULE_HOST_DOWNTIME",
        "SCHEDULE_HOST_SVC_DOWNTIME",
    ]
    assert deleted is not None
    assert [line.split()[1] for line in deleted.splitlines()] == [
        "DEL_HOST_DOWNTIME;1",
        "DEL_SVC_DOWNTIME;2",
        "DEL_SVC_DOWNTIME;3",
    ]


async def test_nothing_is_deleted_before_the_longer_one_is_seen() -> None:
    files = [taken_now("03-others-and-later", seconds=n) for n in range(5)]
    monitoring, shell = recording(*files)
    with pytest.raises(Transient, match="does not show the downtimes") as trouble:
        await monitoring.create(silence("acd-tel1", duration=timedelta(seconds=14000)))
    assert len(shell.written) == 1
    assert "check_external_commands" in trouble.value.next_step


async def test_lifting_names_the_kind_of_each_and_leaves_those_of_others() -> None:
    monitoring, shell = recording(taken_now("05-extended"))
    assert await monitoring.lift(LiftSilence(machines=("acd-tel1",))) == "Nagios was told to end 3 downtimes"
    (written,) = shell.written
    assert written is not None
    assert [line.split()[1] for line in written.splitlines()] == [
        "DEL_HOST_DOWNTIME;9",
        "DEL_SVC_DOWNTIME;10",
        "DEL_SVC_DOWNTIME;11",
    ]


# --- what a monitoring server may answer instead ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "trouble", "says"),
    [
        ((1, "", f"cat: {STATUS_FILE}: No such file or directory\n"), Transient, "Nagios removes it when it ends"),
        ((1, "", f"cat: {STATUS_FILE}: Permission denied\n"), Rejected, "let the connection use sudo"),
        ((127, "", "bash: cat: command not found\n"), Rejected, "install"),
        ((1, "", "cat: I/O error\n"), NotUnderstood, "I/O error"),
        ("", NotUnderstood, "no block info"),
        ("<html>\n", NotUnderstood, "no block info"),
        ("info {\n\tcreated=now\n\t}\n", NotUnderstood, "created is no number"),
        ("info {\n\tcreated=99999999999999999\n\t}\n", NotUnderstood, "created is no time"),
        ("info {\n\tversion=4.4.6\n\t}\n", NotUnderstood, "info without created"),
        ("info {\n\tcreated=1\n", NotUnderstood, "ends within a block info"),
        ("info {\n\tcreated=1\n\t}\nhostdowntime {\n\thost_name=a\n\t}\n", NotUnderstood, "without downtime_id"),
        (Transient(MONITORING_SERVER, "no connection"), Transient, "no connection"),
    ],
)
async def test_answers_that_are_none(reply: Reply, trouble: type[SystemTrouble], says: str) -> None:
    monitoring = monitoring_system(inventory(), RecordedShell({"cat": reply}))
    assert isinstance(monitoring, NagiosSystem)
    with pytest.raises(trouble, match=says):
        await monitoring.observe(Silences())


@pytest.mark.parametrize(
    ("reply", "trouble", "says"),
    [
        ((124, "", ""), Transient, f"nobody reads {COMMAND_FILE}"),
        ((1, "", f"dd: failed to open '{COMMAND_FILE}': No such file or directory\n"), Transient, "there is no"),
        ((1, "", f"dd: failed to open '{COMMAND_FILE}': Permission denied\n"), Rejected, "a member of the group"),
        ((127, "", "timeout: failed to run command 'dd': No such file or directory\n"), Rejected, "install"),
        ((1, "", "dd: invalid operand\n"), NotUnderstood, "invalid operand"),
    ],
)
async def test_a_command_file_that_takes_nothing(reply: Reply, trouble: type[SystemTrouble], says: str) -> None:
    shell = RecordedShell({"cat": taken_now("05-extended"), "timeout": reply})
    monitoring = monitoring_system(inventory(), shell)
    assert isinstance(monitoring, NagiosSystem)
    with pytest.raises(trouble, match=says):
        await monitoring.lift(LiftSilence(machines=("acd-tel1",)))
    assert shell.asked[-1] == (
        f"sudo timeout 5 dd bs=4096 iflag=fullblock conv=nocreat,notrunc status=none of={COMMAND_FILE}"
    )


# --- the lab's Nagios, over SSH ---------------------------------------------------------------------------------------


@dataclass
class HurriedClock:
    """A second passes whenever it is read, so that each status file is newer than the one before."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Server:
    """The lab's monitoring server, and the product's hands for it."""

    station: NagiosStation
    world: World
    monitoring: NagiosSystem
    inventory: Inventory
    ssh: Ssh
    clock: HurriedClock

    @property
    def nagios(self) -> Nagios:
        return self.station.nagios

    def wholly_silenced(self) -> set[str]:
        return {host for host in self.nagios.hosts if self.nagios.is_wholly_silenced(host)}

    def by_a_person(self, host: str) -> None:
        now = int(datetime.now(UTC).timestamp())
        self.nagios.take(f"[{now}] SCHEDULE_HOST_DOWNTIME;{host};{now};{now + 9000};1;0;9000;anna;new disk\n")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    site = derive(inventory(), tmp_path, speed=50)
    world = World(site.inventory, ScaledClock(50))
    assert isinstance(site.inventory.monitoring, NagiosMonitoring)
    clock = HurriedClock()
    station = NagiosStation(world, site, site.inventory.monitoring, clock=clock)
    await station.management.start()
    site.known_hosts.write_text(station.management.known_hosts_line)
    ssh = Ssh(site.inventory)
    monitoring = monitoring_system(site.inventory, ssh)
    assert isinstance(monitoring, NagiosSystem)
    yield Server(station, world, monitoring, site.inventory, ssh, clock)
    await ssh.close()
    await station.close()
    site.close()
    assert world.unknown_commands == []


async def test_silences_the_host_and_all_its_services(server: Server) -> None:
    assert await seen(server.monitoring) == {}
    await server.monitoring.create(silence("acd-tel1", "acd-jb1"))
    assert server.wholly_silenced() == {"acd-tel1", "acd-jb1.example.com"}
    about_an_hour = pytest.approx(3600, abs=60)
    assert await seen(server.monitoring) == {"acd-tel1": about_an_hour, "acd-jb1": about_an_hour}
    assert {(each.author, each.comment) for each in server.nagios.downtimes.values()} == {(AUTHOR, RUN)}


async def test_done_twice_it_changes_nothing(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1"))
    before = list(server.nagios.received)
    await server.monitoring.create(silence("acd-tel1"))
    assert server.nagios.received == before


async def test_a_host_alone_in_a_downtime_is_not_silenced(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1"))
    (of_host,) = [each.id for each in server.nagios.downtimes.values() if each.service is None]
    of_services = [each.id for each in server.nagios.downtimes.values() if each.service is not None]
    for number in of_services:
        server.nagios.take(f"[1] DEL_SVC_DOWNTIME;{number}\n")
    assert (await seen(server.monitoring))["acd-tel1"] < 60
    await server.monitoring.create(silence("acd-tel1"))
    assert server.wholly_silenced() == {"acd-tel1"}
    assert of_host in server.nagios.downtimes, "it lasts long enough"


async def test_extends_without_a_gap_and_leaves_no_older_ones(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1"))
    first = set(server.nagios.downtimes)
    await server.monitoring.create(silence("acd-tel1", duration=3 * HOUR, comment="longer"))
    assert not first & set(server.nagios.downtimes)
    assert {each.comment for each in server.nagios.downtimes.values()} == {"longer"}
    assert await seen(server.monitoring) == {"acd-tel1": pytest.approx(3 * 3600, abs=60)}
    again = Nagios(server.nagios.hosts, clock=server.clock)
    for number, command in enumerate(server.nagios.received):
        again.take(command)
        assert number == 0 or again.is_wholly_silenced("acd-tel1"), command


async def test_never_shortens(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1", duration=3 * HOUR))
    await server.monitoring.create(silence("acd-tel1", duration=HOUR))
    assert await seen(server.monitoring) == {"acd-tel1": pytest.approx(3 * 3600, abs=60)}


async def test_lifts_what_it_is_told_and_nothing_else(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1", "acd-jb1", "acd-tel2"))
    server.by_a_person("acd-tel1")
    await server.monitoring.lift(LiftSilence(machines=("acd-tel1", "acd-jb1")))
    assert set(await seen(server.monitoring)) == {"acd-tel2"}
    assert server.nagios.objects_in_downtime("acd-tel1") == {None}, "the one of Anna"
    assert not server.nagios.is_silenced("acd-jb1.example.com")
    assert await server.monitoring.lift(LiftSilence(machines=("acd-tel1",))) == "Nagios was told to end 0 downtimes"


async def test_one_that_begins_later_silences_nobody_and_is_lifted_all_the_same(server: Server) -> None:
    later = int(datetime.now(UTC).timestamp()) + 3600
    server.nagios.take(f"[1] SCHEDULE_HOST_DOWNTIME;acd-tel1;{later};{later + 9000};1;0;9000;{AUTHOR};later\n")
    assert (await seen(server.monitoring))["acd-tel1"] < 60
    await server.monitoring.lift(LiftSilence(machines=("acd-tel1",)))
    assert server.nagios.downtimes == {}


async def test_many_commands_are_written_in_whole_lines_that_fit_into_a_pipe(server: Server) -> None:
    """The lab refuses more than a block, and takes nothing but whole commands."""
    names = [machine.name for machine in server.inventory.machines]
    await server.monitoring.create(silence(*names))
    assert len(server.wholly_silenced()) == 20
    assert sum(len(line) + 1 for line in server.nagios.received) > PIPE_BUF


async def test_a_comment_can_be_no_other_word_and_no_other_command(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1", comment="one; two\n[1] DEL_HOST_DOWNTIME;1\n" + "x" * 9000))
    (comment,) = {each.comment for each in server.nagios.downtimes.values()}
    assert comment.startswith("one, two [1] DEL_HOST_DOWNTIME,1 xxx")
    assert len(comment) <= 200
    assert len(server.nagios.received) == 2


async def test_a_machine_that_nagios_does_not_know(server: Server) -> None:
    del server.nagios.hosts["acd-jb1.example.com"]
    assert (await fact_of(server.monitoring)).unknown == ("acd-jb1",)
    with pytest.raises(Rejected, match=r"acd-jb1 \(host acd-jb1.example.com\).*Next: name the host under") as trouble:
        await server.monitoring.create(silence("acd-tel1", "acd-jb1"))
    assert trouble.value.machine == MONITORING_SERVER
    assert server.nagios.received == []


async def test_a_nagios_that_has_ended(server: Server) -> None:
    server.nagios.end()
    with pytest.raises(Transient, match=r"there is no /var/lib/nagios4/status\.dat"):
        await server.monitoring.observe(Silences())
    server.nagios.start()
    assert await seen(server.monitoring) == {}


async def test_a_nagios_that_was_killed_takes_commands_and_tells_nothing(server: Server) -> None:
    await server.monitoring.create(silence("acd-tel1"))
    server.nagios.kill()
    timings = server.inventory.timings.model_copy(update={"command": timedelta(milliseconds=500)})
    hasty = monitoring_system(server.inventory.model_copy(update={"timings": timings}), server.ssh)
    assert isinstance(hasty, NagiosSystem)
    told = len(server.nagios.received)
    await hasty.lift(LiftSilence(machines=("acd-tel1",)))
    assert len(server.nagios.received) > told, "somebody has read it"
    with pytest.raises(Transient, match=r"not again within 0\.5 s"):
        await hasty.observe(Silences())
    assert server.wholly_silenced() == {"acd-tel1"}, "nobody did it, and nobody says so"


async def test_without_the_right_to_read(server: Server) -> None:
    server.world.faults.add(Fault(MONITORING, "sudo_denied", "cat"))
    with pytest.raises(Rejected, match=r"sudo refused `cat /var/lib/nagios4/status\.dat`"):
        await server.monitoring.observe(Silences())
