"""Machines that are switched on again: in which order, by whom, and what keeps them off."""

from __future__ import annotations

import pytest

from inventory.models import Inventory
from procedure import failback
from procedure.as_found import AsFound
from procedure.commands import ShutDownMachine, StartMachine
from procedure.facts import LocationConstraint, PowerFact
from procedure.plan import OperatorTask
from procedure.situation import Situation
from procedure.subjects import ClusterOn, ComponentOn, PowerOf, ReplicationOn, Subject
from procedure.verdicts import Answer
from tests.procedure.altered import cluster_with, drbd_with, resource_with, seen, servers_with, unseen
from tests.procedure.asking import refused
from tests.procedure.one_sided import OneSided, facts_for, start
from tests.procedure.variants import moved_by_hand

STORAGE, MASTER, WEB = (StartMachine(machine=f"acd-{name}1") for name in ("store", "dbm", "jb"))


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
        "see that acd-store1 is off, and only then `pcs quorum unblock` on acd-store2" in v.next_step for v in against
    )


def test_without_a_provider_a_person_starts_machines_and_it_is_looked_whether_they_are_up(inventory: Inventory) -> None:
    situation = Situation(moved_by_hand(inventory), "vm-host-1")

    plan = failback.plan(situation, AsFound.normal(situation.inventory), "back")

    task = plan.step("5-start-acd-store1").action
    assert isinstance(task, OperatorTask)
    assert task.check == STORAGE
    assert "Switch acd-store1 on, on vm-host-1" in task.instructions
