"""What each command says to somebody who types something wrong, before anything is sent anywhere."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from starters.exit_codes import ExitCode
from starters.running import run

ROOT = Path(__file__).parents[2]
INVENTORY = str(ROOT / "deploy" / "inventories" / "reference.yaml")
FAILOVER = ("--inventory", INVENTORY, "--vacate", "vm-host-1")
ABOUT = ("--cluster", "reference")

BAD: tuple[tuple[str, tuple[str, ...], ExitCode, str], ...] = (
    ("failover", (), ExitCode.USAGE, "--vacate"),
    ("failover", ("--inventory", INVENTORY, "--vacate", "vm-host-3"), ExitCode.USAGE, "allowed: vm-host-1, vm-host-2"),
    ("failover", ("--inventory", "no.yaml", "--vacate", "vm-host-1"), ExitCode.BAD_INVENTORY, "no.yaml"),
    ("failover", (*FAILOVER, "--start-at", "tonight"), ExitCode.USAGE, "tonight"),
    ("failover", (*FAILOVER, "--start-at", "2020-01-01 02:00"), ExitCode.USAGE, "2020-01-01"),
    ("failover", (*FAILOVER, "--window", "3"), ExitCode.USAGE, "3"),
    ("failover", (*FAILOVER, "--window", "3h", "--until", "05:00"), ExitCode.USAGE, "--until"),
    ("failback", (), ExitCode.USAGE, "--inventory"),
    ("failback", ("--inventory", INVENTORY, "--return", "vm-host-3"), ExitCode.USAGE, "allowed: vm-host-1, vm-host-2"),
    ("maintenance", ("--inventory", INVENTORY), ExitCode.USAGE, "--vacate"),
    ("maintenance", ("--inventory", INVENTORY, "--vacate", "x"), ExitCode.USAGE, "allowed: vm-host-1, vm-host-2"),
    ("health", ("--inventory", INVENTORY, "--vacate", "x"), ExitCode.USAGE, "allowed: vm-host-1, vm-host-2"),
    ("health", ("--inventory", INVENTORY, "--vacate", "a", "--return", "b"), ExitCode.USAGE, "not allowed with"),
    ("status", (), ExitCode.USAGE, "--cluster"),
    ("status", (*ABOUT, "--watch", "--json"), ExitCode.USAGE, "not allowed with"),
    ("report", (), ExitCode.USAGE, "--cluster"),
    ("approve", (), ExitCode.USAGE, "--cluster"),
    ("reject", ABOUT, ExitCode.USAGE, "--comment"),
    ("retry", ("--step", "x"), ExitCode.USAGE, "--cluster"),
    ("skip", ABOUT, ExitCode.USAGE, "--reason"),
    ("confirm", ("--cluster",), ExitCode.USAGE, "expected one argument"),
    ("abort", ABOUT, ExitCode.USAGE, "--reason"),
    ("pause", ABOUT, ExitCode.USAGE, "--reason"),
    ("resume", ("--reason", "x"), ExitCode.USAGE, "--cluster"),
    ("extend", (*ABOUT, "--minutes", "ten", "--reason", "x"), ExitCode.USAGE, "ten"),
    ("extend", (*ABOUT, "--minutes", "10"), ExitCode.USAGE, "--reason"),
)


@pytest.mark.parametrize(
    ("command", "arguments", "code", "said"),
    BAD,
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, tuple) else str(value)[:30],
)
def test_it_is_refused_with_words(
    command: str, arguments: tuple[str, ...], code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"starters.{command}")

    assert run(module.parser(), module.work, arguments) == code

    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_every_command_is_among_them() -> None:
    commands = {
        file.stem for file in (ROOT / "starters").glob("*.py") if "run_and_exit(parser(), work)" in file.read_text()
    }
    assert {command for command, *_ in BAD} == commands
