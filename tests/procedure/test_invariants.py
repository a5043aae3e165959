"""The invariants as predicates: each with what passes, fails, does not apply, and can't be told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from procedure import invariants
from procedure.conditions import nothing_is_lost
from procedure.facts import BalancerFact, DaemonFact, DrbdFact, Facts, PowerFact, ReplayFact, ReplicationFact
from procedure.invariants import INVARIANTS
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, DaemonOn, DrbdOn, PowerOf, ReplayOn, ReplicationOn
from procedure.verdicts import Answer, Verdict
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

PASS, FAIL, NA, UNKNOWN = Answer.PASS, Answer.FAIL, Answer.NOT_APPLICABLE, Answer.UNKNOWN
Change = Callable[[Facts], Facts]
Predicate = Callable[[Situation, Facts], Verdict]
LOST = "connection lost"
STORAGE = ("acd-store1", "acd-store2")
BALANCERS = ("acd-lb1", "acd-lb2")


def as_it_is(facts: Facts) -> Facts:
    return facts


def moved(facts: Facts) -> Facts:
    """Both pairs on side 2, as both machines see it."""
    for machine in STORAGE:
        facts = resource_with(facts, machine, "drbd", role="Promoted", nodes=("acd-store2",))
        for resource in ("fs_r0", "vip"):
            facts = resource_with(facts, machine, resource, nodes=("acd-store2",))
    for machine in BALANCERS:
        facts = resource_with(facts, machine, "vip", nodes=("acd-lb2",))
    return facts


def in_maint(facts: Facts) -> Facts:
    places = [f"{b}/acd-jb{n}" for b in ("web", "soap") for n in (1, 2, 3)]
    places += ["chat/acd-chat1", "api/acd-api1", "db/acd-dbm1"]
    for balancer in BALANCERS:
        facts = servers_with(facts, balancer, *places, admin="maint", up=False, status="MAINT")
    return facts


def two_primaries(facts: Facts) -> Facts:
    """After a lost connection between the two, each believes that it is the one."""
    facts = resource_with(facts, "acd-store2", "drbd", role="Promoted", nodes=("acd-store2",))
    return cluster_with(facts, "acd-store2", transition_idle=True)


def no_primary(facts: Facts) -> Facts:
    for machine in STORAGE:
        facts = resource_with(facts, machine, "drbd", role="Unpromoted")
    return facts


def no_primary_while_moving(facts: Facts) -> Facts:
    return cluster_with(no_primary(facts), "acd-store2", transition_idle=False)


def primary(name: PairName) -> Predicate:
    return lambda s, f: invariants.one_primary(s.inventory, name, f)


def of(predicate: Callable[[Situation, str, Facts], Verdict], machine: str) -> Predicate:
    return lambda s, f: predicate(s, machine, f)


def maint(machine: str, balancer: str) -> Predicate:
    return lambda s, f: invariants.in_maintenance(s, machine, balancer, f)


def crossing(balancer: str) -> Predicate:
    return lambda s, f: invariants.servers_cross(s.inventory, balancer, f)


def in_sync(s: Situation, f: Facts) -> Verdict:
    return invariants.drbd_in_sync(s.inventory, "storage", "acd-store2", f)


def no_drbd(s: Situation, f: Facts) -> Verdict:
    return invariants.drbd_in_sync(s.inventory, "load_balancer", "acd-lb2", f)


def fresh(*sources: str) -> Predicate:
    return lambda s, f: invariants.caught_up("acd-dbm2", sources, f, s.inventory)


def stays(*machines: str) -> Predicate:
    return lambda s, f: invariants.a_server_stays(s.inventory, "acd-lb2", machines, f)


def nowhere_else(s: Situation, f: Facts) -> Verdict:
    return invariants.daemon_nowhere_else(s.inventory, "acd-tel2", f)


def off(*machines: str) -> Change:
    def change(facts: Facts) -> Facts:
        for machine in machines:
            facts = seen(facts, PowerOf(machine=machine), PowerFact(state="off", provider="off"))
        return facts

    return change


APPLICATIONS = ("acd-tel1", "acd-jb1", "acd-jb2", "acd-jb3", "acd-chat1", "acd-api1")
LEAVING: Change = lambda f: node_with(f, "acd-store2", "acd-store1", standby=True)  # noqa: E731 - a row of the table
NOT_PRIMARY, ONLY_COPY = invariants.not_primary, invariants.not_the_only_copy
NO_WRITES, OFF_BEFORE = invariants.takes_no_writes, invariants.off_before


def stale_in_standby(facts: Facts) -> Facts:
    """Primary still, without its peer, and put into standby: what it wrote meanwhile is not on the other."""
    alone: dict[str, object] = {"connection": "WFConnection", "peer_role": "Unknown", "peer_disk": "DUnknown"}
    facts = drbd_with(LEAVING(facts), "acd-store1", **alone)
    return drbd_with(facts, "acd-store2", role="Secondary", **alone)


TABLE: list[tuple[int, str, Predicate, Change, Answer, str]] = [
    (2, "one", primary("storage"), as_it_is, PASS, "acd-store1 is primary"),
    (2, "one, without a promotable resource", primary("load_balancer"), as_it_is, PASS, "acd-lb1 is primary"),
    (2, "two", primary("storage"), two_primaries, FAIL, "both are primary"),
    (2, "none", primary("storage"), no_primary, FAIL, "neither is primary"),
    (2, "none while it moves", primary("storage"), no_primary_while_moving, PASS, "a move is under way"),
    (2, "group stopped on both", primary("load_balancer"),
     lambda f: resource_with(resource_with(f, "acd-lb1", "vip", active=False, nodes=()), "acd-lb2", "vip",
                             active=False, nodes=()), FAIL, "neither is primary"),
    (2, "nobody saw", primary("storage"), lambda f: unseen(f, *(ClusterOn(machine=m) for m in STORAGE)), UNKNOWN,
     LOST),
    (3, "primary", of(NOT_PRIMARY, "acd-store1"), as_it_is, FAIL, "acd-store1 is primary"),
    (3, "moved", of(NOT_PRIMARY, "acd-store1"), moved, PASS, "acd-store2 is primary"),
    (3, "a resource left", of(NOT_PRIMARY, "acd-store1"),
     lambda f: resource_with(moved(f), "acd-store2", "vip", nodes=("acd-store1",)), FAIL, "still has vip"),
    (3, "not in a pair", of(NOT_PRIMARY, "acd-jb1"), as_it_is, NA, "no pair"),
    (3, "the other was not seen", of(NOT_PRIMARY, "acd-store1"), lambda f: unseen(f, ClusterOn(machine="acd-store2")),
     UNKNOWN, LOST),
    (3, "the other has a copy", of(ONLY_COPY, "acd-store1"), lambda f: drbd_with(f, "acd-store2", role="Primary"), PASS,
     "UpToDate"),
    (3, "the other is behind", of(ONLY_COPY, "acd-store1"),
     lambda f: drbd_with(f, "acd-store2", role="Primary", disk="Inconsistent"), FAIL, "Inconsistent"),
    (3, "split brain", of(ONLY_COPY, "acd-store1"),
     lambda f: drbd_with(f, "acd-store2", role="Primary", connection="StandAlone"), FAIL, "split brain"),
    (3, "DRBD not seen", of(ONLY_COPY, "acd-store1"), lambda f: unseen(f, DrbdOn(machine="acd-store2")), UNKNOWN,
     LOST),
    (3, "no DRBD", of(ONLY_COPY, "acd-lb1"), as_it_is, NA, "no DRBD"),
    (3, "takes writes", of(NO_WRITES, "acd-dbm1"), as_it_is, FAIL, "sends writes there"),
    (3, "writes moved", of(NO_WRITES, "acd-dbm1"), in_maint, PASS, "acd-dbm2"),
    (3, "stands by", of(NO_WRITES, "acd-dbm2"), as_it_is, PASS, "acd-dbm1"),
    (3, "nobody takes writes", of(NO_WRITES, "acd-dbm1"),
     lambda f: servers_with(in_maint(f), "acd-lb1", "db/acd-dbm2", up=False), FAIL, "no master takes writes"),
    (3, "no master", of(NO_WRITES, "acd-dbs1"), as_it_is, NA, "no master"),
    (3, "active HAProxy not seen", of(NO_WRITES, "acd-dbm1"),
     lambda f: unseen(f, BalancerOn(machine="acd-lb1")), UNKNOWN, LOST),
    (3, "READY", maint("acd-jb1", "acd-lb2"), as_it_is, FAIL, "web/acd-jb1 is UP"),
    (3, "MAINT", maint("acd-jb1", "acd-lb2"), in_maint, PASS, "soap/acd-jb1 MAINT"),
    (3, "MAINT in one of two backends", maint("acd-jb1", "acd-lb2"),
     lambda f: servers_with(in_maint(f), "acd-lb2", "soap/acd-jb1", admin="ready", status="DOWN"), FAIL,
     "soap/acd-jb1 is DOWN"),
    (3, "in no backend", maint("acd-tel1", "acd-lb2"), as_it_is, NA, "no backend"),
    (3, "servers are who they should be", crossing("acd-lb2"), as_it_is, PASS, ""),
    (3, "a server is another machine", crossing("acd-lb2"),
     lambda f: servers_with(f, "acd-lb2", "db/acd-dbm1", address="10.77.0.72"), FAIL, "the address of acd-dbm2"),
    (3, "an address that nobody has", crossing("acd-lb2"),
     lambda f: servers_with(f, "acd-lb2", "db/acd-dbm1", address="10.9.9.9"), PASS, ""),
    (3, "writes go to the other by address", of(NO_WRITES, "acd-dbm2"),
     lambda f: servers_with(f, "acd-lb1", "db/acd-dbm1", address="10.77.0.72"), FAIL, "sends writes there"),
    (3, "only a replica takes writes", of(NO_WRITES, "acd-dbm2"),
     lambda f: servers_with(f, "acd-lb1", "db/acd-dbm1", address="10.77.0.61"), FAIL, "only acd-dbs1"),
    (3, "HAProxy of unknown servers", crossing("acd-lb1"), lambda f: unseen(f, BalancerOn(machine="acd-lb1")),
     UNKNOWN, LOST),
    (3, "no HAProxy, no servers", crossing("acd-lb1"),
     lambda f: seen(f, BalancerOn(machine="acd-lb1"), BalancerFact(running=False)), NA, "does not run"),
    (3, "HAProxy not running", maint("acd-jb1", "acd-lb1"),
     lambda f: seen(f, BalancerOn(machine="acd-lb1"), BalancerFact(running=False)), NA, "does not run"),
    (3, "the load balancer that is left is off", maint("acd-jb1", "acd-lb1"),
     lambda f: off("acd-lb1")(unseen(f, BalancerOn(machine="acd-lb1"))), NA, "is off"),
    (3, "the load balancer that stays is off", maint("acd-jb1", "acd-lb2"),
     lambda f: off("acd-lb2")(unseen(f, BalancerOn(machine="acd-lb2"))), UNKNOWN, LOST),
    (3, "HAProxy not seen", maint("acd-jb1", "acd-lb1"), lambda f: unseen(f, BalancerOn(machine="acd-lb1")), UNKNOWN,
     LOST),
    (4, "in sync", in_sync, as_it_is, PASS, "Connected"),
    (4, "resyncing", in_sync,
     lambda f: drbd_with(f, "acd-store2", connection="SyncTarget", disk="Inconsistent", synced_percent=12.5), FAIL,
     "12.5 %"),
    (4, "out of sync", in_sync, lambda f: drbd_with(f, "acd-store1", out_of_sync_kib=4), FAIL, "4 KiB"),
    (4, "split brain", in_sync, lambda f: drbd_with(f, "acd-store1", connection="StandAlone"), FAIL, "split brain"),
    (4, "one side not seen", in_sync, lambda f: unseen(f, DrbdOn(machine="acd-store1")), UNKNOWN, LOST),
    (4, "no DRBD", no_drbd, as_it_is, NA, "no DRBD"),
    (4, "the move has begun", in_sync,
     lambda f: seen(drbd_with(LEAVING(f), "acd-store2", connection="WFConnection"), DrbdOn(machine="acd-store1"),
                    DrbdFact(configured=False)), PASS, "the move has begun"),
    (4, "the move has begun, copy behind", in_sync,
     lambda f: drbd_with(LEAVING(f), "acd-store2", disk="Outdated"), FAIL, "Outdated"),
    (4, "how much is out of sync is not told", in_sync,
     lambda f: drbd_with(f, "acd-store1", out_of_sync_kib=None), UNKNOWN, "not told on acd-store1"),
    (4, "in standby, but primary still, and in sync", in_sync, LEAVING, PASS, "Connected"),
    (4, "in standby by another's hand, the other copy stale", in_sync, stale_in_standby, FAIL, "WFConnection"),
    (4, "the move has begun, the machine that is left is not seen", in_sync,
     lambda f: unseen(LEAVING(f), DrbdOn(machine="acd-store1")), UNKNOWN, LOST),
    (4, "the move is nearly over, the machine that is left is not seen", in_sync,
     lambda f: drbd_with(unseen(LEAVING(f), DrbdOn(machine="acd-store1")), "acd-store2", role="Primary"), PASS,
     "the move has begun"),
    (5, "all executed", fresh("acd-dbm1"), as_it_is, PASS, "all executed that acd-dbm1 had written (0-1-9)"),
    (5, "just connected: no lag, and nothing received", fresh("acd-dbm1"),
     lambda f: seen(f, ReplayOn(machine="acd-dbm2", source="acd-dbm1"), ReplayFact(lacking="0-1-9 (it is at 0: 3)")),
     FAIL, "from acd-dbm1: not yet executed: 0-1-9 (it is at 0: 3)"),
    (5, "source not seen", fresh("acd-dbm1"),
     lambda f: unseen(f, ReplayOn(machine="acd-dbm2", source="acd-dbm1")), UNKNOWN, LOST),
    (5, "lag", fresh("acd-dbm1"), lambda f: channel_with(f, "acd-dbm2", lag_seconds=3), FAIL, "lag 3 s"),
    (5, "lag not told", fresh("acd-dbm1"),
     lambda f: channel_with(f, "acd-dbm2", lag_seconds=None), FAIL, "lag unknown"),
    (5, "SQL thread stopped", fresh("acd-dbm1"),
     lambda f: channel_with(f, "acd-dbm2", sql="No", sql_error="1062 duplicate"), FAIL, "1062 duplicate"),
    (5, "IO thread connecting", fresh("acd-dbm1"), lambda f: channel_with(f, "acd-dbm2", io="Connecting"), FAIL,
     "Connecting"),
    (5, "a write of this moment is not replayed yet", fresh("acd-dbm1"),
     lambda f: channel_with(f, "acd-dbm2", caught_up=False), PASS, "all executed that acd-dbm1 had written (0-1-9)"),
    (5, "no replication", fresh("acd-dbm1"),
     lambda f: seen(f, ReplicationOn(machine="acd-dbm2"), ReplicationFact()), FAIL, "no replication from"),
    (5, "source given by address", fresh("acd-dbm1"),
     lambda f: channel_with(f, "acd-dbm2", source_host="10.77.0.71"), PASS, "all executed"),
    (5, "nobody concerned", fresh(), as_it_is, NA, "nobody"),
    (5, "not seen", fresh("acd-dbm1"), lambda f: unseen(f, ReplicationOn(machine="acd-dbm2")), UNKNOWN, LOST),
    (6, "others stay", stays("acd-jb1", "acd-chat1"), as_it_is, PASS, "at least one"),
    (6, "the last goes", stays("acd-chat1"),
     lambda f: servers_with(f, "acd-lb2", "chat/acd-chat2", admin="maint", up=False), FAIL, "left in chat"),
    (6, "software stopped, still READY", stays("acd-chat1"),
     lambda f: servers_with(f, "acd-lb2", "chat/acd-chat2", up=False, status="DOWN"), PASS, "at least one"),
    (6, "the other master is down", stays("acd-dbm1"),
     lambda f: servers_with(f, "acd-lb2", "db/acd-dbm2", up=False, status="DOWN"), FAIL, "none would be left in db"),
    (6, "HAProxy not running", stays("acd-jb1"),
     lambda f: seen(f, BalancerOn(machine="acd-lb2"), BalancerFact(running=False)), NA, "does not run"),
    (6, "not seen", stays("acd-jb1"), lambda f: unseen(f, BalancerOn(machine="acd-lb2")), UNKNOWN, LOST),
    (7, "runs elsewhere", nowhere_else, as_it_is, FAIL, "it runs on acd-tel1"),
    (7, "stopped elsewhere", nowhere_else,
     lambda f: seen(f, DaemonOn(machine="acd-tel1"), DaemonFact(state="stopped")), PASS, "not on acd-tel1"),
    (7, "the other is off", nowhere_else,
     lambda f: off("acd-tel1")(unseen(f, DaemonOn(machine="acd-tel1"))), PASS, "not on acd-tel1"),
    (7, "not seen", nowhere_else, lambda f: unseen(f, DaemonOn(machine="acd-tel1")), UNKNOWN, LOST),
    (9, "nothing goes before", of(OFF_BEFORE, "acd-jb1"), as_it_is, NA, "none goes before"),
    (9, "still on", of(OFF_BEFORE, "acd-dbs1"), off("acd-jb1"), FAIL, "acd-tel1"),
    (9, "all off", of(OFF_BEFORE, "acd-dbs1"), off(*APPLICATIONS), PASS, "6 are off"),
    (9, "undecided", of(OFF_BEFORE, "acd-dbs1"),
     lambda f: seen(off(*APPLICATIONS)(f), PowerOf(machine="acd-jb2"), PowerFact(state="undecided")), UNKNOWN,
     "does not decide"),
    (9, "not seen", of(OFF_BEFORE, "acd-dbs1"),
     lambda f: unseen(off(*APPLICATIONS)(f), PowerOf(machine="acd-jb2")), UNKNOWN, LOST),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_invariant(row: tuple[int, str, Predicate, Change, Answer, str], situation: Situation, facts: Facts) -> None:
    number, _, predicate, change, answer, says = row

    verdict = predicate(situation, change(facts))

    assert verdict.answer is answer, verdict.text
    assert verdict.invariant == number
    assert says in verdict.reason
    assert verdict.allows is (answer in (PASS, NA))
    assert bool(verdict.next_step) is (answer in (FAIL, UNKNOWN)), "what to do next"


def test_every_invariant_of_the_procedure_is_named_once() -> None:
    assert [invariant.number for invariant in INVARIANTS] == list(range(1, 12))


def test_every_predicate_that_an_invariant_names_exists() -> None:
    named = {name.strip() for i in INVARIANTS if i.number not in (1, 8, 10, 11) for name in i.kept_by.split(",")}

    assert all(callable(getattr(invariants, name)) for name in named)


def test_each_checkable_invariant_has_every_answer_it_can_give() -> None:
    answers = {number: {row[4] for row in TABLE if row[0] == number} for number in (2, 3, 4, 5, 6, 7, 9)}

    assert all({PASS, FAIL, UNKNOWN} <= found for found in answers.values())
    assert all(NA in found for number, found in answers.items() if number not in (2, 7))


@pytest.mark.parametrize(
    ("change", "passing"),
    [
        (lambda f: channel_with(f, "acd-dbm2", lag_seconds=3), True),
        (lambda f: seen(f, ReplayOn(machine="acd-dbm2", source="acd-dbm1"), ReplayFact(lacking="0-1-9")), True),
        (lambda f: channel_with(f, "acd-dbm2", sql="No", sql_error="1062 duplicate"), False),
        (lambda f: channel_with(f, "acd-dbm2", io="Connecting", lag_seconds=None, caught_up=False), False),
        (lambda f: seen(f, ReplicationOn(machine="acd-dbm2"), ReplicationFact()), False),
    ],
)
def test_what_comes_by_itself_is_waited_for_a_moment(
    change: Change, passing: bool, situation: Situation, facts: Facts
) -> None:
    """Not a replication that has stopped: nobody would wait for that in vain in the middle of an outage."""
    altered = change(facts)
    verdicts = (fresh("acd-dbm1")(situation, altered), nothing_is_lost(situation, "acd-dbm1", altered))
    assert [(v.answer, v.passing) for v in verdicts] == [(FAIL, passing)] * 2


@pytest.mark.parametrize(
    ("backup", "passing"),
    [({"up": False}, True), ({"address": "10.77.0.61"}, False)],
    ids=["a master that missed a check", "a replica in the place of a master"],
)
def test_only_a_missing_writer_may_be_back_in_a_moment(
    backup: dict[str, object], passing: bool, situation: Situation, facts: Facts
) -> None:
    verdict = NO_WRITES(situation, "acd-dbm1", servers_with(in_maint(facts), "acd-lb1", "db/acd-dbm2", **backup))
    assert (verdict.answer, verdict.passing) == (FAIL, passing)
