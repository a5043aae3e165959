"""A Nagios with its downtimes: what it makes of external commands, and its status file, written from time to time.

Behaviour as recorded from nagios4 4.4.6 of Debian 12, also the odd parts: a comment ends at the first `;`, a downtime
that stands already is scheduled once more, `DEL_HOST_DOWNTIME` with the id of a service's downtime does nothing, and
what is wrong is answered by nothing at all. Checks, notifications, the comments that go with a downtime, and retention
over restarts are not simulated.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from lab.nagios_status import Downtime, status_text

Clock = Callable[[], datetime]
Life = Literal["runs", "ended", "killed"]

# [epoch] NAME;words
_COMMAND = re.compile(r"\[(\d+)\] ([A-Z_]+);(.*)")


class Nagios:
    """One Nagios. `downtimes` is its state, for auditors."""

    def __init__(
        self,
        hosts: Mapping[str, Sequence[str]],
        *,
        status_update_interval: float = 10.0,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """It runs from now on.

        Args:
            hosts: what it watches: the services of each host.
            status_update_interval: seconds between two status files, as in nagios.cfg.
            clock: its time.
        """
        self.hosts = dict(hosts)
        self.downtimes: dict[int, Downtime] = {}
        self.received: list[str] = []
        """External commands, in order."""
        self._interval = status_update_interval
        self._clock = clock
        self._numbers = itertools.count(1)
        self._life: Life = "runs"
        self._began = clock().timestamp()
        self._written = -1
        self._status = ""
        self._write_what_is_due()

    # --- its life -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End in order, as `systemctl stop` has it: status file and command file are removed."""
        self._life = "ended"

    def kill(self) -> None:
        """Its main process is killed: the one that reads the command file lives on, and nobody does what it reads."""
        self._write_what_is_due()
        self._life = "killed"

    def start(self) -> None:
        """Run again, with the downtimes it had."""
        self._life = "runs"
        self._write_what_is_due()

    @property
    def has_command_file(self) -> bool:
        """Whether there is a command file, and somebody reads it."""
        return self._life != "ended"

    def status_file(self) -> str | None:
        """What stands in the status file; None: there is none."""
        self._write_what_is_due()
        return None if self._life == "ended" else self._status

    def _write_what_is_due(self) -> None:
        """The latest status file that is due by now. Between two commands nothing changes but what runs out."""
        if self._life != "runs":
            return
        number = int((self._clock().timestamp() - self._began) / self._interval)
        if number > self._written:
            self._written = number
            at = datetime.fromtimestamp(self._began + number * self._interval, UTC)
            self._forget_what_is_over(at)
            self._status = status_text(self.hosts, list(self.downtimes.values()), at)

    def _forget_what_is_over(self, now: datetime) -> None:
        self.downtimes = {each.id: each for each in self.downtimes.values() if each.end > now.timestamp()}

    # --- external commands --------------------------------------------------------------------------------------------

    def take(self, text: str) -> None:
        """Carry out what was written to the command file; what is wrong stands in a log that nobody reads."""
        self._write_what_is_due()
        for line in text.splitlines():
            self.received.append(line)
            found = _COMMAND.fullmatch(line)
            if found and self._life == "runs":
                self._carry_out(int(found[1]), found[2], found[3].split(";"))

    def _carry_out(self, entry: int, name: str, words: list[str]) -> None:
        if name in ("SCHEDULE_HOST_DOWNTIME", "SCHEDULE_HOST_SVC_DOWNTIME") and len(words) >= 8:
            host, start, end, fixed, trigger, _, author, comment, *_ = words
            if host in self.hosts and fixed == "1" and trigger == "0" and int(start) < int(end):
                for service in self._services(name, host):
                    number = next(self._numbers)
                    known = Downtime(number, host, service, entry, int(start), int(end), author, comment)
                    self.downtimes[number] = known
        elif name in ("DEL_HOST_DOWNTIME", "DEL_SVC_DOWNTIME"):
            found = self.downtimes.get(int(words[0]))
            if found and (found.service is None) == (name == "DEL_HOST_DOWNTIME"):
                del self.downtimes[found.id]

    def _services(self, name: str, host: str) -> Iterator[str | None]:
        if name == "SCHEDULE_HOST_DOWNTIME":
            yield None
        else:
            yield from self.hosts[host]

    # --- for auditors -------------------------------------------------------------------------------------------------

    def is_silenced(self, host: str) -> bool:
        """Whether nobody hears of this host or of one of its services now."""
        return bool(self.objects_in_downtime(host))

    def is_wholly_silenced(self, host: str) -> bool:
        """Whether nobody hears of this host, nor of any of its services now."""
        return self.objects_in_downtime(host) == {None, *self.hosts[host]}

    def objects_in_downtime(self, host: str) -> set[str | None]:
        """Which services are in a downtime; None: the host itself."""
        now = self._clock()
        return {each.service for each in self.downtimes.values() if each.host == host and each.holds(now)}
