"""Looks for secrets, however they may be written."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

_LOOK_SECONDS = 0.02
"""Between two looks at all command lines: a process shorter than that may be missed, a Python one never is so short."""


def found_in(places: Mapping[str, bytes], secrets: Iterable[str]) -> list[str]:
    """Names of the places that hold a secret, and which (by number: what this says is printed)."""
    wanted = [(number, form) for number, secret in enumerate(secrets) for form in forms(secret)]
    return [f"{place}: secret {number}" for place, text in places.items() for number, form in wanted if form in text]


def forms(secret: str) -> set[bytes]:
    """A secret as it stands, and as headers, URLs, hex dumps and Windows write it."""
    found = {quote(secret, safe="").encode()}
    for raw in (secret.encode(), secret.encode("utf-16-le")):
        found |= {raw, raw.hex().encode(), raw.hex().upper().encode(), *_in_base64(raw)}
    return found


def _in_base64(raw: bytes) -> Iterable[bytes]:
    """Inside a longer text, as in `Basic dXNlcjpwYXNz`: what is the same whatever stands before and after."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        first = -(-before * 4 // 3)
        last = (before + len(raw)) * 8 // 6
        yield encoded[first:last]


@asynccontextmanager
async def command_lines() -> AsyncIterator[set[bytes]]:
    """Collects the command lines of all processes of the machine while it is open."""
    seen: set[bytes] = set()
    looking = asyncio.create_task(_keep_looking(seen))
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def _keep_looking(seen: set[bytes]) -> None:
    while True:
        seen |= _now()
        await asyncio.sleep(_LOOK_SECONDS)


def _now() -> set[bytes]:
    seen = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        # It may have ended since.
        with contextlib.suppress(OSError):
            seen.add(process.read_bytes())
    return seen
