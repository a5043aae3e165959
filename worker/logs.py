"""Logs of the worker: JSON lines that say which run, stage, step and machine they are about.

Nothing here knows a secret; libraries that might print what they send are kept quiet.
"""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from procedure.orders import StepOrder

QUIET = ("asyncssh", "winrm", "httpx", "httpcore", "urllib3", "requests", "requests_ntlm", "aiomysql", "spnego")
"""Libraries that log each connection, some of them with what was sent."""
FIELDS = ("run", "stage", "step", "machine", "attempt", "cluster", "queue")
"""Extra fields of a record that are shown, in this order."""

_about: contextvars.ContextVar[Mapping[str, object] | None] = contextvars.ContextVar("about", default=None)


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Whatever is logged inside is about these, in threads too that are given a copy of the context."""
    token = _about.set({**(_about.get() or {}), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class Context(logging.Filter):
    """Gives each record the fields of what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add fields; a field the caller gave as `extra` stays."""
        for name, value in {**_of_temporal(record), **(_about.get() or {})}.items():
            if value is not None and not hasattr(record, name):
                setattr(record, name, value)
        return True


def _of_temporal(record: logging.LogRecord) -> dict[str, object]:
    if activity.in_activity():
        info = activity.info()
        return {"run": info.workflow_id, "step": info.activity_id, "attempt": info.attempt}
    details = getattr(record, "temporal_workflow", None)
    return {"run": details.get("workflow_id")} if isinstance(details, dict) else {}


class StepContext(Interceptor):
    """Whatever is logged while a step runs is about that step, whichever library logs it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Called by the SDK once a worker."""
        return _StepContext(super().intercept_activity(next))


class _StepContext(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> object:
        order = input.args[0] if input.args else None
        if not isinstance(order, StepOrder):
            return await super().execute_activity(input)
        with about(step=order.step_id, stage=order.stage, machine=order.command.target):
            return await super().execute_activity(input)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """As JSON; an exception with its traceback in one field."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_fields(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """For a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The message, and in brackets what it is about."""
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items() if name != "run")
        return super().format(record) + (f"  [{fields}]" if fields else "")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}


def configure(style: str, level: str) -> None:
    """Log to standard error, from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    handler.addFilter(Context())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
