"""The connection's settings: what is wrong with them is told without what stands in them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from workflows.connection import BadProfile, ServerAway, ServerRefuses, connect, load_profile

SECRET = "b7Kq-TOPSECRET-92x"


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        (f'[profile.default]\napi_key = "{SECRET}\n', ("line 2, column ", "invalid basic string")),
        (f"[profile.default]\napi_key = {SECRET}\n", ("line 2, column 11", "quoted")),
        (f'[profile.default]\napikey = "{SECRET}"\n', ("line 2, column 1", "unknown field", "`api_key`")),
        (f'[profile.default]\n{SECRET} = "key"\n', ("line 2, column 1", "unknown field")),
        (f'[profile.default]\ntls = "{SECRET}"\n', ("line 2, column 7", "invalid type", "expected")),
        (f'[profile.default]\napi_key = "a"\napi_key = "{SECRET}"\n', ("line 3, column 1", "duplicate key")),
        (f'api_key = "{SECRET}"\n', ("line 1, column 1", "`profile`")),
    ],
)
def test_a_bad_profile_is_explained_without_its_content(
    profile: str, told: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(profile)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(file))
    with pytest.raises(BadProfile) as bad:
        load_profile()
    printed = "".join(traceback.format_exception(bad.value))
    assert SECRET not in printed
    assert all(words in str(bad.value) for words in told), str(bad.value)


def test_a_profile_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.default]\naddress = "localhost:7233"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(file))
    monkeypatch.setenv("TEMPORAL_PROFILE", "production")
    with pytest.raises(BadProfile, match="production"):
        load_profile()


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says this to whoever speaks to it, and hangs up."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


ALERT = bytes([21, 3, 3, 0, 2, 2])
"""A TLS record that is a fatal alert (RFC 8446, section 6); its number follows."""
UNKNOWN_AUTHORITY = bytes([48])
INTERNAL_ERROR = bytes([80])


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", ALERT + UNKNOWN_AUTHORITY])
async def test_a_tls_that_never_comes_about_is_a_refusal(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _answering(answer) as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        monkeypatch.setenv("TEMPORAL_TLS", "true")
        with pytest.raises(ServerRefuses, match="no TLS between us"):
            await connect(load_profile(), "test")


@pytest.mark.parametrize("answer", [b"", ALERT + INTERNAL_ERROR])
async def test_a_server_that_breaks_off_is_away(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _answering(answer) as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        monkeypatch.setenv("TEMPORAL_TLS", "true")
        with pytest.raises(ServerAway):
            await connect(load_profile(), "test")


async def test_a_client_key_that_is_none_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cert").write_text("no certificate")
    (tmp_path / "key").write_text("no key")
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(tmp_path / "cert"))
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(tmp_path / "key"))
    async with _answering(b"") as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        with pytest.raises(ServerRefuses, match="PrivateKeyParseError"):
            await connect(load_profile(), "test")
