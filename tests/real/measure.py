"""How long a maintenance takes on real hosts, beside its bare commands in the same run: a benchmark, not a test.

    python -m tests.real.measure [ROUNDS]      as root, on a machine that does nothing else; one round by default

Every gate is opened at once, so nobody thinks long. The product goes there and back, with a line for each stage; then
the bare commands of the same plans do (`bare.py`).
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from lab.real.lab import RealLab
from lab.real.site import Options
from procedure.plan import Gate, Plan
from procedure.situation import Situation
from tests.conftest import FAST, TEMPORAL
from tests.real.bare import carry_out_bare
from tests.real.real_run import RealRun
from tests.real.rights import hands_for
from workflows import names
from workflows.converter import DATA_CONVERTER
from workflows.status import RunReport

VACATED = "vm-host-1"


async def main(rounds: int) -> None:
    """Measure so many times there and back, the product first, then the bare commands."""
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
            await _measure(lab, temporal)


async def _measure(lab: RealLab, temporal: WorkflowEnvironment) -> None:
    plans: list[Plan] = []
    with tempfile.TemporaryDirectory() as folder:
        run = RealRun.of(temporal, lab, Path(folder), vacate=VACATED)
        async with run.working():
            used = [run.processes.cpu_seconds("worker")]
            failover = await run.failover()
            plans.append(await _plan(run))
            used.append(run.processes.cpu_seconds("worker"))
            _tell_of(failover, plans[-1])
            failback = await run.failback(failover)
            plans.append(await _plan(run))
            used.append(run.processes.cpu_seconds("worker"))
            _tell_of(failback, plans[-1])
            # Gates are opened by asking for the status ten times a second, and the worker answers each time.
            _say(f"CPU of the worker, its start included: failover {used[1] - used[0]:.1f} s; ", end="")
            _say(f"failback {used[2] - used[1]:.1f} s")
    async with hands_for(lab) as hands:
        for plan in plans:
            began = time.monotonic()
            await carry_out_bare(plan, Situation(lab.inventory, VACATED), hands)
            _say(f"{plan.direction}, bare commands: {time.monotonic() - began:.1f} s")


async def _plan(run: RealRun) -> Plan:
    plan: Plan | None = await run.handle.query("plan", result_type=Plan)
    assert plan is not None
    return plan


def _tell_of(report: RunReport, plan: Plan) -> None:
    gates = {step.id for step in plan.steps if isinstance(step.action, Gate)}
    spans: dict[int, list[tuple[datetime, datetime]]] = {}
    at_gates = 0.0
    for step in report.steps:
        if step.began is None or step.ended is None:
            continue
        if step.id in gates:
            at_gates += (step.ended - step.began).total_seconds()
        else:
            spans.setdefault(step.stage, []).append((step.began, step.ended))
    began = min(first for each in spans.values() for first, _ in each)
    ended = max(last for each in spans.values() for _, last in each)
    outage = report.outage.duration.total_seconds() if report.outage and report.outage.duration else 0.0
    whole = (ended - began).total_seconds()
    _say(f"{plan.direction}: {whole:.1f} s, at gates {at_gates:.1f} s of them; outage {outage:.1f} s")
    for stage, each in sorted(spans.items()):
        first, last = min(b for b, _ in each), max(e for _, e in each)
        at, took = (first - began).total_seconds(), (last - first).total_seconds()
        _say(f"  stage {stage:2}: from {at:5.1f} s for {took:5.1f} s, {len(each)} steps")


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(f"{text}{end}")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("Real hosts need root.")
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
