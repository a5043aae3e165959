"""How the worker's process ends."""

from __future__ import annotations

import logging
import os
import sys
from enum import IntEnum
from typing import NoReturn


class Exit(IntEnum):
    """Exit codes of `python -m worker`."""

    STOPPED = 0
    FAILED = 1
    BAD_SETTINGS = 2
    BAD_INVENTORY = 3


MEANINGS = {
    Exit.STOPPED: "asked to stop, and stopped",
    Exit.FAILED: "the server refuses the worker, or a port is taken; a supervisor should start it again",
    Exit.BAD_SETTINGS: "settings, environment or Temporal profile can't be used; nothing was started",
    Exit.BAD_INVENTORY: "the inventory can't be used; nothing was started",
}
"""For the help."""


def end(code: int) -> NoReturn:
    """End the process at once, with everything written out.

    The SDK can crash while the interpreter cleans up (sdk-python#300): a clean stop would look like a crash.
    """
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
