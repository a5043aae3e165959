"""Try a step again that waits for the operator.

python -m starters.retry --cluster NAME [--step STEP] [--force --reason WHY]
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
        "retry",
        "Try a step again that did not end well. What was done already is found done, and not done twice.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--step", metavar="STEP", help="which one (default: the one that waits)")
    made.add_argument("--force", action="store_true", help="use the step's way by force, if it has one; asks first")
    made.add_argument("--reason", default="", metavar="WHY", help="for the record; needed with --force")
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Retry."""
    run = await run_of(given)
    wait = pick(await status_of(run), ("problem",), given.step)
    if given.force:
        print(printable(f"{wait.title}\n  {wait.text}\n"))
        await must_agree(given, f"Use force, as {given.by}?")
    return await say(run, "retry", step=wait.step, by=given.by, force=given.force, reason=given.reason)


if __name__ == "__main__":
    run_and_exit(parser(), work)
