"""A typed line, waited for without holding up anything else."""

from __future__ import annotations

import asyncio
import sys


def has_person() -> bool:
    """Whether someone sits at both ends: a keyboard and a screen."""
    return sys.stdin.isatty() and sys.stdout.isatty()


async def typed_line(prompt: str) -> str | None:
    """Wait for a line. Cancelling it is harmless: the next one gets what is typed then.

    Returns:
        The line without its end; None at the end of the input.
    """
    print(prompt, end="", flush=True)
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        # The terminal hands over whole lines, so this does not block.
        if not line.done():
            line.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        typed = await line
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return typed.rstrip("\r\n") if typed else None


async def says_yes(prompt: str) -> bool:
    """Ask; only a clear yes is a yes."""
    answer = await typed_line(f"{prompt} [y/N] ")
    return (answer or "").strip().lower() in ("y", "yes")
