"""Go on after a pause.

python -m starters.resume --cluster NAME [--yes]
"""

from __future__ import annotations

import argparse

from starters import options
from starters.deciding import must_agree, run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.running import run_and_exit
from starters.screens import headline, pause_lines
from starters.wording import printable


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "resume",
        "Go on after a pause. What was decided meanwhile takes effect: see `python -m starters.status` before.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--comment", default="", help="for the record")
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Show, ask, resume."""
    run = await run_of(given)
    status = await status_of(run)
    if status.paused is not None:
        print(printable("\n".join([headline(status), *pause_lines(status), ""])))
        await must_agree(given, f"Go on, as {given.by}?")
    return await say(run, "resume", by=given.by, comment=given.comment)


if __name__ == "__main__":
    run_and_exit(parser(), work)
