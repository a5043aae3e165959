"""Any order that the graph allows vacates the host, and no invariant is broken on the way."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from inventory.models import Inventory
from procedure import failover, health_check
from procedure.as_found import AsFound
from procedure.plan import Plan, Step
from procedure.situation import Situation
from procedure.verdicts import Answer
from tests.procedure.conftest import all_facts
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import PaperRun

HOSTS = ("vm-host-1", "vm-host-2")


def with_method(inventory: Inventory, method: str) -> Inventory:
    pairs = inventory.pairs
    storage = pairs.storage.model_copy(update={"method": method})
    balancer = pairs.load_balancer.model_copy(update={"method": method})
    return inventory.model_copy(
        update={"pairs": pairs.model_copy(update={"storage": storage, "load_balancer": balancer})}
    )


def drawn_up(situation: Situation, cluster: PaperCluster) -> Plan:
    facts = all_facts(cluster, situation)
    verdicts = health_check.judge(situation, facts)
    assert all(v.allows for v in verdicts), [v.text for v in verdicts if not v.allows]
    return failover.plan(situation, AsFound.from_facts(situation, facts), "test")


def assert_vacated(situation: Situation, cluster: PaperCluster) -> None:
    survivors = {m.name for m in situation.surviving_side()}
    assert cluster.off == {m.name for m in situation.vacated_side()}
    assert set(cluster.primary.values()) <= survivors
    installed = {m.name for m in situation.surviving_side() if situation.inventory.components_on(m)}
    assert {m for m, _ in cluster.running} == installed
    assert len(cluster.daemon) == 1
    assert cluster.daemon <= survivors
    assert cluster.writer() in survivors
    silenced = {m for silence in cluster.silences for m in silence.machines}
    assert silenced == cluster.off


@pytest.mark.parametrize("method", ["standby", "move"])
@pytest.mark.parametrize("host", HOSTS)
@settings(
    max_examples=12,
    deadline=None,
    # A random order does not get simpler by shrinking, it only takes minutes to say so.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_order_the_graph_allows_vacates_the_host(
    host: str, method: str, inventory: Inventory, data: st.DataObject
) -> None:
    inventory = with_method(inventory, method)
    situation, cluster = Situation(inventory, host), PaperCluster(inventory)
    choice = data.draw(st.randoms(use_true_random=False))

    PaperRun(situation, cluster).run(drawn_up(situation, cluster), choice.choice)

    assert_vacated(situation, cluster)


@pytest.mark.parametrize("host", HOSTS)
def test_a_second_run_of_every_step_changes_nothing(host: str, inventory: Inventory) -> None:
    situation, cluster = Situation(inventory, host), PaperCluster(inventory)
    plan = drawn_up(situation, cluster)

    run = PaperRun(situation, cluster)
    for step in plan.in_order():
        first, second = run.perform(step), run.perform(step)
        assert second in ("unchanged", "not applicable") or (first, step.mutates) == ("done", False), step.id
    assert_vacated(situation, cluster)


def test_haproxy_that_pacemaker_stops_on_the_leaver_is_not_applicable(inventory: Inventory) -> None:
    situation, cluster = Situation(inventory, "vm-host-1"), PaperCluster(inventory)
    plan = drawn_up(situation, cluster)
    run = PaperRun(situation, cluster)

    def stop_it_with_the_move(ready: list[Step]) -> Step:
        if "acd-lb1" in cluster.standby:
            cluster.haproxy_down.add("acd-lb1")
        return ready[0]

    run.run(plan, stop_it_with_the_move)

    assert run.outcomes["7-maint-acd-lb1"] == "not applicable"
    assert run.outcomes["7-maint-acd-lb2"] == "done"
    assert_vacated(situation, cluster)


def test_the_daemon_ends_on_the_survivor_even_if_it_ended_with_its_8_server(inventory: Inventory) -> None:
    situation, cluster = Situation(inventory, "vm-host-1"), PaperCluster(inventory)
    plan = drawn_up(situation, cluster)
    run = PaperRun(situation, cluster)

    def it_ends(ready: list[Step]) -> Step:
        if "3-stop-8-server-acd-tel1" in run.order and "8-stop-daemon-acd-tel1" not in run.order:
            cluster.daemon.clear()
        return ready[0]

    run.run(plan, it_ends)

    assert run.outcomes["8-stop-daemon-acd-tel1"] == "unchanged"
    assert cluster.daemon == {"acd-tel2"}
    assert run.order.index("11-start-8-server-acd-tel2") < run.order.index("8-start-daemon-acd-tel2")


def test_an_abort_lifts_the_silence_of_machines_that_are_not_off(inventory: Inventory) -> None:
    situation, cluster = Situation(inventory, "vm-host-1"), PaperCluster(inventory)
    plan = drawn_up(situation, cluster)
    run = PaperRun(situation, cluster)
    for step in plan.in_order():
        run.perform(step)
        run.order.append(step.id)
        if step.id == "9-shut-down-acd-jb1":
            break
    assert cluster.off

    for step in plan.on_abort:
        run.perform(step)

    silenced = {m for silence in cluster.silences for m in silence.machines}
    assert silenced == cluster.off


def test_upkeep_leaves_a_lifted_silence_alone(inventory: Inventory) -> None:
    situation, cluster = Situation(inventory, "vm-host-1"), PaperCluster(inventory)
    plan = drawn_up(situation, cluster)
    PaperRun(situation, cluster).run(plan, lambda ready: ready[0])

    answers = [u.command.wanted(situation, cluster.facts(u.command.observes(situation))).answer for u in plan.upkeep]

    assert answers == [Answer.PASS, Answer.NOT_APPLICABLE]
