"""Open a gate of the run.

python -m starters.approve --cluster NAME [--gate GATE] [--yes]
"""

from __future__ import annotations

import argparse

from procedure.plan import Plan
from starters import options
from starters.deciding import must_agree, run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.gates import tell_what_became_of
from starters.running import run_and_exit
from starters.runs import NoAnswer, Run
from starters.screens import question
from starters.waits import pick
from starters.wording import printable


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = options.parser(
        "approve",
        "Show what a gate asks, with the facts and the plan, and open it if you say yes.",
        ExitCode.NO_WORKER,
        ExitCode.REFUSED,
    )
    options.add_cluster(made)
    made.add_argument("--gate", metavar="GATE", help="which one (default: the one that is open)")
    made.add_argument("--comment", default="", help="for the record")
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Show, ask, approve; and see whether the gate opens."""
    run = await run_of(given)
    status = await status_of(run)
    wait = pick(status, ("gate",), given.gate)
    print(printable("\n".join(question(wait, status, await _plan(run)))))
    print()
    await must_agree(given, f"Approve gate {wait.gate} as {given.by}?")
    # The code is the one that was just shown: a gate that closed and opened again in between is not meant.
    said = await say(run, "approve", gate=wait.gate, seen=wait.code, by=given.by, comment=given.comment)
    await tell_what_became_of(run, wait)
    return said


async def _plan(run: Run) -> Plan | None:
    try:
        return await run.plan()
    except NoAnswer:
        return None


if __name__ == "__main__":
    run_and_exit(parser(), work)
