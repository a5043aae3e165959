"""What an administrator copies from `deploy/` must be understood by the worker as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inventory.loading import load as load_inventory
from worker.exits import Exit
from worker.settings import Settings, load, refuse_unknown, variable

DEPLOY = Path(__file__).parents[2] / "deploy"


def environment(*, commented: bool) -> dict[str, str]:
    pattern = r"^#?([A-Z][A-Z_]+)=(.*)$" if commented else r"^([A-Z][A-Z_]+)=(.*)$"
    return dict(re.findall(pattern, (DEPLOY / "worker.env.example").read_text(), re.MULTILINE))


@pytest.mark.parametrize("commented", [False, True])
def test_the_example_is_accepted(commented: bool) -> None:
    example = environment(commented=commented)
    assert load(example) == Settings(inventory=Path("/etc/controlled-failover/cluster.yaml"))
    refuse_unknown(example, load_inventory(DEPLOY / "inventories" / "reference.yaml"))


def test_the_example_shows_every_setting() -> None:
    assert {variable(key) for key in Settings.model_fields} <= set(environment(commented=True))


def test_the_unit_does_not_repeat_what_can_not_succeed() -> None:
    unit = (DEPLOY / "worker.service").read_text()
    assert f"RestartPreventExitStatus={Exit.BAD_SETTINGS:d} {Exit.BAD_INVENTORY:d}" in unit
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > Settings(inventory=Path("x")).graceful_shutdown.total_seconds()
