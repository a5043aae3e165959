"""What becomes of an approval: the gate opens only if nothing has changed since it was shown."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from starters.exit_codes import ExitCode
from starters.running import Stopped
from starters.runs import NoAnswer, Run
from workflows.status import Status, StepState, Wait

PATIENCE = timedelta(seconds=30)
"""For the cluster to be looked at once more, which takes seconds, or longer where a machine does not answer."""
INTERVAL = timedelta(milliseconds=500)


async def tell_what_became_of(run: Run, shown: Wait) -> None:
    """Tell whether the gate opened after an approval that was accepted; nothing where it waits for further ones.

    Args:
        run: the run.
        shown: the gate as it was when it was approved.

    Raises:
        Stopped: the approval is void, since something has changed.
    """
    if shown.bound is None or not shown.bound.statements:
        return
    end = asyncio.get_running_loop().time() + PATIENCE.total_seconds()
    while asyncio.get_running_loop().time() < end:
        try:
            told = _told(await run.status(), shown)
        except NoAnswer:
            break
        if told is not None:
            print(told, end="\n" if told else "")
            return
        await asyncio.sleep(INTERVAL.total_seconds())
    print("Whether it opens is not known yet: the cluster is looked at once more. See the status of the run.")


def _told(status: Status, shown: Wait) -> str | None:
    """What there is to tell, maybe nothing; None: not yet known."""
    now = next((wait for wait in status.waits if wait.step == shown.step), None)
    if now is not None:
        if now.changes and now.code != shown.code:
            raise Stopped(ExitCode.REFUSED, _void(now))
        return ""
    state = next((record.state for record in status.steps if record.id == shown.step), None)
    if state is StepState.ENDED:
        return "Looked once more: nothing that matters has changed. The gate is open."
    return None if state in (StepState.RUNNING, StepState.WAITING) else ""


def _void(now: Wait) -> str:
    changes = "".join(f"\n  {line}" for line in now.changes)
    return (
        f"The approval is void and gate {now.gate} did not open, since this has changed:{changes}\n"
        "Look at it, and approve again if you still want to."
    )
