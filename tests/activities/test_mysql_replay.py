"""What a replica has replayed of its source, read over the MySQL protocol from two simulated servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from activities.errors import NotUnderstood, Rejected, Transient
from activities.mysql import Databases
from inventory.models import Inventory
from lab.database import DatabaseServer, MasterStatus
from lab.database_rows import ReplicaStatus, Value, replicating
from lab.listening import Endpoint
from procedure.facts import ReplayFact
from procedure.subjects import ReplayOn
from tests.activities.cluster import machine, reference
from tests.activities.test_mysql import ALL, PASSWORD, World

SOURCE, REPLICA = "127.77.3.11", "127.77.3.12"
LOG = MasterStatus("bin.000007", 300)
LINK = ReplayOn(machine="acd-dbm2", source="acd-dbm1")


@dataclass
class Server(World):
    """One of the two, with positions."""

    positions: dict[str, str | int | bool] = field(default_factory=dict)

    def variables(self) -> Mapping[str, str | int | bool]:
        return {**super().variables(), "log_bin": True, "gtid_slave_pos": "", "gtid_binlog_state": "", **self.positions}


def replica(host: str = SOURCE, replayed: str = "", **columns: Value) -> Server:
    status = replicating(host, 3306, server_id=1)
    row = ReplicaStatus({**status.columns, **columns})
    return Server(replications=[row], positions={"gtid_slave_pos": replayed})


def source(
    state: str = "0-1-7", privileges: frozenset[str] = ALL, version: str = World.version, log: MasterStatus | None = LOG
) -> Server:
    return Server(privileges=privileges, version=version, log=log, positions={"gtid_binlog_state": state})


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_PASSWORD", PASSWORD)


@asynccontextmanager
async def two(source: Server, replica: Server) -> AsyncIterator[tuple[Databases, DatabaseServer]]:
    first = DatabaseServer(Endpoint(SOURCE), source)
    await first.start()
    second = DatabaseServer(Endpoint(REPLICA, first.endpoint.port), replica)
    await second.start()
    try:
        yield Databases(cluster(first.endpoint.port)), first
    finally:
        await second.stop()
        await first.stop()


def cluster(port: int) -> Inventory:
    def here(raw: dict[str, Any]) -> None:
        machine(raw, "acd-dbm1")["address"] = SOURCE
        machine(raw, "acd-dbm2")["address"] = REPLICA
        raw["database"] |= {"port": port, "password": "env:TEST_DATABASE_PASSWORD"}

    return reference(here)


async def replay(source: Server, replica: Server) -> ReplayFact:
    async with two(source, replica) as (databases, _):
        fact, asked = await databases.replay(LINK)
    assert asked == "mysql acd-dbm1, acd-dbm2: their positions"
    assert isinstance(fact, ReplayFact)
    return fact


async def test_all_is_replayed_by_gtid() -> None:
    fact = await replay(source("0-1-7,0-2-3"), replica(replayed="0-1-7"))
    assert fact == ReplayFact(written="0-1-7,0-2-3", replayed="0-1-7")


async def test_a_replica_that_has_just_connected_lags_by_nothing_and_lacks_all() -> None:
    fact = await replay(source(), replica(replayed="0-1-6"))
    assert fact.lacking == "0-1-7 (it is at 0: 6)"


async def test_what_a_filter_leaves_out_is_lacking() -> None:
    """Whoever takes the writes must have it too."""
    fact = await replay(
        source("0-1-7,5-1-2"),
        replica(replayed="0-1-7", Replicate_Ignore_Domain_Ids="5"),
    )
    assert fact.lacking == "5-1-2 (it is at 5: nothing)"


@pytest.mark.parametrize(("at", "lacking"), [(300, ""), (299, "bin.000007:300 (it is at bin.000007:299)")])
async def test_by_files_and_positions(at: int, lacking: str) -> None:
    counting = replica(Using_Gtid="No", Relay_Master_Log_File="bin.000007", Exec_Master_Log_Pos=at)
    fact = await replay(source("0-1-7"), counting)
    assert fact == ReplayFact(written="bin.000007:300", replayed=f"bin.000007:{at}", lacking=lacking)


async def test_gtids_need_no_privilege_for_the_log() -> None:
    few = frozenset({"PROCESS", "SLAVE MONITOR"})
    fact = await replay(source(privileges=few), replica(replayed="0-1-7"))
    assert fact.lacking == ""
    with pytest.raises(Rejected, match="acd-dbm1: SHOW MASTER STATUS: 1227"):
        await replay(source(privileges=few), replica(Using_Gtid="No"))


async def test_what_replicates_from_elsewhere_lacks_all() -> None:
    fact = await replay(source(), replica("10.0.0.9"))
    assert fact.lacking == "all of it: no replication comes from there"


async def test_without_a_log_nothing_can_be_told() -> None:
    silent = source(log=None)
    with pytest.raises(NotUnderstood, match="acd-dbm1: it keeps no binary log"):
        await replay(silent, replica(Using_Gtid="No"))


async def test_without_a_log_there_are_no_gtids_to_compare() -> None:
    silent = source("")
    silent.positions["log_bin"] = False
    with pytest.raises(NotUnderstood, match="acd-dbm1: it keeps no binary log"):
        await replay(silent, replica(replayed="0-1-7"))
    assert (await replay(source(""), replica())).lacking == ""


async def test_two_kinds_of_servers_are_not_compared() -> None:
    with pytest.raises(NotUnderstood, match="can't be compared"):
        await replay(source(version="8.0.36"), replica())


async def test_a_source_that_is_not_reached_is_named() -> None:
    async with two(source(), replica()) as (databases, first):
        await first.stop()
        with pytest.raises(Transient, match="acd-dbm1: connect to"):
            await databases.replay(LINK)
