"""After every step of a failover: what was done is taken back, and the cluster's true state is as it was found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from inventory.models import Inventory
from procedure import failback, rollback
from procedure.as_found import AsFound
from procedure.plan import Gate, OperatorTask, Plan, Step
from procedure.reports import Outcome
from procedure.rollback import Begun, Undo
from procedure.situation import Situation
from tests.procedure.conftest import all_facts
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import Choose, PaperRun
from tests.procedure.test_failback_on_paper import truth
from tests.procedure.test_failover_on_paper import HOSTS, drawn_up, with_method
from tests.procedure.variants import moved_by_hand


class Paper:
    """A failover on paper that stops in the middle, and its roll-back."""

    def __init__(self, inventory: Inventory, host: str) -> None:
        self.situation, self.cluster = Situation(inventory, host), PaperCluster(inventory)
        self.run = PaperRun(self.situation, self.cluster)
        self.before = truth(self.cluster)
        facts = all_facts(self.cluster, self.situation)
        self.plan = drawn_up(self.situation, self.cluster)
        self.as_found = AsFound.from_facts(self.situation, facts)
        self.begun: list[Begun] = []

    def perform(self, step: Step) -> None:
        outcome = Outcome(self.run.perform(step))
        self.begun.append(Begun(step=step.id, outcome=outcome, attempts=0 if _asks(step) else 1))

    def up_to(self, last: str) -> None:
        for step in self.plan.in_order():
            self.perform(step)
            if step.id == last:
                return

    def drawn_up(self) -> Plan:
        return rollback.plan(self.situation, self.as_found, Undo(run=self.plan, begun=tuple(self.begun)))

    def rolled_back(self, choose: Choose = lambda ready: ready[0]) -> Plan:
        plan = self.drawn_up()
        PaperRun(self.situation, self.cluster).run(plan, choose)
        return plan


class Failback(Paper):
    """The same for a failback, after a failover that completed."""

    def __init__(self, inventory: Inventory, host: str) -> None:
        super().__init__(inventory, host)
        self.up_to(self.plan.in_order()[-1].id)
        self.before = truth(self.cluster)
        self.plan = failback.plan(self.situation, self.as_found, "back", earlier="test")
        self.begun.clear()


def _asks(step: Step) -> bool:
    return isinstance(step.action, Gate | OperatorTask)


def before_power_off(plan: Plan) -> Iterator[str]:
    for step in plan.in_order():
        if rollback.ends_the_way_back(step):
            return
        yield step.id


@pytest.mark.parametrize("method", ["standby", "move"])
@pytest.mark.parametrize("host", HOSTS)
def test_after_every_step_the_state_is_as_found(host: str, method: str, inventory: Inventory) -> None:
    inventory = with_method(inventory, method)
    for last in before_power_off(Paper(inventory, host).plan):
        paper = Paper(inventory, host)
        paper.up_to(last)
        paper.rolled_back()
        assert truth(paper.cluster) == paper.before, last


@pytest.mark.parametrize("host", HOSTS)
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_in_any_order_that_both_graphs_allow(host: str, inventory: Inventory, data: st.DataObject) -> None:
    paper = Paper(inventory, host)
    choice = data.draw(st.randoms(use_true_random=False))
    possible = set(before_power_off(paper.plan))
    left = [step for step in paper.plan.steps if step.id in possible]
    over: set[str] = set()
    for _ in range(data.draw(st.integers(0, len(left)))):
        step = choice.choice([step for step in left if set(step.after) <= over])
        left.remove(step)
        paper.perform(step)
        over.add(step.id)

    paper.rolled_back(choice.choice)

    assert truth(paper.cluster) == paper.before


def test_what_undoes_a_step_waits_for_what_undoes_all_that_came_after_it(inventory: Inventory) -> None:
    paper = Paper(inventory, "vm-host-1")
    paper.up_to(list(before_power_off(paper.plan))[-1])
    plan = paper.drawn_up()
    order = [step.id for step in plan.in_order()]

    balancer = order.index("22-undo-move-load-balancer")
    assert order.index("21-undo-maint-acd-lb1") < balancer
    assert order.index("21-undo-maint-acd-lb2") < balancer
    storage = [order.index(f"23-undo-move-storage{again}") for again in ("", "-2", "-3")]
    assert balancer < storage[0] < storage[1] < storage[2]
    assert all(storage[2] < place for place, step in enumerate(order) if step.startswith("24-"))
    assert "24-undo-stop-8-server-acd-tel1" in plan.step("40-start-daemon-acd-tel1").after
    assert order.index("24-await-servers-up-acd-lb1") < order.index("41-lift-silence-vm-host-1")
    assert order[0] == "20-gate-roll-back"
    assert [stage.title for stage in plan.stages if plan.steps_of(stage.number)] == [
        "Decide about the roll-back",
        "Undo: Set MAINT",
        "Undo: Move load balancer",
        "Undo: Move storage",
        "Undo: Stop software",
        "Start the daemon",
        "Restore monitoring",
        "Check that all is as found",
        "Remove backups",
    ]


def test_the_gate_says_what_is_taken_back(inventory: Inventory) -> None:
    paper = Paper(inventory, "vm-host-1")
    paper.up_to("5-move-storage")
    gate = paper.drawn_up().steps[0]
    assert isinstance(gate.action, Gate)
    assert gate.title == "Roll back what this failover has done?"
    assert "Move storage (1), Stop software (22), Back up (7)." in gate.action.question
    assert "It takes about 2m 53s until all is checked." in gate.action.question


def test_what_was_unchanged_or_not_applicable_is_left_alone(inventory: Inventory) -> None:
    paper = Paper(inventory, "vm-host-1")
    maint = paper.plan.step("7-maint-acd-lb1")
    for outcome, attempts in ((Outcome.UNCHANGED, 1), (Outcome.NOT_APPLICABLE, 1), (Outcome.SKIPPED, 0)):
        paper.begun = [Begun(step=maint.id, outcome=outcome, attempts=attempts)]
        assert not [step for step in paper.drawn_up().steps if "maint" in step.id], outcome
    for outcome, attempts in ((Outcome.UNCHANGED, 2), (Outcome.FAILED, 1), (Outcome.UNKNOWN, 1), (Outcome.SKIPPED, 1)):
        paper.begun = [Begun(step=maint.id, outcome=outcome, attempts=attempts)]
        assert [step.id for step in paper.drawn_up().steps if "maint" in step.id] == ["21-undo-maint-acd-lb1"], outcome


def test_a_service_that_did_not_run_before_is_not_started(inventory: Inventory) -> None:
    paper = Paper(inventory, "vm-host-1")
    running = tuple(c for c in paper.as_found.running if c.machine != "acd-jb4")
    paper.as_found = paper.as_found.model_copy(update={"running": running})
    paper.begun = [
        Begun(step=f"3-stop-wildfly-{machine}", outcome=Outcome.UNCHANGED, attempts=1)
        for machine in ("acd-jb1", "acd-jb4")
    ]
    # It ran on acd-jb1 when it was looked at, so somebody of this run has stopped it, whoever says so.
    started = [step.id for step in paper.drawn_up().steps if "wildfly" in step.id]
    assert started == ["21-undo-stop-wildfly-acd-jb1"]


def test_the_daemon_that_ended_with_its_8_server_is_started_again(inventory: Inventory) -> None:
    paper = Paper(inventory, "vm-host-1")
    paper.up_to("3-stop-8-server-acd-tel1")
    paper.cluster.daemon.clear()
    paper.rolled_back()
    assert truth(paper.cluster) == paper.before


def test_what_persons_did_is_taken_back_by_persons(inventory: Inventory) -> None:
    paper = Paper(moved_by_hand(inventory), "vm-host-1")
    paper.up_to("8-stop-daemon-acd-tel1")
    plan = paper.rolled_back()

    tasks = {step.title: step.action for step in plan.steps if isinstance(step.action, OperatorTask)}
    assert list(tasks) == [
        "Start 8-Server on acd-tel2 by hand",
        "Start 8-Server on acd-tel1 by hand",
        "Move the monitoring server back",
        "Start AcdGroupDistribute by hand",
        "Restore monitoring",
    ]
    assert (
        "where it ran before this failover, and nowhere else" in tasks["Start AcdGroupDistribute by hand"].instructions
    )


def test_after_the_power_off_the_way_back_starts_machines_in_order(inventory: Inventory) -> None:
    paper = Paper(inventory, "vm-host-1")
    paper.up_to(paper.plan.in_order()[-1].id)
    steps = [step.title for step in paper.drawn_up().in_order()]
    on = [title.removeprefix("Start ") for title in steps if title.startswith("Start acd-")]
    assert on[:4] == ["acd-store1", "acd-lb1", "acd-dbm1", "acd-dbs1"]
    assert len(on) == 10
    assert steps.index("Start acd-store1") < steps.index("Set all servers of vm-host-1 to READY on acd-lb2")


@pytest.mark.parametrize("host", HOSTS)
def test_after_every_step_of_a_failback_until_machines_start(host: str, inventory: Inventory) -> None:
    for last in before_power_off(Failback(inventory, host).plan):
        paper = Failback(inventory, host)
        paper.up_to(last)
        paper.rolled_back()
        assert truth(paper.cluster) == paper.before, last


def test_no_way_back_begins_with_a_gate_or_the_power_of_a_machine(inventory: Inventory) -> None:
    failover = Paper(inventory, "vm-host-1").plan
    failback = Failback(inventory, "vm-host-1").plan
    by_hand = Failback(moved_by_hand(inventory), "vm-host-1").plan
    assert next(s.id for s in failover.in_order() if rollback.ends_the_way_back(s)) == "9-gate-before-power-off"
    assert next(s.id for s in failback.in_order() if rollback.ends_the_way_back(s)) == "5-start-acd-store1"
    assert next(s.id for s in by_hand.in_order() if rollback.ends_the_way_back(s)) == "5-start-acd-store1"
