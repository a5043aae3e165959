"""Pairs and HAProxy: how a pair moves, what proves it, and how servers are taken out."""

from __future__ import annotations

import pytest

from inventory.models import Inventory
from procedure.commands import CheckPair, MovePair, SetMaintenance, ShutDownMachine
from procedure.facts import BalancerFact, Facts, PowerFact
from procedure.instructions import RunOn
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, PowerOf, ReplicationOn
from procedure.verdicts import Answer
from tests.procedure.altered import channel_with, cluster_with, drbd_with, idle, node_with, resource_with, seen, unseen
from tests.procedure.asking import PAPER, texts
from tests.procedure.paper_cluster import PaperCluster

MOVE = MovePair(pair="storage", to="acd-store2", leaver="acd-store1")
MOVE_BALANCER = MovePair(pair="load_balancer", to="acd-lb2", leaver="acd-lb1")


# --- pairs ------------------------------------------------------------------------------------------------------------


def moved(situation: Situation, inventory: Inventory) -> Facts:
    cluster = PaperCluster(inventory)
    cluster.carry_out(RunOn(machine="acd-store2", argv=("pcs", "node", "standby", "acd-store1")))
    return cluster.facts(MOVE.observes(situation))


def test_a_move_is_proved_by_its_outcome(situation: Situation, inventory: Inventory) -> None:
    assert MOVE.wanted(situation, moved(situation, inventory)).answer is Answer.PASS


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("group stopped", "fs_r0 is not on acd-store2"),
        ("address missing", "10.77.0.100 is not on acd-store2"),
        ("not mounted", "/srv/acd is not mounted"),
        ("still moving", "still starting or stopping"),
        ("not in standby", "acd-store1 is not in standby"),
        ("resources on the leaver", "1 resources still active on acd-store1"),
        ("DRBD secondary", "DRBD on acd-store2"),
    ],
)
def test_a_move_that_is_not_whole_is_not_done(what: str, says: str, situation: Situation, inventory: Inventory) -> None:
    facts = moved(situation, inventory)
    changed = {
        "group stopped": lambda: resource_with(facts, "acd-store2", "fs_r0", active=False, nodes=()),
        "address missing": lambda: cluster_with(facts, "acd-store2", addresses=("10.77.0.12",)),
        "not mounted": lambda: cluster_with(facts, "acd-store2", mounts=()),
        "still moving": lambda: cluster_with(facts, "acd-store2", transition_idle=False),
        "not in standby": lambda: node_with(facts, "acd-store2", "acd-store1", standby=False),
        "resources on the leaver": lambda: node_with(facts, "acd-store2", "acd-store1", resources_running=1),
        "DRBD secondary": lambda: drbd_with(facts, "acd-store2", role="Secondary"),
    }[what]()

    verdict = MOVE.wanted(situation, changed)

    assert verdict.answer is Answer.FAIL
    assert says in verdict.reason


def test_a_move_that_a_lost_worker_began_is_not_refused(situation: Situation, inventory: Inventory) -> None:
    begun = cluster_with(moved(situation, inventory), "acd-store2", transition_idle=False)

    assert all(v.allows for v in MOVE.conditions(situation, begun)), [v.text for v in MOVE.conditions(situation, begun)]


def test_what_the_machine_that_is_left_still_holds_must_be_seen_or_its_node_be_gone(
    situation: Situation, inventory: Inventory
) -> None:
    unseen_leaver = unseen(moved(situation, inventory), ClusterOn(machine="acd-store1"))
    gone = node_with(unseen_leaver, "acd-store2", "acd-store1", online=False)
    unclean = node_with(unseen_leaver, "acd-store2", "acd-store1", online=False, unclean=True)

    answers = [MOVE.wanted(situation, facts).answer for facts in (unseen_leaver, gone, unclean)]

    assert answers == [Answer.UNKNOWN, Answer.PASS, Answer.UNKNOWN]


