"""What matters of the facts: it reads the same as long as nothing happens, and says what has changed when it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from procedure import watching
from procedure.facts import BalancerFact, DrbdFact, Facts, Observation, PowerFact, ReplicationFact
from procedure.material import Statement, changed, is_material, statements, summary, unseen
from procedure.situation import Situation
from procedure.subjects import AutostartOf, ComponentOn, PowerOf, SessionsOn, Subject
from procedure.values import Value
from tests.procedure.paper_cluster import PaperCluster


def said(
    situation: Situation, cluster: PaperCluster, alter: Callable[[Facts], Facts] = lambda facts: facts
) -> tuple[Statement, ...]:
    watched = watching.everything(situation)
    return statements(situation, alter(cluster.facts(watched)), watched)


def altered(kind: type[Value], machine: str = "", **changes: object) -> Callable[[Facts], Facts]:
    """Facts of a kind with other values, on one machine or on all."""

    def alter(facts: Facts) -> Facts:
        return Facts(observations=tuple(_altered(one) for one in facts.observations))

    def _altered(one: Observation) -> Observation:
        if not isinstance(one.fact, kind) or (machine and getattr(one.subject, "machine", "") != machine):
            return one
        return one.model_copy(update={"fact": one.fact.model_copy(update=changes)})

    return alter


def unknown(key: str) -> Callable[[Facts], Facts]:
    def alter(facts: Facts) -> Facts:
        return Facts(
            observations=tuple(
                one.model_copy(update={"fact": None, "problem": f"lost at {one.at}"}) if one.subject.key == key else one
                for one in facts.observations
            )
        )

    return alter


def lagging(seconds: int) -> Callable[[Facts], Facts]:
    def alter(facts: Facts) -> Facts:
        return Facts(observations=tuple(_lagging(one) for one in facts.observations))

    def _lagging(one: Observation) -> Observation:
        if not isinstance(one.fact, ReplicationFact):
            return one
        channels = tuple(c.model_copy(update={"lag_seconds": seconds, "gtid": "0-1-99"}) for c in one.fact.channels)
        return one.model_copy(update={"fact": one.fact.model_copy(update={"channels": channels, "position": "x:9"})})

    return alter


def test_as_long_as_nothing_happens_it_reads_the_same(situation: Situation, cluster: PaperCluster) -> None:
    assert changed(said(situation, cluster), said(situation, cluster)) == ()


@pytest.mark.parametrize(
    "alter",
    [lagging(3), altered(PowerFact, answering=(22, 80)), altered(DrbdFact, out_of_sync_kib=4)],
    ids=["a lag of seconds", "another port", "some KiB"],
)
def test_what_changes_all_the_time_does_not_matter(
    situation: Situation, cluster: PaperCluster, alter: Callable[[Facts], Facts]
) -> None:
    assert changed(said(situation, cluster), said(situation, cluster, alter)) == ()


@pytest.mark.parametrize(
    ("alter", "lines"),
    [
        (altered(PowerFact, "acd-jb2", state="off"), ("acd-jb2: power was on, is off",)),
        (unknown("power:acd-jb2"), ("acd-jb2: power was known, can't be told now",)),
        (altered(PowerFact, "acd-jb2", state="undecided"), ("acd-jb2: power was known, can't be told now",)),
        (
            altered(DrbdFact, "acd-store1", connection="StandAlone"),
            ("acd-store1: DRBD was Connected, Primary, UpToDate, is StandAlone, Primary, UpToDate",),
        ),
        (altered(ReplicationFact, "acd-dbm1", read_only=True), ("acd-dbm1: read_only was OFF, is ON",)),
        (
            unknown("balancer:acd-lb1"),
            (
                "database: writes go to was known, can't be told now",
                "acd-lb1: HAProxy was known, can't be told now",
            ),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_matters_is_told(
    situation: Situation, cluster: PaperCluster, alter: Callable[[Facts], Facts], lines: tuple[str, ...]
) -> None:
    before, now = said(situation, cluster), said(situation, cluster, alter)
    assert changed(before, now) == lines
    assert len(changed(now, before)) == len(lines)


def test_what_becomes_known_counts_as_changed(situation: Situation, cluster: PaperCluster) -> None:
    before = said(situation, cluster, unknown("power:acd-jb2"))
    assert "acd-jb2: power unknown" in [one.text for one in before]
    assert changed(before, before) == ()
    assert changed(before, said(situation, cluster)) == ("acd-jb2: power could not be told, is known now",)


def test_a_move_a_stop_and_maintenance_are_told(situation: Situation, cluster: PaperCluster) -> None:
    before = said(situation, cluster)
    storage = situation.inventory.pairs.storage
    cluster.primary[storage.address] = "acd-store2"
    cluster.running.discard(("acd-jb1", "Wildfly"))
    cluster.maint.add(("acd-lb1", "web", "acd-jb1"))
    told = changed(before, said(situation, cluster))
    assert "storage pair: primary was acd-store1, is acd-store2" in told
    assert "acd-jb1: Wildfly was running, is stopped" in told
    assert any(line.startswith("acd-lb1: MAINT was none, is ") for line in told)


def test_a_replica_that_is_far_behind_is_told(situation: Situation, cluster: PaperCluster) -> None:
    told = changed(said(situation, cluster), said(situation, cluster, lagging(600)))
    assert "acd-dbm2: replication from acd-dbm1 was running, is running, far behind" in told


def test_where_nobody_could_look_that_is_all_that_is_told(situation: Situation, cluster: PaperCluster) -> None:
    known = said(situation, cluster)
    assert changed(known, unseen("before_start")) == (
        "gate before_start: what is watched was known, can't be told now",
    )
    assert changed(unseen("before_start"), known) == (
        "gate before_start: what is watched could not be told, is known now",
    )
    assert changed(unseen("before_start"), unseen("before_start")) == ()


def test_what_reads_the_same_is_one_line_for_a_person(situation: Situation, cluster: PaperCluster) -> None:
    lines = summary(said(situation, cluster))
    assert "storage pair: primary acd-store1" in lines
    assert next(line for line in lines if line.startswith("Wildfly running: ")).count("acd-jb") == 6
    assert len("\n".join(lines)) < 3000


def test_nothing_is_asked_of_a_machine_that_is_off(situation: Situation, cluster: PaperCluster) -> None:
    goes = {m.name for m in situation.vacated_side()}
    asked: tuple[Subject, ...] = watching.one_side(situation)
    assert {type(s) for s in asked if getattr(s, "machine", "") in goes} == {PowerOf}
    cluster.primary = {pair.address: situation.survivor_of(pair) for pair in cluster.pairs}
    cluster.off = goes
    seen = statements(situation, cluster.facts(asked), asked)
    assert {one.value for one in seen if one.about in goes} == {"off"}
    assert not [one.text for one in seen if one.value == "unknown"]


def test_before_machines_are_shut_down_stopped_software_is_not_watched(situation: Situation) -> None:
    asked = watching.without_software(situation)
    assert not [s for s in asked if isinstance(s, ComponentOn | AutostartOf | SessionsOn)]
    assert all(map(is_material, asked))
    assert {s.kind for s in asked} == {"power", "cluster", "drbd", "balancer", "replication", "daemon"}


def test_the_same_words_for_what_a_standby_does_not_run(situation: Situation, cluster: PaperCluster) -> None:
    now = said(situation, cluster, altered(BalancerFact, "acd-lb2", running=False))
    assert "acd-lb2: HAProxy was running, is not running" in changed(said(situation, cluster), now)
