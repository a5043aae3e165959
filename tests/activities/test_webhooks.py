"""Webhooks, against a real HTTP server: what it gets, that it can prove who sent it, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.webhooks import EVENT, ID, SIGNATURE, post
from inventory.models import Timings
from inventory.notifications import Webhook
from inventory.values import Tls
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint, HttpListener
from tests.activities.notices import LINK, NOTICE, SECRET, TIMINGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"
ADDRESS_SECRET = "T0000-B0000-never-shown"


class Receiver:
    """Keeps what it gets; answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status, self.words = 204, ""
        self.location = ""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.got.append((dict(request.headers), await request.read()))
        headers = {"Location": self.location} if self.location else None
        return web.Response(status=self.status, text=self.words, headers=headers)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def listener(receiver: Receiver) -> AsyncIterator[HttpListener]:
    server = HttpListener(Endpoint("127.0.0.1"), receiver)
    await server.start()
    yield server
    await server.stop()


def webhook(listener: HttpListener, **changes: object) -> Webhook:
    return Webhook.model_validate({"name": "on-call", "url": f"http://{listener.endpoint}/hook", **changes})


async def test_the_body_is_json_with_each_field_and_all_of_it_as_text(
    receiver: Receiver, listener: HttpListener
) -> None:
    assert await post(webhook(listener), NOTICE, LINK, TIMINGS) == "status 204"
    headers, body = receiver.got[0]
    told = json.loads(body)
    text = told.pop("text")
    assert told == NOTICE.model_dump(mode="json") | {"link": LINK}
    assert headers["Content-Type"] == "application/json"
    assert (headers[EVENT], headers[ID]) == ("problem", "run-1.7")
    assert SIGNATURE not in headers
    for part in (NOTICE.headline, NOTICE.details, NOTICE.next_step, LINK, "2026-11-25 22:05:00 UTC"):
        assert part in text


def as_documented() -> Callable[..., bool]:
    """How docs/notifications.md tells a receiver to verify."""
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition("```python\n")
    known: dict[str, Any] = {}
    exec(rest.partition("```")[0], known)
    verify: Callable[..., bool] = known["is_genuine"]
    return verify


async def test_who_receives_it_can_prove_who_sent_it(
    receiver: Receiver, listener: HttpListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    await post(webhook(listener, secret="env:WEBHOOK_SECRET"), NOTICE, LINK, TIMINGS)
    headers, body = receiver.got[0]
    is_genuine, signed = as_documented(), headers[SIGNATURE]
    assert is_genuine(SECRET, signed, body)
    assert not is_genuine("another", signed, body)
    assert not is_genuine(SECRET, signed, body + b" ")
    assert not is_genuine(SECRET, signed, body, tolerance=-1)
    assert not is_genuine(SECRET, signed.replace("t=1", "t=2"), body, tolerance=10**10)
    assert SECRET.encode() not in body + repr(headers).encode()


async def test_a_template_of_ones_own(receiver: Receiver, listener: HttpListener) -> None:
    await post(webhook(listener, text="$cluster: ${headline} $$5 $unknown"), NOTICE, LINK, TIMINGS)
    assert json.loads(receiver.got[0][1])["text"] == f"reference: {NOTICE.headline} $5 $unknown"


async def trouble_of(target: Webhook, timings: Timings = TIMINGS) -> SystemTrouble:
    with pytest.raises(SystemTrouble) as caught:
        await post(target, NOTICE, LINK, timings)
    assert caught.value.machine == "webhook on-call"
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    assert ADDRESS_SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NotUnderstood),
        (401, Rejected),
        (404, NotUnderstood),
        (408, Transient),
        (410, NotUnderstood),
        (429, Transient),
        (500, Transient),
        (503, Transient),
    ],
)
async def test_what_an_answer_means(
    status: int, kind: type[SystemTrouble], receiver: Receiver, listener: HttpListener
) -> None:
    receiver.status, receiver.words = status, "because"
    trouble = await trouble_of(webhook(listener))
    assert type(trouble) is kind
    assert f"status {status} because" in trouble.seen


async def test_a_redirect_is_not_followed(receiver: Receiver, listener: HttpListener) -> None:
    receiver.status, receiver.location = 307, f"http://{listener.endpoint}/elsewhere"
    trouble = await trouble_of(webhook(listener))
    assert isinstance(trouble, NotUnderstood)
    assert len(receiver.got) == 1


async def test_an_address_that_is_a_secret(
    receiver: Receiver, listener: HttpListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANNEL", f"http://{listener.endpoint}/{ADDRESS_SECRET}")
    target = webhook(listener, url="env:CHANNEL")
    await post(target, NOTICE, LINK, TIMINGS)
    assert len(receiver.got) == 1
    receiver.status, receiver.words = 404, f"no such page: /{ADDRESS_SECRET}"
    assert "status 404" in (await trouble_of(target)).seen


@pytest.mark.parametrize("address", ["http://hooks.example.com/T0000-B0000-never-shown", "never-shown", "ftp://x/y"])
async def test_a_secret_that_is_no_address_for_this(
    address: str, listener: HttpListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANNEL", address)
    trouble = await trouble_of(webhook(listener, url="env:CHANNEL"))
    assert isinstance(trouble, Rejected)
    assert address not in str(trouble)


async def test_nobody_there(listener: HttpListener) -> None:
    target = webhook(listener)
    await listener.stop()
    assert isinstance(await trouble_of(target), Transient)


async def test_one_that_hangs_is_given_up(listener: HttpListener) -> None:
    listener.gate.close()
    short = Timings(connect=timedelta(milliseconds=300), command=timedelta(milliseconds=600))
    assert isinstance(await trouble_of(webhook(listener), short), Transient)
    listener.gate.open()


async def test_a_certificate_is_verified(receiver: Receiver, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    certificate = authority.issue("127.0.0.1", name="hooks.example.com")
    server = HttpListener(Endpoint("127.0.0.1"), receiver, tls=certificate.server_context())
    await server.start()
    try:
        target = webhook(server, url=f"https://{server.endpoint}/hook")
        assert isinstance(await trouble_of(target), Rejected)
        trusted = target.model_copy(update={"tls": Tls(ca=str(authority.ca_file), server_name="hooks.example.com")})
        assert await post(trusted, NOTICE, LINK, TIMINGS) == "status 204"
        other = target.model_copy(update={"tls": Tls(ca=str(authority.ca_file), server_name="others.example.com")})
        assert isinstance(await trouble_of(other), Rejected)
    finally:
        await server.stop()
    assert len(receiver.got) == 1
