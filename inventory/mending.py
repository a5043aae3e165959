"""A usable copy of data with mistakes in it, so that one mistake does not hide the others.

Only for finding more problems: what was mended is never used for anything else.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from inventory.models import Inventory
from inventory.problems import Path, closest
from inventory.wording import SECRET_FIELDS, known_keys, locate

_ROUNDS = 4  # a key that was mended may hold another mistake; deeper than that, the file is better read again
_DROPPED = ("literal_error", "greater_than_equal", "less_than_equal", "int_", "bool_", "time_delta", "value_error")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")

Parent = Any
"""A mapping or a list of plain data; which of the two is known where it is used."""


def mend(data: object) -> tuple[Inventory | None, set[str]]:
    """The inventory that was probably meant, and the values put in place of others; None where that can't be told.

    Names are mended by what stands in them alone, so that a mistyped name still refers to the same thing everywhere.
    """
    mended = copy.deepcopy(data)
    replaced: set[str] = set()
    for _ in range(_ROUNDS):
        try:
            return Inventory.model_validate(mended), replaced
        except ValidationError as error:
            # What is missing may be there under a mistyped key, and then is found in the next round.
            errors = [one for one in error.errors(include_url=False) if one["type"] not in ("missing", "too_short")]
            if not errors or not all([_mend(mended, one, replaced) for one in errors]):
                return None, replaced
    return None, replaced


def _mend(data: object, error: ErrorDetails, replaced: set[str]) -> bool:
    path, models = locate(error["loc"])
    parent = _at(data, path[:-1]) if path else None
    if not isinstance(parent, dict | list) or "[key]" in error["loc"]:
        return False
    if isinstance(parent, dict) and error["type"] == "extra_forbidden":
        return _rename(parent, str(path[-1]), known_keys(models))
    value = _instead(path[-1], error)
    if value is not None:
        _put(parent, path[-1], value)
        replaced.add(value)
        return True
    return isinstance(parent, dict) and error["type"].startswith(_DROPPED) and parent.pop(path[-1], None) is not None


def _put(parent: Parent, item: str | int, value: str) -> None:
    parent[item] = value


def _at(data: object, path: Path) -> object:
    here = data
    for item in path:
        if isinstance(here, dict):
            here = here.get(item)
        elif isinstance(here, list) and isinstance(item, int) and item < len(here):
            here = here[item]
        else:
            return None
    return here


def _rename(parent: Parent, key: str, known: list[str]) -> bool:
    value = parent.pop(key, None)
    meant = closest(key, known)
    if meant and meant not in parent:
        parent[meant] = value
    return True


def _instead(item: str | int, error: ErrorDetails) -> str | None:
    """A well-formed value instead of a malformed one, where there is a likely one."""
    said, given = error["msg"], error["input"]
    if item in SECRET_FIELDS:
        return "env:MENDED"
    if error["type"] in ("literal_error", "enum"):
        words = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return closest(given, words)
    if error["type"] != "value_error" or not isinstance(given, str) or "duration" in said:
        return None
    return "/mended" if "absolute path" in said else _NOT_IN_NAMES.sub("-", given).strip("._-")[:63] or "mended"
