"""Commands of the way back: what they wait for, what they refuse, exactly what they send."""

from __future__ import annotations

import pytest

from inventory.models import Inventory
from procedure import failback
from procedure.as_found import AsFound
from procedure.commands import (
    CheckBalancer,
    CheckCaughtUp,
    CheckRestored,
    CheckStopped,
    CheckWholePair,
    MovePair,
    RejoinNode,
    ShutDownMachine,
    StartMachine,
)
from procedure.commands.base import Command
from procedure.commands.restored import ServerFound
from procedure.facts import BalancerFact, ClusterFact, ComponentFact, Facts, LocationConstraint, PowerFact
from procedure.plan import OperatorTask
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, ComponentOn, PowerOf, ReplayOn, ReplicationOn, Subject
from procedure.verdicts import Answer
from procedure.who import PairName
from tests.procedure.altered import (
    channel_with,
    cluster_with,
    drbd_with,
    node_with,
    resource_with,
    seen,
    servers_with,
    unseen,
)
from tests.procedure.one_sided import OneSided, vacated
from tests.procedure.variants import moved_by_hand

STORAGE, MASTER, WEB = (StartMachine(machine=f"acd-{name}1") for name in ("store", "dbm", "jb"))
BACK = MovePair(pair="load_balancer", to="acd-lb1", leaver="acd-lb2")


@pytest.fixture
def one_side(inventory: Inventory) -> OneSided:
    """Vacated, and nothing has come back yet."""
    return vacated(inventory)


def facts_for(command: Command, one_side: OneSided) -> Facts:
    return one_side.cluster.first_look(command, one_side.situation)


def start(one_side: OneSided, *machines: str) -> None:
    for machine in machines:
        one_side.cluster.power_on(f"acd-{machine}")


def refused(command: Command, situation: Situation, facts: Facts) -> str:
    return "; ".join(v.text for v in command.conditions(situation, facts) if not v.allows)


# --- power on ---------------------------------------------------------------------------------------------------------


def test_a_machine_is_switched_on_by_its_vm_host(one_side: OneSided) -> None:
    facts = facts_for(STORAGE, one_side)

    assert refused(STORAGE, one_side.situation, facts) == ""
    sent = [instruction.text for instruction in STORAGE.instructions(one_side.situation, facts)]
    assert sent == ["ssh vm-host-1 sudo -n virsh --connect qemu:///system start acd-store1"]
    assert STORAGE.compensation() == (ShutDownMachine(machine="acd-store1", can_be_forced=True),)


def test_one_that_boots_already_is_only_waited_for(one_side: OneSided) -> None:
    """The hypervisor would say that it is active: a worker that died in between has sent it."""
    booting = PowerFact(state="on", provider="on", silent=(22,))
    facts = seen(facts_for(STORAGE, one_side), PowerOf(machine="acd-store1"), booting)

    assert STORAGE.instructions(one_side.situation, facts) == ()
    verdict = STORAGE.wanted(one_side.situation, facts)
    assert verdict.answer is Answer.FAIL
    assert "it is on, but not up yet: no port answers" in verdict.reason


@pytest.mark.parametrize(
    ("machine", "asked"),
    [
        ("acd-store1", ClusterOn(machine="acd-store1")),
        ("acd-dbm1", ReplicationOn(machine="acd-dbm1")),
        ("acd-jb1", ComponentOn(machine="acd-jb1", component="Wildfly")),
        ("acd-tel1", ComponentOn(machine="acd-tel1", component="8-Server")),
    ],
)
def test_a_machine_is_up_when_what_runs_on_it_can_be_asked(machine: str, asked: Subject, one_side: OneSided) -> None:
    """A login may be refused for a while after its port answers (pam_nologin)."""
    command = StartMachine(machine=machine)
    one_side.cluster.power_on(machine)
    facts = facts_for(command, one_side)

    assert command.wanted(one_side.situation, facts).answer is Answer.PASS
    assert command.wanted(one_side.situation, unseen(facts, asked)).answer is Answer.FAIL


def test_a_machine_that_is_off_is_asked_nothing(one_side: OneSided) -> None:
    """A call to nobody takes seconds to fail, and the machine is switched on after it."""
    seen_first = {o.subject for o in facts_for(STORAGE, one_side).observations}
    assert PowerOf(machine="acd-store1") in seen_first
    assert ClusterOn(machine="acd-store1") not in seen_first