def test_the_load_balancer_does_not_move_where_haproxy_is_dead(situation: Situation, facts: Facts) -> None:
    dead = seen(idle(facts), BalancerOn(machine="acd-lb2"), BalancerFact(running=False))

    refused = [v.reason for v in MOVE_BALANCER.conditions(situation, dead) if not v.allows]

    assert refused == ["it does not run there, and Pacemaker would not start it"]


def test_the_load_balancer_has_moved_when_haproxy_runs_there(situation: Situation, cluster: PaperCluster) -> None:
    cluster.carry_out(RunOn(machine="acd-lb2", argv=("pcs", "node", "standby", "acd-lb1")))
    facts = cluster.facts(MOVE_BALANCER.observes(situation))
    dead = seen(facts, BalancerOn(machine="acd-lb2"), BalancerFact(running=False))

    assert MOVE_BALANCER.wanted(situation, facts).answer is Answer.PASS
    assert "HAProxy does not run on acd-lb2" in MOVE_BALANCER.wanted(situation, dead).reason
    assert MOVE_BALANCER.wanted(situation, unseen(facts, BalancerOn(machine="acd-lb2"))).answer is Answer.UNKNOWN


def test_maint_is_needed_where_everything_goes_and_not_on_what_is_off(situation: Situation, facts: Facts) -> None:
    def on(balancer: str, changed: Facts) -> Answer:
        return SetMaintenance(balancer=balancer, machines=("acd-jb1",)).wanted(situation, changed).answer

    stopped = seen(facts, BalancerOn(machine="acd-lb1"), BalancerFact(running=False))
    dead = seen(facts, BalancerOn(machine="acd-lb2"), BalancerFact(running=False))
    off = seen(
        unseen(facts, BalancerOn(machine="acd-lb1")), PowerOf(machine="acd-lb1"), PowerFact(state="off", provider="off")
    )

    assert on("acd-lb1", stopped) is Answer.NOT_APPLICABLE
    assert on("acd-lb2", dead) is Answer.FAIL
    assert on("acd-lb1", off) is Answer.NOT_APPLICABLE


def test_a_load_balancer_that_went_off_early_keeps_nothing_from_being_shut_down(
    situation: Situation, cluster: PaperCluster
) -> None:
    cluster.carry_out(RunOn(machine="acd-lb2", argv=("pcs", "node", "standby", "acd-lb1")))
    vacated = tuple(m.name for m in situation.vacated_side())
    maint = SetMaintenance(balancer="acd-lb2", machines=vacated)
    for instruction in maint.instructions(situation, cluster.facts(maint.observes(situation))):
        cluster.carry_out(instruction)
    cluster.off.add("acd-lb1")
    shut_down = ShutDownMachine(machine="acd-jb1")

    verdicts = shut_down.conditions(situation, cluster.facts(shut_down.observes(situation)))

    assert all(v.allows for v in verdicts), [v.text for v in verdicts if not v.allows]


def test_a_read_only_master_is_not_given_the_writes(situation: Situation, facts: Facts) -> None:
    fact = facts.replication("acd-dbm2")
    assert fact is not None
    changed = seen(facts, ReplicationOn(machine="acd-dbm2"), fact.model_copy(update={"read_only": True}))

    command = SetMaintenance(balancer="acd-lb2", machines=("acd-dbm1",))

    assert all(v.allows for v in command.conditions(situation, facts))
    assert [v.reason for v in command.conditions(situation, changed) if not v.allows] == ["read_only is ON"]


def test_the_command_of_a_move_runs_on_the_survivor_or_where_it_was_reached(situation: Situation, facts: Facts) -> None:
    assert texts(MOVE, situation) == ["ssh acd-store2 sudo -n pcs node standby acd-store1"]
    (instruction,) = MOVE.instructions(situation, unseen(facts, ClusterOn(machine="acd-store2")))
    assert instruction.text == "ssh acd-store1 sudo -n pcs node standby acd-store1"


