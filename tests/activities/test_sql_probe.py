"""Queries of probes, over the MySQL protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from activities.errors import Rejected
from activities.sql_probe import NO_ROW, SqlQueries
from lab.database import DatabaseAccount, DatabaseServer, MasterStatus, QueryResult, SqlError
from lab.database_rows import Process, ReplicaStatus
from lab.listening import Endpoint
from tests.activities.cluster import reference

LOCAL = "127.0.0.1"
PASSWORD = "hunter2-never-shown"


@dataclass
class Model:
    """A database with one query."""

    rows: list[tuple[int, ...]] = field(default_factory=lambda: [(1,)])
    password: str = PASSWORD

    def accounts(self) -> Sequence[DatabaseAccount]:
        return [DatabaseAccount("failover", self.password)]

    def processes(self) -> Sequence[Process]:
        return []

    def replicas(self) -> Sequence[ReplicaStatus]:
        return []

    def master_status(self) -> MasterStatus | None:
        return None

    def variables(self) -> Mapping[str, str | int | bool]:
        return {"version": "10.11.19-MariaDB"}

    def status(self) -> Mapping[str, str | int]:
        return {}

    async def kill(self, thread_id: int) -> bool:
        return False

    async def execute(self, account: DatabaseAccount, sql: str) -> QueryResult:
        if "callers" not in sql:
            raise SqlError(1146, "Table 'acd.nothing' doesn't exist")
        return QueryResult(columns=("id",), rows=self.rows)


@pytest.fixture
async def server() -> AsyncIterator[DatabaseServer]:
    made = DatabaseServer(Endpoint(LOCAL), Model())
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVER_DATABASE_PASSWORD", PASSWORD)


def queries(**database: object) -> SqlQueries:
    def change(raw: dict[str, Any]) -> None:
        raw["database"] |= database

    return SqlQueries(reference(change))


async def asked(server: DatabaseServer, query: str = "SELECT id FROM callers", **database: object) -> str:
    return await queries(**database).why_no_row(LOCAL, server.endpoint.port, query)


async def test_a_row(server: DatabaseServer) -> None:
    assert await asked(server) == ""
    assert await asked(server, "SELECT 1") == ""


async def test_no_row(server: DatabaseServer) -> None:
    assert isinstance(server.model, Model)
    server.model.rows = []
    assert await asked(server) == NO_ROW


async def test_a_query_that_fails_is_a_fact(server: DatabaseServer) -> None:
    assert "Table 'acd.nothing' doesn't exist" in await asked(server, "SELECT id FROM nothing")


async def test_nobody_there(server: DatabaseServer) -> None:
    await server.stop()
    assert "OperationalError: Can't connect" in await asked(server)


async def test_a_wrong_password_is_no_fact_about_the_service(server: DatabaseServer) -> None:
    assert isinstance(server.model, Model)
    server.model.password = "another"
    with pytest.raises(Rejected, match="Access denied") as trouble:
        await asked(server)
    assert PASSWORD not in str(trouble.value)


async def test_never_in_clear_where_tls_is_asked_for(server: DatabaseServer) -> None:
    with pytest.raises(Rejected, match="offers no TLS"):
        await asked(server, tls={})


async def test_the_connection_is_ended_each_time(server: DatabaseServer) -> None:
    for _ in range(3):
        await asked(server)
    if server.serving:
        await asyncio.wait(server.serving, timeout=5)
    assert not server.clients
