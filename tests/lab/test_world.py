"""The model: what follows from what, with a clock that is turned by hand."""

from __future__ import annotations

import pytest

from inventory.models import Inventory
from lab.clock import VirtualClock
from lab.durations import Durations
from lab.faults import Fault
from lab.pacemaker_text import crm_mon_xml, disks, proc_drbd, roles
from lab.truth import truth_of
from lab.world import World
from tests.lab.conftest import Turned
from tests.lab.hand_driven import LONG, fail_over, power_on, set_admin, stop_software

STORE1, STORE2 = "acd-store1", "acd-store2"


def wildfly(world: World) -> str:
    """Its state on the first web server."""
    return world.machines["acd-jb1"].services["wildfly"].status


def test_the_normal_state_is_the_procedures(turned: Turned) -> None:
    world = turned.world
    assert world.primaries("storage") == [STORE1]
    assert world.primaries("load_balancer") == ["acd-lb1"]
    assert world.writer() == "acd-dbm1"
    assert [name for name, state in world.machines.items() if state.daemon == "running"] == ["acd-tel1"]
    assert all(world.replication.lag(channel) == 0 for channel in world.replication.channels)
    assert turned.auditors.at_end() == []


# --- software and sessions ------------------------------------------------------------------------------------------


def test_stopping_software_ends_its_sessions_after_a_drain(turned: Turned) -> None:
    world, clock = turned.world, turned.clock
    before = len(world.sessions.of_database("acd-dbm1"))
    assert before > 0
    assert world.stop_service("acd-jb1", "wildfly") == "done"
    assert wildfly(world) == "stopping"
    assert any(session.machine == "acd-jb1" for session in world.sessions.open)
    clock.advance(LONG)
    assert wildfly(world) == "stopped"
    assert 0 < len(world.sessions.of_database("acd-dbm1")) < before
    assert not any(session.machine == "acd-jb1" for session in world.sessions.open)


def test_stopping_twice_is_done_once(turned: Turned) -> None:
    world = turned.world
    assert [world.stop_service("acd-jb1", "wildfly") for _ in range(2)] == ["done", "unchanged"]
    assert world.stop_service("acd-jb1", "no-such") == "missing"
    assert world.journal.count("acd-jb1", "stop wildfly") == 1


def test_a_windows_service_is_known_by_key_and_display_name(turned: Turned) -> None:
    state = turned.world.machines["acd-tel1"]
    assert state.service("jtel Platform UDP Listener") is state.service("jtelplatformudplistener") is not None
    assert state.service("ROBOT5") is state.service("8-Server") is not None


def test_a_stuck_session_ends_when_its_fault_is_cleared(turned: Turned) -> None:
    world = turned.world
    world.faults.add(Fault("acd-jb1", "session_stuck"))
    stop_software(world)
    turned.clock.advance(LONG)
    assert [session.machine for session in world.sessions.open] == ["acd-jb1"]
    world.faults.clear()
    assert world.sessions.open == []


def test_sessions_stay_with_their_server_when_it_is_set_to_maint(turned: Turned) -> None:
    world = turned.world
    before = len(world.sessions.of_database("acd-dbm1"))
    set_admin(world, "acd-dbm1", "maint")
    assert world.writer() == "acd-dbm2"
    assert len(world.sessions.of_database("acd-dbm1")) == before
    world.stop_service("acd-jb1", "wildfly")
    turned.clock.advance(LONG)
    world.start_service("acd-jb1", "wildfly")
    turned.clock.advance(LONG)
    assert {s.database for s in world.sessions.open if s.machine == "acd-jb1"} == {"acd-dbm2"}


def test_sessions_of_software_that_runs_while_the_address_moves_never_end(turned: Turned) -> None:
    world = turned.world
    world.standby("acd-lb1", standby=True)
    turned.clock.advance(LONG)
    stop_software(world)
    turned.clock.advance(LONG)
    left = world.sessions.open
    assert {session.through for session in left} == {"acd-lb1"}
    assert left
    world.stop_service("acd-lb1", "haproxy")
    turned.clock.advance(LONG)
    assert world.sessions.open == []


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_standby_moves_everything_in_the_recorded_order(turned: Turned) -> None:
    world, clock = turned.world, turned.clock
    pair = world.pairs["storage"]
    seen: list[str] = []

    class Recorder:
        def before(self, operation: str, machine: str) -> None:
            pass

        def after(self, machine: str, what: str) -> None:
            action = pair.running_action()
            if what.endswith("begins") and action:
                seen.append(f"{action[0]} {action[1]} {machine}")

    world.watch(Recorder())
    world.standby(STORE1, standby=True)
    clock.advance(LONG)
    assert seen == [
        f"stop vip {STORE1}",
        f"stop fs_r0 {STORE1}",
        f"demote drbd_r0 {STORE1}",
        f"stop drbd_r0 {STORE1}",
        f"promote drbd_r0 {STORE2}",
        f"start fs_r0 {STORE2}",
        f"start vip {STORE2}",
    ]
    assert (pair.primaries, pair.address_on, pair.mounted_on) == ([STORE2], STORE2, STORE2)
    assert pair.drbd is not None
    assert pair.drbd.connection(STORE2) == "WFConnection"
    assert pair.drbd.connection(STORE1) == ""


