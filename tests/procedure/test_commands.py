"""Commands beyond the invariants: what they wait for, what they refuse, exactly what they send."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inventory.models import Component, Inventory, NagiosMonitoring
from procedure.commands import (
    AwaitDrained,
    CheckPair,
    CheckReplication,
    ClearMove,
    CutPower,
    EndSessions,
    LiftSilence,
    MovePair,
    RejoinNode,
    SetMaintenance,
    ShutDownMachine,
    SilenceMonitoring,
    StartComponent,
    StartDaemon,
    StopComponent,
    StopDaemon,
    TakeBackup,
)
from procedure.commands.base import Command
from procedure.facts import (
    BackupFact,
    BalancerFact,
    ComponentFact,
    Facts,
    LocationConstraint,
    PowerFact,
    ReplayFact,
    Session,
    SessionsFact,
    Silence,
    SilencesFact,
)
from procedure.instructions import RunOn
from procedure.situation import Situation
from procedure.subjects import (
    BackupAt,
    BalancerOn,
    ClusterOn,
    ComponentOn,
    PowerOf,
    ReplayOn,
    ReplicationOn,
    SessionsOn,
    Silences,
)
from procedure.verdicts import Answer
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
from tests.procedure.paper_cluster import NOW, PaperCluster

DRAINED = AwaitDrained(balancer="acd-lb1", master="acd-dbm1")
MOVE = MovePair(pair="storage", to="acd-store2", leaver="acd-store1")
MOVE_BALANCER = MovePair(pair="load_balancer", to="acd-lb2", leaver="acd-lb1")
BACKUP = TakeBackup(machine="acd-dbm1", path="/srv/backup/x.sql")
PAPER = Facts()


def texts(command: Command, situation: Situation) -> list[str]:
    return [instruction.text for instruction in command.instructions(situation, PAPER)]


# --- drain ------------------------------------------------------------------------------------------------------------


def idle(facts: Facts) -> Facts:
    return seen(facts, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=True, count=0))


def test_the_drain_is_over_at_zero(situation: Situation, facts: Facts) -> None:
    assert DRAINED.wanted(situation, idle(facts)).answer is Answer.PASS


def test_the_drain_is_not_over_where_writes_no_longer_go(situation: Situation, facts: Facts) -> None:
    """The process list of a master that nobody uses any more is empty, and proves nothing."""
    elsewhere = servers_with(idle(facts), "acd-lb1", "db/acd-dbm1", up=False, status="DOWN")

    verdict = DRAINED.wanted(situation, elsewhere)

    assert verdict.answer is Answer.FAIL
    assert "writes go to acd-dbm2" in verdict.reason


def test_only_the_master_that_takes_the_writes_is_dumped(situation: Situation, facts: Facts) -> None:
    elsewhere = servers_with(facts, "acd-lb1", "db/acd-dbm1", up=False, status="DOWN")
    lost = unseen(facts, BalancerOn(machine="acd-lb1"))

    answers = [[v.answer for v in BACKUP.conditions(situation, f)] for f in (facts, elsewhere, lost)]

    assert answers == [[Answer.PASS], [Answer.FAIL], [Answer.UNKNOWN]]


def test_nothing_moves_where_somebody_connected_again(situation: Situation, facts: Facts) -> None:
    rows = (Session(id=7, user="acd", address="10.77.0.31:4000", command="Sleep"),)
    again = seen(idle(facts), SessionsOn(machine="acd-dbm1"), SessionsFact(complete=True, count=1, sessions=rows))
    caller = servers_with(idle(facts), "acd-lb1", "web/acd-jb1", sessions=2)
    probe = servers_with(idle(facts), "acd-lb1", "db/acd-dbm1", sessions=1)
    lost = unseen(idle(facts), SessionsOn(machine="acd-dbm1"))

    for move in (MOVE, MOVE_BALANCER):
        answers = [move.conditions(situation, f)[-1] for f in (idle(facts), probe, again, caller, lost)]
        assert [v.answer for v in answers] == [Answer.PASS, Answer.PASS, Answer.FAIL, Answer.FAIL, Answer.UNKNOWN]
        assert "1 from acd@10.77.0.31" in answers[2].reason
        assert "force" in answers[2].next_step


def test_by_force_a_pair_moves_although_there_are_sessions_but_nothing_else_is_overruled(
    situation: Situation, facts: Facts
) -> None:
    by_force = MOVE.forced()
    assert isinstance(by_force, MovePair)
    assert by_force.forced() is None
    assert "cutting the sessions" in by_force.title
    caller = servers_with(idle(facts), "acd-lb1", "web/acd-jb1", sessions=2)
    stale = drbd_with(caller, "acd-store2", connection="WFConnection")

    assert [v.answer for v in by_force.conditions(situation, caller) if v.answer is not Answer.PASS] == [Answer.WARN]
    assert not all(v.allows for v in by_force.conditions(situation, stale))


def test_a_move_that_has_begun_is_not_stopped_by_sessions(situation: Situation, facts: Facts) -> None:
    begun = node_with(servers_with(facts, "acd-lb1", "web/acd-jb1", sessions=2), "acd-lb2", "acd-lb1", standby=True)

    assert MOVE_BALANCER.conditions(situation, begun)[-1].answer is Answer.NOT_APPLICABLE


def test_a_move_names_what_failed_there_and_how_pacemaker_tries_again(situation: Situation, facts: Facts) -> None:
    here, there = "fs_r0_start_0 on acd-store2: error (1), complete", "fs_r0_start_0 on acd-store1: error (1), complete"

    untold = MOVE.wanted(situation, facts)
    told = MOVE.wanted(situation, cluster_with(facts, "acd-store2", failures=(there, here)))

    assert "failed: " not in untold.reason
    assert "cleanup" not in untold.next_step
    assert told.reason == f"{untold.reason}; failed: {here}"
    assert "`pcs resource cleanup`" in told.next_step


def test_the_drain_names_who_is_left_and_what_would_end_them(situation: Situation, facts: Facts) -> None:
    rows = tuple(Session(id=i, user="acd", address="10.77.0.81:4000", command="Sleep") for i in range(12))
    left = seen(facts, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=True, count=12, sessions=rows))

    verdict = DRAINED.wanted(situation, left)

    assert verdict.answer is Answer.FAIL
    assert "12 from acd@10.77.0.81 (acd-lb1, Sleep)" in verdict.reason
    assert "HAProxy is reloaded" in verdict.next_step


def test_sessions_left_are_counted_by_machine_and_kind(situation: Situation, facts: Facts) -> None:
    rows = [Session(id=i, user="acd", address="10.77.0.81:4000", command="Sleep") for i in range(3)]
    rows += [Session(id=9, user="eve", address="192.0.2.7:999", command="Query")]
    left = seen(facts, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=True, count=60, sessions=tuple(rows)))
    left = servers_with(left, "acd-lb1", "web/acd-jb1", sessions=4, queued=1)

    counts = DRAINED.sessions_left(situation, left)

    assert [(c.kind, c.machine, c.user, c.count) for c in counts] == [
        ("load balancer", "acd-jb1", "", 5),
        ("database", "acd-lb1", "acd", 3),
        ("database", "192.0.2.7", "eve", 1),
        ("database", "others", "", 56),
    ]
    assert DRAINED.sessions_left(situation, PAPER) == ()


def test_who_is_left_is_cut_where_there_is_somebody(situation: Situation, facts: Facts) -> None:
    cut = DRAINED.forced()
    assert cut == EndSessions(balancer="acd-lb1", master="acd-dbm1")
    assert cut.compensation() == ()
    assert cut.approval == "end_sessions"
    busy = servers_with(facts, "acd-lb1", "web/acd-jb1", "web/acd-jb2", "db/acd-dbm1", sessions=2)

    assert [i.text for i in cut.instructions(situation, busy)] == [
        "POST https://10.77.0.81:7777/haproxy?stats s=acd-jb1&s=acd-jb2&action=shutdown&b=web",
        "POST https://10.77.0.81:7777/haproxy?stats s=acd-dbm1&action=shutdown&b=db",
        "mysql acd-dbm1: KILL CONNECTION for each session of SHOW PROCESSLIST",
    ]
    assert cut.instructions(situation, idle(facts)) == ()
    assert cut.wanted(situation, idle(facts)).answer is Answer.PASS
    assert cut.wanted(situation, facts).answer is Answer.FAIL
    assert all(v.allows for v in cut.conditions(situation, facts))
    assert "3 from app" in cut.question("3 from app")


def test_nobody_is_cut_where_it_is_not_known_who_is_connected_or_to_what(situation: Situation, facts: Facts) -> None:
    cut = DRAINED.forced()
    blind = seen(facts, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=False, count=0))
    lost = unseen(facts, SessionsOn(machine="acd-dbm1"))
    elsewhere = servers_with(facts, "acd-lb1", "db/acd-dbm1", up=False, status="DOWN")
    moved_away = facts
    for machine in ("acd-lb1", "acd-lb2"):
        moved_away = resource_with(moved_away, machine, "vip", nodes=("acd-lb2",))

    against = [[v.condition for v in cut.conditions(situation, f) if not v.allows] for f in (blind, lost)]
    assert against == [["all sessions of acd-dbm1 are seen"]] * 2
    for changed in (elsewhere, moved_away):
        assert not all(v.allows for v in cut.conditions(situation, changed))


def test_an_empty_list_without_the_privilege_proves_nothing(situation: Situation, facts: Facts) -> None:
    blind = seen(facts, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=False, count=0))

    verdict = DRAINED.wanted(situation, blind)

    assert verdict.answer is Answer.UNKNOWN
    assert "GRANT PROCESS" in verdict.next_step


def test_the_drain_notices_that_another_load_balancer_is_active(situation: Situation, facts: Facts) -> None:
    for machine in ("acd-lb1", "acd-lb2"):
        facts = resource_with(facts, machine, "vip", nodes=("acd-lb2",))

    verdict = DRAINED.wanted(situation, idle(facts))

    assert verdict.answer is Answer.FAIL
    assert verdict.reason == "acd-lb1 is the active load balancer: active is acd-lb2"
    assert "move it back there and retry; or abort" in verdict.next_step


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
    assert "See that acd-store1 is off, and only then `pcs quorum unblock` on acd-store2" in verdict.next_step


# --- machines ---------------------------------------------------------------------------------------------------------


def test_a_machine_of_the_surviving_side_is_never_powered_off(situation: Situation, facts: Facts) -> None:
    verdicts = ShutDownMachine(machine="acd-tel2").conditions(situation, facts)

    assert not all(v.allows for v in verdicts)


def test_a_machine_that_answers_no_more_is_not_asked_twice(situation: Situation, facts: Facts) -> None:
    command = ShutDownMachine(machine="acd-jb1")
    silent = seen(facts, PowerOf(machine="acd-jb1"), PowerFact(state="undecided", silent=(22,)))

    assert command.instructions(situation, silent) == ()
    assert all(v.allows for v in command.conditions(situation, silent))
    assert command.wanted(situation, silent).answer is Answer.FAIL, "silence on one port is no proof"


def test_force_is_there_only_where_the_vm_host_can(situation: Situation) -> None:
    assert ShutDownMachine(machine="acd-jb1").forced() is None
    forced = ShutDownMachine(machine="acd-jb1", can_be_forced=True).forced()
    assert isinstance(forced, CutPower)
    assert texts(forced, situation) == ["ssh vm-host-1 sudo -n virsh --connect qemu:///system destroy acd-jb1"]


def test_a_master_whose_database_has_ended_may_go_on_shutting_down(situation: Situation, facts: Facts) -> None:
    command = ShutDownMachine(machine="acd-dbm1")
    replayed = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None, caught_up=True)
    behind = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None, caught_up=None)

    answers = [
        next(v.answer for v in command.conditions(situation, f) if "has replayed" in v.condition)
        for f in (facts, replayed, behind)
    ]

    assert answers == [Answer.PASS, Answer.WARN, Answer.FAIL]


def test_a_replica_that_has_just_connected_lags_by_nothing_and_keeps_its_master_up(
    situation: Situation, facts: Facts
) -> None:
    command, position = ShutDownMachine(machine="acd-dbm1"), ReplayOn(machine="acd-dbm2", source="acd-dbm1")
    connected = seen(facts, position, ReplayFact(lacking="GTID 0-1-30 of acd-dbm1"))

    verdicts = [
        next(v for v in command.conditions(situation, f) if "has replayed" in v.condition)
        for f in (connected, unseen(facts, position))
    ]

    assert [v.answer for v in verdicts] == [Answer.FAIL, Answer.UNKNOWN]
    assert "GTID 0-1-30 of acd-dbm1" in verdicts[0].reason


# --- replication ------------------------------------------------------------------------------------------------------


def test_a_replica_must_read_connecting_to_what_is_off(situation: Situation, facts: Facts) -> None:
    check = CheckReplication(machine="acd-dbm2", away=("acd-dbm1",))
    gone = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None)

    assert check.wanted(situation, facts).answer is Answer.FAIL, "it has not noticed yet"
    assert check.wanted(situation, gone).answer is Answer.PASS
    stopped = channel_with(gone, "acd-dbm2", io="No", io_error="1236 purged")
    assert "1236 purged" in check.wanted(situation, stopped).reason


def test_a_replica_whose_source_stays_must_go_on(situation: Situation, facts: Facts) -> None:
    check = CheckReplication(machine="acd-dbs2")

    assert check.wanted(situation, facts).answer is Answer.PASS
    assert check.wanted(situation, channel_with(facts, "acd-dbs2", io="Connecting")).answer is Answer.FAIL


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


# --- software ---------------------------------------------------------------------------------------------------------


def state(facts: Facts, word: str) -> Facts:
    fact = ComponentFact.model_validate({"state": word})
    return seen(facts, ComponentOn(machine="acd-jb1", component="Wildfly"), fact)


@pytest.mark.parametrize(
    ("word", "stop", "start"),
    [
        ("running", Answer.FAIL, Answer.PASS),
        ("stopped", Answer.PASS, Answer.FAIL),
        ("failed", Answer.PASS, Answer.FAIL),
        ("starting", Answer.FAIL, Answer.FAIL),
        ("stopping", Answer.FAIL, Answer.FAIL),
        ("missing", Answer.FAIL, Answer.FAIL),
        ("by_hand", Answer.NOT_APPLICABLE, Answer.NOT_APPLICABLE),
    ],
)
def test_states_of_a_service(word: str, stop: Answer, start: Answer, situation: Situation, facts: Facts) -> None:
    found = state(facts, word)

    assert StopComponent(machine="acd-jb1", component="Wildfly").wanted(situation, found).answer is stop
    assert StartComponent(machine="acd-jb1", component="Wildfly").wanted(situation, found).answer is start


@pytest.mark.parametrize(("word", "settled"), [("missing", True), ("failed", False), ("starting", False)])
def test_only_a_service_that_is_missing_will_never_run(
    word: str, settled: bool, situation: Situation, facts: Facts
) -> None:
    verdict = StartComponent(machine="acd-jb1", component="Wildfly").wanted(situation, state(facts, word))

    assert verdict.settled is settled, "systemd may start again what has failed"


def test_a_missing_service_is_refused_before_anything_is_sent(situation: Situation, facts: Facts) -> None:
    verdicts = StopComponent(machine="acd-jb1", component="Wildfly").conditions(situation, state(facts, "missing"))

    assert [v.answer for v in verdicts] == [Answer.FAIL, Answer.NOT_APPLICABLE]


def test_without_systemctl_the_service_command_is_used(inventory: Inventory) -> None:
    old = tuple(c.model_copy(update={"manager": "sysv"}) if c.name == "Wildfly" else c for c in inventory.components)
    situation = Situation(inventory.model_copy(update={"components": old}), "vm-host-1")

    assert texts(StopComponent(machine="acd-jb1", component="Wildfly"), situation) == [
        "ssh acd-jb1 sudo -n service wildfly stop"
    ]


@pytest.mark.parametrize("machine", ["acd-jb1", "acd-dbs1", "acd-lb1", "acd-store1"])
def test_a_machine_is_shut_down_by_a_command_that_needs_no_systemd(machine: str, situation: Situation) -> None:
    assert texts(ShutDownMachine(machine=machine), situation) == [f"ssh {machine} sudo -n shutdown -h now"]


def test_order_within_a_machine_is_a_condition_both_ways(inventory: Inventory) -> None:
    later = Component(
        name="Watcher", role=inventory.machine("acd-jb1").role, service="watcher", start_after=("Wildfly",)
    )
    situation = Situation(inventory.model_copy(update={"components": (*inventory.components, later)}), "vm-host-1")
    cluster = PaperCluster(situation.inventory)
    stop, start = (
        StopComponent(machine="acd-jb1", component="Wildfly"),
        StartComponent(machine="acd-jb1", component="Watcher"),
    )

    assert not all(v.allows for v in stop.conditions(situation, cluster.facts(stop.observes(situation))))
    cluster.running -= {("acd-jb1", "Watcher")}
    assert all(v.allows for v in stop.conditions(situation, cluster.facts(stop.observes(situation))))
    cluster.running -= {("acd-jb1", "Wildfly")}
    assert not all(v.allows for v in start.conditions(situation, cluster.facts(start.observes(situation))))


def test_a_windows_service_is_controlled_by_what_the_plan_shows(situation: Situation) -> None:
    stop = StopComponent(machine="acd-tel1", component="Platform UDP Listener")
    start = StartComponent(machine="acd-tel2", component="8-Server")

    assert texts(stop, situation) == ["winrm acd-tel1 sc.exe stop 'jtel Platform UDP Listener'"]
    assert texts(start, situation) == ["winrm acd-tel2 sc.exe start robot5"]


def test_the_daemon_is_moved_where_its_machine_is_reached(inventory: Inventory) -> None:
    linux = tuple(m.model_copy(update={"os": "linux"}) if m.name == "acd-tel2" else m for m in inventory.machines)
    situation = Situation(inventory.model_copy(update={"machines": linux}), "vm-host-1")

    script = r"'C:\failover\AcdGroupDistribute.cmd'"
    assert texts(StopDaemon(machine="acd-tel1"), situation) == [f"winrm acd-tel1 {script} stop"]
    assert texts(StartDaemon(machine="acd-tel2"), situation) == [f"ssh acd-tel2 {script} start"]


# --- backup and monitoring --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "answer", "settled"),
    [
        (BackupFact(exists=True, complete=True, bytes=5000, sha256="a"), Answer.PASS, False),
        (BackupFact(exists=True, complete=True, bytes=10), Answer.FAIL, True),
        (BackupFact(exists=True, complete=False, bytes=5000), Answer.FAIL, True),
        (BackupFact(exists=True, unfinished=True, bytes=5000), Answer.FAIL, False),
        (BackupFact(exists=False), Answer.FAIL, True),
        (None, Answer.UNKNOWN, False),
    ],
)
def test_only_a_whole_backup_counts(
    fact: BackupFact | None, answer: Answer, settled: bool, situation: Situation
) -> None:
    subject = BackupAt(machine="acd-dbm1", path="/srv/backup/x.sql")
    facts = unseen(PAPER, subject) if fact is None else seen(PAPER, subject, fact)

    verdict = BACKUP.wanted(situation, facts)
    assert (verdict.answer, verdict.settled) == (answer, settled)


def test_a_backup_may_wait_dump_and_be_summed_up_in_its_time(situation: Situation) -> None:
    sent = [i.timeout for i in BACKUP.instructions(situation, PAPER) if isinstance(i, RunOn)]
    summing = situation.inventory.timings.backup
    assert BACKUP.at_most(situation.inventory) >= sum((limit for limit in sent if limit), summing)


def test_a_backup_that_is_deleted_is_not_read_first(situation: Situation) -> None:
    (removal,) = BACKUP.compensation()
    (subject,) = removal.observes(situation)
    assert isinstance(subject, BackupAt)
    assert not subject.whole
    gone = seen(PAPER, subject, BackupFact(exists=False))
    assert removal.wanted(situation, gone).answer is Answer.PASS


def test_a_dump_takes_its_place_only_when_it_is_whole(situation: Situation) -> None:
    wait, dump, move = texts(BACKUP, situation)

    assert wait == ("ssh acd-dbm1 sudo -n flock --wait 3600 --conflict-exit-code 75 /srv/backup/x.sql.lock true"), (
        "a dump whose worker died goes on, and must be over before the next begins"
    )
    assert "flock --nonblock --conflict-exit-code 75 /srv/backup/x.sql.lock mysqldump --defaults-file=" in dump
    assert dump.endswith("--result-file=/srv/backup/x.sql.part")
    assert move == "ssh acd-dbm1 sudo -n mv -- /srv/backup/x.sql.part /srv/backup/x.sql"


@pytest.mark.parametrize(
    ("left", "answer"), [(timedelta(minutes=61), Answer.PASS), (timedelta(minutes=59), Answer.FAIL)]
)
def test_a_silence_is_renewed_when_half_of_it_is_over(left: timedelta, answer: Answer, situation: Situation) -> None:
    silence = Silence(id="a", machines=("acd-jb1",), until=NOW + left)
    facts = seen(PAPER, Silences(), SilencesFact(silences=(silence,)))
    for only_extend in (False, True):
        command = SilenceMonitoring(machines=("acd-jb1",), comment="x", only_extend=only_extend)
        assert command.wanted(situation, facts).answer is answer


def test_downtimes_of_nagios_take_as_long_as_its_status_files(inventory: Inventory) -> None:
    nagios = NagiosMonitoring(address="10.77.0.5", connection="linux")
    watched = inventory.model_copy(update={"monitoring": nagios})
    for command in (SilenceMonitoring(machines=("acd-jb1",), comment="x"), LiftSilence(machines=("acd-jb1",))):
        assert command.at_most(inventory) == command.deadline(inventory) == inventory.timings.command
        assert command.at_most(watched) == 6 * inventory.timings.command
        assert command.expected(inventory) < command.expected(watched) < inventory.timings.command


def test_a_machine_that_nagios_does_not_know_is_not_silenced(situation: Situation) -> None:
    silence = Silence(id="a", machines=("acd-jb1",), until=NOW + timedelta(hours=2))
    facts = seen(PAPER, Silences(), SilencesFact(silences=(silence,), unknown=("acd-jb2",)))
    found = SilenceMonitoring(machines=("acd-jb1", "acd-jb2"), comment="x").wanted(situation, facts)
    assert (found.answer, found.reason) == (Answer.FAIL, "not: acd-jb2")
    assert LiftSilence(machines=("acd-jb2",)).wanted(situation, facts).answer is Answer.PASS


def test_what_a_move_leaves_is_cleared_and_a_standby_is_ended(inventory: Inventory, facts: Facts) -> None:
    moved, *_ = MovePair(pair="storage", to="acd-store2", leaver="acd-store1", method="move").compensation()
    stood_by, back, rejoined = MovePair(pair="storage", to="acd-store2", leaver="acd-store1").compensation()
    situation = Situation(inventory, "vm-host-1")
    bound = LocationConstraint(id="cli-prefer-fs_r0", resource="fs_r0", node="acd-store2", score="INFINITY")
    own = LocationConstraint(id="location-vip", resource="vip", node="acd-store2", score="50")
    seen_bound = cluster_with(facts, "acd-store2", constraints=(bound, own))

    assert isinstance(moved, ClearMove)
    assert isinstance(stood_by, RejoinNode)
    assert back == MovePair(pair="storage", to="acd-store1", leaver="acd-store2", back=True)
    assert rejoined == RejoinNode(pair="storage", machine="acd-store2")
    assert moved.wanted(situation, seen_bound).reason == "cli-prefer-fs_r0"
    assert [i.text for i in moved.instructions(situation, seen_bound)] == [
        "ssh acd-store2 sudo -n pcs resource clear fs_r0"
    ]
    assert moved.wanted(situation, cluster_with(facts, "acd-store2", constraints=(own,))).answer is Answer.PASS


def test_a_site_that_sets_haproxy_by_its_socket_sees_the_lines_of_the_socket(inventory: Inventory) -> None:
    by_socket = inventory.haproxy.model_copy(update={"change_by": "socket"})
    situation = Situation(inventory.model_copy(update={"haproxy": by_socket}), "vm-host-1")
    command = SetMaintenance(balancer="acd-lb2", machines=("acd-chat1",))

    assert [i.text for i in command.instructions(situation, PAPER)] == [
        "ssh acd-lb2 sudo -n socat - UNIX-CONNECT:/run/haproxy/admin.sock <<< 'set server chat/acd-chat1 state maint'"
    ]
