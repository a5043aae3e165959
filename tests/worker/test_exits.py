"""How the worker's process ends when nobody foresaw it."""

from __future__ import annotations

import logging

import pytest

from worker.exits import Exit, guarded


def test_a_mistake_of_its_own_is_one_line_and_a_documented_code(caplog: pytest.LogCaptureFixture) -> None:
    def life() -> Exit:
        raise LookupError("a password")

    with caplog.at_level(logging.CRITICAL):
        assert guarded(life) is Exit.FAILED
    assert "LookupError in test_exits.py, line" in caplog.text
    assert "a password" not in caplog.text
    assert "Traceback" not in caplog.text


def test_every_other_end_is_told_as_it_is() -> None:
    assert guarded(lambda: Exit.BAD_INVENTORY) is Exit.BAD_INVENTORY
