"""There and back: after failover and failback, in any order the graphs allow, the cluster is what it was."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from inventory.models import Inventory, Role
from procedure import health_check
from procedure.plan import Step
from tests.procedure.conftest import all_facts
from tests.procedure.one_sided import OneSided, vacate, vacated
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import Choose, PaperRun
from tests.procedure.test_failover_on_paper import HOSTS, with_method
from tests.procedure.variants import moved_by_hand

SOME_ORDERS = settings(
    max_examples=12,
    deadline=None,
    # A random order does not get simpler by shrinking, it only takes minutes to say so.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def truth(cluster: PaperCluster) -> dict[str, object]:
    """All that the cluster on paper is."""
    return {name: deepcopy(value) for name, value in vars(cluster).items() if name != "inventory"}


def bring_back(one_side: OneSided, choose: Choose = lambda ready: ready[0]) -> PaperRun:
    """Carry out the failback on paper."""
    run = PaperRun(one_side.situation, one_side.cluster)
    run.run(one_side.plan(), choose)
    facts = all_facts(one_side.cluster, one_side.situation)
    assert all(v.allows for v in health_check.judge(one_side.situation, facts))
    return run


def there_and_back(inventory: Inventory, host: str, data: st.DataObject) -> None:
    cluster, choice = PaperCluster(inventory), data.draw(st.randoms(use_true_random=False)).choice
    before = truth(cluster)

    bring_back(vacate(cluster, host, choice), choice)

    assert truth(cluster) == before


@pytest.mark.parametrize("method", ["standby", "move"])
@pytest.mark.parametrize("host", HOSTS)
@SOME_ORDERS
@given(data=st.data())
def test_there_and_back_in_any_order_the_graphs_allow(
    host: str, method: str, inventory: Inventory, data: st.DataObject
) -> None:
    there_and_back(with_method(inventory, method), host, data)


@pytest.mark.parametrize("host", HOSTS)
@SOME_ORDERS
@given(data=st.data())
def test_there_and_back_where_persons_do_what_they_can(host: str, inventory: Inventory, data: st.DataObject) -> None:
    """HAProxy under Pacemaker, machines switched on by hand, the daemon and an 8-Server by hand, no monitoring."""
    there_and_back(moved_by_hand(inventory), host, data)


@pytest.mark.parametrize("host", HOSTS)
def test_haproxy_that_pacemaker_runs_on_the_active_one_comes_back_too(host: str, inventory: Inventory) -> None:
    balancer = inventory.pairs.load_balancer.model_copy(update={"resources": ("vip", "haproxy")})
    pairs = inventory.pairs.model_copy(update={"load_balancer": balancer})
    cluster = PaperCluster(inventory.model_copy(update={"pairs": pairs}))
    before = truth(cluster)

    run = bring_back(vacate(cluster, host))

    assert truth(cluster) == before
    assert run.outcomes["15-compare-acd-lb1"] == run.outcomes["15-compare-acd-lb2"] == "unchanged"


def test_a_cluster_that_was_found_on_its_other_side_is_so_again(inventory: Inventory) -> None:
    """The storage on one side, the load balancer on the other, the daemon on a third: each goes where it was."""
    cluster = PaperCluster(inventory)
    cluster.primary[inventory.pairs.storage.address] = "acd-store2"
    cluster.daemon = {"acd-tel2"}
    before = truth(cluster)

    run = bring_back(vacate(cluster, "vm-host-1"))

    assert truth(cluster) == before
    assert "9-move-storage" not in run.outcomes
    assert run.outcomes["10-move-load-balancer"] == "done"
    assert run.outcomes["13-start-daemon-acd-tel2"] == "unchanged"


def test_what_did_not_run_before_stays_stopped(inventory: Inventory) -> None:
    cluster = PaperCluster(inventory)
    cluster.running.discard(("acd-dbm2", "Platform UDP Listener"))
    before = truth(cluster)

    one_side = vacate(cluster, "vm-host-1")
    assert ("acd-dbm2", "Platform UDP Listener") in cluster.running
    notes = next(stage.note for stage in one_side.plan().stages if stage.number == 12)
    bring_back(one_side)

    assert truth(cluster) == before
    assert "Platform UDP Listener on acd-dbm2 did not run before the failover, and stays stopped." in notes


def test_machines_start_in_order_and_each_is_up_before_the_next(inventory: Inventory) -> None:
    one_side = vacated(inventory)

    order = [s for s in bring_back(one_side, lambda ready: ready[-1]).order if s.startswith("5-start-")]

    assert order[:4] == ["5-start-acd-store1", "5-start-acd-lb1", "5-start-acd-dbm1", "5-start-acd-dbs1"]
    assert len(order) == len(one_side.situation.vacated_side())


def test_a_second_run_of_every_step_changes_nothing(inventory: Inventory) -> None:
    one_side = vacated(inventory)
    run = PaperRun(one_side.situation, one_side.cluster)
    for step in one_side.plan().in_order():
        first, second = run.perform(step), run.perform(step)
        assert second in ("unchanged", "not applicable") or (first, step.mutates) == ("done", False), step.id


def test_never_two_daemons_and_the_8_server_runs_first(inventory: Inventory) -> None:
    one_side = vacated(inventory)

    order = bring_back(one_side).order

    assert order.index("13-stop-daemon-acd-tel2") < order.index("13-start-daemon-acd-tel1")
    assert order.index("12-start-8-server-acd-tel1") < order.index("13-start-daemon-acd-tel1")


def test_a_master_that_lags_gets_no_writes_when_the_address_moves(inventory: Inventory) -> None:
    """Its HAProxy has restarted and knows no MAINT; only that the move is refused keeps the writes away."""
    one_side = vacated(inventory)

    def lagging(ready: list[Step]) -> Step:
        if ready[0].id == "10-move-load-balancer":
            one_side.cluster.lag["acd-dbm1"] = 7
        return ready[0]

    with pytest.raises(AssertionError, match=r"10-move-load-balancer refused: .*lag 7 s"):
        bring_back(one_side, lagging)

    assert one_side.cluster.writer() == "acd-dbm2"


def test_it_does_not_go_on_while_something_is_not_synchronised(inventory: Inventory) -> None:
    one_side = vacated(inventory)
    one_side.cluster.lag["acd-dbs1"] = 3

    with pytest.raises(AssertionError, match=r"8-check-replication-acd-dbs1: waits for ever: .*lag 3 s"):
        bring_back(one_side)


def test_software_that_starts_late_is_noticed(inventory: Inventory) -> None:
    one_side = vacated(inventory)

    def late(ready: list[Step]) -> Step:
        if ready[0].id.startswith("8-check"):
            one_side.cluster.running.add(("acd-jb1", "Wildfly"))
        return ready[0]

    with pytest.raises(AssertionError, match=r"8-check-stopped: .*Wildfly on acd-jb1 is running"):
        bring_back(one_side, late)


def test_a_haproxy_that_comes_back_otherwise_stops_the_run(inventory: Inventory) -> None:
    """It kept its MAINT over the restart, as with load-server-state-from-file: nobody gets traffic from it."""
    one_side = vacated(inventory)

    def remembers(ready: list[Step]) -> Step:
        if ready[0].id == "11-compare-acd-lb1":
            one_side.cluster.maint.add(("acd-lb1", "web", "acd-jb1"))
        return ready[0]

    with pytest.raises(AssertionError, match="web/acd-jb1: admin state ready found, now maint"):
        bring_back(one_side, remembers)


def test_an_abort_lifts_the_silence_of_machines_that_are_not_off(inventory: Inventory) -> None:
    one_side = vacated(inventory)
    cluster, plan, run = one_side.cluster, one_side.plan(), PaperRun(one_side.situation, one_side.cluster)
    for step in plan.in_order():
        run.perform(step)
        if step.id == "5-start-acd-dbm1":
            break

    for step in plan.on_abort:
        run.perform(step)

    assert {m for silence in cluster.silences for m in silence.machines} == cluster.off
    assert {m.name for m in one_side.situation.vacated_side(Role.TELEPHONY)} <= cluster.off
