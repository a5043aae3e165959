"""Positions of MariaDB and MySQL: what of all that a source has written a replica has not executed. Pure comparison.

Three ways to count, none of which can be compared with another:

- MariaDB's GTIDs, `domain-server-number`. A server gives its own transactions numbers above all that it has seen in the
  domain, so the last number of each server in the source's log says what is there, and a replica that has come to a
  number in its source's log has executed all that the source wrote up to it. Two servers that once took writes of one
  domain at the same time have broken that order (gtid_strict_mode forbids it); this comparison does not notice it.
- MySQL's sets of GTIDs, `uuid:1-5:7`: what is in one and not in the other is lacking.
- A place in the source's binary log, `bin.000007` and an offset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from activities.errors import NotUnderstood

Gtids = Mapping[tuple[int, int], int]
"""MariaDB: the last number of each domain and server."""
GtidSets = Mapping[str, tuple[tuple[int, int], ...]]
"""MySQL: intervals of each server and tag, both ends included, in order and apart."""

_GTID = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")
_SOURCE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")
_LOG = re.compile(r"(?P<name>.+)\.(?P<number>\d{6,})")


# --- MariaDB ----------------------------------------------------------------------------------------------------------


def read_gtids(machine: str, text: object) -> Gtids:
    """`@@gtid_binlog_state` or `@@gtid_slave_pos`; empty: nothing.

    Raises:
        NotUnderstood: no GTIDs of MariaDB.
    """
    found: dict[tuple[int, int], int] = {}
    for word in _words(machine, text):
        match = _GTID.fullmatch(word)
        if match is None:
            raise NotUnderstood(machine, f"{word[:60]!r} is no GTID of MariaDB")
        domain, server, number = (int(part) for part in match.groups())
        found[domain, server] = max(number, found.get((domain, server), 0))
    return found


def lacking_gtids(written: Gtids, logged: Gtids, replayed: Gtids) -> str:
    """What a replica has not executed, and how far it is; empty if it has all.

    Args:
        written: the state of the source's binary log.
        logged: the state of the replica's own, which holds what it wrote itself and, by its setting, what it replayed.
        replayed: to where it has replayed its source.

    What a filter of the replication leaves out is lacking like anything else: whoever takes the writes must have it.
    """
    come_to: dict[int, int] = {}
    for (domain, _), number in replayed.items():
        come_to[domain] = max(number, come_to.get(domain, 0))
    behind = [
        f"{domain}-{server}-{number} (it is at {domain}: {come_to.get(domain, 'nothing')})"
        for (domain, server), number in sorted(written.items())
        if max(logged.get((domain, server), 0), come_to.get(domain, 0)) < number
    ]
    return ", ".join(behind)


# --- MySQL ------------------------------------------------------------------------------------------------------------


def read_gtid_sets(machine: str, text: object) -> GtidSets:
    """`@@gtid_executed`, with tags (8.3 and later) or without; empty: nothing.

    Raises:
        NotUnderstood: no set of GTIDs.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for word in _words(machine, text):
        source, *parts = (part.strip().lower() for part in word.split(":"))
        if not _SOURCE_ID.fullmatch(source) or not parts:
            raise NotUnderstood(machine, f"{word[:60]!r} is no set of GTIDs")
        key = source
        for part in parts:
            match = _INTERVAL.fullmatch(part)
            if match:
                found.setdefault(key, []).append((int(match[1]), int(match[2] or match[1])))
            elif _TAG.fullmatch(part):
                key = f"{source}:{part}"
            else:
                raise NotUnderstood(machine, f"{part[:60]!r} is no interval of GTIDs")
    return {key: tuple(_joined(intervals)) for key, intervals in found.items()}


def lacking_gtid_sets(written: GtidSets, executed: GtidSets) -> str:
    """What a replica has not executed, as MySQL writes it; empty if it has all."""
    left = {key: tuple(_without(intervals, executed.get(key, ()))) for key, intervals in sorted(written.items())}
    return ", ".join(f"{key}:{':'.join(map(_interval, intervals))}" for key, intervals in left.items() if intervals)


def _joined(intervals: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first, last = 0, -1
    for start, end in sorted(intervals):
        if start > last + 1:
            if last >= first:
                yield first, last
            first = start
        last = max(last, end)
    if last >= first:
        yield first, last


def _without(intervals: tuple[tuple[int, int], ...], gone: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    for start, end in intervals:
        left = start
        for first, last in gone:
            if last < left or first > end:
                continue
            if left < first:
                yield left, first - 1
            left = last + 1
        if left <= end:
            yield left, end


def _interval(interval: tuple[int, int]) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"


# --- the place in a log -----------------------------------------------------------------------------------------------


class LogPosition(NamedTuple):
    """A place in a server's binary log. No file: there is none."""

    file: str
    offset: int

    def __str__(self) -> str:
        """As file:offset."""
        return f"{self.file}:{self.offset}" if self.file else "nothing"


def lacking_log(machine: str, written: LogPosition, replayed: LogPosition, written_since: LogPosition) -> str:
    """What of a source's log a replica has not executed; empty if it has all.

    Args:
        machine: whose positions.
        written: the end of the source's log.
        replayed: to where the replica has executed it, looked at afterwards.
        written_since: the end of the source's log after that: nobody can have executed more.

    Raises:
        NotUnderstood: the name of a file has no number.
    """
    if not replayed.file:
        return f"{written} (it is at nothing)"
    (name, *place), (of, *to), (_, *since) = (_place(machine, each) for each in (written, replayed, written_since))
    if name != of or to > since:
        return f"{written} (it is at {replayed}, which is of another log: was the source's begun anew?)"
    return f"{written} (it is at {replayed})" if to < place else ""


def _place(machine: str, position: LogPosition) -> tuple[str, int, int]:
    match = _LOG.fullmatch(position.file)
    if match is None:
        raise NotUnderstood(machine, f"{position.file!r} is no numbered file of a binary log")
    return match["name"], int(match["number"]), position.offset


def _words(machine: str, text: object) -> list[str]:
    if not isinstance(text, str):
        raise NotUnderstood(machine, f"a position is {type(text).__name__}, no text")
    return [word.strip() for word in text.split(",") if word.strip()]
