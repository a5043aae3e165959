"""The truth of the simulated world as plain data: comparable between runs, without times, ids and counters."""

from __future__ import annotations

from typing import Any

from lab.pacemaker import PacemakerPair
from lab.world import World


def truth_of(world: World) -> dict[str, Any]:
    """Everything that a run should leave alike, however often its worker was killed."""
    world.replication.advance()
    return {
        "machines": {name: _machine(world, name) for name in world.machines},
        "pairs": {kind: _pair(world, pair) for kind, pair in world.pairs.items()},
        "replication": {
            f"{c.replica} from {c.source}": _channel(world, c.replica, c.source) for c in world.replication.channels
        },
        "writer": world.writer(),
        "balancers": {name: _balancer(world, name) for name in world.balancers},
        "database_sessions": {name: len(world.sessions.of_database(name)) for name in world.replication.nodes},
    }


def _machine(world: World, name: str) -> dict[str, Any]:
    state = world.machines[name]
    return {
        "power": state.power,
        "services": {service.name: service.status for service in state.services.values()},
        "daemon": state.daemon,
        "snapshots": len(state.snapshots),
        "files": sum(not path.endswith("/.keep") for path in state.files),
        "complete_dumps": sum(file.complete and not path.endswith("/.keep") for path, file in state.files.items()),
    }


def _pair(world: World, pair: PacemakerPair) -> dict[str, Any]:
    drbd = pair.drbd
    return {
        "primary": world.primaries(pair.kind),
        "address": pair.address_on,
        "mounted": pair.mounted_on,
        "idle": pair.idle,
        "nodes": {
            node.machine: {"online": node.online, "standby": node.standby, "clone": node.clone}
            for node in pair.nodes.values()
        },
        "resources": {resource.id: resource.started_on for resource in pair.resources},
        "failures": len(pair.failures),
        "drbd": {machine: f"{drbd.connection(machine)} {node.disk}" for machine, node in drbd.nodes.items()}
        if drbd
        else None,
    }


def _channel(world: World, replica: str, source: str) -> dict[str, Any]:
    channel = next(c for c in world.replication.channels if (c.replica, c.source) == (replica, source))
    up = world.replication.nodes[replica].up
    return {
        "io": channel.io if up else "down",
        "sql": channel.sql_running,
        "lag": world.replication.lag(channel) if up else None,
    }


def _balancer(world: World, name: str) -> dict[str, str] | None:
    view = world.balancers[name]
    if view is None:
        return None
    return {f"{b.name}/{s.name}": f"{s.admin} {'up' if s.up else 'down'}" for b in view for s in b.servers}
