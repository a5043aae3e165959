"""Runs that a person ends where they stand: nothing new begins, and the report says what is left."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from temporalio.testing import WorkflowEnvironment

from lab.faults import FaultKind
from procedure.reports import Outcome, RunOutcome
from tests.lab.ended_run import Ended
from tests.lab.faulty_run import FaultyRun
from workflows.status import StepState

pytestmark = pytest.mark.whole_run


async def _aborted(faulty: FaultyRun, waiting: str, *excused: str) -> Ended:
    """Abort while a step waits; nothing may reach a machine after that."""
    await faulty.problems(waiting)
    before = faulty.journal
    answer = await faulty.run.decide("abort", reason="a fault we can't mend tonight")
    assert answer.accepted, answer.text
    found = await faulty.ended(*excused)
    assert faulty.journal == before
    report = found.report
    assert report.outcome is RunOutcome.ABORTED
    assert report.outcome_reason == "Aborted by tester: a fault we can't mend tonight. Nothing was rolled back."
    off = {name for name, state in found.truth["machines"].items() if state["power"] == "off"}
    assert set(found.truth["silenced"]) == off
    record = next(record for record in report.steps if record.id == waiting)
    assert (record.state, record.reason) == (StepState.ENDED, "left by the abort")
    assert record.outcome in (Outcome.FAILED, Outcome.UNKNOWN)
    assert any(f"Look at this first: {record.title}" in told and "Seen: " in told for told in report.next_steps)
    return found


NOWHERE = "AcdGroupDistribute was stopped on acd-tel1 and runs nowhere"
NO_DAEMON = "AcdGroupDistribute runs on 0 telephony machines at the end"


@dataclass(frozen=True)
class Case:
    """What goes wrong, which step waits, and words of the report about what is left."""

    machine: str
    kind: FaultKind
    waiting: str
    left: tuple[str, ...]
    daemon: bool = True
    """Whether AcdGroupDistribute still runs."""


CASES = (
    Case("acd-jb2", "service_stuck", "3-stop-wildfly-acd-jb2", ("Not begun: 4 Drain sessions", "Wildfly on acd-jb1")),
    Case("acd-jb2", "session_stuck", "4-drain-sessions", ("3 Stop software (", "Not begun: 5 Move storage")),
    Case(
        "acd-store2",
        "pair_stuck",
        "5-move-storage",
        ("Not begun: 6 Move load balancer", NOWHERE),
        daemon=False,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
async def test_an_abort_before_anything_is_off(temporal: WorkflowEnvironment, case: Case) -> None:
    async with FaultyRun.start(temporal) as faulty:
        faulty.fault(case.machine, case.kind)
        await faulty.run.approve("before_start")
        found = await _aborted(faulty, case.waiting, *(() if case.daemon else (NO_DAEMON,)))
    assert found.truth["silenced"] == []
    told = "\n".join(found.report.next_steps)
    for words in (
        *case.left,
        "Stays as it is now: 1 Back up",
        "Nobody is served by what is stopped",
        "run a health check (`python -m starters.health`)",
    ):
        assert words in told
    assert {step.state for step in found.report.steps if step.stage > 8 and step.stage != 12} == {StepState.NOT_STARTED}


async def test_an_abort_while_machines_go_off(temporal: WorkflowEnvironment) -> None:
    """Those that are off stay silenced, all others are not; what is off can't be started by what the report says."""
    async with FaultyRun.start(temporal) as faulty:
        await faulty.run.approve("before_start")
        await faulty.until_gate("before_power_off")
        faulty.fault("acd-api1", "shutdown_stuck")
        await faulty.run.approve("before_power_off")
        found = await _aborted(faulty, "9-shut-down-acd-api1", NO_DAEMON)
    assert found.truth["silenced"] == ["acd-chat1", "acd-jb1", "acd-jb2", "acd-jb3", "acd-tel1"]
    told = "\n".join(found.report.next_steps)
    for words in (NOWHERE, "9 Shut down machines (", "Not begun: 10 Check cluster, 11 Start", "8-Server on acd-tel2"):
        assert words in told
    assert "Wildfly on acd-jb1" not in told
