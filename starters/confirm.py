"""Tell the run that an operator task was done.

python -m starters.confirm --cluster NAME [--step STEP]
"""

from __future__ import annotations

import argparse

from starters import options
from starters.deciding import must_agree, run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.running import run_and_exit
from starters.waits import pick
from starters.wording import printable


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "confirm",
        "Tell the run that an operator task was done. Where the run can look, it does.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--step", metavar="STEP", help="which one (default: the one that waits)")
    made.add_argument("--comment", default="", help="for the record")
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Confirm."""
    run = await run_of(given)
    wait = pick(await status_of(run), ("operator task",), given.step)
    print(printable(f"{wait.title}\n  {wait.text}\n"))
    await must_agree(given, f"Was this done, {given.by}?")
    return await say(run, "confirm", step=wait.step, by=given.by, comment=given.comment)


if __name__ == "__main__":
    run_and_exit(parser(), work)
