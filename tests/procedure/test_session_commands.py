"""Sessions: waiting for them to end, ending them, and what they keep from being done."""

from __future__ import annotations

from procedure.commands import AwaitDrained, EndSessions, MovePair, TakeBackup
from procedure.facts import Facts, Session, SessionsFact
from procedure.situation import Situation
from procedure.subjects import BalancerOn, SessionsOn
from procedure.verdicts import Answer
from tests.procedure.altered import cluster_with, drbd_with, idle, node_with, resource_with, seen, servers_with, unseen
from tests.procedure.asking import PAPER

DRAINED = AwaitDrained(balancer="acd-lb1", master="acd-dbm1")
MOVE = MovePair(pair="storage", to="acd-store2", leaver="acd-store1")
MOVE_BALANCER = MovePair(pair="load_balancer", to="acd-lb2", leaver="acd-lb1")
BACKUP = TakeBackup(machine="acd-dbm1", path="/srv/backup/x.sql")


def test_the_drain_is_over_at_zero(situation: Situation, facts: Facts) -> None:
    assert DRAINED.wanted(situation, idle(facts)).answer is Answer.PASS


def test_the_drain_is_not_over_where_writes_no_longer_go(situation: Situation, facts: Facts) -> None:
    """The process list of a master that nobody uses any more is empty, and proves nothing."""
    elsewhere = servers_with(idle(facts), "acd-lb1", "db/acd-dbm1", up=False, status="DOWN")

    verdict = DRAINED.wanted(situation, elsewhere)

    assert verdict.answer is Answer.FAIL
    assert "writes go to acd-dbm2" in verdict.reason


def test_nobody_knows_who_is_left_where_one_of_the_lists_is_not_seen(situation: Situation, facts: Facts) -> None:
    caller = servers_with(idle(facts), "acd-lb1", "web/acd-jb1", sessions=2)

    verdict = DRAINED.wanted(situation, unseen(caller, SessionsOn(machine="acd-dbm1")))

    assert verdict.answer is Answer.UNKNOWN
    assert "web/acd-jb1: 2" in verdict.reason


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
