"""What is left when a run has ended, kept for tests to look at: the lab's own truth, not what the product says."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.auditors import Violation
from lab.callers import Tally
from lab.journal import Entry
from lab.watching import Operation
from procedure.reports import RunOutcome
from tests.lab.whole_run import WITHIN, WholeRun
from workflows.status import RunReport

REPEATABLE = ("mysqldump ",)
"""A dump that was cut off is worth nothing: it is made again, to a name of its own, until it is whole. Everything
else that a failover does may be done once only."""
_SETTLES_WITHIN = 20.0
"""Seconds for the last causes in the lab to have had their effects."""


class Timeline:
    """When machines were asked to shut down or start, and when they were off or on, as the model had it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        """`asked`, `off` or `on`, and the machine, in order."""

    def before(self, operation: Operation, machine: str) -> None:
        """An operation has arrived."""
        if operation in ("shutdown", "power_cut", "power_on"):
            self.events.append(("asked", machine))

    def after(self, machine: str, what: str) -> None:
        """Something has changed."""
        if what in ("off", "on"):
            self.events.append((what, machine))


@dataclass(frozen=True)
class SeenOutage:
    """An outage as simulated callers saw it, in seconds since the epoch."""

    last_success: float
    """Served; it had not begun."""
    first_failure: float
    """Not served; it had begun."""
    first_success: float
    """Served again; it had ended."""


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    vacated: str
    report: RunReport
    truth: dict[str, Any]
    journal: tuple[Entry, ...]
    power: tuple[tuple[str, str], ...]
    violations: tuple[Violation, ...]
    unknown_commands: tuple[tuple[str, str], ...]
    silences: Mapping[str, int]
    """How many silences there are: active, pending, expired. Those set twice would be counted twice."""
    caller_outages: tuple[SeenOutage, ...]

    @property
    def done(self) -> Counter[tuple[str, str]]:
        """How often each operation had an effect, without the name that a run gives its backups and snapshots."""
        return Counter(
            (entry.machine, self._without_names(entry.operation)) for entry in self.journal if entry.effect == "done"
        )

    def _without_names(self, operation: str) -> str:
        own = operation.replace(self.report.reference or "-", "RUN")
        return re.sub(rf"{re.escape(self.report.cluster)}-\d+T\d+Z", "EARLIER", own)

    @property
    def done_twice(self) -> dict[tuple[str, str], int]:
        """What had an effect more than once and may not."""
        return {
            operation: count
            for operation, count in self.done.items()
            if count > 1 and not operation[1].startswith(REPEATABLE)
        }


def watch(run: WholeRun) -> Timeline:
    """Have a timeline kept from now on."""
    timeline = Timeline()
    run.lab.world.watch(timeline)
    return timeline


async def ended(
    run: WholeRun,
    timeline: Timeline,
    expected: Mapping[str, Any] | None = None,
    *,
    since: int = 0,
    within: float = WITHIN,
) -> Ended:
    """Wait for the end of a run and keep what is left.

    Args:
        run: the run.
        timeline: of its lab, from the beginning.
        expected: the truth to wait for, since the lab's last causes may still have to have their effects.
        since: how long the journal was when the run began; what is before belongs to another run.
        within: seconds that it may take.
    """
    report = await run.report(within)
    await run.lab.settled()
    await run.lab.look()
    if expected is not None:
        # Not so in time: what differs is the test's to tell.
        with contextlib.suppress(TimeoutError):
            await run.lab.wait_until(lambda: run.lab.truth() == expected, _SETTLES_WITHIN)
    returned = report.direction == "failback" and report.outcome is RunOutcome.COMPLETED
    run.lab.auditors.at_end(vacated=None if returned else report.vacated)
    monitoring = run.lab.monitoring
    return Ended(
        vacated=report.vacated,
        report=report,
        truth=run.lab.truth(),
        journal=tuple(run.lab.journal.entries[since:]),
        power=tuple(timeline.events),
        violations=tuple(run.lab.violations),
        unknown_commands=tuple(run.lab.unknown_commands),
        silences={state: len(monitoring.silences_now(state)) for state in ("active", "pending", "expired")}
        if monitoring
        else {},
        caller_outages=_outages(run.lab.callers.tally) if run.lab.callers else (),
    )


def _outages(tally: Tally) -> tuple[SeenOutage, ...]:
    epoch = time.time() - asyncio.get_running_loop().time()
    return tuple(
        SeenOutage(outage.last_success + epoch, outage.first_failure + epoch, outage.first_success + epoch)
        for outage in tally.outages
        if outage.first_success is not None and outage.last_success is not None
    )
