"""Start a whole maintenance: failover, the work of people, failback.

python -m starters.maintenance --inventory FILE --vacate HOST [--both] [--watch]
"""

from __future__ import annotations

import argparse

from starters import options, starting
from starters.connection import connected
from starters.exit_codes import ExitCode
from starters.running import Stopped, run_and_exit
from starters.runs import Run
from starters.starting import start_and_tell
from workflows import opening
from workflows.messages import MaintenanceRequest

_EXAMPLES = """\
  python -m starters.maintenance --inventory cluster.yaml --vacate vm-host-1 --reason "new memory" --watch
  python -m starters.maintenance --inventory cluster.yaml --vacate vm-host-2 --both"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "maintenance",
        "Vacate one VM-Host by an ordinary failover, wait until a person says that the work on it is finished, which "
        "may take weeks, and bring it back by an ordinary failback. Its machines stay silenced meanwhile. It all goes "
        "on by itself: this command may be interrupted at any time.",
        *starting.CODES,
        examples=_EXAMPLES,
    )
    made.add_argument("--vacate", metavar="HOST", required=True, help="VM-Host that goes down and returns")
    made.add_argument("--both", action="store_true", help="the other VM-Host afterwards, in the same way")
    starting.add_options(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Check, start, tell how to go on."""
    inventory = options.inventory_of(given.inventory)
    options.check_host(inventory, given.vacate)
    asked = starting.asked(given)
    request = MaintenanceRequest(
        inventory=inventory,
        vacate=given.vacate,
        both=given.both,
        **asked,
    )
    client = await connected()
    await _must_be_free(Run(client, inventory.cluster))
    return await start_and_tell(client, opening.maintenance(request), given)


async def _must_be_free(run: Run) -> None:
    """Refuse while a failover or a failback is under way: the maintenance could only wait for its end.

    Raises:
        Stopped: there is one.
    """
    if await run.is_under_way():
        text = (
            f"Cluster {run.cluster} has a run under way already. Nothing was started: let it end first.\n"
            f"  see it   python -m starters.status --cluster {run.cluster}"
        )
        raise Stopped(ExitCode.REFUSED, text)


if __name__ == "__main__":
    run_and_exit(parser(), work)
