"""A run that ended in the middle is carried on by another: what is done stays done, and the end is the same."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import pytest

from inventory.models import Inventory
from procedure import adopting, failover
from procedure.adopting import Adopted, Begun
from procedure.as_found import AsFound
from procedure.facts import Facts
from procedure.instructions import Instruction
from procedure.plan import Gate, Observe, Plan, Step
from procedure.reports import Outcome
from procedure.situation import Situation
from tests.procedure.altered import drbd_with
from tests.procedure.conftest import all_facts
from tests.procedure.one_sided import vacate
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import PaperRun
from tests.procedure.test_failover_on_paper import HOSTS, assert_vacated, with_method

EVERY = 13
"""Every so manieth step is one after which the run ends: all would take minutes, and none is special."""


class Watched(PaperCluster):
    """Remembers what was sent."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory)
        self.sent: list[str] = []

    def carry_out(self, instruction: Instruction) -> None:
        self.sent.append(instruction.text)
        super().carry_out(instruction)


@dataclass
class Ended:
    """A run that ended in the middle, and its cluster."""

    situation: Situation
    cluster: Watched
    adopted: Adopted

    def facts(self) -> Facts:
        rounds = adopting.rounds(self.situation, self.adopted)
        subjects = [s for step in rounds if isinstance(step.action, Observe) for s in step.action.subjects]
        return self.cluster.facts(subjects)

    def carry_on(self) -> PaperRun:
        facts = self.facts()
        against = [v.text for v in adopting.judge(self.situation, self.adopted, facts) if not v.allows]
        assert against == []
        plan, already = adopting.plan(self.situation, self.adopted, facts)
        run = PaperRun(self.situation, self.cluster)
        looked = [step.id for step in adopting.rounds(self.situation, self.adopted)]
        run.order = [*looked, *(each.step for each in already)]
        left = [step for step in plan.in_order() if step.id not in run.order]
        for step in left:
            assert set(step.after) <= set(run.order), step.id
            run.outcomes[step.id] = run.perform(step)
            run.order.append(step.id)
        return run


def ended_after(situation: Situation, cluster: Watched, plan: Plan, found: AsFound, count: int) -> Ended:
    """A run that carried out so many steps, and had begun the next."""
    run = PaperRun(situation, cluster)
    steps = plan.in_order()
    for step in steps[:count]:
        run.outcomes[step.id] = run.perform(step)
    begun = [Begun(step=step, outcome=Outcome(outcome)) for step, outcome in run.outcomes.items()]
    under_way = [Begun(step=steps[count].id)] if count < len(steps) else []
    adopted = Adopted(
        workflow_id="cluster-reference", run_id="r1", as_found=found, plan=plan, begun=(*begun, *under_way)
    )
    return Ended(situation, cluster, adopted)


def failover_ended_after(inventory: Inventory, host: str, count: int) -> Ended:
    situation, cluster = Situation(inventory, host), Watched(inventory)
    found = AsFound.from_facts(situation, all_facts(cluster, situation))
    return ended_after(situation, cluster, failover.plan(situation, found, "test"), found, count)


def steps_of(inventory: Inventory) -> tuple[Step, ...]:
    return failover.plan(Situation(inventory, "vm-host-1"), AsFound.normal(inventory), "test").in_order()


def position(inventory: Inventory, step: str) -> int:
    return [each.id for each in steps_of(inventory)].index(step)


