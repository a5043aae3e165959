"""What all decisions have in common: look at the run, say it, show the answer."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from starters.connection import connected
from starters.exit_codes import ExitCode
from starters.keyboard import has_person, says_yes
from starters.options import cluster_of
from starters.running import Stopped
from starters.runs import NoAnswer, Run
from starters.waits import SignalName, wish
from workflows.messages import Decide
from workflows.status import Status


async def run_of(options: argparse.Namespace) -> Run:
    """The run that is meant by the options; while there is none, the maintenance that is under way.

    Raises:
        Stopped: the inventory can't be used.
    """
    cluster = cluster_of(options)
    run = Run(await connected(), cluster, maintenance=options.maintenance)
    if options.maintenance or await run.is_under_way():
        return run
    maintenance = replace(run, maintenance=True)
    if not await maintenance.is_under_way():
        return run
    print(f"No run of cluster {cluster} is under way now, so this is about its maintenance.", file=sys.stderr)
    return maintenance


async def status_of(run: Run) -> Status:
    """Its state.

    Raises:
        Stopped: there is no run, or nobody answers for it.
    """
    await run.describe()
    try:
        return await run.status()
    except NoAnswer as trouble:
        raise Stopped(ExitCode.NO_WORKER, str(trouble)) from trouble


async def say(run: Run, signal: SignalName, **payload: str | bool | int) -> ExitCode:
    """Say it and show the answer.

    Raises:
        Stopped: nobody answered.
    """
    return await say_wish(run, wish(signal, payload))


async def say_wish(run: Run, said: Decide) -> ExitCode:
    """The same with a wish that is known to be understood."""
    try:
        answer = await run.decide(said)
    except NoAnswer as trouble:
        raise Stopped(ExitCode.NO_WORKER, str(trouble)) from trouble
    if answer.accepted:
        print(f"Accepted: {answer.text}")
        return ExitCode.OK
    raise Stopped(ExitCode.REFUSED, f"Not accepted: {answer.text}")


async def must_agree(options: argparse.Namespace, prompt: str) -> None:
    """Ask before something that can't be taken back.

    Raises:
        Stopped: the person does not say yes, or there is nobody to ask.
    """
    if options.yes:
        return
    if not has_person():
        raise Stopped(
            ExitCode.USAGE, "Nobody can be asked here, since this is no terminal: add --yes. Nothing was sent."
        )
    if not await says_yes(prompt):
        raise Stopped(ExitCode.REFUSED, "Not sent: you did not say yes.")
