"""Logs: JSON lines that say what they are about."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from worker.logs import QUIET, Context, JsonLines, TextLines, about, configure


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def line(record: logging.LogRecord) -> dict[str, object]:
    Context().filter(record)
    found: dict[str, object] = json.loads(JsonLines().format(record))
    return found


def record(message: str = "hello", **extra: object) -> logging.LogRecord:
    return logging.getLogger("some.module").makeRecord(
        "some.module", logging.INFO, "f", 1, message, (), None, "x", extra
    )


def test_a_line_is_json_with_time_and_fields() -> None:
    found = line(record("it’s\nstopped", run="cluster-acd", stage=3, step="3-stop", machine="acd-jb1", other="no"))
    assert datetime.fromisoformat(str(found.pop("time"))).tzinfo == UTC
    assert found == {
        "level": "INFO",
        "logger": "some.module",
        "message": "it’s\nstopped",
        "run": "cluster-acd",
        "stage": 3,
        "step": "3-stop",
        "machine": "acd-jb1",
    }


def test_an_exception_stays_on_the_line() -> None:
    made = record()
    try:
        int("broken")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    text = JsonLines().format(made)
    assert "\n" not in text
    assert "Traceback" in json.loads(text)["exception"]


async def test_what_any_library_logs_inside_a_step_is_about_that_step() -> None:
    async def step() -> dict[str, object]:
        with about(stage=3, step="3-stop", machine="acd-jb1"):
            return await asyncio.to_thread(lambda: line(record()))

    inside = activity.defn(name="step")(step)
    found = await ActivityEnvironment().run(inside)
    assert (found["stage"], found["step"], found["machine"]) == (3, "3-stop", "acd-jb1")
    assert found["run"] == "test"
    assert "machine" not in line(record())


def test_text_for_a_person() -> None:
    made = record(run="cluster-acd", machine="acd-jb1")
    assert TextLines().format(made).endswith("INFO    hello  [machine=acd-jb1]")


def test_libraries_that_might_print_what_they_send_are_quiet(root: logging.Logger) -> None:
    configure("json", "DEBUG")
    assert root.level == logging.DEBUG
    assert all(not logging.getLogger(name).isEnabledFor(logging.INFO) for name in QUIET)
    assert not logging.getLogger("asyncssh.connection").isEnabledFor(logging.INFO)
