"""A short mark by which two inventories are told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from inventory.models import Inventory

_DIGITS = 16  # 64 bits: enough against accidents, short enough to be compared by eye
_OF_A_GATE = ("approvers", "needed", "not_requester", "valid_for", "signed")
ADDED: Final[tuple[tuple[str, ...], ...]] = (
    ("notifications",),
    ("approval", "allowed_signers"),
    ("approval", "maintenance_finished"),
    ("approval", "end_sessions"),
    ("approval", "after_window"),
    ("approval", "roll_back"),
    *(("approval", gate, key) for gate in ("before_start", "before_power_off", "functionality") for key in _OF_A_GATE),
    ("timings", "boot"),
    ("timings", "catch_up"),
)
"""Settings that came with a later version. As long as nobody uses them an inventory has the digest that it had before:
a run that began under the earlier version goes on with workers of this one."""


def digest(inventory: Inventory) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of an inventory's canonical JSON.

    Comments, order of keys, and values that equal their default make no difference.
    """
    canonical = json.dumps(_told(inventory), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def _told(inventory: Inventory) -> dict[str, Any]:
    told = inventory.model_dump(mode="json")
    used = inventory.model_dump(mode="json", exclude_defaults=True)
    for path in ADDED:
        if not _holds(used, path):
            _drop(told, path)
    return told


def _holds(told: object, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(told, dict) or key not in told:
            return False
        told = told[key]
    return True


def _drop(told: dict[str, Any], path: tuple[str, ...]) -> None:
    *around, last = path
    for key in around:
        told = told.get(key) or {}
    told.pop(last, None)
