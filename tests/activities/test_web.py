"""Every exception of httpx is mapped, and every status."""

from __future__ import annotations

import inspect
import ssl
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.web import CAUGHT, client, refuse_status, tls_context, translated, translating
from inventory.values import Tls

PASSWORD = "hunter2-never-shown"
REQUEST = httpx.Request("GET", f"http://user:{PASSWORD}@10.0.0.1/", headers={"Authorization": f"Basic {PASSWORD}"})

EXPECTED: dict[str, type[SystemTrouble]] = {
    "HTTPError": Transient,
    "RequestError": Transient,
    "TransportError": Transient,
    "TimeoutException": Transient,
    "ConnectTimeout": Transient,
    "ReadTimeout": Transient,
    "WriteTimeout": Transient,
    "PoolTimeout": Transient,
    "NetworkError": Transient,
    "ConnectError": Transient,
    "ReadError": Transient,
    "WriteError": Transient,
    "CloseError": Transient,
    "ProxyError": Transient,
    "ProtocolError": Transient,
    "RemoteProtocolError": Transient,
    "HTTPStatusError": Transient,
    "LocalProtocolError": NotUnderstood,
    "UnsupportedProtocol": NotUnderstood,
    "DecodingError": NotUnderstood,
    "TooManyRedirects": NotUnderstood,
    "InvalidURL": NotUnderstood,
    "CookieConflict": NotUnderstood,
    "StreamError": NotUnderstood,
    "StreamConsumed": NotUnderstood,
    "StreamClosed": NotUnderstood,
    "ResponseNotRead": NotUnderstood,
    "RequestNotRead": NotUnderstood,
}

EXCEPTIONS = {
    name: kind for name, kind in vars(httpx).items() if inspect.isclass(kind) and issubclass(kind, BaseException)
}


def test_the_table_holds_every_exception_of_httpx() -> None:
    assert set(EXPECTED) == set(EXCEPTIONS)


def made(kind: type[BaseException]) -> Exception:
    """An exception of httpx as httpx would raise it."""
    if kind is httpx.HTTPStatusError:
        return httpx.HTTPStatusError("500", request=REQUEST, response=httpx.Response(500))
    if issubclass(kind, httpx.RequestError):
        return kind("lost", request=REQUEST)
    parameters = inspect.signature(kind).parameters
    error = kind(*(["lost"] if parameters else []))
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_is_mapped(name: str) -> None:
    error = made(EXCEPTIONS[name])
    assert isinstance(error, CAUGHT)
    with pytest.raises(EXPECTED[name]) as trouble, translating("monitoring server", "GET /"):
        raise error
    assert type(trouble.value) is EXPECTED[name]
    assert trouble.value.machine == "monitoring server"
    assert trouble.value.next_step
    assert PASSWORD not in str(trouble.value)
    assert trouble.value.__cause__ is None, "the request in it holds the password"


def test_a_certificate_that_is_not_trusted_is_a_rejection() -> None:
    error = httpx.ConnectError("verify failed", request=REQUEST)
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert isinstance(translated("monitoring server", "GET /", error), Rejected)


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (301, NotUnderstood),
        (400, NotUnderstood),
        (401, Rejected),
        (403, Rejected),
        (404, NotUnderstood),
        (407, Rejected),
        (408, Transient),
        (422, NotUnderstood),
        (429, Transient),
        (500, Transient),
        (503, Transient),
    ],
)
def test_status(status: int, trouble: type[SystemTrouble]) -> None:
    with pytest.raises(trouble, match=f"status {status} because"):
        refuse_status("monitoring server", "GET /", httpx.Response(status, text="because"))


def test_success_is_no_trouble() -> None:
    refuse_status("monitoring server", "GET /", httpx.Response(200))


def test_an_authority_that_cannot_be_read_is_a_rejection(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "missing.pem", tmp_path / "ca.pem"):
        with pytest.raises(Rejected, match=path.name):
            tls_context("monitoring server", Tls(ca=str(path)))


async def test_takes_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with client("monitoring server", tls=None, timeout=timedelta(seconds=1)) as made_client:
        assert made_client.trust_env is False
        assert not made_client._mounts
