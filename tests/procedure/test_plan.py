"""A plan is a graph, says when it is none, and tells how long it takes."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inventory.approval import Approval, GatePolicy
from inventory.models import Inventory, ManualMonitoring, ManualPower
from procedure import failover, timing
from procedure.as_found import AsFound
from procedure.commands import RunProbe, SilenceMonitoring
from procedure.facts import Facts
from procedure.plan import Gate, OperatorTask, Plan, Stage, Step, Upkeep
from procedure.situation import Situation
from procedure.subjects import ClusterOn
from tests.procedure.altered import servers_with, unseen


def step(name: str, *after: str, seconds: int = 1) -> Step:
    return Step(
        id=name, stage=3, title=name, action=RunProbe(name=name), after=after, expected=timedelta(seconds=seconds)
    )


def plan(*steps: Step, upkeep: tuple[Upkeep, ...] = ()) -> Plan:
    return Plan(
        direction="failover", cluster="c", vacated="a", surviving="b", reference="r",
        stages=(Stage(number=3, label="step 3", title="Stop software"),), steps=steps, upkeep=upkeep,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((step("a"), step("a")), "two steps are called a"),
        ((step("a", "b"),), "waits for b, which the plan does not have"),
        ((step("a", "b"), step("b", "a")), "in a circle"),
        ((step("a", "a"),), "in a circle"),
        ((step("a").model_copy(update={"stage": 9}),), "belongs to stage 9"),
    ],
)
def test_what_is_no_plan_is_refused(steps: tuple[Step, ...], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        plan(*steps)


def test_upkeep_refers_to_steps_that_exist() -> None:
    command = SilenceMonitoring(machines=("m",), comment="x")
    with pytest.raises(ValidationError, match="refers to b"):
        plan(step("a"), upkeep=(Upkeep(command=command, every=timedelta(hours=1), until=("b",)),))


def test_a_digest_differs_when_anything_does_and_survives_json() -> None:
    first, second = plan(step("a"), step("b")), plan(step("a"), step("b", "a"))

    assert first.digest != second.digest
    assert Plan.model_validate_json(first.model_dump_json()).digest == first.digest
    assert len(first.digest) == 16


def test_a_plan_of_a_newer_version_is_still_read() -> None:
    newer = plan(step("a")).model_dump() | {"something": "new"}

    assert Plan.model_validate(newer) == plan(step("a"))


def test_the_critical_path_is_the_longest_chain() -> None:
    found = timing.critical_path(plan(step("a", seconds=5), step("b", seconds=2), step("c", "a", "b"), step("d", "b")))

    assert found.steps == ("a", "c")
    assert found.duration == timedelta(seconds=6)


@given(st.lists(st.tuples(st.integers(0, 60), st.sets(st.integers(0, 15))), min_size=1, max_size=16))
def test_no_step_begins_before_what_it_waits_for_is_over(drawn: list[tuple[int, set[int]]]) -> None:
    steps = [
        step(f"s{i}", *(f"s{j}" for j in sorted(before) if j < i), seconds=seconds)
        for i, (seconds, before) in enumerate(drawn)
    ]
    drawn_plan = plan(*steps)
    spans = timing.spans(drawn_plan)

    assert all(spans[b].ends <= spans[s.id].begins for s in steps for b in s.after)
    path = timing.critical_path(drawn_plan)
    assert sum((drawn_plan.step(s).expected for s in path.steps), timedelta()) == path.duration
    assert path.duration <= sum((s.expected for s in steps), timedelta())


# --- failover plans of other inventories ------------------------------------------------------------------------------


def drawn_up(inventory: Inventory, host: str = "vm-host-1") -> Plan:
    return failover.plan(Situation(inventory, host), AsFound.normal(inventory), "test")


@pytest.mark.parametrize("host", ["vm-host-1", "vm-host-2"])
def test_every_stage_has_its_number_and_its_label(inventory: Inventory, host: str) -> None:
    found = drawn_up(inventory, host)

    assert [stage.number for stage in found.stages] == list(range(15))
    assert all(stage.label for stage in found.stages)
    assert all(found.steps_of(stage.number) or stage.note for stage in found.stages), "no step, no reason"


def ancestors(found: Plan, name: str) -> set[str]:
    """All that must be over before a step."""
    over: dict[str, set[str]] = {}
    for each in found.in_order():
        over[each.id] = set(each.after).union(*(over[before] for before in each.after))
    return over[name]


def test_nothing_is_touched_before_the_first_gate_and_nothing_moves_before_the_drain(inventory: Inventory) -> None:
    found = drawn_up(inventory)

    for each in found.steps:
        before = ancestors(found, each.id)
        assert not each.mutates or "0-gate-before-start" in before
        assert each.stage not in (5, 6, 7, 9) or "4-drain-sessions" in before
        assert each.stage != 3 or {s.id for s in found.steps if s.stage in (1, 2)} <= before
        assert not each.id.startswith("9-shut") or "9-gate-before-power-off" in before
        assert each.stage != 14 or "13-gate-functionality" in before
    behind = {"13-gate-functionality", "12-keep-silent-vm-host-1"}
    checked = {s.id for s in found.steps if s.stage in (8, 10, 11, 12, 13)} - behind
    assert checked <= ancestors(found, "13-gate-functionality")


def test_a_gate_that_is_switched_off_leaves_its_predecessors(inventory: Inventory) -> None:
    off = GatePolicy(enabled=False)
    found = drawn_up(inventory.model_copy(update={"approval": Approval(before_start=off, before_power_off=off)}))

    assert [s.id for s in found.steps if isinstance(s.action, Gate)] == ["13-gate-functionality"]
    assert "4-drain-sessions" in ancestors(found, "9-shut-down-acd-tel1")
    assert "0-observe-acd-tel1" in ancestors(found, "2-silence-vm-host-1")
    task = found.step("9-instead-of-gate-before-power-off").action
    assert isinstance(task, OperatorTask)
    assert "address parameters" in task.instructions
    assert "started on acd-tel2" in task.instructions
    assert "9-instead-of-gate-before-power-off" in ancestors(found, "9-shut-down-acd-tel1")


def test_what_only_a_person_can_vouch_for_is_asked_without_a_gate_too(inventory: Inventory) -> None:
    off = GatePolicy(enabled=False)
    hosts = tuple(host.model_copy(update={"power": ManualPower()}) for host in inventory.vm_hosts)
    approval = Approval(before_start=off, functionality=off)
    found = drawn_up(inventory.model_copy(update={"approval": approval, "vm_hosts": hosts}))

    first = found.step("0-instead-of-gate-before-start").action
    assert isinstance(first, OperatorTask)
    assert "No machine of vm-host-1 starts by itself when the host boots." in first.instructions
    assert all("0-instead-of-gate-before-start" in ancestors(found, s.id) for s in found.steps if s.stage > 0)
    last = found.step("13-instead-of-gate-functionality").action
    assert isinstance(last, OperatorTask)
    assert last.instructions.splitlines() == list(inventory.checklist)


def test_what_only_a_person_can_do_is_an_operator_task(inventory: Inventory) -> None:
    by_hand = tuple(
        c.model_copy(update={"by_hand_on": ("acd-tel1", "acd-tel2")}) if c.name == "8-Server" else c
        for c in inventory.components
    )
    daemon = inventory.daemon.model_copy(update={"commands": None})
    hosts = tuple(host.model_copy(update={"power": ManualPower()}) for host in inventory.vm_hosts)
    found = drawn_up(
        inventory.model_copy(
            update={
                "components": by_hand,
                "daemon": daemon,
                "vm_hosts": hosts,
                "monitoring": ManualMonitoring(host="vm-host-1"),
            }
        )
    )

    tasks = {s.id: s.action for s in found.steps if isinstance(s.action, OperatorTask)}
    assert set(tasks) == {
        "2-move-monitoring-server",
        "2-silence-by-hand",
        "3-stop-8-server-acd-tel1",
        "3-stop-8-server-acd-tel2",
        "11-start-8-server-acd-tel2",
        "8-stop-daemon-acd-tel1",
        "8-start-daemon-acd-tel2",
        "12-restore-by-hand",
    }
    assert "starter window first" in tasks["3-stop-8-server-acd-tel1"].instructions
    assert "8-stop-daemon-acd-tel1" in ancestors(found, "9-shut-down-acd-tel1")
    assert "2-move-monitoring-server" in ancestors(found, "2-silence-by-hand")
    gate = found.step("0-gate-before-start").action
    assert isinstance(gate, Gate)
    assert "No machine of vm-host-2 starts by itself when the host boots." in gate.vouched
    assert "8-Server runs on acd-tel1 as it should." in gate.vouched
    assert [isinstance(s.action, OperatorTask) for s in found.on_abort] == [True]
    assert "can make none" in found.stages[1].note


def test_a_backup_that_is_not_kept_is_deleted_where_its_machine_stays(inventory: Inventory) -> None:
    backup = inventory.backup.model_copy(update={"keep_until_failback": False})
    changed = inventory.model_copy(update={"backup": backup})

    assert "14-remove-backup-acd-dbm1" in {s.id for s in drawn_up(changed, "vm-host-2").steps}
    vacating_it = drawn_up(changed, "vm-host-1")
    assert "14-remove-backup-acd-dbm1" not in {s.id for s in vacating_it.steps}
    assert "acd-dbm1 is off" in vacating_it.stages[14].note


def test_order_within_a_machine_is_an_edge_in_both_directions(inventory: Inventory) -> None:
    ordered = tuple(
        c.model_copy(update={"start_after": ("Presence Aggregator",)}) if c.name == "8-Server" else c
        for c in inventory.components
    )
    found = drawn_up(inventory.model_copy(update={"components": ordered}))

    assert found.step("3-stop-presence-aggregator-acd-tel2").after == ("3-stop-8-server-acd-tel2",)
    assert found.step("11-start-8-server-acd-tel2").after == ("11-start-presence-aggregator-acd-tel2",)


# --- as found ---------------------------------------------------------------------------------------------------------


def test_as_found_is_what_was_seen(situation: Situation, facts: Facts) -> None:
    found = AsFound.from_facts(situation, servers_with(facts, "acd-lb2", "web/acd-jb3", admin="drain"))

    assert (found.storage, found.load_balancer, found.writer) == ("acd-store1", "acd-lb1", "acd-dbm1")
    assert found.daemon == ("acd-tel1",)
    states = {(b.balancer, s.backend, s.server): s.admin for b in found.balancers for s in b.servers}
    assert states["acd-lb2", "web", "acd-jb3"] == "drain"
    normal = AsFound.normal(situation.inventory)
    assert set(found.running) == set(normal.running)
    assert (normal.storage, normal.writer, normal.daemon) == (found.storage, found.writer, found.daemon)


def test_as_found_is_never_guessed(situation: Situation, facts: Facts) -> None:
    blind = unseen(facts, ClusterOn(machine="acd-store1"), ClusterOn(machine="acd-store2"))

    with pytest.raises(ValueError, match="storage pair can't be told"):
        AsFound.from_facts(situation, blind)


def test_snapshots_are_taken_one_at_a_time_after_the_dump_and_never_of_a_pair_in_a_row(inventory: Inventory) -> None:
    found = drawn_up(inventory)
    steps = [s for s in found.steps_of(1) if s.action.kind == "take_snapshot"]

    assert [s.after for s in steps] == [("1-back-up-acd-dbm1",), *((s.id,) for s in steps[:-1])]
    machines = [getattr(s.action, "target", "") for s in steps]
    assert {inventory.machine(m).normal for m in machines[:3]} == {"standby"}
    assert all(inventory.machine(a).role != inventory.machine(b).role for a, b in pairwise(machines))


def test_the_vacated_machines_stay_silenced_when_the_run_is_over(inventory: Inventory) -> None:
    found = drawn_up(inventory)
    silence = found.step("12-keep-silent-vm-host-1")

    assert "13-gate-functionality" in ancestors(found, silence.id), "a gate may stay open for longer than any silence"
    assert isinstance(silence.action, SilenceMonitoring)
    (instruction,) = silence.action.instructions(Situation(inventory, "vm-host-1"), Facts())
    assert instruction.text.endswith("for 1d")


def test_the_gates_that_make_an_outage_longer_are_named(inventory: Inventory) -> None:
    assert timing.gates_within_outage(drawn_up(inventory)) == ("9-gate-before-power-off",)

    off = Approval(before_power_off=GatePolicy(enabled=False))
    assert timing.gates_within_outage(drawn_up(inventory.model_copy(update={"approval": off}))) == ()
