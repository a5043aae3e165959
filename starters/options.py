"""Options that commands share, and what they mean."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from inventory.loading import load
from inventory.models import Inventory
from inventory.problems import InventoryError
from starters.exit_codes import ExitCode
from starters.running import Stopped

_COMMON = (
    ExitCode.OK,
    ExitCode.BROKEN,
    ExitCode.USAGE,
    ExitCode.BAD_INVENTORY,
    ExitCode.NO_SERVER,
    ExitCode.INTERRUPTED,
)


def parser(name: str, description: str, *codes: ExitCode, examples: str = "") -> argparse.ArgumentParser:
    """A parser whose help ends with the exit codes that the command uses.

    Args:
        name: of the module below `starters`.
        description: one sentence or two.
        codes: beyond those every command has.
        examples: shown as they are.
    """
    listed = "\n".join(
        f"  {code.value:3}  {code.name.lower().replace('_', ' ')}" for code in sorted({*_COMMON, *codes})
    )
    return argparse.ArgumentParser(
        prog=f"python -m starters.{name}",
        description=description,
        epilog=(f"examples:\n{examples}\n\n" if examples else "") + f"exit codes:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_cluster(to: argparse.ArgumentParser) -> None:
    """`--inventory` or `--cluster`."""
    group = to.add_mutually_exclusive_group(required=True)
    add_inventory(group)
    group.add_argument("--cluster", metavar="NAME", help="name of the cluster, instead of its inventory")
    to.add_argument(
        "--maintenance",
        action="store_true",
        help="the maintenance of the cluster is meant, and not its failover or failback",
    )


def add_inventory(to: argparse._ActionsContainer, *, required: bool = False) -> None:
    """`--inventory`."""
    to.add_argument("--inventory", type=Path, metavar="FILE", required=required, help="inventory of the cluster")


def add_by(to: argparse.ArgumentParser) -> None:
    """`--by`."""
    to.add_argument("--by", metavar="NAME", default=_user(), help="who you are, for the record (default: %(default)s)")


def add_yes(to: argparse.ArgumentParser) -> None:
    """`--yes`."""
    to.add_argument("--yes", action="store_true", help="do not ask; for scripts")


def cluster_of(options: argparse.Namespace) -> str:
    """The cluster that is meant.

    Raises:
        Stopped: the inventory can't be used.
    """
    if options.cluster:
        return str(options.cluster)
    return inventory_of(options.inventory).cluster


def inventory_of(file: Path) -> Inventory:
    """The inventory, checked.

    Raises:
        Stopped: it can't be used; with every problem.
    """
    try:
        return load(file)
    except InventoryError as error:
        raise Stopped(ExitCode.BAD_INVENTORY, error.told) from None


def check_host(inventory: Inventory, host: str) -> None:
    """Refuse a VM-Host that the inventory does not have.

    Raises:
        Stopped: with the ones it has.
    """
    known = [vm_host.name for vm_host in inventory.vm_hosts]
    if host not in known:
        text = f"There is no VM-Host {host!r} in cluster {inventory.cluster}; allowed: {', '.join(known)}."
        raise Stopped(ExitCode.USAGE, text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password file, as in some containers
        return "unknown"
