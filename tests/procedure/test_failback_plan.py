"""The plan of a failback: what waits for what, whatever the inventory, and what it restores."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inventory.approval import Approval, GatePolicy
from inventory.models import CommandProbe, Inventory, ManualMonitoring
from procedure import failback, timing
from procedure.as_found import AsFound
from procedure.commands import CheckBalancer, LiftSilence, RemoveBackup, SetMaintenance, StartMachine
from procedure.facts import Facts
from procedure.plan import Gate, OperatorTask, Plan
from procedure.rendering import as_text
from procedure.situation import Situation
from tests.procedure.test_failover_on_paper import HOSTS, with_method
from tests.procedure.test_plan import ancestors
from tests.procedure.variants import moved_by_hand


def drawn_up(inventory: Inventory, host: str = "vm-host-1", **as_found: object) -> Plan:
    found = AsFound.normal(inventory).model_copy(update=as_found)
    return failback.plan(Situation(inventory, host), found, "back", earlier="there")


def ids(plan: Plan, stage: int) -> list[str]:
    return [step.id for step in plan.steps_of(stage)]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("method", ["standby", "move"])
def test_every_stage_has_its_number_and_its_label(method: str, host: str, inventory: Inventory) -> None:
    found = drawn_up(with_method(inventory, method), host)

    assert [stage.number for stage in found.stages] == list(range(17))
    assert all(stage.label for stage in found.stages)
    assert all(found.steps_of(stage.number) or stage.note for stage in found.stages), "no step, no reason"
    assert (found.direction, found.outage_from, found.outage_until) == ("failback", 3, 15)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("method", ["standby", "move"])
def test_what_waits_for_what(method: str, host: str, inventory: Inventory) -> None:
    found = drawn_up(with_method(inventory, method), host)
    checks = set(ids(found, 8))

    for each in found.steps:
        before = ancestors(found, each.id)
        assert not each.mutates or "0-gate-before-start" in before
        assert each.stage < 5 or "4-drain-sessions" in before
        assert each.stage < 8 or {"7-drain-sessions", *ids(found, 5), *ids(found, 6)} <= before
        assert each.stage < 9 or checks <= before
        assert each.stage < 12 or set(ids(found, 11)) <= before
        assert each.stage != 16 or "15-gate-functionality" in before
    everything = {s.id for s in found.steps if s.stage < 16} - {"15-gate-functionality"}
    assert everything <= ancestors(found, "15-gate-functionality")


def test_machines_return_in_order(inventory: Inventory) -> None:
    found = drawn_up(inventory)

    chain = ("4-drain-sessions", "5-start-acd-store1", "5-start-acd-lb1", "5-start-acd-dbm1", "5-start-acd-dbs1")
    for first, then in zip(chain, (*chain[1:], "5-start-acd-jb1"), strict=True):
        assert found.step(then).after == (first,)
    started = {s.action.machine for s in found.steps if isinstance(s.action, StartMachine)}
    assert started == {m.name for m in inventory.machines if m.host == "vm-host-1"}
    assert found.step("5-rejoin-acd-store1").after == ("5-start-acd-store1",), "DRBD synchronises meanwhile"
    assert found.step("6-stop-wildfly-acd-jb1").after == ("5-start-acd-jb1",)


def test_the_pairs_go_back_only_to_where_they_were_found(inventory: Inventory) -> None:
    found = drawn_up(inventory, storage="acd-store2")

    assert ids(found, 9) == []
    assert "The storage pair stays on acd-store2, where it was found." in found.stages[9].note
    assert ids(found, 10) == ["10-move-load-balancer", "10-rejoin-acd-lb2"]


def test_a_failback_to_the_side_that_stands_by_moves_nothing(inventory: Inventory) -> None:
    found = drawn_up(inventory, "vm-host-2")

    assert ids(found, 9) == ids(found, 10) == []
    assert "13-stop-daemon-acd-tel2" in ids(found, 13)
    ready = found.step("11-ready-acd-lb1").action
    assert isinstance(ready, SetMaintenance)
    assert (ready.state, "acd-dbm2" in ready.machines) == ("ready", True)


def test_what_moves_leave_is_cleared_before_and_after(inventory: Inventory) -> None:
    found = drawn_up(with_method(inventory, "move"))

    assert ids(found, 9) == ["9-clear-the-move-to-acd-store2", "9-move-storage", "9-clear-the-move-to-acd-store1"]
    assert ids(found, 5)[-2:] == ["5-rejoin-acd-store1", "5-rejoin-acd-lb1"]


def test_without_a_report_the_normal_state_is_restored_and_the_plan_says_so(inventory: Inventory) -> None:
    situation = Situation(inventory, "vm-host-1")
    found = failback.plan(situation, AsFound.normal(inventory), "back")

    assert "No report of a failover was given" in found.stages[0].note
    assert "Which backup the failover kept is not known here" in found.stages[16].note
    assert ids(found, 16) == ["16-remove-backup-acd-dbm2"]
    compare = found.step("11-compare-acd-lb1").action
    assert isinstance(compare, CheckBalancer)
    assert compare.running is None
    assert {(s.admin, s.weight, s.backup, s.address) for s in compare.found} == {("ready", None, None, "")}
    assert "reads as the inventory says" in found.step("15-compare-acd-lb2").title
    gate = found.step("0-gate-before-start").action
    assert isinstance(gate, Gate)
    assert gate.question == "Bring vm-host-1 back, and the cluster to its normal state?"


def test_both_backups_are_removed_in_the_end(inventory: Inventory) -> None:
    found = drawn_up(inventory, observed=True)
    removed = [s.action for s in found.steps_of(16) if isinstance(s.action, RemoveBackup)]

    assert [(c.machine, c.path) for c in removed] == [
        ("acd-dbm2", "/srv/backup/failover-back.sql"),
        ("acd-dbm1", "/srv/backup/failover-there.sql"),
    ]


def test_the_daemon_is_started_where_it_was_found_and_nowhere_else(inventory: Inventory) -> None:
    found = drawn_up(inventory, daemon=("acd-tel2",))

    assert ids(found, 13) == ["13-stop-daemon-acd-tel1", "13-start-daemon-acd-tel2"]
    assert "12-start-8-server-acd-tel2" in ancestors(found, "13-start-daemon-acd-tel2")


def test_where_only_a_person_could_see_the_daemon_it_is_asked(inventory: Inventory) -> None:
    changed = inventory.model_copy(update={"daemon": inventory.daemon.model_copy(update={"commands": None})})
    found = drawn_up(changed, daemon=())

    tasks = [s.action for s in found.steps_of(13)]
    assert [isinstance(task, OperatorTask) for task in tasks] == [True, True]
    assert "If that was not acd-tel1, let it run there instead." in found.stages[13].note


def test_all_machines_raise_alarms_again_and_stay_silenced_until_then(inventory: Inventory) -> None:
    found = drawn_up(inventory)
    lifted = [s.action for s in found.steps_of(14) if isinstance(s.action, LiftSilence)]

    assert {m for lift in lifted for m in lift.machines} == {m.name for m in inventory.machines}
    assert [u.until for u in found.upkeep] == [("14-lift-silence-vm-host-1",), ("14-lift-silence-vm-host-2",)]
    assert {u.after for u in found.upkeep} == {("2-silence-vm-host-1", "2-silence-vm-host-2")}
    kept = {s.id: s.action.keep_if_off for s in found.on_abort if isinstance(s.action, LiftSilence)}
    assert kept == {"14-on-abort-lift-silence-vm-host-2": False, "14-on-abort-lift-silence-vm-host-1": True}


def test_without_a_monitoring_server_a_person_silences_and_restores(inventory: Inventory) -> None:
    found = drawn_up(inventory.model_copy(update={"monitoring": ManualMonitoring()}))

    assert ids(found, 2) == ["2-silence-by-hand"]
    assert ids(found, 14) == ["14-restore-by-hand"]
    assert [s.id for s in found.on_abort] == ["14-on-abort-restore-by-hand"]


def test_probes_of_both_sides_are_run(inventory: Inventory) -> None:
    probe = CommandProbe(name="mail", machine="acd-api1", command=("true",))
    found = drawn_up(inventory.model_copy(update={"probes": (*inventory.probes, probe)}))

    assert "15-probe-mail" in ids(found, 15)


def test_what_only_a_person_can_vouch_for_is_of_machines_that_are_on(inventory: Inventory) -> None:
    gates = Approval(before_start=GatePolicy(deadline=timedelta(hours=1)))
    found = drawn_up(moved_by_hand(inventory).model_copy(update={"approval": gates}))

    gate = found.step("0-gate-before-start").action
    assert isinstance(gate, Gate)
    assert "8-Server runs on acd-tel2 as it should." in gate.vouched
    assert "8-Server runs on acd-tel1 as it should." not in gate.vouched
    last = found.step("15-gate-functionality").action
    assert isinstance(last, Gate)
    assert "AcdGroupDistribute runs again on acd-tel1. For that machine:" in last.checklist


def test_no_gate_makes_the_outage_longer(inventory: Inventory) -> None:
    found = drawn_up(inventory)

    assert timing.gates_within_outage(found) == ()
    assert timing.expected_outage(found) < timing.expected_duration(found)
    last_start = max(timing.spans(found)[step].ends for step in ids(found, 12))
    assert timing.expected_outage(found) == last_start - timing.spans(found)["3-stop-wildfly-acd-jb4"].begins


def test_it_reads_as_a_return(inventory: Inventory) -> None:
    text = as_text(drawn_up(inventory), Situation(inventory, "vm-host-1"))

    assert text.startswith("Failback of cluster reference: vm-host-1 returns, vm-host-2 goes on\n")


def test_a_person_who_starts_a_machine_reads_what_is_looked_at(inventory: Inventory) -> None:
    changed = moved_by_hand(inventory)

    text = as_text(drawn_up(changed), Situation(changed, "vm-host-1"))

    assert (
        "Switch acd-store1 on, on vm-host-1, and wait until it is up.\n        until: acd-store1 is on and up" in text
    )


def test_instructions_on_paper_are_those_of_the_run(inventory: Inventory) -> None:
    situation = Situation(inventory, "vm-host-1")

    sent = StartMachine(machine="acd-lb1").instructions(situation, Facts())

    assert [i.text for i in sent] == ["ssh vm-host-1 sudo -n virsh --connect qemu:///system start acd-lb1"]
