"""The model on the way back: machines that start again, pairs, replication and load balancers that catch up."""

from __future__ import annotations

import pytest

from inventory.models import Inventory, Role
from lab.auditors import Auditors
from lab.clock import VirtualClock
from lab.durations import Durations
from lab.faults import Fault
from lab.pacemaker_text import constraints_listing, constraints_xml, crm_mon_xml, disks, proc_drbd
from lab.truth import truth_of
from lab.world import World
from tests.lab.conftest import Turned
from tests.lab.hand_driven import LONG, come_back, fail_over, move_daemon, power_on, set_admin, stop_software

STORE1, STORE2 = "acd-store1", "acd-store2"
MASTER1, MASTER2 = "acd-dbm1", "acd-dbm2"


@pytest.fixture
def away(turned: Turned) -> Turned:
    """A cluster that runs on VM-Host 2 alone."""
    fail_over(turned, "vm-host-1")
    assert turned.auditors.violations == []
    return turned


def whats(turned: Turned) -> str:
    """All that auditors saw, as text."""
    return "\n".join(f"{violation.invariant}: {violation.what}" for violation in turned.auditors.violations)


@pytest.mark.parametrize("host", ["vm-host-1", "vm-host-2"])
def test_there_and_back_by_hand_ends_where_it_began(turned: Turned, host: str) -> None:
    before = truth_of(turned.world)
    for _ in range(3):
        fail_over(turned, host)
        come_back(turned, host, active=host == "vm-host-1")
        assert truth_of(turned.world) == before
    assert whats(turned) == ""
    assert turned.auditors.at_end() == []


# --- power ------------------------------------------------------------------------------------------------------------


def test_a_boot_takes_its_time_and_starts_services_but_not_the_daemon(away: Turned) -> None:
    world, clock, durations = away.world, away.clock, Durations()
    power_on(away, "vm-host-1")
    assert whats(away) == ""
    for machine in ("acd-tel1", "acd-jb1"):
        world.shut_down(machine)
    clock.advance(LONG)
    for machine, boot in (("acd-tel1", durations.boot_windows), ("acd-jb1", durations.boot)):
        world.power_on(machine)
        clock.advance(boot - 1)
        assert world.machines[machine].power == "booting"
        clock.advance(2)
        assert world.machines[machine].on
        assert {service.status for service in world.machines[machine].services.values()} == {"starting"}
    clock.advance(LONG)
    # All five of its Windows services, and nothing that is none.
    assert [s.status for s in world.machines["acd-tel1"].services.values()] == ["running"] * 5
    assert world.machines["acd-tel1"].daemon == "stopped"
    assert world.machines["acd-tel2"].daemon == "running"


def test_a_machine_that_does_not_boot_stays_booting_until_it_is_mended(away: Turned) -> None:
    world = away.world
    world.faults.add(Fault(STORE1, "boot_stuck"))
    world.power_on(STORE1)
    away.clock.advance(LONG)
    assert world.machines[STORE1].power == "booting"
    assert not world.pairs["storage"].nodes[STORE1].online
    assert world.power_on(STORE1) == "unchanged"
    world.faults.clear()
    away.clock.advance(LONG)
    assert world.machines[STORE1].on
    assert world.pairs["storage"].nodes[STORE1].online


def test_machines_that_start_with_their_host_ask_nobody(away: Turned) -> None:
    world = away.world
    operations = len(world.journal.entries)
    world.faults.add(Fault("acd-jb1", "autostart"))
    assert world.machines["acd-jb1"].power == "booting"
    away.clock.advance(LONG)
    assert world.machines["acd-jb1"].on
    assert world.machines["acd-jb1"].services["wildfly"].status == "running"
    assert world.machines["acd-jb1"].autostart
    # What a fault brings about is no operation of anybody, and the auditors excuse it.
    assert len(world.journal.entries) == operations
    assert whats(away) == ""
    world.faults.clear()
    assert not world.machines["acd-jb1"].autostart
    assert world.machines["acd-jb1"].on


