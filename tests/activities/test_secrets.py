from __future__ import annotations

import os
from pathlib import Path

import pytest

from activities.errors import Rejected
from activities.secrets import resolve

SECRET = "correct horse"


def _file(directory: Path, content: bytes, mode: int = 0o600) -> str:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return f"file:{path}"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVER_TEST_SECRET", SECRET)
    assert resolve("env:FAILOVER_TEST_SECRET", "acd-tel1").get_secret_value() == SECRET


def test_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    assert resolve(_file(tmp_path, SECRET.encode() + b"\r\n"), "acd-tel1").get_secret_value() == SECRET


def test_is_not_shown(tmp_path: Path) -> None:
    assert SECRET not in repr(resolve(_file(tmp_path, SECRET.encode()), "acd-tel1"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Rejected, match=r"acd-tel1: .*is open to others \(mode 0[0-9]+\) Next: chmod 600") as refused:
        resolve(_file(tmp_path, SECRET.encode(), mode), "acd-tel1")
    assert SECRET not in str(refused.value)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(Rejected, match="acd-tel1: the secret env:FAILOVER_NOT_SET is not set"):
        resolve("env:FAILOVER_NOT_SET", "acd-tel1")


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_is_no_secret(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Rejected, match="is empty"):
        resolve(_file(tmp_path, content), "acd-tel1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"file:.*/nothing can't be read: No such file"):
        resolve(f"file:{tmp_path}/nothing", "acd-tel1")


def test_binary_content_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="not text") as refused:
        resolve(_file(tmp_path, SECRET.encode() + b"\xff"), "acd-tel1")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_pipe_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Rejected, match="no regular file"):
        resolve(f"file:{tmp_path}/pipe", "acd-tel1")


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="longer than"):
        resolve(_file(tmp_path, b"x" * 100_000), "acd-tel1")
