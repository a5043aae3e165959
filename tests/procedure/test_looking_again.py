"""Right before the outage begins everything is looked at once more."""

from __future__ import annotations

import pytest

from procedure.as_found import AsFound
from procedure.commands import LookAgain
from procedure.facts import Facts
from procedure.situation import Situation
from procedure.subjects import AutostartOf, ClusterOn, DaemonOn, DrbdOn
from procedure.verdicts import Answer
from tests.procedure.altered import drbd_with, unseen
from tests.procedure.conftest import all_facts
from tests.procedure.paper_cluster import PaperCluster


@pytest.fixture
def look(situation: Situation, facts: Facts) -> LookAgain:
    found = AsFound.from_facts(situation, facts)
    return LookAgain(storage=found.storage, load_balancer=found.load_balancer, writer=found.writer, daemon=found.daemon)


def test_nothing_has_changed(look: LookAgain, situation: Situation, facts: Facts) -> None:
    assert look.wanted(situation, facts).answer is Answer.PASS
    assert {o.subject for o in facts.observations} == set(look.observes(situation))


def test_a_link_that_broke_since_is_told(look: LookAgain, situation: Situation, facts: Facts) -> None:
    verdict = look.wanted(situation, drbd_with(facts, "acd-store2", connection="WFConnection"))

    assert verdict.answer is Answer.FAIL
    assert "DRBD on acd-store2" in verdict.reason
    assert "resync" in verdict.next_step


def test_what_another_person_moved_since_is_told(look: LookAgain, situation: Situation, cluster: PaperCluster) -> None:
    cluster.primary[situation.inventory.pairs.storage.address] = "acd-store2"
    cluster.daemon = {"acd-tel2"}

    verdict = look.wanted(situation, all_facts(cluster, situation))

    assert verdict.answer is Answer.FAIL
    assert "the primary of the storage pair has changed from acd-store1 to acd-store2" in verdict.reason
    assert "where AcdGroupDistribute runs has changed from acd-tel1 to acd-tel2" in verdict.reason
    assert "abort, and start anew" in verdict.next_step


def test_what_is_not_seen_any_more_is_unknown(look: LookAgain, situation: Situation, facts: Facts) -> None:
    lost = (ClusterOn(machine="acd-store1"), DrbdOn(machine="acd-store1"), DaemonOn(machine="acd-tel1"))
    verdict = look.wanted(situation, unseen(facts, *lost))

    assert verdict.answer is Answer.UNKNOWN
    assert "connection lost" in verdict.reason


def test_what_has_one_cause_is_told_once(look: LookAgain, situation: Situation, facts: Facts) -> None:
    """A VM-Host that does not answer has ten machines, and a wait has room for a few lines."""
    lost = [AutostartOf(machine=m.name) for m in situation.inventory.machines if m.host == "vm-host-1"]

    verdict = look.wanted(situation, unseen(facts, *lost))

    assert verdict.answer is Answer.UNKNOWN
    assert verdict.reason.count("connection lost") == 1
    assert "acd-tel1 does not start by itself with vm-host-1" in verdict.reason
    assert " and 7 more: connection lost" in verdict.reason


def test_writes_that_moved_since_are_told(look: LookAgain, situation: Situation, cluster: PaperCluster) -> None:
    moved = look.model_copy(update={"writer": "acd-dbm2"})

    verdict = moved.wanted(situation, all_facts(cluster, situation))

    assert "the master that takes writes has changed from acd-dbm2 to acd-dbm1" in verdict.reason
