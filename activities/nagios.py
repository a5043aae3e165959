"""Nagios: downtimes of hosts and all their services, by external commands over SSH.

A machine counts as silenced while its host **and** each of its services are in a downtime of this product, known by
its author. Only these are seen, replaced or ended. Nagios can't move the end of a downtime, so a longer one is
scheduled, and the earlier ones are deleted once the longer one is seen: there is never a gap.

Nagios answers nothing, and its command file takes commands that nobody will carry out: the process that reads it
outlives a Nagios that was killed. So everything is read back, from a status file that was **written after** the
question was asked; an older one may not show yet what was done a moment ago. Where none is written any more, because
Nagios does not run, nothing is known. Looking therefore takes up to `status_update_interval` of nagios.cfg (10 s in
Debian), which must be shorter than `timings.command`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from activities.errors import NotUnderstood, Rejected, Transient, shortened
from activities.hands import Act, Observe, Observed
from activities.nagios_status import Downtime, Status, read_status
from activities.shell import MONITORING_SERVER, Shell, answer
from inventory.models import Inventory, NagiosMonitoring
from procedure.facts import Silence, SilencesFact
from procedure.instructions import CreateSilence, LiftSilence
from procedure.subjects import Silences

AUTHOR: Final = "controlled-failover"
"""Of the product's own downtimes."""
MAX_STATUS: Final = 32_000_000
"""Characters of a status file: a service takes some 1,200, so 25,000 of them."""
MAX_AGE: Final = timedelta(minutes=5)
"""A status file older than that, or as far in the future, is not waited for: Nagios writes it every minute at the
latest, by its own default. Clocks may be so far apart that a silence of hours is still one."""
FILES: Final = 3
"""Status files in which a new downtime must show: one may have been written while the command was on its way."""
PIPE_BUF: Final = 4096
"""Bytes that Linux writes into a pipe as one piece. Commands of others can't come in between, within a line."""
WRITE: Final = ("timeout", "5", "dd", f"bs={PIPE_BUF}", "iflag=fullblock", "conv=nocreat,notrunc", "status=none")
"""Writes what it is given as one piece, and never makes a file where there is no pipe, as `tee` would. Opening a pipe
that nobody reads waits for ever; a pipe that somebody reads takes it at once, so 5 s are plenty."""
TIMED_OUT: Final = 124
MAX_COMMENT: Final = 200
NAME_HOSTS: Final = "name the host under monitoring.host_names of the inventory, or let Nagios watch the machine"
_NOT_RUNNING: Final = "start Nagios there (`systemctl status nagios4`), or correct {0} of the inventory"


