"""Start a controlled failover: vacate one VM-Host.

python -m starters.failover --inventory FILE --vacate HOST [--watch]
"""

from __future__ import annotations

import argparse

from starters import options, starting
from starters.carrying_on import add_adopt, adopted, ended_in_the_middle
from starters.connection import connected
from starters.exit_codes import ExitCode
from starters.running import run_and_exit
from starters.starting import start_and_tell
from workflows import names, opening
from workflows.messages import FailoverRequest

_EXAMPLES = """\
  python -m starters.failover --inventory cluster.yaml --vacate vm-host-1 --reason "new memory"
  python -m starters.failover --inventory cluster.yaml --vacate vm-host-2 --watch"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "failover",
        "Vacate one VM-Host of a cluster: health check, approval, then stage after stage. Nothing is touched before "
        "a person has approved. A run goes on by itself: this command may be interrupted at any time.",
        *starting.CODES,
        examples=_EXAMPLES,
    )
    made.add_argument("--vacate", metavar="HOST", required=True, help="VM-Host that is to be taken down")
    add_adopt(made)
    starting.add_options(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Check, start, tell how to go on."""
    inventory = options.inventory_of(given.inventory)
    options.check_host(inventory, given.vacate)
    asked = starting.asked(given)
    client = await connected()
    request = FailoverRequest(
        inventory=inventory,
        vacate=given.vacate,
        **asked,
        adopt=await adopted(client, inventory, given.adopt, names.FAILOVER, given.vacate) if given.adopt else None,
        after=None if given.adopt else await ended_in_the_middle(client, inventory.cluster, given.inventory),
    )
    return await start_and_tell(client, opening.failover(request), given)


if __name__ == "__main__":
    run_and_exit(parser(), work)
