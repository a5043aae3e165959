"""There and back on real hosts, in both directions, watched by auditors and callers that know no product."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from lab.real.lab import RealLab
from tests.real.conftest import ELSEWHERE, Run
from tests.real.real_run import RealRun
from workflows.status import RunReport

pytestmark = pytest.mark.timeout(600)
_AGREE_SECONDS = 1.0


@pytest.mark.parametrize("vacate", ["vm-host-1", "vm-host-2"])
async def test_there_and_back(vacate: str, normal: RealLab, run: Run) -> None:
    await _there_and_back(vacate, normal, run)


@pytest.mark.parametrize("hosts", [ELSEWHERE], indirect=True, scope="session")
async def test_where_pacemaker_runs_haproxy_replicas_count_positions_and_nagios_watches(
    normal: RealLab, run: Run
) -> None:
    monitoring = normal.truth.monitoring
    earlier = len(monitoring.log())
    await _there_and_back("vm-host-1", normal, run)
    assert monitoring.downtimes() == set(), "not of a service, either"
    log = monitoring.log()[earlier:]
    assert monitoring.silenced_in(log) == sorted(machine.name for machine in normal.inventory.machines)
    assert monitoring.told_of(log) == [], [line for line in log if "NOTIFICATION" in line]


async def _there_and_back(vacate: str, normal: RealLab, run: Run) -> None:
    before = await normal.truth.whole()
    async with run(vacate=vacate) as one:
        report = await _measured(one, one.failover())
        vacated = {m.name for m in normal.inventory.machines if m.host == vacate}
        assert {name for name, outlet in normal.outlets.items() if not outlet.on} == vacated
        assert await normal.auditors.at_end(vacated=vacate) == []
        assert normal.truth.monitoring.silenced() == sorted(vacated)

        await _measured(one, one.failback(of=report))
    assert await normal.truth.whole() == before
    assert await normal.auditors.at_end() == []
    assert normal.auditors.violations == []
    assert normal.agents is not None
    assert normal.agents.tally.served > 0


async def _measured(one: RealRun, whole: Coroutine[Any, Any, RunReport]) -> RunReport:
    """A run whose own figure of the outage agrees with that of the callers."""
    callers = one.lab.callers
    assert callers is not None
    report = await whole
    await callers.tally.reaches(lambda tally: not tally.out_of_service)
    outage = report.outage
    assert outage is not None
    assert outage.began is not None
    # What a busy machine kept from callers before anything was touched is nobody's outage.
    ago = (datetime.now(UTC) - outage.began).total_seconds() + _AGREE_SECONDS
    since = asyncio.get_running_loop().time() - ago
    seen = [each for each in callers.tally.outages if each.first_failure >= since]
    told = outage.duration.total_seconds()
    assert seen
    # Web servers stop one after the other: in between callers may have been served for a moment.
    out = sum(each.seconds or 0.0 for each in seen)
    whole_time = (seen[-1].first_success or 0.0) - seen[0].first_failure
    assert out - _AGREE_SECONDS <= told <= whole_time + _AGREE_SECONDS, f"{outage}\nbut callers: {seen}"
    return report
