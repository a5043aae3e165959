"""Begin no further step of the run.

python -m starters.pause --cluster NAME --reason WHY
"""

from __future__ import annotations

import argparse

from starters import options
from starters.deciding import run_of, say
from starters.exit_codes import ExitCode
from starters.running import run_and_exit


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "pause",
        "Begin no further step. Steps that run end by themselves, silences go on being extended, deadlines wait. "
        "Gates may be approved meanwhile, and aborting works.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--reason", required=True, metavar="WHY", help="why, for the record")
    options.add_by(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Pause."""
    run = await run_of(given)
    await run.describe()
    return await say(run, "pause", by=given.by, reason=given.reason)


if __name__ == "__main__":
    run_and_exit(parser(), work)
