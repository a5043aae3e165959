"""How a command ends when nobody foresaw it."""

from __future__ import annotations

import argparse

import pytest

from starters.exit_codes import ExitCode
from starters.running import run


async def _broken(_: argparse.Namespace) -> ExitCode:
    raise LookupError("a password")


def test_a_mistake_of_its_own_is_one_line_and_a_documented_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argparse.ArgumentParser(), _broken, []) == ExitCode.BROKEN
    told = capsys.readouterr().err
    assert "LookupError in test_running.py, line" in told
    assert told.count("\n") == 1
    assert "a password" not in told
