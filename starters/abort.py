"""End the run where it stands, or have it take back what it has done.

python -m starters.abort --cluster NAME --reason WHY [--roll-back] [--yes]
"""

from __future__ import annotations

import argparse

from starters import options
from starters.deciding import must_agree, run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.running import run_and_exit
from starters.screens import headline


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "abort",
        "End the run where it stands. Nothing new is begun; silences are lifted. With --roll-back what was done is "
        "taken back in the reverse order, after a gate of its own; possible until machines are switched off or on.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--reason", required=True, metavar="WHY", help="why, for the record")
    made.add_argument("--roll-back", action="store_true", help="take back what was done; shown and asked about first")
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Ask, abort."""
    run = await run_of(given)
    print(headline(await status_of(run)))
    if given.roll_back:
        await must_agree(given, f"End this run and draw up how to take back what it has done, as {given.by}?")
        return await say(run, "abort", by=given.by, reason=given.reason, roll_back=True)
    await must_agree(given, f"End this run where it stands, as {given.by}?")
    return await say(run, "abort", by=given.by, reason=given.reason)


if __name__ == "__main__":
    run_and_exit(parser(), work)
