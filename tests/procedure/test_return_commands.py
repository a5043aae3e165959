"""Pairs that return, and who gets the writes."""

from __future__ import annotations

import pytest

from inventory.models import Inventory
from procedure.commands import CheckCaughtUp, CheckWholePair, MovePair, RejoinNode
from procedure.facts import ClusterFact, Facts, LocationConstraint
from procedure.situation import Situation
from procedure.subjects import ClusterOn, ReplayOn, ReplicationOn
from procedure.verdicts import Answer
from procedure.who import PairName
from tests.procedure.altered import (
    channel_with,
    cluster_with,
    drbd_with,
    node_with,
    resource_with,
    servers_with,
    unseen,
)
from tests.procedure.asking import refused
from tests.procedure.one_sided import OneSided, back_again, facts_for, start, vacated

BACK = MovePair(pair="load_balancer", to="acd-lb1", leaver="acd-lb2")


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("storage", "Look at `pcs status` on acd-store2 and at /proc/drbd on acd-store1."),
        ("load_balancer", "Look at `pcs status` on acd-lb2."),
    ],
)
def test_where_to_look_for_a_node_that_does_not_rejoin(pair: PairName, says: str, one_side: OneSided) -> None:
    """Where it can be seen: a node that is away shows nothing; and a load balancer has no DRBD."""
    machine = {"storage": "acd-store1", "load_balancer": "acd-lb1"}[pair]
    rejoin = RejoinNode(pair=pair, machine=machine)
    start(one_side, machine.removeprefix("acd-"))

    assert rejoin.wanted(one_side.situation, facts_for(rejoin, one_side)).next_step == says


def test_a_node_rejoins_only_what_is_whole(one_side: OneSided) -> None:
    start(one_side, "store1")
    rejoin = RejoinNode(pair="storage", machine="acd-store1")
    facts = facts_for(rejoin, one_side)
    older = LocationConstraint(id="old", resource="vip", node="acd-store1", score="100")

    assert refused(rejoin, one_side.situation, facts) == ""
    alone = drbd_with(facts, "acd-store2", connection="StandAlone")
    assert "suspicion of split brain" in refused(rejoin, one_side.situation, alone)
    assert "old" in refused(rejoin, one_side.situation, cluster_with(facts, "acd-store2", constraints=(older,)))


def test_waiting_mends_no_split_brain_but_a_resync(one_side: OneSided, inventory: Inventory) -> None:
    back_again(one_side)
    rejoin = RejoinNode(pair="storage", machine="acd-store1")
    facts = facts_for(rejoin, one_side)

    syncing = drbd_with(facts, "acd-store1", connection="SyncTarget", disk="Inconsistent", synced_percent=12.5)
    verdict = rejoin.wanted(one_side.situation, syncing)
    assert (verdict.answer, verdict.settled) == (Answer.FAIL, False)
    assert "12.5 % synchronised" in verdict.reason
    assert rejoin.deadline(inventory) == inventory.timings.catch_up

    split = rejoin.wanted(one_side.situation, drbd_with(facts, "acd-store1", connection="StandAlone"))
    assert (split.answer, split.settled) == (Answer.FAIL, True)
    assert "Compare the data on both sides" in split.next_step


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("offline", "acd-store1 is offline"),
        ("standby", "acd-store1 is standby"),
        ("no quorum", "acd-store1 has no quorum"),
        ("moved", "drbd_r0-clone is not promoted on acd-store2"),
        ("address", "10.77.0.100 is on acd-store1"),
        ("mount", "/srv/acd is mounted on acd-store1"),
        ("syncing", "acd-store1: SyncTarget Secondary/Primary Inconsistent/UpToDate"),
        ("behind", "acd-store2: 12 KiB are out of sync"),
    ],
)
def test_a_pair_is_whole_only_when_both_say_so(what: str, says: str, one_side: OneSided) -> None:
    back_again(one_side)
    check = CheckWholePair(pair="storage", primary="acd-store2", other="acd-store1")
    facts = facts_for(check, one_side)
    assert check.wanted(one_side.situation, facts).answer is Answer.PASS
    theirs = facts.cluster("acd-store1")
    assert isinstance(theirs, ClusterFact)
    changed = {
        "offline": lambda: node_with(facts, "acd-store2", "acd-store1", online=False),
        "standby": lambda: node_with(facts, "acd-store2", "acd-store1", standby=True),
        "no quorum": lambda: cluster_with(facts, "acd-store1", quorum=False),
        "moved": lambda: resource_with(facts, "acd-store2", "drbd", role="Unpromoted"),
        "address": lambda: cluster_with(facts, "acd-store1", addresses=(*theirs.addresses, "10.77.0.100")),
        "mount": lambda: cluster_with(facts, "acd-store1", mounts=("/srv/acd",)),
        "syncing": lambda: drbd_with(facts, "acd-store1", connection="SyncTarget", disk="Inconsistent"),
        "behind": lambda: drbd_with(facts, "acd-store2", out_of_sync_kib=12),
    }[what]()

    verdict = check.wanted(one_side.situation, changed)

    assert verdict.answer is Answer.FAIL
    assert says in verdict.reason
    assert "Not reached: do not go on." in verdict.next_step


def test_a_check_of_a_pair_does_not_wait_for_a_split_brain_to_end(one_side: OneSided) -> None:
    back_again(one_side)
    check = CheckWholePair(pair="storage", primary="acd-store2", other="acd-store1")
    facts = facts_for(check, one_side)

    split = check.wanted(one_side.situation, drbd_with(facts, "acd-store1", connection="StandAlone"))
    assert (split.answer, split.settled) == (Answer.FAIL, True)
    syncing = check.wanted(one_side.situation, drbd_with(facts, "acd-store1", connection="SyncTarget"))
    assert (syncing.answer, syncing.settled) == (Answer.FAIL, False)


