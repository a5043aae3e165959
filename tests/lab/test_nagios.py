"""The lab's Nagios against recordings of a real one: what was recorded is done again, and both files are compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from lab.nagios import Nagios
from tests.activities.recorded import recorded

HOSTS = {"acd-tel1": ["PING", "8-Server"], "acd-jb1.example.com": ["PING"], "acd-dbm1": []}
COMMANDS = recorded("nagios", "commands.txt").splitlines(keepends=True)
FILES = {
    "01-started": 0,
    "02-silenced": 6,
    "03-others-and-later": 8,
    "04-longer-ones-beside": 10,
    "05-extended": 13,
    "06-deleted-as-the-wrong-kind": 14,
    "07-host-alone-lifted": 15,
}
"""How many of the commands were given before each was written."""
# Which downtimes there are, of whom, until when.
TOLD = (
    "host_name",
    "service_description",
    "downtime_id",
    "start_time",
    "end_time",
    "is_in_effect",
    "author",
    "comment",
)

NOT_SIMULATED = ("contactstatus", "hostcomment", "servicecomment")

Block = tuple[str, dict[str, str]]


def blocks(text: str) -> list[Block]:
    found = re.findall(r"^(\w+) \{\n(.*?)^\t\}$", text, re.MULTILINE | re.DOTALL)
    return [(kind, dict(line.strip().split("=", 1) for line in body.splitlines())) for kind, body in found]


def downtimes(text: str) -> list[tuple[str, ...]]:
    told = [(kind, *(values.get(key, "") for key in TOLD)) for kind, values in blocks(text) if "downtime_id" in values]
    # A real one keeps them in the order of their beginning, and turns those that begin at once around.
    return sorted(told)


def depths(text: str) -> dict[tuple[str, str], str]:
    return {
        (values["host_name"], values.get("service_description", "")): values["scheduled_downtime_depth"]
        for _, values in blocks(text)
        if "scheduled_downtime_depth" in values
    }


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


def repeated(name: str) -> str:
    """The lab's file after the same commands at the same time."""
    created = dict(blocks(recorded("nagios", f"{name}.dat")))["info"]["created"]
    clock = Clock(datetime.fromtimestamp(int(created), UTC))
    nagios = Nagios(HOSTS, status_update_interval=1, clock=clock)
    nagios.take("".join(COMMANDS[: FILES[name]]))
    clock.now += timedelta(seconds=1)
    text = nagios.status_file()
    assert text is not None
    return text


@pytest.mark.parametrize("name", FILES)
def test_the_same_commands_leave_the_same_downtimes(name: str) -> None:
    real = recorded("nagios", f"{name}.dat")
    assert downtimes(repeated(name)) == downtimes(real)
    assert depths(repeated(name)) == depths(real)


@pytest.mark.parametrize("name", FILES)
def test_the_file_has_the_blocks_and_keys_of_a_real_one(name: str) -> None:
    def shape(text: str) -> list[tuple[str, tuple[str, ...]]]:
        return sorted({(kind, tuple(values)) for kind, values in blocks(text) if kind not in NOT_SIMULATED})

    assert shape(repeated(name)) == shape(recorded("nagios", f"{name}.dat"))


def test_the_file_is_written_from_time_to_time() -> None:
    clock = Clock(datetime(2026, 11, 25, 20, 0, tzinfo=UTC))
    nagios = Nagios(HOSTS, status_update_interval=10, clock=clock)
    begin = int(clock.now.timestamp())
    nagios.take(f"[{begin}] SCHEDULE_HOST_DOWNTIME;acd-tel1;{begin};{begin + 60};1;0;60;anna;soon over\n")
    first = nagios.status_file()
    clock.now += timedelta(seconds=9)
    assert nagios.status_file() == first
    assert first is not None
    assert "hostdowntime" not in first
    clock.now += timedelta(seconds=1)
    assert "hostdowntime" in (nagios.status_file() or "")
    assert nagios.is_silenced("acd-tel1")
    assert not nagios.is_wholly_silenced("acd-tel1")
    clock.now += timedelta(seconds=50)
    assert not nagios.is_silenced("acd-tel1")
    assert "hostdowntime" not in (nagios.status_file() or "")
