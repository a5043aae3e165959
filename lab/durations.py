"""How long things take in the simulated cluster, in simulated seconds; the speed factor shortens them all alike."""

from __future__ import annotations

from dataclasses import dataclass

from inventory.models import Component, Pair


@dataclass(frozen=True)
class Durations:
    """Simulated seconds. A test that needs another figure sets it with `dataclasses.replace`."""

    boot: float = 30.0
    """From power-on until a Linux machine can be logged on to."""
    boot_windows: float = 45.0
    shutdown: float = 10.0
    """From the order until the power is off, once services and Pacemaker have left."""
    shutdown_windows: float = 20.0
    shutdown_patience: float = 90.0
    """systemd's DefaultTimeoutStopSec: what does not end by itself is killed then."""
    service_share: float = 0.7
    """Part of a component's expected duration that it really takes: expectations have some air."""
    drain: float = 20.0
    """For the sessions of a stopped program to end, one after the other."""
    pacemaker_start: float = 6.0
    """From a machine's boot until its node is online."""
    pacemaker_token: float = 3.0
    """Until the peer notices that a node has vanished without a word (corosync's token)."""
    move_share: float = 0.6
    """Part of a pair's `expected_move` that all actions of a move take together."""
    resync: float = 15.0
    """For DRBD to copy what a returned node lacks, at least."""
    resync_kib_per_second: float = 20_000.0
    drbd_writes_kib_per_second: float = 40.0
    """What the primary of a storage pair changes, and its absent peer lacks afterwards."""
    replica_notices_close: float = 2.0
    """Until a replica notices that its source has shut down in order."""
    replica_notices_silence: float = 60.0
    """The same when the source vanished without a word (slave_net_timeout)."""
    connect_retry: float = 20.0
    """Between two attempts of a replica to reach its source; the server's own default is 60 s."""
    first_fetch: float = 1.0
    """From a replica's connection until it has got the first of what its source wrote; its lag reads 0 meanwhile."""
    replay_factor: float = 20.0
    """How much faster a replica replays than its source wrote."""
    dump: float = 20.0
    snapshot: float = 4.0
    command: float = 0.5
    """What a short command takes (`pcs` needs longer, being Python)."""
    pcs: float = 1.5
    nagios_status: float = 10.0
    """Between two status files of Nagios: `status_update_interval` of Debian's nagios.cfg. In the lab at least a real
    second, since the file tells its time in whole ones."""
    daemon: float = 4.0
    """For AcdGroupDistribute to start or stop."""

    def stop(self, component: Component | None) -> float:
        """For a component's service to stop."""
        return self.service_share * component.expected_stop.total_seconds() if component else 2.0

    def start(self, component: Component | None) -> float:
        """For a component's service to start."""
        return self.service_share * component.expected_start.total_seconds() if component else 3.0

    def move(self, pair: Pair) -> float:
        """For all actions of a pair's move together."""
        return self.move_share * pair.expected_move.total_seconds()