def test_the_order_of_power_on_is_audited_in_each_place(away: Turned) -> None:
    world = away.world
    for machine in (STORE1, "acd-lb1"):
        world.power_on(machine)
        away.clock.advance(LONG)
    world.power_on(MASTER1)
    world.power_on("acd-dbs1")
    assert "9: acd-dbs1 (database_replica) is powered on while acd-dbm1 (database_master) is booting" in whats(away)
    away.clock.advance(LONG)
    assert away.invariants() == {9}
    seen = len(away.auditors.violations)
    for machine in ("acd-api1", "acd-jb1", "acd-tel1"):
        world.power_on(machine)
    assert len(away.auditors.violations) == seen


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_a_node_returns_in_standby_with_drbd_down_and_is_in_step_after_unstandby(away: Turned) -> None:
    world, clock = away.world, away.clock
    pair = world.pairs["storage"]
    drbd = pair.drbd
    assert drbd is not None
    world.power_on(STORE1)
    clock.advance(LONG)
    assert (pair.nodes[STORE1].online, pair.nodes[STORE1].standby) == (True, True)
    assert " 0:" not in proc_drbd(drbd, STORE1, 0)
    assert "cs:WFConnection" in proc_drbd(drbd, STORE2, 0)
    assert "ds:UpToDate/DUnknown" in proc_drbd(drbd, STORE2, 0)

    world.standby(STORE1, standby=False)
    seen: list[tuple[str, str, str]] = []
    for _ in range(int(LONG)):
        clock.advance(1.0)
        state = (drbd.connection(STORE1), drbd.connection(STORE2), disks(drbd, STORE1))
        if not seen or seen[-1] != state:
            seen.append(state)
    assert seen == [
        ("", "WFConnection", "UpToDate/DUnknown"),
        ("SyncTarget", "SyncSource", "Inconsistent/UpToDate"),
        ("Connected", "Connected", "UpToDate/UpToDate"),
    ]
    assert pair.primaries == [STORE2]
    assert drbd.out_of_sync(STORE1) == drbd.out_of_sync(STORE2) == 0


def test_a_resync_that_hangs_goes_on_where_it_stood(away: Turned) -> None:
    world, clock = away.world, away.clock
    drbd = world.pairs["storage"].drbd
    assert drbd is not None
    world.power_on(STORE1)
    clock.advance(LONG)
    world.faults.add(Fault(STORE1, "resync_stuck"))
    world.standby(STORE1, standby=False)
    clock.advance(LONG)
    assert (drbd.connection(STORE1), drbd.synced()) == ("SyncTarget", 0.0)
    assert drbd.out_of_sync(STORE2) > 0
    assert not drbd.safe()
    world.faults.clear()
    clock.advance(Durations().resync / 2)
    halfway = drbd.synced()
    assert 0.4 < halfway < 0.6
    world.faults.add(Fault(STORE1, "resync_stuck"))
    clock.advance(LONG)
    assert drbd.synced() == halfway
    world.faults.clear()
    clock.advance(Durations().resync)
    assert drbd.safe()


def test_drbd_that_stands_alone_after_the_boot(away: Turned) -> None:
    world, clock = away.world, away.clock
    drbd = world.pairs["storage"].drbd
    assert drbd is not None
    world.faults.add(Fault(STORE1, "drbd_standalone"))
    assert drbd.connection(STORE2) == "StandAlone"
    world.power_on(STORE1)
    clock.advance(LONG)
    world.standby(STORE1, standby=False)
    clock.advance(LONG)
    assert (drbd.connection(STORE1), drbd.connection(STORE2)) == ("WFConnection", "StandAlone")
    world.faults.clear()
    clock.advance(LONG)
    assert drbd.safe()


