"""The status file of Nagios: which hosts and services it knows, and the downtimes of each.

Nagios writes it anew every `status_update_interval` and renames it into its place, so what is read is always whole. It
removes it when it ends in order. Blocks and keys are the same from Nagios 3 to 4.5; those not needed here are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_NEEDED: Final = ("info", "hoststatus", "servicestatus", "hostdowntime", "servicedowntime")


@dataclass(frozen=True)
class Downtime:
    """A downtime of a host, or of one of its services."""

    id: int
    host: str
    service: str | None
    """None: of the host itself, which says nothing about its services."""
    start: datetime
    end: datetime
    author: str
    comment: str


@dataclass(frozen=True)
class Status:
    """One status file."""

    written: datetime
    """By the clock of Nagios, in whole seconds."""
    services: Mapping[str, frozenset[str]]
    """By host: the services of every host that Nagios knows."""
    downtimes: tuple[Downtime, ...]

    def in_effect(self, downtime: Downtime) -> bool:
        """Whether it holds at the time the file was written."""
        return downtime.start <= self.written < downtime.end


@dataclass(frozen=True)
class _Block:
    kind: str
    values: dict[str, str]

    def text(self, key: str) -> str:
        if key not in self.values:
            raise ValueError(f"a block {self.kind} without {key}")
        return self.values[key]

    def number(self, key: str) -> int:
        text = self.text(key)
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"a block {self.kind} whose {key} is no number")
        return int(text)

    def moment(self, key: str) -> datetime:
        try:
            return datetime.fromtimestamp(self.number(key), UTC)
        except (OverflowError, OSError) as error:
            raise ValueError(f"a block {self.kind} whose {key} is no time") from error


def read_status(text: str) -> Status:
    """Read a status file.

    Raises:
        ValueError: it is none, or not one that this version knows; says why.
    """
    blocks = tuple(_blocks(text))
    info = next((block for block in blocks if block.kind == "info"), None)
    if info is None:
        raise ValueError("no block info, so nothing tells when it was written")
    services: dict[str, set[str]] = {block.text("host_name"): set() for block in blocks if block.kind == "hoststatus"}
    for block in blocks:
        if block.kind == "servicestatus":
            services.setdefault(block.text("host_name"), set()).add(block.text("service_description"))
    return Status(
        written=info.moment("created"),
        services={host: frozenset(names) for host, names in services.items()},
        downtimes=tuple(_downtime(block) for block in blocks if block.kind in ("hostdowntime", "servicedowntime")),
    )


def _downtime(block: _Block) -> Downtime:
    return Downtime(
        id=block.number("downtime_id"),
        host=block.text("host_name"),
        service=block.text("service_description") if block.kind == "servicedowntime" else None,
        start=block.moment("start_time"),
        end=block.moment("end_time"),
        author=block.text("author"),
        comment=block.text("comment"),
    )


def _blocks(text: str) -> Iterator[_Block]:
    """The blocks that are needed; each begins with `kind {` and ends with a line of its own."""
    block: _Block | None = None
    for line in text.split("\n"):
        if block is None and line.endswith(" {"):
            block = _Block(line.removesuffix(" {"), {})
        elif block is not None and line == "\t}":
            if block.kind in _NEEDED:
                yield block
            block = None
        elif block is not None:
            key, _, value = line.strip().partition("=")
            block.values[key] = value
    if block is not None:
        raise ValueError(f"it ends within a block {block.kind}")