def test_a_move_takes_about_as_long_as_the_inventory_expects(turned: Turned) -> None:
    expected = turned.world.inventory.pairs.storage.expected_move.total_seconds()
    turned.world.standby(STORE1, standby=True)
    turned.clock.advance(expected / 4)
    assert turned.world.primaries("storage") != [STORE2]
    turned.clock.advance(expected)
    assert turned.world.pairs["storage"].idle
    assert turned.world.primaries("storage") == [STORE2]


def test_unstandby_moves_nothing_back_and_resynchronises(turned: Turned) -> None:
    world, clock = turned.world, turned.clock
    world.standby(STORE1, standby=True)
    clock.advance(LONG)
    world.standby(STORE1, standby=False)
    drbd = world.pairs["storage"].drbd
    assert drbd is not None
    clock.advance(8)
    assert drbd.connection(STORE1) == "SyncTarget"
    assert drbd.connection(STORE2) == "SyncSource"
    assert "sync'ed:" in proc_drbd(drbd, STORE1, 0)
    assert not drbd.safe()
    clock.advance(LONG)
    assert drbd.safe()
    assert world.primaries("storage") == [STORE2]


def test_resource_move_leaves_no_standby_and_no_constraint(turned: Turned) -> None:
    pair = turned.world.pairs["storage"]
    turned.world.move_pair(pair, STORE2)
    turned.clock.advance(LONG)
    assert pair.primaries == [STORE2]
    assert pair.moving_to is None
    assert pair.drbd is not None
    assert pair.drbd.safe()


def test_a_pair_that_will_not_move_ends_promoted_with_its_group_stopped(turned: Turned) -> None:
    world = turned.world
    world.faults.add(Fault(STORE2, "pair_stuck"))
    world.standby(STORE1, standby=True)
    turned.clock.advance(LONG)
    pair = world.pairs["storage"]
    assert pair.primaries == [STORE2]
    assert pair.address_on is None
    assert [failure.resource for failure in pair.failures] == ["fs_r0"]
    assert "<failure " in crm_mon_xml(pair, STORE2)
    world.faults.clear()
    turned.clock.advance(LONG)
    assert pair.address_on == STORE2


def test_both_in_standby_leaves_nothing_running(turned: Turned) -> None:
    for machine in (STORE1, STORE2):
        turned.world.standby(machine, standby=True)
    turned.clock.advance(LONG)
    pair = turned.world.pairs["storage"]
    assert pair.primaries == []
    assert all(resource.machine is None for resource in pair.resources)


def test_split_brain_shows_in_drbd_alone(turned: Turned) -> None:
    world = turned.world
    world.faults.add(Fault(STORE1, "drbd_standalone"))
    drbd = world.pairs["storage"].drbd
    assert drbd is not None
    assert {drbd.connection(machine) for machine in (STORE1, STORE2)} == {"StandAlone"}
    assert disks(drbd, STORE1) == "UpToDate/DUnknown"
    assert roles(drbd, STORE1) == "Primary/Unknown"
    assert world.pairs["storage"].idle
    turned.clock.advance(LONG)
    world.faults.clear()
    turned.clock.advance(LONG)
    assert drbd.safe()


# --- power ----------------------------------------------------------------------------------------------------------


def test_an_orderly_shutdown_moves_the_resources_first(turned: Turned) -> None:
    world = turned.world
    world.shut_down(STORE1)
    turned.clock.advance(LONG)
    assert world.machines[STORE1].power == "off"
    assert world.primaries("storage") == [STORE2]
    assert not world.pairs["storage"].nodes[STORE1].online


def test_a_power_cut_is_noticed_after_the_token(turned: Turned) -> None:
    world, clock = turned.world, turned.clock
    world.cut_power(STORE1)
    assert world.pairs["storage"].nodes[STORE1].online
    assert world.primaries("storage") == []
    clock.advance(Durations().pacemaker_token + 0.1)
    assert not world.pairs["storage"].nodes[STORE1].online
    clock.advance(LONG)
    assert world.primaries("storage") == [STORE2]


