"""The cluster as it was found before the failover."""

from __future__ import annotations

import pytest

from procedure.as_found import AsFound
from procedure.commands import CheckBalancer, CheckRestored, CheckStopped
from procedure.commands.restored import ServerFound
from procedure.facts import BalancerFact, ComponentFact, Facts, LocationConstraint
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ComponentOn
from procedure.verdicts import Answer
from tests.procedure.altered import cluster_with, node_with, resource_with, seen, servers_with, unseen
from tests.procedure.one_sided import OneSided, back_again, facts_for


def as_found(facts: Facts, balancer: str) -> CheckBalancer:
    fact = facts.balancer(balancer)
    assert isinstance(fact, BalancerFact)
    return CheckBalancer(balancer=balancer, running=True, found=tuple(ServerFound.of(s) for s in fact.servers))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight": 2}, "web/acd-jb1: weight 1 found, now 2"),
        ({"admin": "maint"}, "web/acd-jb1: admin state ready found, now maint"),
        ({"backup": True}, "web/acd-jb1: backup no found, now yes"),
        ({"address": "10.77.0.39"}, "web/acd-jb1: address 10.77.0.31 found, now 10.77.0.39"),
        ({"server": "acd-jb9"}, "web/acd-jb1: found, now missing; web/acd-jb9: not found then, now there"),
        ({"weight": 0, "backup": True}, "web/acd-jb1: backup no found, now yes; web/acd-jb1: weight 1 found, now 0"),
    ],
)
def test_every_field_that_differs_is_named(
    changes: dict[str, object], says: str, situation: Situation, facts: Facts
) -> None:
    check = as_found(facts, "acd-lb1")
    assert check.wanted(situation, facts).answer is Answer.PASS

    verdict = check.wanted(situation, servers_with(facts, "acd-lb1", "web/acd-jb1", **changes))

    assert verdict.answer is Answer.FAIL
    assert verdict.reason == says
    assert "Something went wrong" in verdict.next_step


def test_who_is_up_counts_only_when_software_runs_again(situation: Situation, facts: Facts) -> None:
    check = as_found(facts, "acd-lb1")
    down = servers_with(facts, "acd-lb1", "web/acd-jb1", up=False, status="DOWN", sessions=3)

    assert check.wanted(situation, down).answer is Answer.PASS
    whole = check.model_copy(update={"health": True})
    assert whole.wanted(situation, down).reason == "web/acd-jb1: UP yes found, now no"


def test_what_haproxy_does_not_tell_is_not_compared(situation: Situation, facts: Facts) -> None:
    check = as_found(facts, "acd-lb1")

    untold = servers_with(facts, "acd-lb1", "web/acd-jb1", address="")

    assert check.wanted(situation, untold).answer is Answer.PASS


def test_a_backend_that_is_not_all_looked_at_is_not_missed(situation: Situation, facts: Facts) -> None:
    fact = facts.balancer("acd-lb1")
    assert isinstance(fact, BalancerFact)
    other = ServerFound(backend="sip", server="one")
    check = as_found(facts, "acd-lb1")
    check = check.model_copy(update={"found": (*check.found, other)})

    assert check.wanted(situation, facts).reason == "sip/one: found, now missing"
    some = seen(facts, BalancerOn(machine="acd-lb1"), fact.model_copy(update={"left_out": 1}))
    assert check.wanted(situation, some).answer is Answer.PASS


@pytest.mark.parametrize(
    ("ran", "runs", "says"),
    [
        (True, False, "HAProxy ran there, now it does not"),
        (False, True, "HAProxy did not run there, now it does"),
        (False, False, "it does not run there, as found"),
        (None, False, "it does not run there, and Pacemaker would not start it"),
        (None, True, "0 servers"),
    ],
)
def test_whether_haproxy_runs_is_part_of_it(
    ran: bool | None, runs: bool, says: str, situation: Situation, facts: Facts
) -> None:
    check = CheckBalancer(balancer="acd-lb2", running=ran)
    now = seen(facts, BalancerOn(machine="acd-lb2"), BalancerFact(running=runs))

    assert says in check.wanted(situation, now).text


def test_a_haproxy_that_did_not_come_back_is_to_be_started(situation: Situation, facts: Facts) -> None:
    """Its configuration has nothing to do with it, so nobody is sent to compare that."""
    check = CheckBalancer(balancer="acd-lb1", running=True)
    ended = seen(facts, BalancerOn(machine="acd-lb1"), BalancerFact(running=False))

    assert check.wanted(situation, ended).next_step.startswith("Start it on acd-lb1")


def test_a_haproxy_that_was_not_seen_is_unknown(situation: Situation, facts: Facts) -> None:
    lost = unseen(facts, BalancerOn(machine="acd-lb1"))

    assert as_found(facts, "acd-lb1").wanted(situation, lost).answer is Answer.UNKNOWN


def restored(situation: Situation, facts: Facts) -> CheckRestored:
    found = AsFound.from_facts(situation, facts)
    return CheckRestored(
        storage=found.storage, load_balancer=found.load_balancer, writer=found.writer, daemon=found.daemon
    )


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("standby", "acd-store2 is in standby"),
        ("constraint", "cli-prefer-vip binds the storage pair"),
        ("elsewhere", "the primary of the load-balancer pair has changed from acd-lb1 to acd-lb2"),
        ("unhealthy", "Wildfly runs on acd-jb1: it is stopped"),
    ],
)
def test_restored_means_healthy_whole_and_nothing_left_behind(
    what: str, says: str, situation: Situation, facts: Facts
) -> None:
    check = restored(situation, facts)
    assert check.wanted(situation, facts).answer is Answer.PASS
    bound = LocationConstraint(id="cli-prefer-vip", resource="vip", node="acd-store2", score="INFINITY")
    changed = {
        "standby": lambda: node_with(facts, "acd-store1", "acd-store2", standby=True),
        "constraint": lambda: cluster_with(facts, "acd-store1", constraints=(bound,)),
        "elsewhere": lambda: moved_away(facts),
        "unhealthy": lambda: seen(
            facts, ComponentOn(machine="acd-jb1", component="Wildfly"), ComponentFact(state="stopped")
        ),
    }[what]()

    verdict = check.wanted(situation, changed)

    assert verdict.answer is Answer.FAIL
    assert says in verdict.reason
    assert verdict.invariant == 10


def moved_away(facts: Facts) -> Facts:
    for machine in ("acd-lb1", "acd-lb2"):
        facts = resource_with(facts, machine, "vip", nodes=("acd-lb2",))
    return facts


def test_software_of_machines_that_came_back_is_all_looked_at(one_side: OneSided) -> None:
    back_again(one_side)
    check = CheckStopped(machines=("acd-jb1", "acd-dbm1"))
    facts = facts_for(check, one_side)
    wildfly = ComponentOn(machine="acd-jb1", component="Wildfly")

    assert check.wanted(one_side.situation, facts).answer is Answer.PASS
    starting = check.wanted(one_side.situation, seen(facts, wildfly, ComponentFact(state="starting")))
    assert starting.reason == "Wildfly on acd-jb1 is starting"
    assert check.wanted(one_side.situation, unseen(facts, wildfly)).answer is Answer.UNKNOWN