def test_an_old_constraint_pulls_the_pair_back_as_soon_as_its_node_is_in_step(away: Turned) -> None:
    world, clock = away.world, away.clock
    pair = world.pairs["storage"]
    world.faults.add(Fault(STORE1, "pulled_back"))
    clock.advance(LONG)
    assert pair.primaries == [STORE2]
    assert f'id="cli-prefer-g_storage" rsc="g_storage" role="Started" node="{STORE1}"' in constraints_xml(pair)
    assert f"Enabled on: {STORE1} (score:INFINITY)" in constraints_listing(pair)
    world.power_on(STORE1)
    clock.advance(LONG)
    assert pair.primaries == [STORE2]
    world.standby(STORE1, standby=False)
    clock.advance(LONG)
    assert pair.primaries == [STORE1]
    world.faults.clear()
    assert "rsc_location" not in constraints_xml(pair)
    assert pair.primaries == [STORE1]


def test_a_move_by_an_older_pcs_binds_the_pair_until_it_is_cleared(turned: Turned) -> None:
    world, clock = turned.world, turned.clock
    pair = world.pairs["storage"]
    world.move_pair(pair, STORE2, bind="fs_r0")
    clock.advance(LONG)
    assert pair.primaries == [STORE2]
    assert f'id="cli-prefer-fs_r0" rsc="fs_r0" role="Started" node="{STORE2}"' in constraints_xml(pair)
    world.move_pair(pair, STORE1, bind="fs_r0")
    clock.advance(LONG)
    assert [(p.id, p.machine) for p in pair.preferences] == [("cli-prefer-fs_r0", STORE1)]
    assert pair.primaries == [STORE1]
    pair.clear("fs_r0")
    clock.advance(LONG)
    assert pair.preferences == []
    assert pair.primaries == [STORE1]


# --- replication ------------------------------------------------------------------------------------------------------


def test_replicas_of_a_returned_master_reconnect_at_their_next_attempt_and_it_catches_up(away: Turned) -> None:
    world, clock, durations = away.world, away.clock, Durations()
    replication = world.replication
    clock.advance(2 * 3600)
    for machine in (STORE1, "acd-lb1"):
        world.power_on(machine)
        clock.advance(LONG)
    world.power_on(MASTER1)
    clock.advance(durations.boot + 1)
    own = next(c for c in replication.channels if (c.replica, c.source) == (MASTER1, MASTER2))
    survivors = next(c for c in replication.channels if (c.replica, c.source) == (MASTER2, MASTER1))
    # Its own replication begins at once and lags; the survivor's looks again only now and then.
    assert (own.io, survivors.io) == ("Yes", "Connecting")
    assert (replication.lag(own) or 0) > 3600
    clock.advance(durations.connect_retry)
    assert [c.io for c in (own, survivors)] == ["Yes", "Yes"]
    lags = []
    while replication.lag(own):
        lags.append(replication.lag(own) or 0)
        clock.advance(30)
    assert lags == sorted(lags, reverse=True)
    assert len(lags) > 5
    assert whats(away) == ""


def test_a_replica_that_returns_with_an_sql_error_lags_behind_for_good(away: Turned) -> None:
    world = away.world
    world.faults.add(Fault(MASTER1, "replication_stopped"))
    power_on(away, "vm-host-1")
    channel = next(c for c in world.replication.channels if c.replica == MASTER1)
    assert (channel.io, channel.sql_running) == ("Yes", False)
    assert channel.sql_error is not None
    assert channel.sql_error[0] == 1062
    assert world.replication.lag(channel) is None
    assert world.replication.lacking(MASTER1) > 60
    world.faults.clear()
    away.clock.advance(LONG)
    assert world.replication.lag(channel) == 0


# --- load balancers and writes ----------------------------------------------------------------------------------------


