"""Two truths of the simulated world, compared: what a maintenance has not put back is told by its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def differences(before: object, after: object, place: str = "") -> Iterator[str]:
    """Each place at which two truths differ, with what it was and what it is."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            yield from differences(before.get(key), after.get(key), f"{place}.{key}" if place else str(key))
    elif before != after:
        yield f"{place}: was {before}, is {after}"
