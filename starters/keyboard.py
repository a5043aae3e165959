"""A typed line, waited for without holding up anything else.

Only what is typed after a question was shown answers it: a line that was pasted twice, or typed ahead while something
else was on the screen, must never open the next gate. So the terminal is read without Python's own buffer, and
whatever came before the question is thrown away.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from typing import Final

_LONGEST: Final = 4096
"""Bytes of a line: what a terminal hands over at most (N_TTY_BUF_SIZE)."""


def has_person() -> bool:
    """Whether someone sits at both ends: a keyboard and a screen."""
    return sys.stdin.isatty() and sys.stdout.isatty()


async def typed_line(prompt: str) -> str | None:
    """Ask, and wait for a line that is typed from now on. Cancelling it is harmless.

    Returns:
        The line without its end; None at the end of the input.
    """
    keyboard = sys.stdin.fileno()
    if os.isatty(keyboard):
        termios.tcflush(keyboard, termios.TCIFLUSH)
    print(prompt, end="", flush=True)
    typed = await _line(keyboard)
    return typed.decode(errors="replace").rstrip("\r\n") if typed else None


async def says_yes(prompt: str) -> bool:
    """Ask; only a clear yes is a yes."""
    answer = await typed_line(f"{prompt} [y/N] ")
    return (answer or "").strip().lower() in ("y", "yes")


async def _line(keyboard: int) -> bytes:
    """One line with its end, or what there is at the end of the input."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    read = bytearray()

    def more() -> None:
        # A terminal hands over one line at a time; anything else may hand over less, so it is put together here.
        chunk = os.read(keyboard, 1 if not os.isatty(keyboard) else _LONGEST)
        read.extend(chunk)
        if not line.done() and (not chunk or read.endswith(b"\n") or len(read) >= _LONGEST):
            line.set_result(bytes(read))

    loop.add_reader(keyboard, more)
    try:
        return await line
    finally:
        loop.remove_reader(keyboard)
