"""Round trips, digests and the schema; and that every reference to a secret is treated as one."""

import json
from pathlib import Path
from typing import Any

import pytest

from inventory import models
from inventory.digest import digest
from inventory.loading import load, parse
from inventory.models import Inventory
from inventory.schema import schema
from inventory.values import Model
from inventory.wording import SECRET_FIELDS
from tests.inventory.bad_inventories import REFERENCE

SCHEMA = REFERENCE.with_name("inventory.schema.json")


def test_the_reference_survives_json() -> None:
    inventory = load(REFERENCE)
    assert Inventory.model_validate(json.loads(json.dumps(inventory.model_dump(mode="json")))) == inventory


def test_the_digest_tells_inventories_apart_and_nothing_else() -> None:
    text = REFERENCE.read_text()
    marks = digest(load(REFERENCE)), digest(parse(text.replace("  drain: 30m ", "  drain: 31m ", 1)))
    assert marks[0] != marks[1]
    assert digest(parse(text.replace("  drain: 30m ", "  drain: 1800s # half an hour", 1))) == marks[0]
    assert digest(parse(text.replace("    method: standby\n", "", 1))) == marks[0]
    assert len(marks[0]) == 16
    assert int(marks[0], 16) >= 0


def test_the_committed_schema_is_current() -> None:
    hint = f"python -m starters.inventory schema > {SCHEMA.relative_to(Path(__file__).parents[2])}"
    assert json.loads(SCHEMA.read_text()) == schema(), hint


def test_the_schema_explains_itself() -> None:
    definitions: dict[str, Any] = schema()["$defs"]  # type: ignore[assignment]  # JSON
    assert all(one.get("description") for one in definitions.values() if one.get("type") == "object")
    assert definitions["SshConnection"]["properties"]["known_hosts"]["description"].startswith("Host keys are always")
    assert definitions["Timings"]["properties"]["drain"]["pattern"]
    assert schema()["title"]


def _models() -> list[type[Model]]:
    found = [one for one in vars(models).values() if isinstance(one, type) and issubclass(one, Model)]
    return [one for one in found if one is not Model]


@pytest.mark.parametrize("model", _models(), ids=lambda model: model.__name__)
def test_every_reference_to_a_secret_is_known_as_one(model: type[Model]) -> None:
    for name, field in model.model_json_schema()["properties"].items():
        assert ("reference to a secret" in json.dumps(field).lower()) == (name in SECRET_FIELDS)


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ("    needed: 1\n    not_requester: false\n    valid_for: 60m\n    approvers: []\n", True),
        ("    needed: 2\n", False),
        ("    not_requester: true\n", False),
        ("    approvers: [anna]\n", False),
    ],
)
def test_settings_of_a_later_version_count_from_the_moment_on_at_which_they_are_used(said: str, same: bool) -> None:
    text = REFERENCE.read_text()
    told = parse(
        text.replace("    deadline: 12h                            # default\n", f"    deadline: 12h\n{said}", 1)
    )
    assert (digest(told) == digest(load(REFERENCE))) is same
