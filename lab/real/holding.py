"""Whose lab it is: one at a time in its folder, and one in a network namespace."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

from lab.real.places import Places


class TakenError(Exception):
    """Another lab runs here; with what can be done about it."""


@contextlib.contextmanager
def only_one(places: Places) -> Iterator[None]:
    """Hold the folder, and the network: bridges and addresses are fixed. Both are let go when the process ends.

    Raises:
        TakenError: another lab has one of them.
    """
    places.home.mkdir(parents=True, exist_ok=True)
    with places.lock.open("a+", encoding="utf-8") as lock, socket.socket(socket.AF_UNIX) as name:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.bind("\0failover-lab")
        except OSError:
            raise TakenError(_told(places)) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def holder(places: Places) -> int | None:
    """The process that has a lab in this folder; None: nobody has."""
    with contextlib.suppress(FileNotFoundError), places.lock.open(encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0)
    return None


def _told(places: Places) -> str:
    pid = holder(places)
    whose = f"process {pid} has it" if pid else "its folder is another one than this, see REAL_LAB"
    return (
        f"another real lab runs on this machine: {whose}. End it first: python -m lab real down, "
        "or the test, demo or measurement that has started it"
    )
