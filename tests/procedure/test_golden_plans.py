"""The plans of the reference cluster, as a person reads them. A change shows as a diff that can be reviewed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inventory.models import Inventory
from starters import plan as starter
from starters.exit_codes import ExitCode
from tests.procedure.conftest import REFERENCE
from tests.procedure.update_golden import (
    GOLDEN_MAINTENANCE,
    golden,
    golden_rollback,
    golden_variant,
    maintenance_text,
    rollback_text,
)
from tests.procedure.variants import moved_by_hand

HOSTS = ("vm-host-1", "vm-host-2")


@pytest.mark.parametrize("option", ["--vacate", "--return"])
@pytest.mark.parametrize("host", HOSTS)
def test_the_plan_is_the_reviewed_one(host: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert starter.main(["--inventory", str(REFERENCE), option, host]) is ExitCode.OK

    reviewed = golden(host, returns=option == "--return").read_text(encoding="utf-8")
    assert capsys.readouterr().out == reviewed, (
        "If the change is meant: python -m tests.procedure.update_golden, and review the difference."
    )


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize("host", HOSTS)
def test_the_plan_of_another_kind_of_cluster_is_the_reviewed_one(
    host: str, returns: bool, inventory: Inventory
) -> None:
    reviewed = golden_variant(host, returns=returns).read_text(encoding="utf-8")
    assert starter.text(moved_by_hand(inventory), host, returns=returns) == reviewed


def test_the_plan_of_a_whole_maintenance_is_the_reviewed_one(inventory: Inventory) -> None:
    assert maintenance_text(inventory) == GOLDEN_MAINTENANCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("host", HOSTS)
def test_the_plan_of_a_roll_back_is_the_reviewed_one(host: str, inventory: Inventory) -> None:
    assert rollback_text(inventory, host) == golden_rollback(host).read_text(encoding="utf-8")


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize("host", HOSTS)
def test_json_says_the_same(host: str, returns: bool, inventory: Inventory) -> None:
    document = json.loads(starter.text(inventory, host, returns=returns, as_json=True))

    words = golden(host, returns=returns).read_text(encoding="utf-8")
    assert document["digest"] in words
    for step in document["steps"]:
        assert step["id"] in words
        for command in step["commands"]:
            assert f"send: {command}\n" in words
    assert document["expected_outage_seconds"] < document["expected_duration_seconds"]
    assert document["plan"]["vacated"] == host


@pytest.mark.parametrize("option", ["--vacate", "--return"])
def test_another_host_is_refused_with_those_that_exist(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert starter.main(["--inventory", str(REFERENCE), option, "vm-host-3"]) is ExitCode.USAGE

    assert f"{option} vm-host-3: no VM-Host of reference; allowed: vm-host-1 or vm-host-2" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--vacate", "vm-host-1", "--return", "vm-host-1"]])
def test_a_plan_goes_one_way(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        starter.main(["--inventory", str(REFERENCE), *options])

    assert left.value.code == ExitCode.USAGE
    assert "--return" in capsys.readouterr().err


def test_a_bad_inventory_is_refused_with_its_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("cluster: x\n", encoding="utf-8")

    assert starter.main(["--inventory", str(file), "--vacate", "vm-host-1"]) is ExitCode.BAD_INVENTORY

    assert "machines" in capsys.readouterr().err