@pytest.mark.parametrize("method", ["standby", "move"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_failover_that_ended_anywhere_is_carried_on_to_the_same_end(
    host: str, method: str, inventory: Inventory
) -> None:
    cluster_of = with_method(inventory, method)
    for count in range(0, len(steps_of(cluster_of)), EVERY):
        ended = failover_ended_after(cluster_of, host, count)
        ended.carry_on()
        assert_vacated(ended.situation, ended.cluster)
        sent = [text for text in ended.cluster.sent if "silence" not in text]
        assert len(sent) == len(set(sent)), f"after {count} steps something was sent twice"


@pytest.mark.parametrize("method", ["standby", "move"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_failback_that_ended_anywhere_is_carried_on_to_the_same_end(
    host: str, method: str, inventory: Inventory
) -> None:
    one_side = vacate(Watched(with_method(inventory, method)), host)
    plan, found = one_side.plan(), one_side.found
    for count in range(0, len(plan.steps), EVERY):
        cluster = deepcopy(one_side.cluster)
        assert isinstance(cluster, Watched)
        ended = ended_after(one_side.situation, cluster, plan, found, count)
        ended.carry_on()
        normal = PaperCluster(cluster.inventory)
        for what in ("off", "running", "standby", "primary", "maint", "daemon", "silences", "backups"):
            assert getattr(cluster, what) == getattr(normal, what), f"{what}, after {count} steps"


def test_software_that_was_started_on_the_survivor_is_not_stopped_again(inventory: Inventory) -> None:
    count = position(inventory, "11-await-servers-up-acd-lb2")
    ended = failover_ended_after(inventory, "vm-host-1", count)
    before = len(ended.cluster.sent)

    run = ended.carry_on()

    assert not [text for text in ended.cluster.sent[before:] if "stop" in text]
    assert "3-look-again" not in run.outcomes
    assert "3-stop-wildfly-acd-jb4" not in run.outcomes
    _, already = adopting.plan(ended.situation, ended.adopted, ended.facts())
    words = {each.step: each.reason for each in already}
    assert words["3-stop-wildfly-acd-jb4"] == "done by run r1, which went on from there"


def test_what_was_lost_meanwhile_is_done_again(inventory: Inventory) -> None:
    """A HAProxy that was reloaded has forgotten MAINT."""
    ended = failover_ended_after(inventory, "vm-host-1", position(inventory, "9-shut-down-acd-tel1"))
    ended.cluster.maint = {key for key in ended.cluster.maint if key[0] != "acd-lb2"}

    run = ended.carry_on()

    assert run.outcomes["7-maint-acd-lb2"] == "done"
    assert "7-maint-acd-lb1" not in run.outcomes
    assert_vacated(ended.situation, ended.cluster)


def test_the_first_gate_is_asked_anew_and_everything_waits_for_it(inventory: Inventory) -> None:
    ended = failover_ended_after(inventory, "vm-host-1", position(inventory, "5-move-storage"))

    plan, already = adopting.plan(ended.situation, ended.adopted, ended.facts())

    gate = plan.step("0-gate-before-start")
    assert isinstance(gate.action, Gate)
    assert gate.title.startswith("Go on with run r1? ")
    assert "Move the storage pair to acd-store2" in gate.title
    over = {each.step for each in already}
    assert gate.id not in over
    remaining = [s for s in plan.steps if s.id not in over and s.mutates]
    assert remaining
    assert all(gate.id in step.after for step in remaining)


def test_what_is_looked_at_again_comes_before_what_remains(inventory: Inventory) -> None:
    """A dump is looked at before its machine is shut down, although all between them is over."""
    ended = failover_ended_after(inventory, "vm-host-1", position(inventory, "9-shut-down-acd-dbs1"))

    plan, already = adopting.plan(ended.situation, ended.adopted, ended.facts())

    over = {each.step for each in already}
    assert "1-back-up-acd-dbm1" not in over
    assert "4-drain-sessions" in over
    assert "1-back-up-acd-dbm1" in plan.step("9-shut-down-acd-dbm1").after


def test_what_was_skipped_stays_skipped(inventory: Inventory) -> None:
    ended = failover_ended_after(inventory, "vm-host-1", position(inventory, "4-drain-sessions"))
    begun = tuple(
        each.model_copy(update={"outcome": Outcome.SKIPPED, "words": "ada: no room"})
        if each.step == "1-snapshot-acd-dbm1"
        else each
        for each in ended.adopted.begun
    )
    ended.adopted = ended.adopted.model_copy(update={"begun": begun})

    _, already = adopting.plan(ended.situation, ended.adopted, ended.facts())

    skipped = next(each for each in already if each.step == "1-snapshot-acd-dbm1")
    assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, "skipped by run r1: ada: no room")


def test_a_machine_that_should_be_on_and_a_split_brain_are_against_it(inventory: Inventory) -> None:
    ended = failover_ended_after(inventory, "vm-host-1", position(inventory, "5-move-storage"))
    ended.cluster.off.add("acd-jb4")
    facts = drbd_with(ended.facts(), "acd-store2", connection="StandAlone")

    against = [v.text for v in adopting.judge(ended.situation, ended.adopted, facts) if not v.allows]

    assert [text.split(":")[0] for text in against] == [
        "acd-jb4 is on and answers",
        "DRBD on acd-store2 suspects no split brain",
    ]
