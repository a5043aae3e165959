"""What is wrong with an inventory, told so that it can be put right: where, what, and what is allowed instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

Path = tuple[str | int, ...]
"""Where something stands inside an inventory: keys, and positions counted from 0."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.\[\] /+-]{1,80}")
_DIGITS = re.compile(r"[0-9]+")
_WORDS_SHOWN = 24  # all machines of the reference cluster; a longer list helps nobody


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place inside an inventory, whatever file it came from."""

    path: Path
    wrong: str
    allowed: str
    at_key: bool = False
    """The key is wrong, not its value."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding with its place in the file. Lines and columns are counted from 1."""

    file: str
    line: int
    column: int
    path: str
    wrong: str
    allowed: str

    def __str__(self) -> str:
        """One readable block of three lines."""
        where = f"  {self.path}" if self.path else ""
        return f"{self.file}:{self.line}:{self.column}{where}\n  wrong:   {self.wrong}\n  allowed: {self.allowed}"


class InventoryError(Exception):
    """An inventory can't be used; it carries every problem that was found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @property
    def told(self) -> str:
        """All of it for a person, with the count and that nothing was done."""
        count = len(self.problems)
        return f"{self}\n\n{count} problem{'' if count == 1 else 's'} in the inventory; nothing was done."


def show_key(key: str) -> str:
    """A key as it may be shown.

    `{password:secret}` without the blank is a key for YAML, so whatever looks unlike a key is cut.
    """
    return key if _PLAIN_KEY.fullmatch(key) else re.split(r"[^A-Za-z0-9_-]", key[:80])[0] + "…"


def show_path(path: Path) -> str:
    """Write a path the way people do: ``machines[3].address``."""
    shown = ""
    for item in path:
        if isinstance(item, int):
            shown += f"[{item}]"
        else:
            shown += ("." if shown else "") + show_key(item)
    return shown


def one_of(words: Iterable[str], instead_of: object = None) -> str:
    """The words that are allowed, led by the likely one where a word looks mistyped."""
    known = list(dict.fromkeys(words))
    close = closest(instead_of, known)
    listed = ", ".join(known[:_WORDS_SHOWN]) + (", …" if len(known) > _WORDS_SHOWN else "")
    return (f"did you mean {close!r}? One of: " if close else "one of: ") + (listed or "(none is defined)")


def closest(word: object, words: Iterable[str]) -> str | None:
    """The known word that a mistyped one was probably meant to be, if any is near."""
    if not isinstance(word, str):
        return None
    folded = {known.lower().replace("-", "_"): known for known in words}
    given = word[:80].lower().replace("-", "_")
    if given not in folded and any(_differ_in_number(given, known) for known in folded):
        return None
    longer_or_shorter = (one for one in folded if len(given) > 2 and (given.startswith(one) or one.startswith(given)))
    near = get_close_matches(given, folded, n=1) or list(longer_or_shorter)
    return folded[near[0]] if near else None


def _differ_in_number(given: str, known: str) -> bool:
    # acd-jb6 beside acd-jb5 is no mistyped acd-jb5, but one of a series that was left out: whoever believes a proposal
    # would map it to the wrong machine.
    return _DIGITS.search(given) is not None and _DIGITS.sub("", given) == _DIGITS.sub("", known)