def test_replicas_notice_a_shut_down_source_soon_and_a_vanished_one_late(reference: Inventory) -> None:
    for vanishes, patience in ((False, Durations().replica_notices_close), (True, Durations().replica_notices_silence)):
        clock = VirtualClock()
        world = World(reference, clock)
        channel = next(c for c in world.replication.channels if c.replica == "acd-dbm2")
        if vanishes:
            world.cut_power("acd-dbm1")
        else:
            world.shut_down("acd-dbm1")
        clock.advance(patience - 0.5)
        assert world.replication.lag(channel) == 0
        clock.advance(1.0)
        assert channel.io == "Connecting"
        assert world.replication.lag(channel) is None


def test_a_booted_machine_starts_its_services_by_itself(turned: Turned) -> None:
    world, clock = turned.world, turned.clock
    boot = world.machines["acd-jb1"].boot_id
    world.shut_down("acd-jb1")
    clock.advance(LONG)
    assert world.power_on("acd-jb1") == "done"
    assert world.machines["acd-jb1"].power == "booting"
    clock.advance(LONG)
    assert world.machines["acd-jb1"].services["wildfly"].status == "running"
    assert world.machines["acd-jb1"].boot_id != boot
    assert world.power_on("acd-jb1") == "unchanged"


def test_a_machine_that_will_not_shut_down_stays_on(turned: Turned) -> None:
    world = turned.world
    world.faults.add(Fault("acd-jb1", "shutdown_stuck"))
    world.shut_down("acd-jb1")
    turned.clock.advance(LONG)
    assert world.machines["acd-jb1"].on
    world.faults.clear()
    turned.clock.advance(LONG)
    assert world.machines["acd-jb1"].power == "off"


@pytest.mark.parametrize("host", ["vm-host-1", "vm-host-2"])
def test_a_failover_by_hand_leaves_one_side_running(turned: Turned, host: str) -> None:
    fail_over(turned, host)
    world = turned.world
    off = {name for name, state in world.machines.items() if state.power == "off"}
    assert off == {machine.name for machine in world.inventory.machines if machine.host == host}
    assert world.inventory.machine(str(world.writer())).host != host
    assert all(world.inventory.machine(p).host != host for kind in world.pairs for p in world.primaries(kind))
    assert turned.auditors.violations == []
    assert turned.auditors.at_end(vacated=host) == []


def test_a_returned_side_comes_back_in_standby_and_catches_up(turned: Turned) -> None:
    fail_over(turned, "vm-host-1")
    world, clock = turned.world, turned.clock
    stop_software(world)
    clock.advance(LONG)
    power_on(turned, "vm-host-1")
    assert all(state.on for state in world.machines.values())
    assert world.pairs["storage"].nodes[STORE1].standby
    assert world.pairs["storage"].nodes[STORE1].online
    assert world.primaries("storage") == [STORE2]
    assert all(world.replication.lag(channel) == 0 for channel in world.replication.channels)
    world.standby(STORE1, standby=False)
    clock.advance(LONG)
    drbd = world.pairs["storage"].drbd
    assert drbd is not None
    assert drbd.safe()
    assert [v.invariant for v in turned.auditors.violations] == []


def test_a_returned_master_lags_before_it_has_caught_up(turned: Turned) -> None:
    fail_over(turned, "vm-host-1")
    world, clock = turned.world, turned.clock
    clock.advance(3600)
    for machine in (STORE1, "acd-lb1"):
        world.power_on(machine)
        clock.advance(LONG)
    world.power_on("acd-dbm1")
    channel = next(c for c in world.replication.channels if c.replica == "acd-dbm1")
    for _ in range(600):
        clock.advance(0.5)
        if channel.io == "Yes" and (world.replication.lag(channel) or 0) > 0:
            break
    assert (world.replication.lag(channel) or 0) > 60
    clock.advance(LONG)
    assert world.replication.lag(channel) == 0


def test_two_worlds_with_one_seed_are_alike(reference: Inventory) -> None:
    truths = []
    for _ in range(2):
        clock = VirtualClock()
        world = World(reference, clock, seed=7)
        stop_software(world)
        clock.advance(9.0)
        truths.append((truth_of(world), [s.number for s in world.sessions.open], world.machines["acd-jb1"].boot_id))
    assert truths[0] == truths[1]


def test_haproxy_under_pacemaker_runs_on_the_primary_alone(reference: Inventory) -> None:
    pairs = reference.pairs
    balancer = pairs.load_balancer.model_copy(update={"resources": ("vip", "haproxy")})
    changed = reference.model_copy(update={"pairs": pairs.model_copy(update={"load_balancer": balancer})})
    clock = VirtualClock()
    world = World(changed, clock)
    assert world.balancers["acd-lb2"] is None
    assert not world.machines["acd-lb2"].running("haproxy")
    world.standby("acd-lb1", standby=True)
    clock.advance(LONG)
    assert world.machines["acd-lb2"].running("haproxy")
    assert not world.machines["acd-lb1"].running("haproxy")