def test_the_order_of_power_on_is_kept(one_side: OneSided) -> None:
    start(one_side, "store1")
    assert "not on yet: acd-lb1" in refused(MASTER, one_side.situation, facts_for(MASTER, one_side))

    start(one_side, "lb1")
    facts = facts_for(MASTER, one_side)
    assert refused(MASTER, one_side.situation, facts) == ""

    silent = seen(facts, PowerOf(machine="acd-lb1"), PowerFact(state="on", provider="on", silent=(22,)))
    against = [v for v in MASTER.conditions(one_side.situation, silent) if not v.allows]
    assert [v.reason for v in against] == ["no port answers on acd-lb1"]
    assert against[0].passing, "a lost packet is no reason to wake a person"
    assert "unknown" in refused(MASTER, one_side.situation, unseen(facts, PowerOf(machine="acd-lb1")))


def test_a_machine_that_would_get_traffic_is_not_started(one_side: OneSided) -> None:
    start(one_side, "store1", "lb1", "dbm1", "dbs1")
    facts = facts_for(WEB, one_side)
    assert refused(WEB, one_side.situation, facts) == ""

    forgotten = servers_with(facts, "acd-lb2", "soap/acd-jb1", admin="ready", status="DOWN")

    assert "acd-jb1 is in MAINT in every backend on acd-lb2: fail" in refused(WEB, one_side.situation, forgotten)


def test_a_machine_of_the_surviving_side_is_never_started(one_side: OneSided) -> None:
    command = StartMachine(machine="acd-jb4")

    says = refused(command, one_side.situation, facts_for(command, one_side))

    assert "acd-jb4 is on the VM-Host that returns, vm-host-1: fail" in says


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nobody is primary", "the partner of acd-store1 is primary of their pair: fail – primary is none"),
        ("split brain", "acd-store2 is StandAlone: suspicion of split brain"),
        ("a stale copy", "acd-store1 does not hold the only UpToDate copy: fail"),
        ("an older move", "no location constraint would move the storage pair to acd-store1 by itself: fail"),
        ("not seen", "the partner of acd-store1 is primary of their pair: unknown"),
    ],
)
def test_a_node_does_not_join_where_it_would_do_harm(what: str, says: str, one_side: OneSided) -> None:
    older = LocationConstraint(id="cli-prefer-vip", resource="vip", node="acd-store1", score="INFINITY")
    facts = facts_for(STORAGE, one_side)
    changed = {
        "nobody is primary": lambda: resource_with(facts, "acd-store2", "drbd", role="Unpromoted"),
        "split brain": lambda: drbd_with(facts, "acd-store2", connection="StandAlone"),
        "a stale copy": lambda: drbd_with(facts, "acd-store2", disk="Outdated"),
        "an older move": lambda: cluster_with(facts, "acd-store2", constraints=(older,)),
        "not seen": lambda: unseen(facts, ClusterOn(machine="acd-store2")),
    }[what]()

    assert says in refused(STORAGE, one_side.situation, changed)


def test_of_a_node_that_is_off_on_purpose_nothing_is_said(one_side: OneSided) -> None:
    """An operator read "cluster:acd-store1: not observed" when its partner had lost its power."""
    silent = unseen(facts_for(STORAGE, one_side), ClusterOn(machine="acd-store2"))

    says = refused(STORAGE, one_side.situation, silent)

    assert "would move the storage pair to acd-store1 by itself: unknown" in says
    assert "cluster:" not in says


def test_a_survivor_that_has_restarted_alone_waits_for_who_is_not_started(one_side: OneSided) -> None:
    """Each would wait for the other: a person must say that the one is off."""
    facts = resource_with(facts_for(STORAGE, one_side), "acd-store2", "drbd", role="Unpromoted")
    facts = cluster_with(facts, "acd-store2", quorum=False)

    against = [v for v in STORAGE.conditions(one_side.situation, facts) if not v.allows]

    assert "primary is none: acd-store2 has no quorum" in [v.reason for v in against]
    assert any(
        "See that acd-store1 is off, and only then `pcs quorum unblock` on acd-store2" in v.next_step for v in against
    )


def test_without_a_provider_a_person_starts_machines_and_it_is_looked_whether_they_are_up(inventory: Inventory) -> None:
    situation = Situation(moved_by_hand(inventory), "vm-host-1")

    plan = failback.plan(situation, AsFound.normal(situation.inventory), "back")

    task = plan.step("5-start-acd-store1").action
    assert isinstance(task, OperatorTask)
    assert task.check == STORAGE
    assert "Switch acd-store1 on, on vm-host-1" in task.instructions


# --- pairs ------------------------------------------------------------------------------------------------------------


def back_again(one_side: OneSided) -> None:
    """All machines are on, and no node is in standby."""
    for machine in tuple(one_side.cluster.off):
        one_side.cluster.power_on(machine)
    one_side.cluster.standby.clear()
    one_side.cluster.running.clear()


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


# --- as it was found --------------------------------------------------------------------------------------------------


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
