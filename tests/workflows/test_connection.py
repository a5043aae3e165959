"""The connection's settings: what is wrong with them is told without what stands in them."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from workflows.connection import BadProfile, load_profile

SECRET = "b7Kq-TOPSECRET-92x"  # noqa: S105 - made up


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
