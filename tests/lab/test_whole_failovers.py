"""Whole failovers in the lab: either host is vacated, and what is true afterwards; two runs can't meet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.testing import WorkflowEnvironment

from inventory.models import APPLICATION_ROLES, Inventory, Role
from procedure.reports import Outcome, RunOutcome
from starters.exit_codes import ExitCode
from tests.lab.conftest import Undisturbed
from tests.lab.ended_run import Ended, ended, watch
from tests.lab.whole_run import WholeRun
from tests.outcomes import why
from workflows.status import RunReport, StepState

pytestmark = pytest.mark.whole_run

GATES = ["before_start", "before_power_off", "functionality"]
LATE = 2.5
"""Seconds by which a probe or a caller may notice late: both look every 0.25 s, on a busy machine."""
PATIENCE = 2.0
"""Seconds for which a caller waits for an answer before it gives up and asks again."""


@pytest.fixture(scope="module", params=["vm-host-1", "vm-host-2"])
async def failover(undisturbed: Undisturbed, request: pytest.FixtureRequest) -> Ended:
    """A failover that nothing disturbed."""
    return (await undisturbed(request.param)).there


def side(inventory: Inventory, host: str, *roles: Role) -> set[str]:
    """Machines of a host, all or those with one of these roles."""
    return {m.name for m in inventory.machines if m.host == host and (not roles or m.role in roles)}


def survivor_of(failover: Ended) -> str:
    return "vm-host-2" if failover.vacated == "vm-host-1" else "vm-host-1"


# --- what is true afterwards ------------------------------------------------------------------------------------------


def test_it_completes_and_nothing_happened_that_must_not(failover: Ended) -> None:
    assert failover.report.outcome is RunOutcome.COMPLETED, why(failover.report)
    assert failover.violations == ()
    assert failover.unknown_commands == ()
    assert failover.done_twice == {}


def test_the_vacated_machines_are_off_and_nothing_runs_on_them(failover: Ended, reference: Inventory) -> None:
    machines = failover.truth["machines"]
    assert {name for name, state in machines.items() if state["power"] == "off"} == side(reference, failover.vacated)
    assert {name for name, state in machines.items() if state["power"] == "on"} == side(
        reference, survivor_of(failover)
    )


def test_all_software_runs_on_the_survivor(failover: Ended, reference: Inventory) -> None:
    for name in side(reference, survivor_of(failover)):
        services = failover.truth["machines"][name]["services"]
        assert set(services.values()) == {"running"}, name


def test_both_pairs_have_moved(failover: Ended, reference: Inventory) -> None:
    for kind, role in (("storage", Role.STORAGE), ("load_balancer", Role.LOAD_BALANCER)):
        (here,) = side(reference, survivor_of(failover), role)
        pair = failover.truth["pairs"][kind]
        resources = set(pair["resources"].values())
        assert (pair["primary"], pair["address"], resources, pair["idle"]) == ([here], here, {here}, True), kind
    (storage,) = side(reference, survivor_of(failover), Role.STORAGE)
    assert failover.truth["pairs"]["storage"]["mounted"] == storage
    assert failover.truth["pairs"]["storage"]["drbd"][storage] == "WFConnection UpToDate"


def test_the_surviving_master_takes_the_writes(failover: Ended, reference: Inventory) -> None:
    (master,) = side(reference, survivor_of(failover), Role.DATABASE_MASTER)
    assert failover.truth["writer"] == master
    going = [
        name for name in failover.truth["replication"] if name.split()[0] in side(reference, survivor_of(failover))
    ]
    from_vacated = [name for name in going if name.split()[-1] in side(reference, failover.vacated)]
    assert from_vacated
    assert {failover.truth["replication"][name]["io"] for name in from_vacated} == {"Connecting"}
    assert {failover.truth["replication"][name]["io"] for name in set(going) - set(from_vacated)} <= {"Yes"}


def test_the_survivors_haproxy_has_the_vacated_side_in_maint_and_all_others_up(
    failover: Ended, reference: Inventory
) -> None:
    (gone,) = side(reference, failover.vacated, Role.LOAD_BALANCER)
    (here,) = side(reference, survivor_of(failover), Role.LOAD_BALANCER)
    assert failover.truth["balancers"][gone] is None
    expected = {
        f"{backend.name}/{server}": "maint down" if machine in side(reference, failover.vacated) else "ready up"
        for backend in reference.haproxy.backends
        for server, machine in backend.servers.items()
    }
    assert failover.truth["balancers"][here] == expected


def test_both_haproxies_had_been_set(failover: Ended, reference: Inventory) -> None:
    vacated = side(reference, failover.vacated)
    servers = [
        f"haproxy {backend.name}/{server} maint"
        for backend in reference.haproxy.backends
        for server, machine in backend.servers.items()
        if machine in vacated
    ]
    balancers = [machine.name for machine in reference.with_role(Role.LOAD_BALANCER)]
    assert {(b, s): failover.done[b, s] for b in balancers for s in servers} == {
        (b, s): 1 for b in balancers for s in servers
    }


def test_exactly_one_daemon_runs_and_it_is_on_the_survivor(failover: Ended, reference: Inventory) -> None:
    running = {name for name, state in failover.truth["machines"].items() if state["daemon"] == "running"}
    assert running == side(reference, survivor_of(failover), Role.TELEPHONY)


def test_only_vacated_machines_stay_silenced(failover: Ended, reference: Inventory) -> None:
    assert set(failover.truth["silenced"]) == side(reference, failover.vacated)


def test_the_dump_is_kept_and_the_snapshots_are_gone(failover: Ended, reference: Inventory) -> None:
    machines = failover.truth["machines"]
    # The active master was dumped: that of VM-Host 1, whichever host was vacated.
    assert {name: state["complete_dumps"] for name, state in machines.items() if state["files"]} == {"acd-dbm1": 1}
    assert not any(state["snapshots"] for state in machines.values())
    assert sum(op.startswith("snapshot") for _, op in failover.done) == 6


def test_machines_went_off_in_the_procedures_order(failover: Ended, reference: Inventory) -> None:
    order = (
        tuple(APPLICATION_ROLES),
        (Role.DATABASE_REPLICA,),
        (Role.DATABASE_MASTER,),
        (Role.LOAD_BALANCER,),
        (Role.STORAGE,),
    )
    groups = [side(reference, failover.vacated, *roles) for roles in order]
    assert {machine for what, machine in failover.power if what == "off"} == set().union(*groups)
    for earlier, later in pairwise(groups):
        last_off = max(failover.power.index(("off", machine)) for machine in earlier)
        first_asked = min(failover.power.index(("asked", machine)) for machine in later)
        assert last_off < first_asked, (earlier, later)


# --- what the run says of it ------------------------------------------------------------------------------------------


def test_the_outage_measured_is_the_one_the_callers_saw(failover: Ended) -> None:
    measured = failover.report.outage
    assert measured is not None
    assert measured.began is not None
    assert measured.ended is not None
    assert measured.gaps == ()
    # On a busy machine a caller may give up once before it begins; that is another outage.
    related = [seen for seen in failover.caller_outages if seen.first_success >= measured.began.timestamp() - LATE]
    first, last = related[0], related[-1]
    # A caller knows that it began between the last page it got and the first it did not get, and the same of the end.
    assert first.last_success - LATE <= measured.began.timestamp() <= first.first_failure + LATE
    assert measured.ended.timestamp() == pytest.approx(last.first_success, abs=PATIENCE + LATE)
    # While one server after the other stops or starts a measurement may succeed in between: that is not counted.
    down = [
        later.at - sample.at
        for sample, later in pairwise(measured.samples)
        if not sample.ok and measured.began <= sample.at < measured.ended
    ]
    assert measured.duration == pytest.approx(sum(down, timedelta(0)), abs=measured.interval)
    assert measured.duration > timedelta(seconds=2)


def test_the_report_is_complete_and_typed(failover: Ended) -> None:
    report = failover.report
    assert RunReport.model_validate_json(report.model_dump_json()) == report
    assert (report.vacated, report.surviving) == (failover.vacated, survivor_of(failover))
    assert (report.reason, report.requested_by) == ("a test", "tester")
    assert [(stage.number, stage.state) for stage in report.stages] == [(n, "ended") for n in range(15)]
    assert all(stage.began and stage.ended and stage.began <= stage.ended for stage in report.stages)
    assert report.ended is not None
    assert report.ended > report.began
    assert report.inventory_digest
    assert report.plan_digest
    assert report.waits == ()
    assert report.notes == ()
    assert report.next_steps == ()


def test_the_report_has_each_step_with_its_outcome_and_evidence(failover: Ended) -> None:
    steps = failover.report.steps
    assert {step.state for step in steps} == {StepState.ENDED}
    assert {step.outcome for step in steps} <= {Outcome.DONE, Outcome.UNCHANGED, Outcome.NOT_APPLICABLE}
    assert all(step.duration is not None and step.duration >= timedelta(0) for step in steps)
    assert not any(step.problem for step in steps)
    commands = [step for step in steps if step.kind not in ("observe", "gate")]
    assert {step.stage for step in commands} == set(range(1, 15))
    for step in commands:
        assert step.report is not None, step.id
        assert step.report.began <= step.report.ended, step.id
        assert step.report.outcome is step.outcome, step.id
        assert step.report.seen, step.id
        assert step.report.evidence, step.id


def test_the_report_says_who_decided_what_and_what_was_found(failover: Ended) -> None:
    decisions = [(d.signal, d.about, d.by, d.accepted) for d in failover.report.decisions]
    assert decisions == [("approve", gate, "tester", True) for gate in GATES]
    found = failover.report.as_found
    assert found is not None
    assert (found.storage, found.load_balancer, found.writer) == ("acd-store1", "acd-lb1", "acd-dbm1")
    assert found.daemon == ("acd-tel1",)
    assert found.observed
    assert len(failover.report.health) > 50
    assert all(verdict.allows for verdict in failover.report.health)


# --- two runs can't meet ----------------------------------------------------------------------------------------------


async def test_of_two_starts_at_once_one_is_refused(temporal: WorkflowEnvironment) -> None:
    async with WholeRun.start(temporal, worker="none", callers=False) as run:
        inventory = ("--inventory", str(run.lab.inventory_path))
        # In opposite directions: both have the same id.
        first, second = await asyncio.gather(
            run.type("failover", *inventory, "--vacate", "vm-host-1"),
            run.type("failover", *inventory, "--vacate", "vm-host-2"),
        )
        assert sorted((first.code, second.code)) == sorted((ExitCode.NO_WORKER, ExitCode.REFUSED))
        refused = first if first.code == ExitCode.REFUSED else second
        assert f"Cluster {run.cluster} already has a run" in refused.output
        assert "two at once are never allowed. Nothing was started." in refused.output
        with pytest.raises(WorkflowAlreadyStartedError):
            await run.begin()
        runs = [e async for e in run.client.list_workflows(f"WorkflowId = 'cluster-{run.cluster}'")]
        assert len(runs) <= 1
        await run.handle.terminate("the test is over")


async def test_a_second_run_is_refused_by_the_health_check_and_touches_nothing(temporal: WorkflowEnvironment) -> None:
    async with WholeRun.start(temporal, worker="inside", callers=False) as run:
        timeline = watch(run)
        await run.begin()
        run.approve_all()
        first = await ended(run, timeline)
        assert first.report.outcome is RunOutcome.COMPLETED
        # The other host: vacating it would leave nobody.
        await run.begin("vm-host-2")
        second = await ended(run, timeline, first.truth)
        report = second.report
        assert report.outcome is RunOutcome.FAILED
        assert report.outcome_reason.startswith("Not started, since the health check found ")
        assert report.outcome_reason.endswith("Nothing was touched.")
        assert report.plan_digest == ""
        assert {step.stage for step in report.steps} == {0}
        assert second.journal == first.journal
        assert second.truth == first.truth
        assert second.silences == first.silences
        words = "\n".join(report.next_steps)
        for said in ("acd-store1", "acd-lb1", "acd-dbm1", "acd-tel1", "off"):
            assert said in words
