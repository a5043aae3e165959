"""Go on without a step that waits for the operator.

python -m starters.skip --cluster NAME --reason WHY [--step STEP]
"""

from __future__ import annotations

import argparse

from starters import options
from starters.deciding import run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.running import run_and_exit
from starters.waits import pick


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "skip",
        "Go on without a step. Whoever skips it does it by hand or knows that it is not needed; "
        "the run can then only end as completed with skips.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--step", metavar="STEP", help="which one (default: the one that waits)")
    made.add_argument("--reason", required=True, metavar="WHY", help="why, for the record")
    options.add_by(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Skip."""
    run = await run_of(given)
    wait = pick(await status_of(run), ("problem", "operator task"), given.step)
    return await say(run, "skip", step=wait.step, by=given.by, reason=given.reason)


if __name__ == "__main__":
    run_and_exit(parser(), work)
