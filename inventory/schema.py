"""The JSON Schema of inventories, by which editors complete and check while one is written."""

from __future__ import annotations

from inventory.models import Inventory


def schema() -> dict[str, object]:
    """The schema of the shape; what parts say about each other is checked by `inventory.checks` alone."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Inventory.model_json_schema(),
        "title": "Inventory of a redundant cluster",
    }