class NagiosSystem:
    """Downtimes of Nagios."""

    def __init__(self, inventory: Inventory, settings: NagiosMonitoring, shell: Shell) -> None:
        self._settings = settings
        self._timings = inventory.timings
        self._shell = shell
        self._hosts = {machine.name: settings.host_name(machine.name) for machine in inventory.machines}

    def observers(self) -> dict[type[Any], Observe]:
        """`Silences`."""
        return {Silences: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """`CreateSilence`, `LiftSilence`."""
        return {CreateSilence: self.create, LiftSilence: self.lift}

    async def close(self) -> None:
        """Nothing is open: the connection belongs to the shell."""

    async def observe(self, _: Silences) -> Observed:
        """The product's own downtimes, by machine, and which machines Nagios does not know.

        Raises:
            SystemTrouble: it can't be told.
        """
        status = await self._newer_than(await self._read())
        silences = tuple(
            _silence(status, machine, host, own) for machine, host in self._hosts.items() if (own := _own(status, host))
        )
        unknown = tuple(machine for machine, host in self._hosts.items() if host not in status.services)
        return SilencesFact(silences=silences, unknown=unknown), f"{self._file}, written {status.written:%H:%M:%S} UTC"

    async def create(self, instruction: CreateSilence) -> str:
        """Silence machines, or make their silence longer.

        Raises:
            SystemTrouble: not all of it was done, or nobody knows.
        """
        status = await self._read()
        self._must_know(instruction.machines, status)
        until = datetime.now(UTC) + instruction.duration
        hosts = [self._hosts[machine] for machine in instruction.machines]
        short = [host for host in hosts if not _long_enough(status, host, until)]
        if short:
            await self._write(_scheduled(short, status.written, until, _comment(instruction.comment)))
            status = await self._seen(lambda seen: all(_long_enough(seen, host, until) for host in short), status)
            await self._write(_deleted(d for host in short for d in _own(status, host) if not _reaches(d, until)))
        return f"{len(short)} of {len(hosts)} machines silenced until {until:%Y-%m-%dT%H:%M:%SZ}"

    async def lift(self, instruction: LiftSilence) -> str:
        """End the product's own downtimes of machines.

        Raises:
            SystemTrouble: not all of it was done, or nobody knows.
        """
        status = await self._read()
        own = [d for machine in instruction.machines for d in _own(status, self._hosts[machine])]
        await self._write(_deleted(own))
        return f"Nagios was told to end {len(own)} downtimes"

    def _must_know(self, machines: Iterable[str], status: Status) -> None:
        unknown = [f"{m} (host {self._hosts[m]})" for m in machines if self._hosts[m] not in status.services]
        if unknown:
            raise Rejected(MONITORING_SERVER, f"Nagios knows no such host: {', '.join(unknown)}", NAME_HOSTS)

    # --- the status file ----------------------------------------------------------------------------------------------

    async def _seen(self, condition: Callable[[Status], bool], status: Status) -> Status:
        """The first status file after this one of which the condition holds."""
        for _ in range(FILES):
            status = await self._newer_than(status)
            if condition(status):
                return status
        seen = f"{FILES} status files later ({self._file}) Nagios does not show the downtimes it was told to schedule"
        raise Transient(MONITORING_SERVER, seen, "look at its log there, and at check_external_commands of nagios.cfg")

    async def _newer_than(self, status: Status) -> Status:
        """The next status file, which shows everything that was done before the other was read."""
        limit, poll = self._timings.command.total_seconds(), self._timings.poll.total_seconds()
        try:
            async with asyncio.timeout(limit):
                while True:
                    newer = await self._read()
                    if newer.written > status.written:
                        return newer
                    await asyncio.sleep(poll)
        except TimeoutError:
            seen = f"{self._file} was written {_shown(status.written)}, and not again within {limit:g} s"
            step = f"see that Nagios runs there, with a status_update_interval below {limit:g} s"
            raise Transient(MONITORING_SERVER, seen, step) from None

    async def _read(self) -> Status:
        completed = await self._shell.run(MONITORING_SERVER, ("cat", self._file), sudo=True, keep=MAX_STATUS)
        if completed.exit_status == 1 and "No such file" in completed.stderr:
            seen = f"there is no {self._file}: Nagios removes it when it ends"
            raise Transient(MONITORING_SERVER, seen, _NOT_RUNNING.format("status_file"))
        self._must_be_allowed(completed.exit_status, completed.stderr)
        try:
            status = read_status(answer(completed, 0))
        except ValueError as error:
            step = "check that status_file of the inventory is that of nagios.cfg"
            raise NotUnderstood(MONITORING_SERVER, f"{self._file}: {error}", step) from None
        now = datetime.now(UTC)
        if abs(now - status.written) > MAX_AGE:
            seen = f"{self._file} was written {_shown(status.written)}, and now it is {_shown(now)}: it tells nothing"
            raise Transient(MONITORING_SERVER, seen, "see that Nagios runs there, and that both clocks are right")
        return status

    # --- the command file ---------------------------------------------------------------------------------------------

    async def _write(self, commands: Iterable[str]) -> None:
        for piece in _pieces(commands):
            argv = (*WRITE, f"of={self._settings.command_file}")
            completed = await self._shell.run(MONITORING_SERVER, argv, sudo=True, stdin=piece)
            if completed.exit_status == TIMED_OUT:
                seen = f"nobody reads {self._settings.command_file}"
                raise Transient(MONITORING_SERVER, seen, _NOT_RUNNING.format("command_file"))
            if completed.exit_status == 1 and "No such file" in completed.stderr:
                seen = f"there is no {self._settings.command_file}"
                raise Transient(MONITORING_SERVER, seen, _NOT_RUNNING.format("command_file"))
            self._must_be_allowed(completed.exit_status, completed.stderr)
            answer(completed, 0)

    def _must_be_allowed(self, exit_status: int | None, stderr: str) -> None:
        if exit_status == 1 and "Permission denied" in stderr:
            step = "let the connection use sudo there, or make its account a member of the group that owns the file"
            raise Rejected(MONITORING_SERVER, shortened(stderr), step)

    @property
    def _file(self) -> str:
        return self._settings.status_file


def _own(status: Status, host: str) -> tuple[Downtime, ...]:
    return tuple(d for d in status.downtimes if d.host == host and d.author == AUTHOR)


def _silence(status: Status, machine: str, host: str, own: tuple[Downtime, ...]) -> Silence:
    longest = max(own, key=lambda downtime: downtime.end)
    return Silence(
        id=shortened(" ".join(str(downtime.id) for downtime in own), 60),
        machines=(machine,),
        until=_silenced_until(status, host),
        comment=shortened(longest.comment),
    )


def _silenced_until(status: Status, host: str) -> datetime:
    """When the first of a host and its services is in no downtime any more; the file's own time: one is in none."""
    ends: dict[str | None, datetime] = dict.fromkeys((None, *status.services.get(host, ())), status.written)
    for downtime in _own(status, host):
        if status.in_effect(downtime) and downtime.service in ends:
            ends[downtime.service] = max(ends[downtime.service], downtime.end)
    return min(ends.values())


def _long_enough(status: Status, host: str, until: datetime) -> bool:
    return host in status.services and _silenced_until(status, host) >= until - timedelta(seconds=1)


def _reaches(downtime: Downtime, until: datetime) -> bool:
    # Nagios keeps whole seconds.
    return downtime.end >= until - timedelta(seconds=1)


def _scheduled(hosts: Iterable[str], start: datetime, until: datetime, comment: str) -> Iterator[str]:
    """For each host and its services. They begin when the file was written, by the clock of Nagios: at once."""
    begin, end = int(start.timestamp()), int(until.timestamp())
    for host in hosts:
        # Fixed, triggered by none.
        words = f"{host};{begin};{end};1;0;{end - begin};{AUTHOR};{comment}"
        yield f"[{begin}] SCHEDULE_HOST_DOWNTIME;{words}\n"
        yield f"[{begin}] SCHEDULE_HOST_SVC_DOWNTIME;{words}\n"


def _deleted(downtimes: Iterable[Downtime]) -> Iterator[str]:
    now = int(datetime.now(UTC).timestamp())
    for downtime in downtimes:
        yield f"[{now}] DEL_{'HOST' if downtime.service is None else 'SVC'}_DOWNTIME;{downtime.id}\n"


def _pieces(commands: Iterable[str]) -> Iterator[str]:
    """Whole commands together, in pieces that are written at once."""
    piece = ""
    for command in commands:
        if len((piece + command).encode()) > PIPE_BUF:
            yield piece
            piece = ""
        piece += command
    if piece:
        yield piece


def _comment(text: str) -> str:
    """On one line and without the `;` at which Nagios would cut it off."""
    return shortened(text.replace(";", ","), MAX_COMMENT)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