@pytest.mark.parametrize(
    ("changes", "settled", "says"),
    [
        ({"lag_seconds": 4}, False, "try a source that was away again"),
        ({"io": "Connecting", "io_error": "can't connect"}, False, "try a source that was away again"),
        ({"io": "No", "sql": "No"}, False, "try a source that was away again"),
        ({"sql": "No", "sql_error": "Duplicate entry"}, True, "Look at Last_SQL_Error"),
        ({"io": "No", "io_error": "retries: 10"}, True, "START REPLICA (START SLAVE) on acd-dbm1"),
    ],
)
def test_what_a_replication_can_not_do_by_itself_is_told_at_once(
    changes: dict[str, object], settled: bool, says: str, one_side: OneSided
) -> None:
    """It may take hours to catch up, in an outage: nobody must wait so long for a thread that has ended."""
    back_again(one_side)
    check = CheckCaughtUp(machine="acd-dbm1")
    verdict = check.wanted(one_side.situation, channel_with(facts_for(check, one_side), "acd-dbm1", **changes))
    assert (verdict.answer, verdict.settled) == (Answer.FAIL, settled)
    assert says in verdict.next_step
    assert verdict.next_step.endswith("Not reached: do not go on.")


def test_a_master_that_has_just_connected_is_waited_for(one_side: OneSided) -> None:
    back_again(one_side)
    check = CheckCaughtUp(machine="acd-dbm1")
    one_side.cluster.not_received = {"acd-dbm1"}

    verdict = check.wanted(one_side.situation, facts_for(check, one_side))

    assert (verdict.answer, verdict.settled) == (Answer.FAIL, False)
    assert "from acd-dbm2: not yet executed" in verdict.reason
    assert "acd-dbm1 has replayed all changes of acd-dbm2: fail" in refused(
        BACK, one_side.situation, facts_for(BACK, one_side)
    )


def test_whether_a_master_has_caught_up_with_one_that_is_not_reached_is_unknown(one_side: OneSided) -> None:
    back_again(one_side)
    check = CheckCaughtUp(machine="acd-dbm1")
    alone = unseen(facts_for(check, one_side), ReplayOn(machine="acd-dbm1", source="acd-dbm2"))

    verdict = check.wanted(one_side.situation, alone)

    assert verdict.answer is Answer.UNKNOWN
    assert "connection lost" in verdict.reason


def test_a_pair_that_one_of_the_two_does_not_tell_about_is_unknown(one_side: OneSided) -> None:
    back_again(one_side)
    check = CheckWholePair(pair="storage", primary="acd-store2", other="acd-store1")
    facts = facts_for(check, one_side)

    assert check.wanted(one_side.situation, unseen(facts, ClusterOn(machine="acd-store1"))).answer is Answer.UNKNOWN
    untold = drbd_with(facts, "acd-store1", out_of_sync_kib=None)
    assert check.wanted(one_side.situation, untold).answer is Answer.UNKNOWN


# --- who gets the writes ----------------------------------------------------------------------------------------------


def test_the_address_moves_only_where_the_next_writer_is_fresh(one_side: OneSided) -> None:
    back_again(one_side)
    facts = facts_for(BACK, one_side)
    assert refused(BACK, one_side.situation, facts) == ""

    lagging = channel_with(facts, "acd-dbm1", lag_seconds=4)
    assert "acd-dbm1 has replayed all changes of acd-dbm2: fail" in refused(BACK, one_side.situation, lagging)
    stopped = channel_with(facts, "acd-dbm1", sql="No")
    assert "SQL No" in refused(BACK, one_side.situation, stopped)
    blind = unseen(facts, ReplicationOn(machine="acd-dbm1"))
    assert "the database of acd-dbm1 accepts writes: unknown" in refused(BACK, one_side.situation, blind)


def test_a_master_that_is_not_up_yet_behind_it_will_be(one_side: OneSided) -> None:
    back_again(one_side)
    facts = servers_with(facts_for(BACK, one_side), "acd-lb1", "db/acd-dbm1", up=False, status="DOWN")

    lagging = channel_with(facts, "acd-dbm1", lag_seconds=4)

    assert "lag 4 s" in refused(BACK, one_side.situation, lagging)


def test_where_haproxy_starts_with_the_move_any_master_may_get_the_writes(inventory: Inventory) -> None:
    balancer = inventory.pairs.load_balancer.model_copy(update={"resources": ("vip", "haproxy")})
    pairs = inventory.pairs.model_copy(update={"load_balancer": balancer})
    one_side = vacated(inventory.model_copy(update={"pairs": pairs}))
    back_again(one_side)
    facts = channel_with(facts_for(BACK, one_side), "acd-dbm1", lag_seconds=4)

    assert "acd-dbm1 has replayed all changes of acd-dbm2: fail" in refused(BACK, one_side.situation, facts)


def test_a_failover_asks_nothing_new_where_the_writes_stay(situation: Situation, facts: Facts) -> None:
    there = MovePair(pair="load_balancer", to="acd-lb2", leaver="acd-lb1")
    lagging = channel_with(facts, "acd-dbm2", lag_seconds=4)

    told = [v for v in there.conditions(situation, lagging) if v.invariant == 5]

    assert [(v.answer, v.reason) for v in told] == [(Answer.NOT_APPLICABLE, "the writes stay where they are")]
