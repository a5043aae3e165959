"""A short mark by which two inventories are told apart."""

from __future__ import annotations

import hashlib
import json

from inventory.models import Inventory

_DIGITS = 16  # 64 bits: enough against accidents, short enough to be compared by eye


def digest(inventory: Inventory) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of an inventory's canonical JSON.

    Comments, order of keys, and values that equal their default make no difference.
    """
    canonical = json.dumps(inventory.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]
