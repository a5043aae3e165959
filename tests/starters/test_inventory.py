"""The command that checks inventories, as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from starters.exit_codes import ExitCode
from starters.inventory import main
from tests.inventory.bad_inventories import REFERENCE


def test_a_good_inventory_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(REFERENCE)]) is ExitCode.OK
    said = capsys.readouterr().out
    assert said.startswith("Cluster reference is consistent (digest ")
    assert "vm-host-2, power command, 10 machines: acd-tel2, acd-jb4" in said
    assert "storage pair: acd-store1 and acd-store2" in said
    assert "Wildfly (web) on 6" in said
    assert "Telephony Connector" not in said


def test_every_problem_of_a_bad_inventory_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    text = REFERENCE.read_text().replace("  - exchange ", "  - exchnage ", 1)
    file.write_text(text.replace("address: 10.77.0.32", "address: 10.77.0.31", 1))
    assert main(["check", str(file)]) is ExitCode.BAD_INVENTORY
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{file}:32:5  features[2]\n  wrong:   " in said.err
    assert "machines[2].address" in said.err
    assert "2 problems in the inventory; nothing was done." in said.err


@pytest.mark.parametrize("arguments", [[], ["check"], ["chekc", "file"], ["check", "one", "two"], ["schema", "file"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == ExitCode.USAGE
    assert "usage: python -m starters.inventory" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["title"] == "Inventory of a redundant cluster"


def test_the_process_ends_with_the_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "starters.inventory", "check", str(tmp_path / "missing.yaml")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REFERENCE.parents[2])
    assert ended.returncode == 3
    assert "there is no such file" in ended.stderr
