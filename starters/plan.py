"""Print the plan of a failover or of a failback, on paper: no server and no machine is needed, and none is touched.

python -m starters.plan --inventory FILE --vacate HOST [--json]
python -m starters.plan --inventory FILE --return HOST [--json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from inventory.loading import load
from inventory.models import Inventory
from inventory.problems import InventoryError
from procedure import failback, failover, rendering
from procedure.as_found import AsFound
from procedure.situation import Situation
from starters.exit_codes import ExitCode

REFERENCE = "on-paper"
"""Stands in the names of backups and silences, where a real run has its time."""


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the command line and return how it ended.

    Raises:
        SystemExit: with `ExitCode.USAGE` for a wrong command line, with 0 after `--help`.
    """
    options = _parser().parse_args(arguments)
    try:
        inventory = load(options.inventory)
    except InventoryError as error:
        print(error.told, file=sys.stderr)
        return ExitCode.BAD_INVENTORY
    option, host = ("--vacate", options.vacate) if options.vacate else ("--return", options.returning)
    hosts = [vm_host.name for vm_host in inventory.vm_hosts]
    if host not in hosts:
        allowed = " or ".join(hosts)
        print(f"{option} {host}: no VM-Host of {inventory.cluster}; allowed: {allowed}", file=sys.stderr)
        return ExitCode.USAGE
    print(text(inventory, host, returns=option == "--return", as_json=options.json), end="")
    return ExitCode.OK


def text(inventory: Inventory, host: str, *, returns: bool = False, as_json: bool = False) -> str:
    """The plan from the normal state of the inventory; a run draws it up again from the state as found."""
    situation, normal = Situation(inventory, host), AsFound.normal(inventory)
    draw_up = failback.plan if returns else failover.plan
    plan = draw_up(situation, normal, REFERENCE)
    return rendering.as_json(plan, situation) if as_json else rendering.as_text(plan, situation)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m starters.plan",
        description="Print the plan of a failover or of a failback, drawn up from the normal state of the inventory. "
        "Touches nothing.",
    )
    parser.add_argument("--inventory", type=Path, required=True, metavar="FILE", help="inventory of the cluster")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--vacate", metavar="HOST", help="failover: VM-Host that is to go down")
    which.add_argument("--return", dest="returning", metavar="HOST", help="failback: VM-Host that comes back")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
