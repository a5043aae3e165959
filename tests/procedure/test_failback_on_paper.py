"""There and back: after failover and failback, in any order the graphs allow, the cluster is what it was."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from inventory.models import Inventory
from procedure import failback, health_check, one_sided_check
from procedure.as_found import AsFound
from procedure.plan import Observe, Plan
from procedure.situation import Situation
from tests.procedure.conftest import all_facts
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import PaperRun
from tests.procedure.test_failover_on_paper import HOSTS, drawn_up, with_method
from tests.procedure.variants import moved_by_hand

SOME_ORDERS = settings(
    max_examples=12,
    deadline=None,
    # A random order does not get simpler by shrinking, it only takes minutes to say so.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def way_back(situation: Situation, cluster: PaperCluster, found: AsFound) -> Plan:
    rounds = one_sided_check.rounds(situation)
    facts = cluster.facts([s for step in rounds if isinstance(step.action, Observe) for s in step.action.subjects])
    verdicts = one_sided_check.judge(situation, facts)
    assert all(v.allows for v in verdicts), [v.text for v in verdicts if not v.allows]
    return failback.plan(situation, found, "back", earlier="test")


def truth(cluster: PaperCluster) -> dict[str, object]:
    """All that the cluster on paper is, but for the digest of its making."""
    return {name: deepcopy(value) for name, value in vars(cluster).items() if name != "inventory"}


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


def there_and_back(inventory: Inventory, host: str, data: st.DataObject) -> None:
    situation, cluster = Situation(inventory, host), PaperCluster(inventory)
    before = truth(cluster)
    found = AsFound.from_facts(situation, all_facts(cluster, situation))
    choice = data.draw(st.randoms(use_true_random=False))
    PaperRun(situation, cluster).run(drawn_up(situation, cluster), choice.choice)

    PaperRun(situation, cluster).run(way_back(situation, cluster, found), choice.choice)

    assert truth(cluster) == before
    assert all(v.allows for v in health_check.judge(situation, all_facts(cluster, situation)))
