"""Open a gate of the run.

python -m starters.approve --cluster NAME [--gate GATE] [--sign [KEY]] [--yes]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from procedure.plan import Plan
from procedure.signing import Signed
from starters import options
from starters.deciding import must_agree, run_of, say, status_of
from starters.exit_codes import ExitCode
from starters.gates import tell_what_became_of
from starters.running import Stopped, run_and_exit
from starters.runs import NoAnswer, Run
from starters.screens import question
from starters.signing import key_file, sign
from starters.waits import pick
from starters.wording import printable
from workflows.status import Wait


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
    made.add_argument(
        "--sign",
        metavar="KEY",
        nargs="?",
        const="",
        help="sign with an SSH key: a private one, or a public one whose private half is in your agent "
        "(default: the one that ssh would use)",
    )
    options.add_by(made)
    options.add_yes(made)
    return made


async def work(given: argparse.Namespace) -> ExitCode:
    """Show, ask, approve; and see whether the gate opens."""
    run = await run_of(given)
    status = await status_of(run)
    wait = pick(status, ("gate",), given.gate)
    print(printable("\n".join(question(wait, status, await _plan(run, wait)))))
    print()
    key = _key(given, wait)
    await must_agree(given, f"Approve gate {wait.gate} as {given.by}?")
    # The code is the one that was just shown: a gate that closed and opened again in between is not meant.
    payload = {"gate": wait.gate, "seen": wait.code, "by": given.by.strip(), "comment": given.comment.strip()}
    if key is not None:
        signed = Signed(
            cluster=status.cluster,
            workflow_id=status.workflow_id,
            run_id=status.run_id,
            gate=wait.gate,
            code=wait.code,
            by=payload["by"],
            comment=payload["comment"],
        )
        payload["signature"] = await sign(signed, key)
    said = await say(run, "approve", **payload)
    await tell_what_became_of(run, wait)
    return said


def _key(given: argparse.Namespace, wait: Wait) -> Path | None:
    """The key to sign with, where it is signed; asked for before the person is asked to agree.

    Raises:
        Stopped: it has to be signed, or can't be.
    """
    if given.sign is not None:
        return key_file(given.sign)
    if wait.rules.command:
        text = f"Gate {wait.gate} takes only signed approvals: {wait.rules.command}\nNothing was sent."
        raise Stopped(ExitCode.USAGE, text)
    return None


async def _plan(run: Run, wait: Wait) -> Plan | None:
    """The plan that the gate is about."""
    try:
        return await (run.roll_back_plan() if wait.gate == "roll_back" else run.plan())
    except NoAnswer:
        return None


if __name__ == "__main__":
    run_and_exit(parser(), work)
