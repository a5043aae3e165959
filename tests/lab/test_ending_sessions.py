"""Sessions that never end are cut by force, after a gate of their own: at a real HAProxy and in the master's list."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.testing import WorkflowEnvironment

from procedure.reports import RunOutcome
from tests.lab.attended import words
from tests.lab.faulty_run import FaultyRun, deviations
from tests.outcomes import why

pytestmark = pytest.mark.whole_run

DRAIN = "4-drain-sessions"
FORCE: dict[str, str | bool] = {"step": DRAIN, "force": True, "reason": "nobody knows whose it is"}


async def test_who_never_leaves_is_cut_when_people_have_agreed(temporal: WorkflowEnvironment) -> None:
    async with FaultyRun.start(temporal) as faulty:
        run = faulty.run
        faulty.fault("acd-jb2", "session_stuck")
        site = run.lab.site
        through_the_balancer = site.inventory.pairs.load_balancer.address, site.frontends["db"]
        stuck, writer = await asyncio.open_connection(*through_the_balancer)
        await run.approve("before_start")

        wait = (await faulty.problems(DRAIN))[DRAIN]
        words(wait, "HAProxy on acd-lb1 has no session: db/acd-dbm1: 1", "1 from acd@", "(acd-lb1, Sleep)")
        assert (wait.can_force, wait.can_extend) == (True, True)
        progress = next(record.progress for record in (await run.status()).steps if record.id == DRAIN)
        assert progress is not None
        assert {(count.kind, count.machine) for count in progress.sessions} == {
            ("load balancer", "acd-dbm1"),
            ("database", "acd-lb1"),
        }
        assert (await run.decide("retry", **FORCE)).accepted
        gate = await run.until_gate("end_sessions")
        words(gate, "They are cut off", "db/acd-dbm1: 1", "1 from acd@")
        assert not any(entry.operation.startswith("KILL") for entry in faulty.journal)
        await run.approve("end_sessions")

        await asyncio.wait_for(stuck.read(), 30)
        assert stuck.at_eof()
        writer.close()
        await faulty.until_gate("before_power_off")
        killed = [entry for entry in faulty.journal if entry.operation.startswith("KILL")]
        assert [(entry.machine, entry.effect) for entry in killed] == [("acd-dbm1", "done")]
        await run.approve("before_power_off")
        await run.approve("functionality")
        found = await faulty.ended()
    assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
    assert deviations(found, run.inventory) == {}
    ended = next(record for record in found.report.steps if record.id == DRAIN)
    assert ended.report is not None
    sent = [proof.instruction for proof in ended.report.evidence if "observed" not in proof.instruction]
    assert ["shutdown" in text or "KILL" in text for text in sent] == [True] * len(sent)
