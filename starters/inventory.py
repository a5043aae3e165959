"""Check an inventory, or print the JSON Schema that helps an editor to write one.

python -m starters.inventory check FILE
python -m starters.inventory schema
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from inventory.digest import digest
from inventory.loading import load
from inventory.models import Inventory
from inventory.problems import InventoryError
from inventory.schema import schema
from starters.exit_codes import ExitCode


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the command line and return how it ended.

    Raises:
        SystemExit: with `ExitCode.USAGE` for a wrong command line, with 0 after `--help`.
    """
    options = _parser().parse_args(arguments)
    if options.command == "schema":
        print(json.dumps(schema(), indent=2))
        return ExitCode.OK
    return _check(options.file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m starters.inventory", description="Check and describe inventories.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="check an inventory as a whole and print every problem")
    check.add_argument("file", type=Path, metavar="FILE", help="the inventory, a YAML file")
    commands.add_parser("schema", help="print the JSON Schema of inventories, for editors")
    return parser


def _check(file: Path) -> ExitCode:
    try:
        inventory = load(file)
    except InventoryError as error:
        print(error.told, file=sys.stderr)
        return ExitCode.BAD_INVENTORY
    print(summary(inventory))
    return ExitCode.OK


def summary(inventory: Inventory) -> str:
    """A few lines by which an engineer sees that the right cluster was read."""
    lines = [f"Cluster {inventory.cluster} is consistent (digest {digest(inventory)})."]
    for host in inventory.vm_hosts:
        names = [machine.name for machine in inventory.machines if machine.host == host.name]
        lines.append(f"  {host.name}, power {host.power.provider}, {len(names)} machines: {', '.join(names)}")
    for name, pair in (("storage", inventory.pairs.storage), ("load balancer", inventory.pairs.load_balancer)):
        lines.append(f"  {name} pair: {' and '.join(pair.machines)}, method {pair.method}, address {pair.address}")
    lines.append(
        "  replication: " + ", ".join(f"{one.replica} from {one.source}" for one in inventory.database.replication)
    )
    lines.append(f"  components in use: {', '.join(_components(inventory))}")
    lines.append(f"  backends: {', '.join(backend.name for backend in inventory.haproxy.backends)}")
    lines.append(f"  probes: {', '.join(probe.name for probe in inventory.probes) or 'none'}")
    return "\n".join(lines)


def _components(inventory: Inventory) -> list[str]:
    counts: dict[str, int] = {}
    for machine in inventory.machines:
        for component in inventory.components_on(machine):
            label = f"{component.name} ({component.role})"
            counts[label] = counts.get(label, 0) + 1
    return [f"{label} on {count}" for label, count in counts.items()]


if __name__ == "__main__":
    sys.exit(main())
