"""How long a maintenance takes on real hosts, beside its bare commands in the same run: a benchmark, not a test.

    python -m tests.real.measure [ROUNDS]      as root, on a machine that does nothing else; one round by default

Every gate is opened at once, so nobody thinks long. The product goes there and back, then the bare commands of the same
plans do (`bare.py`); a line for each stage has the product's figures first, then those of the bare commands.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from lab.real.lab import RealLab
from lab.real.site import Options
from procedure.plan import Gate, Plan
from procedure.reports import RunOutcome
from procedure.situation import Situation
from tests.conftest import FAST, TEMPORAL
from tests.real.bare import Spans, carry_out_bare
from tests.real.real_run import WITHIN, RealRun
from tests.real.rights import hands_for
from workflows import names
from workflows.converter import DATA_CONVERTER
from workflows.status import RunReport

VACATED = "vm-host-1"
LAST = {"failover": 11, "failback": 13}
"""The stage after which service is there again."""


@dataclass(frozen=True)
class Journey:
    """One way of a round, as the product went it."""

    report: RunReport
    plan: Plan
    cpu: float
    """Seconds of the worker's processor time."""


async def main(rounds: int) -> None:
    """Measure so many times there and back, the product first, then the bare commands; then the medians."""
    figures: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(RealLab.start(options=Options(haproxy="clone"), callers=False))
        temporal = await stack.enter_async_context(
            await WorkflowEnvironment.start_local(
                data_converter=DATA_CONVERTER,
                search_attributes=list(names.SEARCH_ATTRIBUTES),
                dev_server_existing_path=str(TEMPORAL),
                dev_server_extra_args=list(FAST),
                dev_server_log_level="error",
            )
        )
        _say(f"real hosts are up; seconds it took: {lab.times}")
        for number in range(1, rounds + 1):
            _say(f"\nround {number}")
            for name, seconds in (await _measure(lab, temporal)).items():
                figures.setdefault(name, []).append(seconds)
    _say(f"\nmedians of {rounds}")
    for name, each in figures.items():
        _say(f"  {name}: {median(each):.1f} s")


async def _measure(lab: RealLab, temporal: WorkflowEnvironment) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        run = RealRun.of(temporal, lab, Path(folder), vacate=VACATED)
        async with run.working():
            figures = {"health check, no connection open yet": await _first_health_check(run)}
            there = await _go(run)
            back = await _go(run, of=there.report)
    async with hands_for(lab) as hands:
        for journey in (there, back):
            bare = await carry_out_bare(journey.plan, Situation(lab.inventory, VACATED), hands)
            figures |= _tell_of(journey, bare)
    return figures


async def _first_health_check(run: RealRun) -> float:
    """Seconds of the first one. Then the worker works: its start is no part of what is measured afterwards."""
    await run.begin()
    await run.until_gate("before_start", WITHIN)
    await run.decide("abort", reason="the worker works")
    report = await run.report(WITHIN)
    return _until({0: [(s.began, s.ended) for s in report.steps if s.began and s.ended]}, 0)


async def _go(run: RealRun, of: RunReport | None = None) -> Journey:
    used = run.processes.cpu_seconds("worker")
    await (run.begin_failback(of=of) if of else run.begin())
    opening = asyncio.create_task(_open_gates(run))
    report = await run.report(WITHIN)
    await opening
    used = run.processes.cpu_seconds("worker") - used
    if report.outcome is not RunOutcome.COMPLETED:
        raise RuntimeError(report.outcome_reason)
    plan: Plan | None = await run.handle.query("plan", result_type=Plan)
    assert plan is not None
    return Journey(report, plan, used)


async def _open_gates(run: RealRun) -> None:
    """Open each as soon as it is reached. The history tells of it, so that no query costs the worker anything."""
    async for event in run.handle.fetch_history_events(wait_new_event=True):
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            for wait in (await run.status()).waits:
                if wait.gate:
                    await run.decide("approve", gate=wait.gate, seen=wait.code)


def _tell_of(journey: Journey, bare: Spans) -> dict[str, float]:
    report, plan = journey.report, journey.plan
    gates = {step.id for step in plan.steps if isinstance(step.action, Gate)}
    spans: Spans = {}
    at_gates = 0.0
    for step in report.steps:
        if step.began is None or step.ended is None:
            continue
        if step.id in gates:
            at_gates += (step.ended - step.began).total_seconds() * (step.stage <= LAST[plan.direction])
        else:
            spans.setdefault(step.stage, []).append((step.began, step.ended))
    name = plan.direction
    out = report.outage
    if out is None or out.began is None or out.ended is None:
        raise RuntimeError(f"the report of the {name} has no outage that began and ended: that is not one of 0 s")
    figures = {
        f"{name} to the end of stage {LAST[name]}": _until(spans, LAST[name]),
        f"{name}, of it at gates": at_gates,
        f"{name}, outage": out.duration.total_seconds(),
        f"{name}, health check": _until(spans, 0),
        f"{name}, CPU of the worker": journey.cpu,
        f"{name}, bare commands to the end of stage {LAST[name]}": _until(bare, LAST[name]),
    }
    for what, seconds in figures.items():
        _say(f"{what}: {seconds:.1f} s")
    for stage in sorted(spans):
        took = "  ".join(f"from {at:5.1f} s for {each:5.1f} s" for at, each in _of(stage, spans, bare))
        _say(f"  stage {stage:2}: {took}")
    return figures


def _until(spans: Spans, stage: int) -> float:
    began = min(first for each in spans.values() for first, _ in each)
    return (max(last for number in spans if number <= stage for _, last in spans[number]) - began).total_seconds()


def _of(stage: int, *all_spans: Spans) -> Iterator[tuple[float, float]]:
    for spans in all_spans:
        if stage in spans:
            began = min(first for each in spans.values() for first, _ in each)
            first, last = min(b for b, _ in spans[stage]), max(e for _, e in spans[stage])
            yield (first - began).total_seconds(), (last - first).total_seconds()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("Real hosts need root.")
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
