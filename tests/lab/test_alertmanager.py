"""The Alertmanager of the lab against an HTTP client, as the product asks it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.alertmanager import Alertmanager, BasicCredentials
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint

ADDRESS = "127.77.1.61"


@dataclass
class Clock:
    now: datetime = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def alertmanager(clock: Clock) -> AsyncIterator[Alertmanager]:
    server = Alertmanager(Endpoint(ADDRESS), clock=clock)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def api(alertmanager: Alertmanager) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{alertmanager.url}/api/v2", trust_env=False) as client:
        yield client


def silence(clock: Clock, **changes: object) -> dict[str, Any]:
    document: dict[str, Any] = {
        "matchers": [{"name": "instance", "value": "acd-jb[1-3]", "isRegex": True, "isEqual": True}],
        "startsAt": clock.now.isoformat(),
        "endsAt": (clock.now + timedelta(hours=2)).isoformat(),
        "createdBy": "failover",
        "comment": "controlled failover",
    }
    return {name: value for name, value in (document | changes).items() if value is not None}


async def create(api: httpx.AsyncClient, document: dict[str, Any]) -> str:
    response = await api.post("/silences", json=document)
    assert response.status_code == 200, response.text
    identity: str = response.json()["silenceID"]
    return identity


async def state(api: httpx.AsyncClient, identity: str) -> str:
    found: str = (await api.get(f"/silence/{identity}")).json()["status"]["state"]
    return found


async def test_a_silence_is_pending_then_active_then_expired(api: httpx.AsyncClient, clock: Clock) -> None:
    later = (clock.now + timedelta(hours=1)).isoformat()
    identity = await create(api, silence(clock, startsAt=later))
    assert await state(api, identity) == "pending"
    clock.pass_by(hours=1)
    assert await state(api, identity) == "active"
    clock.pass_by(hours=1)
    assert await state(api, identity) == "expired"


async def test_it_is_shown_as_it_was_made(api: httpx.AsyncClient, clock: Clock) -> None:
    identity = await create(api, silence(clock))
    shown = (await api.get(f"/silence/{identity}")).json()
    assert shown == {
        "id": identity,
        "status": {"state": "active"},
        "updatedAt": "2026-11-23T04:00:00.000Z",
        "comment": "controlled failover",
        "createdBy": "failover",
        "endsAt": "2026-11-23T06:00:00.000Z",
        "matchers": [{"name": "instance", "value": "acd-jb[1-3]", "isRegex": True, "isEqual": True}],
        "startsAt": "2026-11-23T04:00:00.000Z",
    }
    assert (await api.get("/silences")).json() == [shown]


async def test_it_mutes_what_it_matches_while_it_is_active(
    api: httpx.AsyncClient, alertmanager: Alertmanager, clock: Clock
) -> None:
    await create(api, silence(clock))
    assert alertmanager.is_silenced({"instance": "acd-jb2"})
    assert not alertmanager.is_silenced({"instance": "acd-jb22"})
    assert not alertmanager.is_silenced({})
    assert [kept.comment for kept in alertmanager.silences_now()] == ["controlled failover"]
    clock.pass_by(hours=2)
    assert not alertmanager.is_silenced({"instance": "acd-jb2"})
    assert alertmanager.silences_now() == []


async def test_extending_keeps_the_id(api: httpx.AsyncClient, clock: Clock) -> None:
    begun = clock.now
    identity = await create(api, silence(clock))
    clock.pass_by(minutes=90)
    longer = silence(clock, id=identity, startsAt=begun.isoformat())
    assert await create(api, longer) == identity
    shown = (await api.get(f"/silence/{identity}")).json()
    assert (shown["endsAt"], shown["updatedAt"]) == ("2026-11-23T07:30:00.000Z", "2026-11-23T05:30:00.000Z")


async def test_what_cannot_change_in_place_makes_a_new_silence(api: httpx.AsyncClient, clock: Clock) -> None:
    identity = await create(api, silence(clock))
    clock.pass_by(minutes=5)
    moved = await create(api, silence(clock, id=identity))
    assert moved != identity
    assert (await state(api, identity), await state(api, moved)) == ("expired", "active")
    clock.pass_by(hours=3)
    assert await create(api, silence(clock, id=moved)) not in (identity, moved)


async def test_deleting_expires(api: httpx.AsyncClient, clock: Clock) -> None:
    identity = await create(api, silence(clock))
    assert (await api.delete(f"/silence/{identity}")).status_code == 200
    assert await state(api, identity) == "expired"
    again = await api.delete(f"/silence/{identity}")
    assert (again.status_code, again.json()) == (500, f"silence {identity} already expired")


async def test_a_start_in_the_past_becomes_now(api: httpx.AsyncClient, clock: Clock) -> None:
    identity = await create(api, silence(clock, startsAt="2026-11-22T00:00:00+01:00"))
    assert (await api.get(f"/silence/{identity}")).json()["startsAt"] == "2026-11-23T04:00:00.000Z"


async def test_filters(api: httpx.AsyncClient, clock: Clock) -> None:
    exact = [{"name": "instance", "value": "acd-lb1", "isRegex": False}]
    first, second = await create(api, silence(clock)), await create(api, silence(clock, matchers=exact))

    async def found(*filters: str) -> set[str]:
        response = await api.get("/silences", params={"filter": list(filters)})
        assert response.status_code == 200
        return {shown["id"] for shown in response.json()}

    assert await found('instance="acd-lb1"') == {second}
    assert await found('instance!="acd-lb1"') == {first}
    assert await found('instance=~"acd-.*"') == {first, second}
    assert await found('instance="acd-lb1"', 'job="x"') == set()
    assert (await api.get("/silences", params={"filter": "%%"})).status_code == 400


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"comment": None}, (422, "silence.comment in body is required")),
        ({"createdBy": ""}, (422, "silence.createdBy in body is required")),
        ({"matchers": []}, (422, "should have at least 1 items")),
        ({"matchers": [{"name": "a", "value": "b"}]}, (422, "matchers.0.isRegex in body is required")),
        ({"matchers": [{"name": "a-b", "value": "b", "isRegex": False}]}, (400, "invalid label name")),
        ({"matchers": [{"name": "a", "value": "(", "isRegex": True}]}, (400, "invalid regular expression")),
        ({"matchers": [{"name": "a", "value": ".*", "isRegex": True}]}, (400, "must not match the empty string")),
        ({"endsAt": "2026-11-23T04:00:00Z"}, (400, "start time must be before end time")),
        ({"startsAt": "2026-11-22T01:00:00Z", "endsAt": "2026-11-22T02:00:00Z"}, (400, "can't be in the past")),
        ({"endsAt": "tomorrow"}, (400, "tomorrow")),
        ({"endsAt": "2026-11-23T09:00:00"}, (400, "2026-11-23T09:00:00")),
        ({"id": "00000000-0000-0000-0000-000000000000"}, (404, "silence not found")),
    ],
)
async def test_bad_silences_are_refused(
    api: httpx.AsyncClient, alertmanager: Alertmanager, clock: Clock, changes: dict[str, Any], refusal: tuple[int, str]
) -> None:
    response = await api.post("/silences", json=silence(clock, **changes))
    status, words = refusal
    assert response.status_code == status
    assert words in response.text
    assert alertmanager.silences == {}


async def test_what_is_not_there(api: httpx.AsyncClient) -> None:
    unknown = "/silence/00000000-0000-0000-0000-000000000000"
    assert (await api.get(unknown)).status_code == 404
    assert (await api.delete(unknown)).status_code == 404
    assert (await api.get("/silence/nonsense")).status_code == 422
    assert (await api.get("/alerts/groups/x")).status_code == 404
    assert (await api.delete("/silences")).status_code == 405
    assert (await api.post("/silences", content=b"{")).status_code == 400
    assert (await api.post("/silences", content=b"[]")).status_code == 400


async def test_status(api: httpx.AsyncClient) -> None:
    status = (await api.get("/status")).json()
    assert status["cluster"]["status"] == "ready"
    assert status["versionInfo"]["version"]


async def test_basic_authentication_and_tls(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    credentials = BasicCredentials("monitoring", "mon-secret")
    server = Alertmanager(Endpoint(ADDRESS), credentials=credentials, certificate=authority.issue(ADDRESS))
    await server.start()
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    async with httpx.AsyncClient(base_url=server.url, verify=context, trust_env=False) as client:
        assert (await client.get("/api/v2/silences")).status_code == 401
        assert (await client.get("/api/v2/silences", auth=("monitoring", "wrong"))).status_code == 401
        assert (await client.get("/api/v2/silences", headers={"Authorization": "Basic %"})).status_code == 401
        assert (await client.get("/api/v2/silences", auth=("monitoring", "mon-secret"))).json() == []
    await server.stop()
    assert "mon-secret" not in repr(credentials)


async def test_silences_outlive_a_restart(api: httpx.AsyncClient, alertmanager: Alertmanager, clock: Clock) -> None:
    identity = await create(api, silence(clock))
    await alertmanager.stop()
    with pytest.raises(httpx.ConnectError):
        await api.get("/status")
    await alertmanager.start()
    assert await state(api, identity) == "active"
