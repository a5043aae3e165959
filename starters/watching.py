"""Watching a run until it ends. Nothing that happens here touches the run; nothing that is missing ends the watching.

On a terminal the picture is live, and whatever waits for a person can be decided right there. Elsewhere there is one
line for each change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from starters.changes import changes
from starters.exit_codes import ExitCode
from starters.keyboard import has_person, typed_line
from starters.outcomes import exit_code
from starters.picture import Picture
from starters.running import Stopped
from starters.runs import NoAnswer, Run
from starters.screens import status_lines, wait_lines
from starters.waits import wish_of, words
from starters.wording import clock, printable
from workflows.connection import shortened
from workflows.status import RunView, Status, Wait

INTERVAL = 1.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Look:
    """What was seen of a run at one moment."""

    at: datetime
    status: Status | None = None
    """The last state that is known, maybe from an earlier look."""
    trouble: str = ""
    """Why there is no newer one."""
    over: bool = False
    """The run has ended."""


async def look(run: Run, before: Look | None = None) -> Look:
    """Look once; what is missing now is taken from the look before."""
    at = datetime.now(UTC)
    known = before.status if before else None
    try:
        description = await run.describe()
        over = description.status is not WorkflowExecutionStatus.RUNNING
        return Look(at, await run.status() if not over else known, over=over)
    except NoAnswer as trouble:
        return Look(at, known, str(trouble))
    except RPCError as error:
        return Look(at, known, f"The Temporal server does not answer: {shortened(str(error))}")


class View(Protocol):
    """How looks are shown."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Leave the screen as it is."""

    def show(self, now: Look) -> None:
        """Show one look."""


@dataclass
class Lines:
    """One line for each change, with its time."""

    before: Look | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, now: Look) -> None:
        """Print what has changed."""
        known = self.before.status if self.before else None
        if now.trouble and now.trouble != (self.before.trouble if self.before else ""):
            print(printable(f"{clock(now.at)}  {now.trouble}"), flush=True)
        if now.status is not None:
            told = changes(known, now.status, now.at) if known else status_lines(now.status, now.at)
            for line in told:
                print(printable(f"{clock(now.at)}  {line}" if known else line), flush=True)
        self.before = now


@dataclass
class Screen:
    """A live picture."""

    console: Console = field(default_factory=Console)
    _live: Live | None = None
    _picture: Picture = field(default_factory=Picture)

    def __enter__(self) -> Self:
        self._live = Live(self._picture, console=self.console, refresh_per_second=4)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now: Look) -> None:
        """Draw it."""
        self._picture.status, self._picture.trouble = now.status, now.trouble


async def watch(run: Run, by: str) -> ExitCode:
    """Watch until the run ends, then tell how. Of a maintenance also its runs, each as long as it is under way.

    Args:
        run: the run.
        by: who decides, should something be decided here.

    Returns:
        The exit code that the outcome calls for.
    """
    try:
        return await _watch(run, by)
    except asyncio.CancelledError:
        print(f"\nNo longer watching. The run goes on: python -m starters.status --cluster {run.address} --watch")
        raise


async def _watch(run: Run, by: str) -> ExitCode:
    last = await _until_over(run, by)
    report = await run.result()
    if last.status is not None and not has_person():
        Lines(last).show(Look(datetime.now(UTC), report, over=True))
    print(printable("\n".join(["", *status_lines(report, datetime.now(UTC))])))
    if report.next_steps:
        print(printable("\n".join(["", "To do", *(f"  - {step}" for step in report.next_steps)])))
    print(f"\nThe report: python -m starters.report --cluster {run.address} --run {report.run_id}")
    return exit_code(report)


@dataclass
class _Dealt:
    """What the person at the screen has dealt with already."""

    person: bool
    asked: set[tuple[str, datetime]] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)

    def wait(self, now: Look) -> Wait | None:
        """What the person here was not yet asked about."""
        waits = now.status.waits if self.person and now.status and not now.trouble else ()
        return next((wait for wait in waits if _key(wait) not in self.asked), None)

    def child(self, now: Look) -> RunView | None:
        """A run that the maintenance has begun, and that was not shown here."""
        runs = now.status.runs if now.status else ()
        return next((run for run in runs if not run.is_over and run.run_id not in self.followed), None)


async def _until_over(run: Run, by: str) -> Look:
    dealt = _Dealt(has_person())
    now: Look | None = None
    while now is None or not now.over:
        view: View = Screen() if dealt.person else Lines()
        with view:
            now = await _show(run, view, now, dealt)
        wait, child = dealt.wait(now), dealt.child(now)
        if child is not None:
            dealt.followed.add(child.run_id)
            await _follow(Run(run.client, run.cluster, child.run_id), by)
        elif wait is not None:
            now = await _ask(run, by, wait, now)
            dealt.asked.add(_key(wait))
    return now


async def _follow(run: Run, by: str) -> None:
    """Watch a run of a maintenance, which goes on whatever becomes of it."""
    try:
        await _watch(run, by)
    except Stopped as trouble:
        print(trouble)
    print()


async def _show(run: Run, view: View, now: Look | None, dealt: _Dealt) -> Look:
    """Show looks until the run is over, or there is something that the person here has not dealt with."""
    while True:
        now = await look(run, now)
        view.show(now)
        if now.over or dealt.child(now) or dealt.wait(now):
            return now
        await asyncio.sleep(INTERVAL)


def _key(wait: Wait) -> tuple[str, datetime]:
    return wait.step, wait.since


async def _ask(run: Run, by: str, wait: Wait, now: Look) -> Look:
    """Let the person decide here, unless it is decided elsewhere in the meantime."""
    print(printable("\n".join(["", *wait_lines(wait, run.address), ""])))
    typing = asyncio.create_task(_decide(run, by, wait))
    try:
        while not typing.done():
            await asyncio.wait({typing}, timeout=INTERVAL)
            now = await look(run, now)
            if now.over or (now.status and _key(wait) not in map(_key, now.status.waits)):
                break
    finally:
        typing.cancel()
    if typing.done() and not typing.cancelled():
        typing.result()
    else:
        print("\nDecided elsewhere.")
    return now


async def _decide(run: Run, by: str, wait: Wait) -> None:
    """Ask until an answer is accepted; an empty line means: decide elsewhere, go on watching here."""
    prompt = f"Or here, as {by}: {words(wait)} | Enter to go on watching: "
    while line := await typed_line(prompt):
        try:
            answer = await run.decide(wish_of(line, wait, by))
        except (Stopped, NoAnswer) as trouble:
            print(trouble)
            continue
        print(f"{'Accepted' if answer.accepted else 'Not accepted'}: {answer.text}")
        if answer.accepted:
            return
