"""How the worker's process ends."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

LOGGER = logging.getLogger(__name__)


class Exit(IntEnum):
    """Exit codes of `python -m worker`."""

    STOPPED = 0
    FAILED = 1
    BAD_SETTINGS = 2
    BAD_INVENTORY = 3


MEANINGS = {
    Exit.STOPPED: "asked to stop, and stopped",
    Exit.FAILED: "the server refuses it, a port is taken, a mistake of its own; a supervisor should start it again",
    Exit.BAD_SETTINGS: "settings, environment or Temporal profile can't be used; nothing was started",
    Exit.BAD_INVENTORY: "the inventory can't be used; nothing was started",
}
"""For the help."""


def guarded(life: Callable[[], Exit]) -> Exit:
    """How a worker's life ended, also by a mistake of its own: one line of the log, and a documented code."""
    try:
        return life()
    except Exception as bug:  # the last resort; without its text, which may repeat what was read
        where = traceback.extract_tb(bug.__traceback__)[-1]
        place = f"{Path(where.filename).name}, line {where.lineno}"
        LOGGER.critical("The worker broke off by a mistake of its own: %s in %s", type(bug).__name__, place)
        return Exit.FAILED


def end(code: int) -> NoReturn:
    """End the process at once, with everything written out.

    The SDK can crash while the interpreter cleans up (sdk-python#300): a clean stop would look like a crash.
    """
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
