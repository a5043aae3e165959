"""Silences, against a server with Alertmanager's validation and words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from activities.errors import NotUnderstood, Permanent, Rejected, SystemTrouble, Transient
from activities.monitoring import MAX_ANSWER, AlertmanagerSystem, ManualMonitoringSystem, monitoring_system
from inventory.models import Inventory
from lab.alertmanager import Alertmanager, BasicCredentials, Matcher
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint, HttpListener
from procedure.facts import SilencesFact
from procedure.instructions import CreateSilence, LiftSilence
from procedure.subjects import Silences
from tests.activities.cluster import reference
from tests.activities.recorded import RecordedShell

LOCAL = Endpoint("127.0.0.1")
HOUR = timedelta(hours=1)
NO_SHELL = RecordedShell({})
PASSWORD = "hunter2-never-shown"


def inventory(url: str, **more: object) -> Inventory:
    def change(raw: dict[str, Any]) -> None:
        raw["monitoring"] = {"provider": "alertmanager", "url": url, **more}

    return reference(change)


def system(url: str, **more: object) -> AlertmanagerSystem:
    return system_of(inventory(url, **more))


def system_of(cluster: Inventory) -> AlertmanagerSystem:
    made = monitoring_system(cluster, NO_SHELL)
    assert isinstance(made, AlertmanagerSystem)
    return made


@pytest.fixture
async def alertmanager() -> AsyncIterator[Alertmanager]:
    server = Alertmanager(LOCAL)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def monitoring(alertmanager: Alertmanager) -> AsyncIterator[AlertmanagerSystem]:
    hands = system(alertmanager.url)
    yield hands
    await hands.close()


def silence(*machines: str, duration: timedelta = HOUR) -> CreateSilence:
    return CreateSilence(machines=machines, duration=duration, comment="failover of acd, run 7")


async def seen(monitoring: AlertmanagerSystem) -> dict[str, timedelta]:
    """How long each machine is silenced still."""
    fact, _ = await monitoring.observe(Silences())
    assert isinstance(fact, SilencesFact)
    return {one.machines[0]: one.until - datetime.now(UTC) for one in fact.silences}


def about(hours: timedelta) -> object:
    return pytest.approx(hours.total_seconds(), abs=10)


async def test_silences_each_machine(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    assert await seen(monitoring) == {}
    await monitoring.create(silence("acd-tel1", "acd-jb1"))

    assert {name: left.total_seconds() for name, left in (await seen(monitoring)).items()} == {
        "acd-tel1": about(HOUR),
        "acd-jb1": about(HOUR),
    }
    for instance, muted in {
        "acd-tel1": True,
        "acd-tel1:9100": True,
        "acd-jb1:9100": True,
        "acd-tel11": False,
        "acd-tel1.example.com": False,
        "xacd-tel1": False,
        "acd-tel2": False,
        "acd-tel1:": False,
    }.items():
        assert alertmanager.is_silenced({"instance": instance}) is muted, instance
    assert {(kept.created_by, kept.comment) for kept in alertmanager.silences_now()} == {
        ("controlled-failover", "failover of acd, run 7")
    }


async def test_a_dot_in_a_name_is_a_dot(alertmanager: Alertmanager) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["monitoring"] = {"provider": "alertmanager", "url": alertmanager.url}
        raw["machines"][0]["name"] = "tel.one"

    monitoring = monitoring_system(reference(change), NO_SHELL)
    assert isinstance(monitoring, AlertmanagerSystem)
    await monitoring.create(silence("tel.one"))
    assert alertmanager.is_silenced({"instance": "tel.one:9100"})
    assert not alertmanager.is_silenced({"instance": "telxone:9100"})
    assert set(await seen(monitoring)) == {"tel.one"}
    await monitoring.close()


async def test_done_twice_it_changes_nothing(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    await monitoring.create(silence("acd-tel1"))
    before = dict(alertmanager.silences)
    await monitoring.create(silence("acd-tel1"))
    assert alertmanager.silences == before


async def test_extends_the_silence_there_is(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    await monitoring.create(silence("acd-tel1"))
    (before,) = alertmanager.silences
    await monitoring.create(silence("acd-tel1", duration=3 * HOUR))
    assert list(alertmanager.silences) == [before]
    assert (await seen(monitoring))["acd-tel1"].total_seconds() == about(3 * HOUR)


async def test_never_shortens(monitoring: AlertmanagerSystem) -> None:
    await monitoring.create(silence("acd-tel1", duration=3 * HOUR))
    await monitoring.create(silence("acd-tel1", duration=HOUR))
    assert (await seen(monitoring))["acd-tel1"].total_seconds() == about(3 * HOUR)


async def test_lifts_what_it_is_told_and_nothing_else(
    alertmanager: Alertmanager, monitoring: AlertmanagerSystem
) -> None:
    await monitoring.create(silence("acd-tel1", "acd-jb1", "acd-tel2"))
    await monitoring.lift(LiftSilence(machines=("acd-tel1", "acd-jb1")))
    assert set(await seen(monitoring)) == {"acd-tel2"}
    assert not alertmanager.is_silenced({"instance": "acd-tel1"})
    assert await monitoring.lift(LiftSilence(machines=("acd-tel1",))) == "0 silences lifted"


async def test_silences_of_others_are_theirs(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    await monitoring.create(silence("acd-tel1"))
    (own,) = alertmanager.silences_now()
    narrower = (*own.matchers, Matcher("severity", "info"))
    alertmanager.silences |= {
        "by-a-person": replace(own, identity="by-a-person", created_by="anna"),
        "narrower": replace(own, identity="narrower", matchers=narrower),
        "other-label": replace(own, identity="other-label", matchers=(Matcher("job", "node"),)),
    }

    assert len((await monitoring.observe(Silences()))[0].model_dump()["silences"]) == 1
    await monitoring.lift(LiftSilence(machines=("acd-tel1",)))

    assert {one.identity for one in alertmanager.silences_now()} == {"by-a-person", "narrower", "other-label"}


async def test_one_that_ran_out_is_made_anew(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    await monitoring.create(silence("acd-tel1"))
    await monitoring.lift(LiftSilence(machines=("acd-tel1",)))
    await monitoring.create(silence("acd-tel1"))
    assert len(alertmanager.silences_now()) == 1
    assert len(alertmanager.silences) == 2


async def test_basic_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Alertmanager(LOCAL, credentials=BasicCredentials("failover", PASSWORD))
    await server.start()
    monkeypatch.setenv("MONITORING_PASSWORD", PASSWORD)
    right = system(server.url, user="failover", password="env:MONITORING_PASSWORD")
    assert await seen(right) == {}
    await right.close()

    monkeypatch.setenv("MONITORING_PASSWORD", "wrong" + PASSWORD)
    wrong = system(server.url, user="failover", password="env:MONITORING_PASSWORD")
    with pytest.raises(Rejected, match="status 401") as trouble:
        await wrong.observe(Silences())
    assert PASSWORD not in str(trouble.value)
    await wrong.close()
    await server.stop()


async def test_tls_is_verified(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority = CertificateAuthority(tmp_path)
    server = Alertmanager(LOCAL, certificate=authority.issue("127.0.0.1"))
    await server.start()
    trusting = system(server.url, tls={"ca": str(authority.ca_file)})
    assert await seen(trusting) == {}
    await trusting.close()

    other = CertificateAuthority(tmp_path / "other")
    suspicious = system(server.url, tls={"ca": str(other.ca_file)})
    with pytest.raises(Rejected, match="certificate"):
        await suspicious.observe(Silences())
    await suspicious.close()
    await server.stop()


async def test_a_corrected_password_or_authority_counts_at_the_next_try(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, other = CertificateAuthority(tmp_path), CertificateAuthority(tmp_path / "other")
    credentials = BasicCredentials("failover", PASSWORD)
    server = Alertmanager(LOCAL, credentials=credentials, certificate=authority.issue("127.0.0.1"))
    await server.start()
    password, ca = tmp_path / "password", tmp_path / "trusted.pem"
    password.write_text("wrong")
    password.chmod(0o600)
    ca.write_text(other.ca_file.read_text())
    monitoring = system(server.url, user="failover", password=f"file:{password}", tls={"ca": str(ca)})
    with pytest.raises(Rejected, match="certificate"):
        await monitoring.observe(Silences())
    ca.write_text(authority.ca_file.read_text())
    with pytest.raises(Rejected, match="status 401"):
        await monitoring.observe(Silences())
    password.write_text(PASSWORD)
    assert await seen(monitoring) == {}
    await monitoring.close()
    await server.stop()


async def test_an_answer_without_end_is_not_kept() -> None:
    async with answering(lambda: web.Response(text="[" + " " * MAX_ANSWER)) as url:
        monitoring = system(url)
        with pytest.raises(NotUnderstood, match="more than 16000000 bytes"):
            await monitoring.observe(Silences())
        await monitoring.close()


async def test_nobody_there(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    await alertmanager.stop()
    with pytest.raises(Transient, match="monitoring server"):
        await monitoring.observe(Silences())


async def test_a_server_that_hangs(alertmanager: Alertmanager, monitoring: AlertmanagerSystem) -> None:
    alertmanager.gate.close()
    with pytest.raises(Transient, match="ReadTimeout"):
        await monitoring.observe(Silences())
    alertmanager.gate.open()


async def test_a_server_that_answers_drop_by_drop() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n[")
        # Each drop comes well before the time-out for one part of an answer.
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)

    def hurry(raw: dict[str, Any]) -> None:
        raw["timings"] |= {"connect": "2s", "command": "300ms"}
        raw["monitoring"] = {"provider": "alertmanager", "url": f"http://127.0.0.1:{port}"}

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monitoring = system_of(reference(hurry))
    with pytest.raises(Transient, match="TimeoutError"):
        await monitoring.observe(Silences())
    await monitoring.close()
    server.close()


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (200, "<html>welcome</html>", NotUnderstood),
        (200, "{}", NotUnderstood),
        (200, '[{"id": 1}]', NotUnderstood),
        (200, "", NotUnderstood),
        (302, "", NotUnderstood),
        (404, "page not found", NotUnderstood),
        (403, "forbidden", Rejected),
        (503, "starting", Transient),
    ],
)
async def test_answers_that_are_none(status: int, body: str, trouble: type[SystemTrouble]) -> None:
    async with answering(lambda: web.Response(status=status, text=body, headers={"Location": "/login"})) as url:
        monitoring = system(url)
        with pytest.raises(trouble):
            await monitoring.observe(Silences())
        await monitoring.close()


async def test_silences_without_is_equal_are_of_an_older_alertmanager() -> None:
    old = {
        "id": "1",
        "status": {"state": "active"},
        "comment": "",
        "createdBy": "controlled-failover",
        "startsAt": "2026-01-01T00:00:00.000Z",
        "endsAt": (datetime.now(UTC) + HOUR).isoformat(),
        "matchers": [{"name": "instance", "value": r"^(acd\-tel1)(:[0-9]+)?$", "isRegex": True}],
    }
    async with answering(lambda: web.Response(text=json.dumps([old]))) as url:
        monitoring = system(url)
        assert set(await seen(monitoring)) == {"acd-tel1"}
        await monitoring.close()


class answering:  # noqa: N801 - read as a verb
    """A server with one answer."""

    def __init__(self, answer: Callable[[], web.Response]) -> None:
        async def serve(_: web.BaseRequest) -> web.StreamResponse:
            return answer()

        self._listener = HttpListener(LOCAL, serve)

    async def __aenter__(self) -> str:
        await self._listener.start()
        return f"http://{self._listener.endpoint}"

    async def __aexit__(self, *_: object) -> None:
        await self._listener.stop()


async def test_by_hand() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["monitoring"] = {"provider": "manual"}

    monitoring = monitoring_system(reference(change), NO_SHELL)
    assert isinstance(monitoring, ManualMonitoringSystem)
    fact, _ = await monitoring.observe(Silences())
    assert fact == SilencesFact(by_hand=True)
    with pytest.raises(Permanent, match="do it by hand"):
        await monitoring.refuse(silence("acd-tel1"))
