"""The reference cluster with some settings changed: what the tests of the hands reach instead of real machines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from inventory.models import Inventory

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"
FAST = {"connect": "2s", "command": "5s", "poll": "50ms"}


@cache
def _reference() -> str:
    return REFERENCE.read_text()


def reference(change: Callable[[dict[str, Any]], None]) -> Inventory:
    """The reference cluster after `change`, with short time-outs."""
    raw: dict[str, Any] = yaml.safe_load(_reference())
    raw["timings"] = dict(FAST)
    change(raw)
    return Inventory.model_validate(raw)


def machine(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """One machine of a cluster that is being changed."""
    found: dict[str, Any] = next(m for m in raw["machines"] if m["name"] == name)
    return found
