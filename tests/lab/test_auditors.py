"""Each auditor fires on the bad act it is there for, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.auditors import Auditors
from lab.faults import Fault
from lab.world import World
from tests.lab.conftest import Turned
from tests.lab.hand_driven import LONG, fail_over, leave, power_off, set_admin, stop_software

STORE1, STORE2 = "acd-store1", "acd-store2"


def ready_to_power_off(turned: Turned) -> World:
    """Everything is done but the power-off of host 1."""
    stop_software(turned.world)
    turned.clock.advance(LONG)
    leave(turned, "vm-host-1")
    assert turned.auditors.violations == []
    return turned.world


def whats(turned: Turned) -> str:
    """All that was seen, as text."""
    return "\n".join(f"{violation.invariant}: {violation.what}" for violation in turned.auditors.violations)


def test_nothing_is_seen_in_a_failover_by_the_procedure(turned: Turned) -> None:
    fail_over(turned, "vm-host-1")
    assert whats(turned) == ""


def test_two_primaries(turned: Turned) -> None:
    drbd = turned.world.pairs["storage"].drbd
    assert drbd is not None
    drbd.disconnect()
    drbd.nodes[STORE2].disk = "UpToDate"
    assert drbd.promote(STORE2)
    assert "2: the storage pair has two primaries" in whats(turned)


def test_no_primary_outside_of_a_move(turned: Turned) -> None:
    turned.world.standby(STORE1, standby=True)
    turned.clock.advance(LONG)
    assert whats(turned) == ""
    turned.world.standby(STORE2, standby=True)
    turned.clock.advance(LONG)
    assert "2: the storage pair has no primary" in whats(turned)


def test_a_pair_stuck_by_a_fault_is_excused(turned: Turned) -> None:
    turned.world.faults.add(Fault("acd-lb2", "pair_stuck"))
    turned.world.standby("acd-lb1", standby=True)
    turned.clock.advance(LONG)
    assert turned.world.primaries("load_balancer") == []
    assert whats(turned) == ""


@pytest.mark.parametrize(
    ("act", "machine", "seen"),
    [
        (World.shut_down, STORE1, "while it is primary of the storage pair"),
        (World.cut_power, "acd-lb1", "while it is primary of the load_balancer pair"),
        (World.shut_down, "acd-dbm1", "while it takes the writes"),
        (World.cut_power, "acd-jb1", "while READY on acd-lb1: web/acd-jb1, soap/acd-jb1"),
    ],
)
def test_power_off_of_what_is_needed(
    turned: Turned, act: Callable[[World, str], object], machine: str, seen: str
) -> None:
    act(turned.world, machine)
    assert seen in whats(turned)
    assert 3 in turned.invariants()


def test_power_off_of_the_only_copy(turned: Turned) -> None:
    world = turned.world
    world.standby(STORE1, standby=True)
    turned.clock.advance(LONG)
    world.shut_down(STORE2)
    assert f"3: {STORE2} is powered off while it holds the only UpToDate copy" in whats(turned)


def test_power_off_of_a_machine_that_is_ready_on_the_other_balancer_alone(turned: Turned) -> None:
    world = ready_to_power_off(turned)
    view = world.balancers["acd-lb1"]
    set_admin(world, "acd-chat1", "ready")
    world.balancer_seen("acd-lb1", view)
    world.shut_down("acd-chat1")
    assert "READY on acd-lb2: chat/acd-chat1" in whats(turned)
    assert "on acd-lb1" not in whats(turned)


def test_a_move_while_drbd_is_not_in_step(turned: Turned) -> None:
    turned.world.standby(STORE2, standby=True)
    turned.clock.advance(LONG)
    turned.world.standby(STORE1, standby=True)
    assert "4: the storage pair leaves acd-store1 while DRBD is WFConnection" in whats(turned)


def test_a_move_during_resynchronisation(turned: Turned) -> None:
    turned.world.standby(STORE2, standby=True)
    turned.clock.advance(LONG)
    turned.world.standby(STORE2, standby=False)
    turned.clock.advance(8)
    turned.world.move_pair(turned.world.pairs["storage"], STORE2)
    assert "4: the storage pair leaves acd-store1 while DRBD is SyncSource" in whats(turned)


def test_a_master_that_lags_takes_the_writes(turned: Turned) -> None:
    turned.world.faults.add(Fault("acd-dbm2", "replication_held"))
    turned.clock.advance(120)
    set_admin(turned.world, "acd-dbm1", "maint")
    assert "5: acd-dbm2 takes the writes after acd-dbm1 and lacks 120 s of them" in whats(turned)


def test_a_master_that_does_not_replicate_takes_the_writes(turned: Turned) -> None:
    turned.world.faults.add(Fault("acd-dbm2", "replication_stopped"))
    set_admin(turned.world, "acd-dbm1", "maint")
    assert "5: acd-dbm2 takes the writes while it does not replicate from acd-dbm1" in whats(turned)


def test_a_master_in_step_may_take_the_writes(turned: Turned) -> None:
    turned.clock.advance(120)
    set_admin(turned.world, "acd-dbm1", "maint")
    assert turned.world.writer() == "acd-dbm2"
    assert whats(turned) == ""


def test_every_server_in_maint(turned: Turned) -> None:
    set_admin(turned.world, "acd-chat1", "maint")
    assert whats(turned) == ""
    set_admin(turned.world, "acd-chat2", "maint")
    assert "6: every server of chat on acd-lb1 is in MAINT" in whats(turned)


def test_two_daemons(turned: Turned) -> None:
    turned.world.start_daemon("acd-tel2")
    assert "7: AcdGroupDistribute runs on acd-tel1 and acd-tel2" in whats(turned)


def test_no_daemon_at_the_end(turned: Turned) -> None:
    turned.world.stop_daemon("acd-tel1")
    turned.clock.advance(LONG)
    assert whats(turned) == ""
    assert [v.invariant for v in turned.auditors.at_end()] == [7]


@pytest.mark.parametrize(
    ("machine", "seen"),
    [
        ("acd-dbm1", "acd-dbs1 (database_replica) is on"),
        ("acd-lb1", "acd-dbm1 (database_master) is on"),
        ("acd-store1", "acd-lb1 (load_balancer) is on"),
        ("acd-dbs1", "acd-jb1 (web) is on"),
    ],
)
def test_the_order_of_power_off(turned: Turned, machine: str, seen: str) -> None:
    ready_to_power_off(turned).shut_down(machine)
    assert seen in whats(turned)
    assert turned.invariants() == {9}


def test_application_machines_need_not_wait_for_each_other(turned: Turned) -> None:
    world = ready_to_power_off(turned)
    for machine in ("acd-api1", "acd-jb3", "acd-jb2", "acd-jb1", "acd-tel1", "acd-chat1"):
        world.shut_down(machine)
    world.shut_down("acd-dbs1")
    assert whats(turned) == ""


def test_a_machine_that_is_still_going_down_is_waited_for(turned: Turned) -> None:
    world = ready_to_power_off(turned)
    for machine in ("acd-api1", "acd-jb3", "acd-jb2", "acd-jb1", "acd-tel1", "acd-chat1", "acd-dbs1"):
        world.shut_down(machine)
    world.shut_down("acd-dbm1")
    assert "9: acd-dbm1 (database_master) is powered off while acd-dbs1 (database_replica) is stopping" in whats(turned)


def test_the_order_of_power_on(turned: Turned) -> None:
    ready_to_power_off(turned)
    power_off(turned, "vm-host-1")
    assert whats(turned) == ""
    turned.world.power_on("acd-lb1")
    assert "9: acd-lb1 (load_balancer) is powered on while acd-store1 (storage) is off" in whats(turned)


def test_a_node_left_in_standby_at_the_end(turned: Turned) -> None:
    turned.world.standby(STORE2, standby=True)
    turned.clock.advance(LONG)
    assert [v.invariant for v in turned.auditors.at_end()] == [10]
    assert turned.auditors.at_end(vacated="vm-host-2") == []


def test_monitoring_still_silenced_at_the_end(turned: Turned) -> None:
    auditors = Auditors(turned.world, lambda: {"acd-jb1", "acd-jb4"})
    stop_software(turned.world)
    turned.clock.advance(LONG)
    leave(turned, "vm-host-1")
    power_off(turned, "vm-host-1")
    assert [(v.invariant, v.what) for v in auditors.at_end(vacated="vm-host-1")] == [
        (11, "monitoring of acd-jb4 is still silenced")
    ]


def test_what_stays_wrong_is_told_once(turned: Turned) -> None:
    turned.world.start_daemon("acd-tel2")
    turned.clock.advance(LONG)
    turned.world.stop_service("acd-jb1", "wildfly")
    turned.clock.advance(LONG)
    assert len(turned.auditors.violations) == 1


def test_an_auditor_never_raises_into_the_world(turned: Turned) -> None:
    # A machine that the model does not know: whatever the auditor stumbles over must stay with it.
    turned.auditors.before("shutdown", "no-such-machine")
    assert [v.invariant for v in turned.auditors.violations] == [0]
