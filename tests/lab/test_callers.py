"""Callers, agents and database pools of the lab: through a virtual address and a real HAProxy to its back ends."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

import pytest

from lab.backends import HttpBackend, TcpBackend, VirtualAddress
from lab.balancer import Backend, Balancer, BalancerConfig, HealthCheck, Server
from lab.callers import (
    AgentSession,
    DatabaseSession,
    RefusedError,
    RequestCaller,
    SessionLength,
    Sessions,
)
from lab.database import DatabaseServer
from lab.listening import Endpoint, free_port
from tests.lab.test_database_server import OPERATOR, SHOP, Model, ask, connect

BALANCER, WEB, DATABASE, VIP = (f"127.77.3.{n}" for n in (1, 11, 21, 100))
DEADLINE_SECONDS = 10.0
ENDLESS = SessionLength(3600, 3600)


@dataclass
class Site:
    web: HttpBackend
    database: DatabaseServer
    balancer: Balancer
    address: VirtualAddress

    @property
    def url(self) -> str:
        return f"http://{self.address.endpoint('web')}"

    async def take_address(self) -> None:
        await self.address.move_to({each.name: each.bind for each in self.balancer.config.backends})

    async def sessions(self, backend: str) -> int:
        text = await self.balancer.socket.command("show stat")
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return next(int(row["scur"]) for row in rows if (row["pxname"], row["svname"]) == (backend, "BACKEND"))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    web, database = HttpBackend(Endpoint(WEB), "jb1"), DatabaseServer(Endpoint(DATABASE), Model())
    await web.start()
    await database.start()
    backends = [
        Backend("web", Endpoint(BALANCER, free_port(BALANCER)), [Server("acd-jb1", web.endpoint)]),
        Backend("db", Endpoint(BALANCER, free_port(BALANCER)), [Server("acd-dbm1", database.endpoint)], mode="tcp"),
    ]
    balancer = Balancer(BalancerConfig("acd-lb1", backends, check=HealthCheck(interval_ms=50)))
    await balancer.start()
    site = Site(web, database, balancer, VirtualAddress(VIP, {"web": 0, "db": 0}))
    await site.take_address()
    yield site
    await site.address.withdraw()
    await balancer.close()
    await database.stop()
    await web.stop()


async def within(waiting: Coroutine[None, None, None]) -> None:
    await asyncio.wait_for(waiting, DEADLINE_SECONDS)


async def test_the_outage_is_from_the_first_failure_to_the_first_success(site: Site) -> None:
    caller = RequestCaller(f"{site.url}/login", interval_seconds=0.01)
    caller.start()
    await within(caller.tally.reaches(lambda tally: tally.served >= 3))
    assert caller.tally.outages == []
    # A call that is under way may be the first that is not answered.
    began = asyncio.get_running_loop().time() - DEADLINE_SECONDS
    await site.address.withdraw()
    await within(caller.tally.reaches(lambda tally: tally.refused >= 3))
    assert caller.tally.out_of_service
    assert caller.tally.outage_seconds == 0
    served = caller.tally.served
    await site.take_address()
    await within(caller.tally.reaches(lambda tally: tally.served > served))
    ended = asyncio.get_running_loop().time()
    await caller.stop()
    (outage,) = caller.tally.outages
    assert outage.seconds is not None
    assert began <= outage.first_failure < outage.first_failure + outage.seconds <= ended
    assert not caller.tally.out_of_service


async def test_a_service_without_a_server_is_an_outage(site: Site) -> None:
    await site.web.stop()
    caller = RequestCaller(f"{site.url}/login", interval_seconds=0.01)
    caller.start()
    await within(caller.tally.reaches(lambda tally: tally.refused >= 1))
    await site.web.start()
    await within(caller.tally.reaches(lambda tally: tally.served >= 1))
    await caller.stop()
    assert len(caller.tally.outages) == 1


async def test_a_hanging_service_loses_the_request(site: Site) -> None:
    site.web.gate.close()
    caller = RequestCaller(f"{site.url}/login", interval_seconds=0.01, patience_seconds=0.1)
    caller.start()
    await within(caller.tally.reaches(lambda tally: tally.lost >= 1))
    await caller.stop()
    site.web.gate.open()


async def test_agents_work_for_a_while_and_end_by_themselves(site: Site) -> None:
    agents = Sessions(AgentSession(site.url), count=3, length=SessionLength(0.05, 0.2))
    agents.start()
    await within(agents.tally.reaches(lambda tally: tally.served >= 6))
    await within(agents.retire())
    tally = agents.tally
    assert (tally.lost, tally.refused, tally.under_way, agents.open) == (0, 0, 0, 0)
    assert tally.served == tally.attempted == site.web.agents_seen


async def test_draining_takes_until_the_last_session_has_ended(site: Site) -> None:
    agents = Sessions(AgentSession(site.url), count=2, length=SessionLength(1.0, 1.2), seed=1)
    agents.start()
    await within(agents.begun(2))
    assert await site.sessions("web") == 2
    await within(agents.retire())
    assert agents.tally.served == 2
    assert site.web.agents == 0


async def test_stopping_the_service_loses_the_agents_it_had(site: Site) -> None:
    agents = Sessions(AgentSession(site.url), count=3, length=ENDLESS)
    agents.start()
    await within(agents.begun(3))
    await site.web.stop()
    await within(agents.tally.reaches(lambda tally: tally.lost == 3))
    assert agents.tally.out_of_service
    await site.web.start()
    await within(agents.begun(3))
    assert not agents.tally.out_of_service
    await agents.stop()
    assert (agents.tally.lost, agents.open) == (3, 0)


async def test_a_moved_address_cuts_the_agents(site: Site) -> None:
    agents = Sessions(AgentSession(site.url), count=2, length=ENDLESS)
    agents.start()
    await within(agents.begun(2))
    await site.take_address()
    await within(agents.tally.reaches(lambda tally: tally.lost == 2))
    await within(agents.begun(2))
    await agents.stop()


async def test_a_pool_s_connections_are_rows_of_the_process_list(site: Site) -> None:
    kind = DatabaseSession(site.address.endpoint("db"), SHOP.user, SHOP.password, "shop")
    pool = Sessions(kind, count=3, length=ENDLESS)
    pool.start()
    await within(pool.begun(3))
    operator = await connect(site.database, OPERATOR)
    rows = [row for row in await ask(operator, "SHOW PROCESSLIST") if row["User"] == "app"]
    assert [(row["db"], row["Command"]) for row in rows] == [("shop", "Sleep")] * 3
    assert await site.sessions("db") == 3
    await pool.stop()
    operator.close()


async def test_a_wrong_password_refuses_the_pool_and_is_not_told(site: Site) -> None:
    kind = DatabaseSession(site.address.endpoint("db"), SHOP.user, "wrong-secret")
    with pytest.raises(RefusedError) as refused:
        await kind.hold(1, lambda: None)
    assert "wrong-secret" not in str(refused.value) + repr(kind)


async def test_a_lost_pool_connection_is_noticed(site: Site) -> None:
    kind = DatabaseSession(site.address.endpoint("db"), SHOP.user, SHOP.password)
    pool = Sessions(kind, count=1, length=SessionLength(0.2, 0.2))
    pool.start()
    await within(pool.begun(1))
    await site.database.stop()
    await within(pool.tally.reaches(lambda tally: tally.lost == 1))
    await pool.stop()


async def test_the_plain_tcp_service_counts_its_connections() -> None:
    service = TcpBackend(Endpoint(WEB), "tcp")
    await service.start()
    reader, writer = await asyncio.open_connection(service.endpoint.address, service.endpoint.port)
    await reader.readline()
    assert service.connections == 1
    await service.stop()
    assert service.connections == 0
    writer.close()
