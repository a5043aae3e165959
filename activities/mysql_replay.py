"""Whether a replica has executed all that its source had written: by their positions, of which a lag tells nothing.

A replica that has just connected says that it lags by 0 s: it has replayed all that it got, and has got nothing yet.
So the source is asked where it is, and only then the replica. What is written meanwhile does not matter.
"""

from __future__ import annotations

from typing import Protocol

from activities.errors import NotUnderstood, shortened
from activities.mysql_answers import (
    Reached,
    Row,
    Version,
    read_log_end,
    read_reached,
    read_replicas,
    read_version,
)
from activities.mysql_positions import (
    LogPosition,
    lacking_gtid_sets,
    lacking_gtids,
    lacking_log,
    read_gtid_sets,
    read_gtids,
)
from inventory.models import Machine
from procedure.facts import ReplayFact
from procedure.replication import is_source

SHOWN = 300
"""Characters of a position that are kept: a set of GTIDs may be long."""
NO_LOG = "it keeps no binary log, so nobody can replicate from it"
NO_REPLICATION = "all of it: no replication comes from there"


class Asking(Protocol):
    """An open connection to a server."""

    @property
    def machine(self) -> str:
        """Whose."""

    async def rows(self, statement: str, grant: str = "") -> list[Row]:
        """The rows a statement answers; `grant` names the privileges it needs."""

    async def value(self, statement: str) -> object:
        """The only value a statement answers."""


async def compare(replica: Asking, source: Asking, source_machine: Machine) -> ReplayFact:
    """Read both positions, the source's first.

    Raises:
        SystemTrouble: one of them gave no answer, a privilege is missing, or an answer is not understood.
    """
    version, other = await _version(replica), await _version(source)
    if version.mariadb != other.mariadb:
        raise NotUnderstood(replica.machine, f"{version.text} can't be compared with {other.text}")
    begun = await _reached(replica, version, source_machine)
    if begun is None:
        return ReplayFact(lacking=NO_REPLICATION)
    if not begun.by_gtid:
        return await _by_log(replica, source, version, other, source_machine)
    return await (_by_gtids(replica, source) if version.mariadb else _by_gtid_sets(replica, source))


async def _by_gtids(replica: Asking, source: Asking) -> ReplayFact:
    written = await source.value("SELECT @@GLOBAL.gtid_binlog_state")
    if not written and not await source.value("SELECT @@GLOBAL.log_bin"):
        raise NotUnderstood(source.machine, NO_LOG)
    replayed = await replica.value("SELECT @@GLOBAL.gtid_slave_pos")
    logged = await replica.value("SELECT @@GLOBAL.gtid_binlog_state")
    lacking = lacking_gtids(
        read_gtids(source.machine, written),
        read_gtids(replica.machine, logged),
        read_gtids(replica.machine, replayed),
    )
    return _fact(written, replayed, lacking)


async def _by_gtid_sets(replica: Asking, source: Asking) -> ReplayFact:
    statement = "SELECT @@GLOBAL.gtid_executed"
    written, executed = await source.value(statement), await replica.value(statement)
    lacking = lacking_gtid_sets(read_gtid_sets(source.machine, written), read_gtid_sets(replica.machine, executed))
    return _fact(written, executed, lacking)


async def _by_log(
    replica: Asking, source: Asking, version: Version, other: Version, source_machine: Machine
) -> ReplayFact:
    written = await _log_end(source, other)
    reached = await _reached(replica, version, source_machine)
    if reached is None:
        return ReplayFact(written=str(written), lacking=NO_REPLICATION)
    lacking = lacking_log(source.machine, written, reached.log, await _log_end(source, other))
    return _fact(written, reached.log, lacking)


def _fact(written: object, replayed: object, lacking: str) -> ReplayFact:
    shown = (shortened(str(text) or "nothing", SHOWN) for text in (written, replayed))
    return ReplayFact(written=next(shown), replayed=next(shown), lacking=shortened(lacking, SHOWN))


async def _version(asking: Asking) -> Version:
    return read_version(asking.machine, await asking.value("SELECT VERSION()"))


async def _log_end(source: Asking, version: Version) -> LogPosition:
    rows = await source.rows(version.own_position, version.replication_privileges)
    if not rows:
        raise NotUnderstood(source.machine, NO_LOG)
    return read_log_end(source.machine, rows[0])


async def _reached(replica: Asking, version: Version, source: Machine) -> Reached | None:
    rows = await replica.rows(version.replica_status, version.replication_privileges)
    channels = zip(read_replicas(replica.machine, rows), rows, strict=True)
    return next((read_reached(replica.machine, row) for channel, row in channels if is_source(channel, source)), None)
