"""Wait longer for sessions to end.

python -m starters.extend --cluster NAME --minutes N --reason WHY [--step STEP]
"""

from __future__ import annotations

import argparse

from starters import options
from starters.deciding import run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.running import run_and_exit
from starters.waits import extendable


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "extend",
        "Wait longer for sessions to end. While they are waited for, the deadline is moved by so much; where the step "
        "asks what to do, it waits again for so long from now on.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--minutes", type=int, required=True, metavar="N", help="how much longer; at most 480")
    made.add_argument("--step", metavar="STEP", help="which one (default: the one that waits)")
    made.add_argument("--reason", required=True, metavar="WHY", help="why, for the record")
    options.add_by(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Extend."""
    run = await run_of(given)
    step = extendable(await status_of(run), given.step)
    return await say(run, "extend", step=step, minutes=given.minutes, by=given.by, reason=given.reason)


if __name__ == "__main__":
    run_and_exit(parser(), work)
