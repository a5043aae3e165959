"""Clusters that differ from the reference in all that changes a plan, each for a golden plan of its own."""

from __future__ import annotations

from inventory.approval import Approval, GatePolicy
from inventory.models import Inventory, ManualMonitoring, ManualPower


def moved_by_hand(reference: Inventory) -> Inventory:
    """No standby, no DRBD, HAProxy under Pacemaker, no hypervisor, no monitoring, no daemon commands, no gates."""
    pairs = reference.pairs
    storage = pairs.storage.model_copy(update={"method": "move", "drbd": None, "promotable": None})
    balancer = pairs.load_balancer.model_copy(update={"method": "move", "resources": ("vip", "haproxy")})
    by_hand = tuple(
        c.model_copy(update={"by_hand_on": ("acd-tel1", "acd-tel2")}) if c.name == "8-Server" else c
        for c in reference.components
    )
    off = GatePolicy(enabled=False)
    return reference.model_copy(
        update={
            "pairs": pairs.model_copy(update={"storage": storage, "load_balancer": balancer}),
            "components": by_hand,
            "vm_hosts": tuple(host.model_copy(update={"power": ManualPower()}) for host in reference.vm_hosts),
            "daemon": reference.daemon.model_copy(update={"commands": None}),
            "monitoring": ManualMonitoring(host="vm-host-1"),
            "approval": Approval(before_start=off, before_power_off=off, functionality=off),
            "backup": reference.backup.model_copy(update={"keep_until_failback": False}),
        }
    )
