"""End the run where it stands.

python -m starters.abort --cluster NAME --reason WHY [--yes]
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
        "End the run where it stands. Nothing new is begun and nothing is rolled back; silences are lifted.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--reason", required=True, metavar="WHY", help="why, for the record")
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Ask, abort."""
    run = await run_of(given)
    print(headline(await status_of(run)))
    await must_agree(given, f"End this run where it stands, as {given.by}?")
    return await say(run, "abort", by=given.by, reason=given.reason)


if __name__ == "__main__":
    run_and_exit(parser(), work)
