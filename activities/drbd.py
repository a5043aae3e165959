"""DRBD as one node sees it.

8.4 (the in-tree kernel module, also under drbd-utils 9) is read from `/proc/drbd`, which anyone may read. DRBD 9 shows
nothing there but its version, and is read from `drbdsetup status RESOURCE --json` instead, told in the words of 8.4.

A resource that is down has no line in `/proc/drbd`; so it is on a node in standby. `drbdadm` is not asked: it prints
`Consistent` for the disk of a resource that is down, with exit status 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from activities.errors import NotUnderstood
from activities.hands import Act, Observe, Observed
from activities.shell import Shell, answer
from inventory.models import Inventory
from procedure.facts import DrbdFact
from procedure.subjects import DrbdOn

PROC_DRBD = ("cat", "/proc/drbd")

# The DRBD 8.4 user's guide, "Connection states", "Resource roles", "Disk states".
_SYNCHRONISING = (
    *("StartingSyncS", "StartingSyncT", "WFBitMapS", "WFBitMapT", "WFSyncUUID", "SyncSource", "SyncTarget"),
    *("VerifyS", "VerifyT", "PausedSyncS", "PausedSyncT", "Ahead", "Behind"),
)
_BROKEN = (
    *("StandAlone", "Disconnecting", "Unconnected"),
    *("Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError", "TearDown"),
)
CONNECTIONS = frozenset((*_BROKEN, "WFConnection", "WFReportParams", "Connected", *_SYNCHRONISING))
ROLES = frozenset(("Primary", "Secondary", "Unknown"))
DISKS = frozenset(
    (
        *("Diskless", "Attaching", "Detaching", "Failed", "Negotiating"),
        *("Inconsistent", "Outdated", "DUnknown", "Consistent", "UpToDate"),
    )
)
_VERSION = re.compile(r"version: (?P<major>\d+)\.\d+\S* \(api:")
_DEVICE = re.compile(
    r"cs:(?P<connection>\w+) ro:(?P<role>\w+)/(?P<peer_role>\w+) ds:(?P<disk>\w+)/(?P<peer_disk>\w+)"
    r" [ABC ] (?P<suspended>[rs])(?P<flags>[a-z-]{5})"
)
_MINOR = re.compile(r" *(?P<minor>\d{1,7}): (?P<state>.*)")
_COUNTERS = re.compile(r"\s+ns:\d+ nr:\d+ .*\boos:(?P<out_of_sync>\d{1,15})")
_SYNCED = re.compile(r"\s+\[[=>.]*\] (?:sync'ed|verified):\s*(?P<percent>\d{1,3}(?:\.\d+)?)% \(.*\)[KM]?")
_PROGRESS = re.compile(r"\s+(finish:|\d+% sector pos:|resync:|act_log:).*")


def read_proc_drbd(machine: str, text: str, minor: int) -> DrbdFact | None:
    """A device of `/proc/drbd`; None where DRBD 9 is loaded, which doesn't show its devices there.

    Raises:
        NotUnderstood: anything this version does not know, input and output suspended, or a text cut off.
    """
    lines = text.splitlines()
    version = _VERSION.match(text)
    # The second line tells where the module was built from; without it the text was cut off.
    if version is None or len(lines) < 2 or not text.endswith("\n"):
        raise NotUnderstood(machine, f"this is not the whole of /proc/drbd: {text[:120]!r}")
    if version["major"] != "8":
        return None
    block = _block(machine, lines[2:], minor)
    if not block or block[0] == "cs:Unconfigured":
        return DrbdFact(configured=False)
    return _device(machine, block)


def _block(machine: str, lines: list[str], minor: int) -> list[str]:
    """The lines about one device, the first without its number."""
    blocks: dict[int, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if found := _MINOR.fullmatch(line):
            current = blocks.setdefault(int(found["minor"]), [])
            if current:
                raise NotUnderstood(machine, f"/proc/drbd shows minor {found['minor']} twice")
            current.append(found["state"].rstrip())
        elif current is not None and line[:1].isspace():
            current.append(line)
        elif line.strip():
            raise NotUnderstood(machine, f"a line of /proc/drbd: {line!r}")
    return blocks.get(minor, [])


def _device(machine: str, block: list[str]) -> DrbdFact:
    state = _DEVICE.fullmatch(block[0])
    counters = _COUNTERS.fullmatch(block[1]) if len(block) > 1 else None
    if state is None or counters is None:
        raise NotUnderstood(machine, f"a device of /proc/drbd: {' / '.join(block)!r}")
    if state["suspended"] == "s":
        raise NotUnderstood(machine, f"DRBD has suspended input and output: {block[0]!r}", "look at it by hand")
    return DrbdFact(
        configured=True,
        connection=_word(machine, state["connection"], CONNECTIONS),
        role=_word(machine, state["role"], ROLES),
        peer_role=_word(machine, state["peer_role"], ROLES),
        disk=_word(machine, state["disk"], DISKS),
        peer_disk=_word(machine, state["peer_disk"], DISKS),
        out_of_sync_kib=int(counters["out_of_sync"]),
        synced_percent=_percent(machine, block[2:]),
    )


def _percent(machine: str, lines: list[str]) -> float | None:
    percent = None
    for line in lines:
        if found := _SYNCED.fullmatch(line):
            percent = float(found["percent"])
        elif not _PROGRESS.fullmatch(line):
            raise NotUnderstood(machine, f"a line of /proc/drbd: {line!r}")
    return percent


def _word(machine: str, word: object, known: Collection[str]) -> str:
    if not isinstance(word, str) or word not in known:
        raise NotUnderstood(machine, f"DRBD says {word!r}, which is not known")
    return word


# DRBD 9 has a connection state and, once connected, a replication state of each volume; 8.4 has one word for both.
_IN_WORDS_OF_8_4 = {"Connecting": "WFConnection", "Established": "Connected"}


def read_status_json(machine: str, text: str, minor: int) -> DrbdFact:
    """A device of `drbdsetup status RESOURCE --json` (DRBD 9), in the words of 8.4.

    Raises:
        NotUnderstood: anything this version does not know; more or fewer than one peer among it.
    """
    try:
        return _Status(machine, minor).fact(json.loads(text))
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise NotUnderstood(machine, f"drbdsetup's JSON ({type(error).__name__} {error}): {text[:120]!r}") from error


class _Status:
    """One answer of drbdsetup 9; what is missing raises KeyError, TypeError or ValueError."""

    def __init__(self, machine: str, minor: int) -> None:
        self._machine = machine
        self._minor = minor

    def fact(self, resources: list[dict[str, Any]]) -> DrbdFact:
        (resource,) = resources
        if resource["suspended"] is not False:
            raise NotUnderstood(self._machine, "DRBD has suspended input and output", "look at it by hand")
        device = self._one(resource["devices"], "minor", self._minor)
        (peer,) = resource["connections"]
        volume = self._one(peer["peer_devices"], "volume", device["volume"])
        return DrbdFact(
            configured=True,
            connection=self._connection(peer, volume),
            role=_word(self._machine, resource["role"], ROLES),
            peer_role=_word(self._machine, peer["peer-role"], ROLES),
            disk=_word(self._machine, device["disk-state"], DISKS),
            peer_disk=_word(self._machine, volume["peer-disk-state"], DISKS),
            out_of_sync_kib=self._number(volume["out-of-sync"]),
            synced_percent=self._percent(volume),
        )

    def _one(self, things: list[dict[str, Any]], name: str, value: object) -> dict[str, Any]:
        (found,) = (thing for thing in things if thing[name] == value)
        return found

    def _connection(self, peer: dict[str, Any], volume: dict[str, Any]) -> str:
        state = peer["connection-state"]
        if state == "Connected":
            state = volume["replication-state"]
            if state == "Off":
                raise NotUnderstood(self._machine, "DRBD is connected but replicates nothing (Off)")
        return _word(self._machine, _IN_WORDS_OF_8_4.get(state, state), CONNECTIONS)

    def _number(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TypeError(value)
        return value

    def _percent(self, volume: dict[str, Any]) -> float | None:
        if volume["replication-state"] in ("Established", "Off"):
            return None
        percent = volume["percent-in-sync"]
        if not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise ValueError(percent)
        return float(percent)


class Drbd:
    """Observes DRBD on the machines of a pair."""

    def __init__(self, inventory: Inventory, shell: Shell) -> None:
        self._inventory = inventory
        self._shell = shell

    async def observe(self, subject: DrbdOn) -> Observed:
        """DRBD as one machine sees it.

        Raises:
            SystemTrouble: not reached, or not understood.
        """
        machine = subject.machine
        pair = self._inventory.pair_of(machine)
        if pair is None or pair.drbd is None:
            raise NotUnderstood(machine, "the inventory names no DRBD resource there")
        completed = await self._shell.run(machine, PROC_DRBD)
        if completed.exit_status == 0:
            fact = read_proc_drbd(machine, answer(completed, 0), pair.drbd_minor)
            if fact is not None:
                return fact, f"ssh {machine}: {' '.join(PROC_DRBD)}"
        elif "No such file" not in completed.stderr:
            raise NotUnderstood(machine, f"`cat /proc/drbd`: {completed.words}")
        return await self._status(machine, pair.drbd, pair.drbd_minor)

    async def _status(self, machine: str, resource: str, minor: int) -> Observed:
        """With DRBD 9, or without the kernel module: then no resource can be up."""
        argv = ("drbdsetup", "status", resource, "--json")
        completed = await self._shell.run(machine, argv, sudo=True)
        source = f"ssh {machine}: {' '.join(argv)}"
        if completed.exit_status == 10 and "No such resource" in completed.stderr:
            return DrbdFact(configured=False), source
        if completed.exit_status not in (0, 126, 127) and "generic netlink" in completed.stderr:
            return DrbdFact(configured=False), source
        return read_status_json(machine, answer(completed, 0), minor), source

    def observers(self) -> dict[type[Any], Observe]:
        """`DrbdOn`."""
        return {DrbdOn: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """None: Pacemaker moves DRBD, and a split brain is never repaired automatically."""
        return {}

    async def close(self) -> None:
        """Nothing to close: the connection belongs to SSH."""
