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

_ROUNDS = 3  # a key that was mended may hold another mistake; deeper than that, the file is better read again
_DROPPED = ("too_long", "literal_error", "greater_than_equal", "less_than_equal", "int_", "bool_", "time_delta")
Parent = Any
"""A mapping or a list of plain data; which of the two is known where it is used."""
_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]")


def mend(data: object) -> Inventory | None:
    """The inventory that was probably meant; None where that can't be told.

    Names are mended by what stands in them alone, so that a mistyped name still refers to the same thing everywhere.
    """
    mended = copy.deepcopy(data)
    for _ in range(_ROUNDS):
        try:
            return Inventory.model_validate(mended)
        except ValidationError as error:
            if not all([_mend(mended, one) for one in error.errors(include_url=False)]):
                return None
    return None


def _mend(data: object, error: ErrorDetails) -> bool:
    path, models = locate(error["loc"])
    parent = _at(data, path[:-1]) if path else None
    if not isinstance(parent, dict | list) or "[key]" in error["loc"]:
        return False
    if isinstance(parent, dict) and error["type"] == "extra_forbidden":
        return _rename(parent, str(path[-1]), known_keys(models))
    if error["type"] == "missing":
        return False
    return _replace(parent, path[-1], error)


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


def _rename(parent: dict[Any, Any], key: str, known: list[str]) -> bool:
    value = parent.pop(key, None)
    meant = closest(key, known)
    if meant and meant not in parent:
        parent[meant] = value
    return True


def _replace(parent: Parent, item: str | int, error: ErrorDetails) -> bool:
    if item in SECRET_FIELDS:
        parent[item] = "env:MENDED"
    elif error["type"] in ("literal_error", "enum"):
        words = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        parent[item] = closest(error["input"], words)
        return parent[item] is not None
    elif error["type"] == "value_error" and isinstance(error["input"], str) and " is no duration" not in error["msg"]:
        parent[item] = _NAME_CHARACTERS.sub("_", error["input"]).strip("._-")[:63] or "mended"
    elif isinstance(parent, dict) and error["type"].startswith((*_DROPPED, "value_error")):
        parent.pop(item, None)
    else:
        return False
    return True
