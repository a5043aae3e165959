"""Secrets that systemd hands to a service read 0440 there, by the mask of an access list; elsewhere it is too open."""

from __future__ import annotations

from pathlib import Path

import pytest

from activities.errors import Rejected
from activities.secrets import resolve


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "controlled-failover-worker.service"
    directory.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    path = directory / "database-password"
    path.write_text("correct horse\n")
    return path


def test_as_systemd_hands_it_over(credential: Path) -> None:
    credential.chmod(0o440)
    assert resolve(f"file:{credential}", "acd-dbm1").get_secret_value() == "correct horse"


@pytest.mark.parametrize("mode", [0o444, 0o460])
def test_more_than_that_is_too_open_there_too(credential: Path, mode: int) -> None:
    credential.chmod(mode)
    with pytest.raises(Rejected, match="is open to others"):
        resolve(f"file:{credential}", "acd-dbm1")


def test_a_file_beside_that_directory_gains_nothing(credential: Path) -> None:
    beside = credential.parent.parent / "secret"
    beside.write_text("correct horse")
    beside.chmod(0o440)
    for path in (beside, credential.parent / ".." / "secret"):
        with pytest.raises(Rejected, match="is open to others"):
            resolve(f"file:{path}", "acd-dbm1")
