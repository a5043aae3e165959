"""Whose lab it is: one at a time in a network namespace, and one in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from lab.real.places import Places

_FLOCK: Final = "@hhqqi0q"
"""struct flock of fcntl(2): type, whence, start, length, process."""


class TakenError(Exception):
    """Another lab runs here; with what can be done about it."""


@contextlib.contextmanager
def only_one(places: Places) -> Iterator[None]:
    """Hold the network, whose bridges and addresses are fixed, and the folder. The end of the process lets go of both.

    Raises:
        TakenError: another lab has one of them.
    """
    places.home.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as name:
        try:
            name.bind("\0failover-lab")
        except OSError:
            raise TakenError(
                "another real lab runs on this machine: python -m lab real down, or end the test, demo or measurement "
                "that has started it"
            ) from None
        # Only now: whoever has the lock would lose it by opening and closing the file once more.
        with places.lock.open("a") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TakenError(f"{told(holder(places))} has a real lab in {places.home}: end it first") from None
            try:
                yield
            finally:
                name.close()  # First: who finds the folder free finds the network free.


def holder(places: Places) -> int | None:
    """The process that has a lab in this folder, as the kernel knows it; None: nobody has.

    Never to be asked by that process itself, which would lose its lock by it. 0: one that is not seen from here.
    """
    with contextlib.suppress(FileNotFoundError), places.lock.open() as lock:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, process = struct.unpack(_FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(process)
    return None


def told(process: int | None) -> str:
    """Who holds it, for a person."""
    return f"process {process}" if process else "a process that is not seen from here"