def test_writes_follow_the_address_to_the_returned_master_by_themselves(away: Turned) -> None:
    world, clock = away.world, away.clock
    stop_software(world)
    clock.advance(LONG)
    power_on(away, "vm-host-1")
    assert world.writer() == MASTER2
    for machine, standby in (("acd-lb1", False), ("acd-lb2", True)):
        world.standby(machine, standby=standby)
        clock.advance(LONG)
    # Its HAProxy has started anew and knows nothing of MAINT; that of the survivor still does.
    assert world.writer() == MASTER1
    view = world.balancers["acd-lb2"]
    assert view is not None
    servers = {server.machine: server.admin for backend in view for server in backend.servers if backend.database}
    assert servers == {MASTER1: "maint", MASTER2: "ready"}
    assert whats(away) == ""


def test_a_returned_master_that_takes_the_writes_before_it_has_caught_up_is_told(away: Turned) -> None:
    world, clock = away.world, away.clock
    world.faults.add(Fault(MASTER1, "replication_held"))
    stop_software(world)
    clock.advance(LONG)
    power_on(away, "vm-host-1")
    set_admin(world, MASTER1, "ready")
    assert world.writer() == MASTER1
    assert "5: acd-dbm1 takes the writes after acd-dbm2 and lacks" in whats(away)


def test_haproxy_under_pacemaker_follows_the_pair_there_and_back_and_forgets_maint(reference: Inventory) -> None:
    pairs = reference.pairs
    balancer = pairs.load_balancer.model_copy(update={"resources": ("vip", "haproxy")})
    changed = reference.model_copy(update={"pairs": pairs.model_copy(update={"load_balancer": balancer})})
    clock = VirtualClock()
    world = World(changed, clock)
    turned = Turned(world, clock, Auditors(world))
    fail_over(turned, "vm-host-1")
    stop_software(world)
    clock.advance(LONG)
    power_on(turned, "vm-host-1")
    # It does not start with its machine, although it ran there before.
    assert world.balancers["acd-lb1"] is None
    assert not world.machines["acd-lb1"].running("haproxy")
    for machine, standby in (("acd-lb1", False), ("acd-lb2", True), ("acd-lb2", False)):
        world.standby(machine, standby=standby)
        clock.advance(LONG)
    assert world.balancers["acd-lb2"] is None
    view = world.balancers["acd-lb1"]
    assert view is not None
    assert {server.admin for backend in view for server in backend.servers} == {"ready"}
    assert world.writer() == MASTER1
    assert whats(turned) == ""


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_way_back_that_ends_too_early_is_told(away: Turned) -> None:
    world, clock = away.world, away.clock
    stop_software(world)
    clock.advance(LONG)
    power_on(away, "vm-host-1")
    world.stop_daemon("acd-tel2")
    clock.advance(LONG)
    auditors = Auditors(world, lambda: {"acd-jb1"})
    assert [(v.invariant, v.what) for v in auditors.at_end()] == [
        (7, "AcdGroupDistribute runs on 0 telephony machines at the end"),
        (11, "monitoring of acd-jb1 is still silenced"),
        (10, "acd-store1 is left in standby"),
        (10, "acd-lb1 is left in standby"),
    ]


def test_a_daemon_on_both_sides_is_told(away: Turned) -> None:
    power_on(away, "vm-host-1")
    away.world.start_daemon("acd-tel1")
    assert "7: AcdGroupDistribute runs on acd-tel1 and acd-tel2" in whats(away)


def test_the_daemon_of_the_survivor_is_moved_without_two_at_any_time(away: Turned) -> None:
    power_on(away, "vm-host-1")
    move_daemon(away, to="vm-host-1")
    running = [
        m.name
        for m in away.world.inventory.with_role(Role.TELEPHONY)
        if away.world.machines[m.name].daemon == "running"
    ]
    assert running == ["acd-tel1"]
    assert whats(away) == ""


def test_crm_mon_shows_a_returned_node_as_recorded(away: Turned) -> None:
    power_on(away, "vm-host-1")
    text = crm_mon_xml(away.world.pairs["storage"], STORE2)
    assert f'<node name="{STORE1}" id="1" online="true" standby="true"' in text
    assert f'<node name="{STORE2}" id="2" online="true" standby="false"' in text
