"""Whole failbacks in the lab: either host comes back, and what is true afterwards, thing by thing."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from inventory.models import APPLICATION_ROLES, Inventory, Role
from procedure.reports import Outcome, RunOutcome
from tests.lab.conftest import Undisturbed
from tests.lab.ended_run import Ended
from tests.lab.there_and_back import ThereAndBack
from tests.outcomes import why
from workflows.status import RunReport, StepState

pytestmark = pytest.mark.whole_run

LATE = 2.5
"""Seconds by which a probe or a caller may notice late: both look every 0.25 s, on a busy machine."""


@pytest.fixture(scope="module", params=["vm-host-1", "vm-host-2"])
async def both(undisturbed: Undisturbed, request: pytest.FixtureRequest) -> ThereAndBack:
    """A failover and its failback that nothing disturbed."""
    return await undisturbed(request.param)


@pytest.fixture(scope="module")
def failback(both: ThereAndBack) -> Ended:
    """The failback."""
    return both.back


def side(inventory: Inventory, host: str, *roles: Role) -> set[str]:
    """Machines of a host, all or those with one of these roles."""
    return {m.name for m in inventory.machines if m.host == host and (not roles or m.role in roles)}


def survivor_of(failback: Ended) -> str:
    return "vm-host-2" if failback.vacated == "vm-host-1" else "vm-host-1"


# --- what is true afterwards ------------------------------------------------------------------------------------------


def test_it_completes_and_nothing_happened_that_must_not(failback: Ended) -> None:
    assert failback.report.outcome is RunOutcome.COMPLETED, why(failback.report)
    assert failback.violations == ()
    assert failback.unknown_commands == ()
    assert failback.done_twice == {}


def test_everything_is_as_it_was_before_the_failover(both: ThereAndBack) -> None:
    assert both.there.truth != both.before
    assert both.back.truth == both.before


def test_all_machines_are_on_and_all_their_services_run(failback: Ended, reference: Inventory) -> None:
    machines = failback.truth["machines"]
    assert {name: state["power"] for name, state in machines.items()} == {m.name: "on" for m in reference.machines}
    assert {status for state in machines.values() for status in state["services"].values()} == {"running"}


def test_both_pairs_are_where_they_were_and_no_node_is_in_standby(failback: Ended) -> None:
    for kind, here in (("storage", "acd-store1"), ("load_balancer", "acd-lb1")):
        pair = failback.truth["pairs"][kind]
        resources = set(pair["resources"].values())
        assert (pair["primary"], pair["address"], resources, pair["idle"]) == ([here], here, {here}, True), kind
        assert {(node["online"], node["standby"]) for node in pair["nodes"].values()} == {(True, False)}, kind
        assert pair["failures"] == 0, kind


def test_drbd_is_in_step_on_both(failback: Ended) -> None:
    storage = failback.truth["pairs"]["storage"]
    assert storage["mounted"] == "acd-store1"
    assert storage["drbd"] == dict.fromkeys(("acd-store1", "acd-store2"), "Connected UpToDate")


def test_replication_runs_everywhere_without_lag(failback: Ended) -> None:
    assert len(failback.truth["replication"]) == 4
    states = [(channel["io"], channel["sql"], channel["lag"]) for channel in failback.truth["replication"].values()]
    assert set(states) == {("Yes", True, 0)}


def test_writes_go_to_the_master_that_took_them_before(both: ThereAndBack) -> None:
    assert both.back.truth["writer"] == both.before["writer"] == "acd-dbm1"


def test_both_haproxies_have_every_server_ready_and_up(failback: Ended, reference: Inventory) -> None:
    expected = {f"{b.name}/{server}": "ready up" for b in reference.haproxy.backends for server in b.servers}
    assert failback.truth["balancers"] == {"acd-lb1": expected, "acd-lb2": expected}


def test_only_the_survivors_haproxy_was_set_and_that_once(failback: Ended, reference: Inventory) -> None:
    (survivor,) = side(reference, survivor_of(failback), Role.LOAD_BALANCER)
    servers = [
        f"haproxy {backend.name}/{server} ready"
        for backend in reference.haproxy.backends
        for server, machine in backend.servers.items()
        if machine in side(reference, failback.vacated)
    ]
    assert {key: n for key, n in failback.done.items() if key[1].startswith("haproxy ")} == {
        (survivor, server): 1 for server in servers
    }


def test_exactly_one_daemon_runs_where_it_ran(failback: Ended) -> None:
    assert [name for name, state in failback.truth["machines"].items() if state["daemon"] == "running"] == ["acd-tel1"]


def test_nothing_is_silenced_and_no_backup_is_left(failback: Ended) -> None:
    assert failback.truth["silenced"] == []
    assert not any(state["snapshots"] or state["files"] for state in failback.truth["machines"].values())


def test_the_surviving_master_was_backed_up(failback: Ended, reference: Inventory) -> None:
    (master,) = side(reference, survivor_of(failback), Role.DATABASE_MASTER)
    dumps = {machine for machine, operation in failback.done if operation.startswith("mysqldump ")}
    assert dumps == {master}


def test_machines_were_started_in_the_procedures_order(failback: Ended, reference: Inventory) -> None:
    order = (
        (Role.STORAGE,),
        (Role.LOAD_BALANCER,),
        (Role.DATABASE_MASTER,),
        (Role.DATABASE_REPLICA,),
        tuple(APPLICATION_ROLES),
    )
    groups = [side(reference, failback.vacated, *roles) for roles in order]
    started = {machine for machine, operation in failback.done if operation == "power on"}
    assert started == set().union(*groups)
    # Only what came after the last machine had gone off belongs to the way back.
    way_back = failback.power[max(i for i, (what, _) in enumerate(failback.power) if what == "off") :]
    for earlier, later in pairwise(groups):
        last_on = max(way_back.index(("on", machine)) for machine in earlier)
        first_asked = min(way_back.index(("asked", machine)) for machine in later)
        assert last_on < first_asked, (earlier, later)


def test_what_started_with_its_machine_was_stopped_before_anything_moved(failback: Ended, reference: Inventory) -> None:
    operations = [(entry.machine, entry.operation) for entry in failback.journal if entry.effect == "done"]
    returned = side(reference, failback.vacated)
    stops = [i for i, (m, op) in enumerate(operations) if m in returned and op.startswith("stop ")]
    moves = [i for i, (_, op) in enumerate(operations) if op.startswith("pcs node standby")]
    starts = [i for i, (_, op) in enumerate(operations) if op.startswith("start ")]
    assert stops
    assert max(stops) < min(starts)
    # Where the surviving side was the active one nothing moves: the pairs stay where they are.
    assert bool(moves) == (failback.vacated == "vm-host-1")
    assert all(max(stops) < move < min(starts) for move in moves)


# --- what the run says of it ------------------------------------------------------------------------------------------


def test_the_report_is_complete_and_typed(failback: Ended) -> None:
    report = failback.report
    assert RunReport.model_validate_json(report.model_dump_json()) == report
    assert (report.direction, report.vacated, report.surviving) == (
        "failback",
        failback.vacated,
        survivor_of(failback),
    )
    # Where the surviving side was the active one both pairs stay where they are.
    not_needed = () if failback.vacated == "vm-host-1" else (9, 10)
    assert {stage.number: stage.state for stage in report.stages} == {
        number: "not needed" if number in not_needed else "ended" for number in range(17)
    }
    assert report.waits == ()
    assert report.notes == ()
    assert report.next_steps == ()


def test_the_report_has_each_step_with_its_outcome_and_evidence(failback: Ended) -> None:
    steps = failback.report.steps
    assert {step.state for step in steps} == {StepState.ENDED}
    assert {step.outcome for step in steps} <= {Outcome.DONE, Outcome.UNCHANGED, Outcome.NOT_APPLICABLE}
    assert not any(step.problem for step in steps)
    for step in steps:
        if step.kind not in ("observe", "gate"):
            assert step.report is not None, step.id
            assert step.report.seen, step.id
            assert step.report.evidence, step.id


def test_the_outage_measured_is_the_one_the_callers_saw(failback: Ended) -> None:
    measured = failback.report.outage
    assert measured is not None
    assert measured.began is not None
    assert measured.ended is not None
    assert measured.gaps == ()
    began, end = measured.began.timestamp(), measured.ended.timestamp()
    seen = [o for o in failback.caller_outages if o.first_success >= began - LATE]
    assert seen[0].last_success - LATE <= began <= seen[0].first_failure + LATE
    assert measured.duration > timedelta(seconds=2)
    assert end > began