def test_a_pair_that_was_checked_is_alone(situation: Situation, inventory: Inventory) -> None:
    cluster, check = PaperCluster(inventory), CheckPair(pair="storage", primary="acd-store2", offline="acd-store1")
    cluster.carry_out(RunOn(machine="acd-store2", argv=("pcs", "node", "standby", "acd-store1")))
    assert check.wanted(situation, cluster.facts(check.observes(situation))).answer is Answer.FAIL

    cluster.carry_out(RunOn(machine="acd-store1", argv=("systemctl", "poweroff")))
    facts = cluster.facts(check.observes(situation))

    assert check.wanted(situation, facts).answer is Answer.PASS
    split = check.wanted(situation, drbd_with(facts, "acd-store2", connection="StandAlone"))
    assert (split.answer, "Stop." in split.next_step) == (Answer.FAIL, True)


def test_who_restarts_alone_gets_no_quorum_until_a_person_has_looked(
    situation: Situation, inventory: Inventory
) -> None:
    cluster, check = PaperCluster(inventory), CheckPair(pair="storage", primary="acd-store2", offline="acd-store1")
    cluster.carry_out(RunOn(machine="acd-store2", argv=("pcs", "node", "standby", "acd-store1")))
    cluster.carry_out(RunOn(machine="acd-store1", argv=("systemctl", "poweroff")))
    facts = cluster_with(cluster.facts(check.observes(situation)), "acd-store2", quorum=False)

    assert check.wanted(situation, facts).answer is Answer.PASS, "where a cluster may run without"
    verdict = check.wanted(situation, resource_with(facts, "acd-store2", "vip", role="Stopped", nodes=()))
    assert verdict.reason.startswith("acd-store2 has no quorum; ")
    assert "see that acd-store1 is off, and only then `pcs quorum unblock` on acd-store2" in verdict.next_step


# --- HAProxy ----------------------------------------------------------------------------------------------------------


def test_a_machine_is_set_in_all_its_backends_and_only_where_it_is_not_yet(
    situation: Situation, cluster: PaperCluster
) -> None:
    command = SetMaintenance(balancer="acd-lb2", machines=("acd-jb1", "acd-chat1"))
    cluster.maint = {("acd-lb2", "web", "acd-jb1")}
    facts = cluster.facts(command.observes(situation))

    assert [i.text for i in command.instructions(situation, PAPER)] == [
        "POST https://10.77.0.82:7777/haproxy?stats s=acd-jb1&action=maint&b=web",
        "POST https://10.77.0.82:7777/haproxy?stats s=acd-jb1&action=maint&b=soap",
        "POST https://10.77.0.82:7777/haproxy?stats s=acd-chat1&action=maint&b=chat",
    ]
    assert [i.text for i in command.instructions(situation, facts)] == [
        "POST https://10.77.0.82:7777/haproxy?stats s=acd-jb1&action=maint&b=soap",
        "POST https://10.77.0.82:7777/haproxy?stats s=acd-chat1&action=maint&b=chat",
    ]


@pytest.mark.parametrize(("state", "lagging"), [("maint", "acd-dbm2"), ("ready", "acd-dbm1")])
def test_writes_move_only_to_a_master_that_has_caught_up(
    state: str, lagging: str, situation: Situation, cluster: PaperCluster
) -> None:
    command = SetMaintenance.model_validate({"balancer": "acd-lb2", "machines": ("acd-dbm1",), "state": state})
    facts = cluster.facts(command.observes(situation))
    assert all(v.allows for v in command.conditions(situation, facts))

    refused = [v for v in command.conditions(situation, channel_with(facts, lagging, lag_seconds=1)) if not v.allows]

    assert [v.invariant for v in refused] == [5]


@pytest.mark.parametrize(("state", "connected"), [("maint", "acd-dbm2"), ("ready", "acd-dbm1")])
def test_writes_do_not_move_to_a_master_that_has_just_connected(
    state: str, connected: str, situation: Situation, cluster: PaperCluster
) -> None:
    command = SetMaintenance.model_validate({"balancer": "acd-lb2", "machines": ("acd-dbm1",), "state": state})
    cluster.not_received = {connected}
    facts = cluster.facts(command.observes(situation))

    refused = [v for v in command.conditions(situation, facts) if not v.allows]

    assert [v.invariant for v in refused] == [5]
    assert "not yet executed" in refused[0].reason
