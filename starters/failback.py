"""Start a controlled failback: the VM-Host that was vacated comes back.

python -m starters.failback --inventory FILE [--of WORKFLOW_ID] [--return HOST] [--watch]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from temporalio.client import Client

from inventory.models import Inventory
from starters import options, starting
from starters.carrying_on import add_adopt, adopted, ended_in_the_middle
from starters.connection import connected
from starters.exit_codes import ExitCode
from starters.former import Former, last_failover, named_failover, saved_failover
from starters.running import Stopped, run_and_exit
from starters.starting import start_and_tell
from workflows import names, opening
from workflows.messages import FailbackRequest, Restored

_EXAMPLES = """\
  python -m starters.failback --inventory cluster.yaml --reason "memory is in" --watch
  python -m starters.failback --inventory cluster.yaml --of cluster-acd/0199a1b2-…
  python -m starters.failback --inventory cluster.yaml --of none --return vm-host-1"""
_NONE = "none"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "failback",
        "Bring a vacated VM-Host back and restore the cluster as it was found before the failover. The VM-Host must "
        "have been booted, its machines must still be off. Nothing is touched before a person has approved.",
        *starting.CODES,
        examples=_EXAMPLES,
    )
    made.add_argument(
        "--of",
        metavar="WORKFLOW_ID",
        help="the failover that is undone: WORKFLOW_ID, WORKFLOW_ID/RUN_ID, or a report that was saved as FILE.json "
        "(default: the last one of the cluster that completed); `none` restores the normal state of the inventory",
    )
    made.add_argument("--return", dest="returning", metavar="HOST", help="VM-Host that comes back (default: as --of)")
    add_adopt(made)
    starting.add_options(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Find what is to be restored, check, start, tell how to go on."""
    inventory = options.inventory_of(given.inventory)
    if given.returning is not None:
        options.check_host(inventory, given.returning)
    asked = starting.asked(given)
    client = await connected()
    if given.adopt:
        return await _carry_on(client, inventory, given, asked)
    former = await _former(client, inventory, given.of)
    returning = _returning(inventory, given.returning, former)
    request = FailbackRequest(
        inventory=inventory,
        returning=returning,
        of=_restored(former),
        **asked,
        after=await ended_in_the_middle(client, inventory.cluster, given.inventory),
    )
    restored = f"as found before {former.text}" if former else "the normal state of the inventory: no failover is known"
    print(f"Restored is: {restored}")
    return await start_and_tell(client, opening.failback(request, f"Restored is: {restored}"), given)


async def _carry_on(client: Client, inventory: Inventory, given: argparse.Namespace, asked: dict[str, Any]) -> ExitCode:
    """With the plan of the run that is carried on: what it restores is part of it."""
    found = await adopted(client, inventory, given.adopt, names.FAILBACK, given.returning)
    request = FailbackRequest(
        inventory=inventory,
        returning=found.plan.vacated,
        adopt=found,
        **asked,
    )
    return await start_and_tell(client, opening.failback(request, f"Carries on run {found.run_id}"), given)


async def _former(client: Client, inventory: Inventory, of: str | None) -> Former | None:
    if of == _NONE:
        return None
    if of is None:
        return await last_failover(client, inventory.cluster)
    if of.endswith(".json"):
        return saved_failover(inventory.cluster, Path(of))
    return await named_failover(client, inventory.cluster, of)


def _returning(inventory: Inventory, wanted: str | None, former: Former | None) -> str:
    if former is None and wanted is None:
        hosts = " or ".join(host.name for host in inventory.vm_hosts)
        text = f"Cluster {inventory.cluster} has no completed failover, so say who comes back: --return {hosts}"
        raise Stopped(ExitCode.USAGE, text)
    if former is None:
        return wanted or ""
    if wanted not in (None, former.report.vacated):
        text = (
            f"{former.text} has vacated {former.report.vacated}, not {wanted}. Leave --return out; or, if that "
            "failover is not the one to undo, name another one with --of, or `--of none` for the normal state."
        )
        raise Stopped(ExitCode.REFUSED, text)
    _must_know(inventory, former)
    return former.report.vacated


def _must_know(inventory: Inventory, former: Former) -> None:
    """Refuse an inventory in which machines of the failover are missing."""
    known = {machine.name for machine in inventory.machines}
    found = former.as_found
    named = {found.storage, found.load_balancer, found.writer, *found.daemon, *(c.machine for c in found.running)}
    missing = sorted(named - known)
    if missing:
        text = (
            f"{former.text} found machines that the inventory does not have: {', '.join(missing)}. Use the inventory "
            "that it was started with, or `--of none` to restore the normal state of this one."
        )
        raise Stopped(ExitCode.REFUSED, text)


def _restored(former: Former | None) -> Restored | None:
    if former is None:
        return None
    report = former.report
    return Restored(
        workflow_id=report.workflow_id,
        run_id=report.run_id,
        reference=report.reference,
        as_found=former.as_found,
    )


if __name__ == "__main__":
    run_and_exit(parser(), work)
