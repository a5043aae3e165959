"""Do not open a gate: the run ends there, as aborted.

python -m starters.reject --cluster NAME --comment WHY [--gate GATE]
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
        "reject",
        "Do not open a gate. The run ends there as aborted; nothing is rolled back. At the gate `end_sessions` nobody "
        "is cut off, and the run asks again what to do about the sessions.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--gate", metavar="GATE", help="which one (default: the one that is open)")
    made.add_argument("--comment", required=True, metavar="WHY", help="why, for the record")
    options.add_by(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Reject."""
    run = await run_of(given)
    wait = pick(await status_of(run), ("gate",), given.gate)
    return await say(run, "reject", gate=wait.gate, seen=wait.code, by=given.by, comment=given.comment)


if __name__ == "__main__":
    run_and_exit(parser(), work)
