"""How the worker's process ends."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `python -m worker`."""

    STOPPED = 0
    """Asked to stop (SIGTERM, SIGINT), and stopped."""
    FAILED = 1
    """The worker can't go on: the server refuses it, or a port is taken. A supervisor should start it again."""
    BAD_SETTINGS = 2
    """Settings, environment or Temporal profile can't be used. Nothing was started."""
    BAD_INVENTORY = 3
    """The inventory can't be used. Nothing was started."""
