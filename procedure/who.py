"""Who is what at the moment: primary of a pair, active load balancer, master that takes writes. Read from facts alone.

Everything here answers None where the facts do not tell; a guess would be worse than no answer.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from inventory.models import Backend, Inventory, Pair, Role
from procedure.facts import (
    BalancerFact,
    ClusterFact,
    Facts,
    LocationConstraint,
    NodeState,
    ResourceState,
    ServerState,
)

PairName = Literal["storage", "load_balancer"]
PAIR_WORDS: dict[PairName, str] = {"storage": "storage pair", "load_balancer": "load-balancer pair"}
PAIR_NAMES: tuple[PairName, ...] = ("storage", "load_balancer")


def pair(inventory: Inventory, name: PairName) -> Pair:
    """The pair of that name."""
    return inventory.pairs.storage if name == "storage" else inventory.pairs.load_balancer


def partner(of: Pair, machine: str) -> str:
    """The other machine of a pair."""
    return next(name for name in of.machines if name != machine)


def haproxy_resources(inventory: Inventory, fact: ClusterFact) -> tuple[ResourceState, ...]:
    """Instances of the Pacemaker resource that runs HAProxy, known by its agent or its own name; several: a clone."""
    names = {"haproxy", inventory.haproxy.service.lower()}
    return tuple(r for r in fact.resources if r.agent.rsplit(":", 1)[-1].lower() in names or r.id.lower() in names)


def node(inventory: Inventory, fact: ClusterFact, machine: str) -> NodeState | None:
    """A machine as a Pacemaker node."""
    name = inventory.machine(machine).node_name
    return next((node for node in fact.nodes if node.name == name), None)


def instances(fact: ClusterFact, resource: str) -> tuple[ResourceState, ...]:
    """All instances of a resource, found by its own name or by that of its clone or group."""
    return tuple(r for r in fact.resources if resource in (r.id, r.container))


def runs_on(inventory: Inventory, fact: ClusterFact, resource: str, machine: str) -> bool:
    """Whether a resource is active on a machine."""
    name = inventory.machine(machine).node_name
    return any(r.active and name in r.nodes for r in instances(fact, resource))


def _promoted(fact: ClusterFact, promotable: str) -> set[str]:
    return {name for r in instances(fact, promotable) if r.role == "Promoted" for name in r.nodes}


def _holding_all(fact: ClusterFact, resources: tuple[str, ...]) -> set[str]:
    holders = [{name for r in instances(fact, resource) if r.active for name in r.nodes} for resource in resources]
    return set.intersection(*holders)


def views(inventory: Inventory, of: Pair, facts: Facts) -> tuple[tuple[str, ...], ...]:
    """Who is primary of a pair, once for each of its machines that told.

    With a promotable resource that is who is promoted; else who has all the pair's resources.
    """
    seen = [fact for fact in (facts.cluster(machine) for machine in of.machines) if fact is not None]
    nodes = [_promoted(fact, of.promotable) if of.promotable else _holding_all(fact, of.resources) for fact in seen]
    return tuple(tuple(m for m in of.machines if inventory.machine(m).node_name in names) for names in nodes)


def primaries(inventory: Inventory, of: Pair, facts: Facts) -> tuple[str, ...] | None:
    """Machines that are primary of a pair, as either of the two sees it: none, one or (never) two."""
    seen = views(inventory, of, facts)
    return tuple(m for m in of.machines if any(m in view for view in seen)) if seen else None


def primary(inventory: Inventory, of: Pair, facts: Facts) -> str | None:
    """The one primary of a pair, or None if there is none, two, or nobody can tell."""
    found = primaries(inventory, of, facts)
    return found[0] if found is not None and len(found) == 1 else None


def left_by_a_move(constraint: LocationConstraint) -> bool:
    """Whether Pacemaker's own tools made it: cli-prefer-… by a move, cli-ban-… by a ban."""
    return constraint.id.startswith(("cli-prefer-", "cli-ban-"))


def holds_address(fact: ClusterFact, address: str) -> bool:
    """Whether the machine that reported this fact holds an address, however it is written."""
    return _normal(address) in {_normal(held) for held in fact.addresses}


def _normal(address: str) -> str:
    try:
        return ipaddress.ip_address(address).compressed
    except ValueError:
        return address


def backends_of(inventory: Inventory, machines: tuple[str, ...]) -> tuple[tuple[Backend, tuple[str, ...]], ...]:
    """Backends in which any of these machines stands, each with the names of their servers in it."""
    found = (
        (backend, tuple(server for server, machine in backend.servers.items() if machine in machines))
        for backend in inventory.haproxy.backends
    )
    return tuple((backend, servers) for backend, servers in found if servers)


def servers_of(inventory: Inventory, machines: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Backend and server name of every place in which any of these machines stands."""
    return tuple((backend.name, server) for backend, servers in backends_of(inventory, machines) for server in servers)


def state_of(fact: BalancerFact, backend: str, server: str) -> ServerState | None:
    """A server of a backend, as HAProxy sees it."""
    return next((state for state in fact.of(backend) if state.server == server), None)


def machine_behind(inventory: Inventory, backend: Backend, state: ServerState) -> str | None:
    """The machine a server really is: by its address if that is some machine's, else as the inventory says."""
    return machine_at(inventory, state.address) or backend.servers.get(state.server)


def machine_at(inventory: Inventory, address: str) -> str | None:
    """The machine that has an address, or None."""
    wanted = _normal(address)
    return next((m.name for m in inventory.machines if wanted in {_normal(a) for a in (m.address, *m.aliases)}), None)


def _takes_connections(state: ServerState) -> bool:
    return state.up and state.admin == "ready"


def _used(states: tuple[ServerState, ...]) -> tuple[ServerState, ...]:
    # HAProxy's rule: every usable server, and only without one of them the first usable backup.
    regular = tuple(s for s in states if _takes_connections(s) and not s.backup)
    return regular or tuple(s for s in states if _takes_connections(s) and s.backup)[:1]


def writers_of(inventory: Inventory, fact: BalancerFact) -> tuple[str, ...]:
    """Database machines to which one HAProxy sends connections: usually one."""
    machines: list[str] = []
    for backend in inventory.haproxy.backends:
        if backend.kind == "database":
            behind = (machine_behind(inventory, backend, s) for s in _used(fact.of(backend.name)))
            machines += [machine for machine in behind if machine is not None]
    return tuple(dict.fromkeys(machines))


def may_write_behind(inventory: Inventory, fact: BalancerFact) -> tuple[str, ...]:
    """Machines to which one HAProxy sends writes now, or will as soon as it finds them UP."""
    waiting = [
        machine_behind(inventory, backend, state)
        for backend in inventory.haproxy.backends
        for state in fact.of(backend.name)
        if backend.kind == "database" and state.admin == "ready" and not state.backup
    ]
    found = (*writers_of(inventory, fact), *(machine for machine in waiting if machine is not None))
    return tuple(dict.fromkeys(found))


def writers(inventory: Inventory, facts: Facts) -> tuple[str, ...] | None:
    """Database machines that take writes now: those behind the active load balancer."""
    active = primary(inventory, inventory.pairs.load_balancer, facts)
    fact = facts.balancer(active) if active else None
    return writers_of(inventory, fact) if fact is not None and fact.running else None


def sources_of(inventory: Inventory, replica: str) -> tuple[str, ...]:
    """Machines a database machine replicates from."""
    return tuple(r.source for r in inventory.database.replication if r.replica == replica)


def masters_behind(inventory: Inventory, master: str) -> tuple[str, ...]:
    """Other masters that a master replicates from."""
    masters = {machine.name for machine in inventory.with_role(Role.DATABASE_MASTER)}
    return tuple(source for source in sources_of(inventory, master) if source in masters)


def replicas_of(inventory: Inventory, source: str) -> tuple[str, ...]:
    """Database machines that replicate from a machine."""
    return tuple(r.replica for r in inventory.database.replication if r.source == source)


def admin_page_url(inventory: Inventory, balancer: str) -> str:
    """Where the admin page of a load balancer is; empty where the inventory names none."""
    page = inventory.haproxy.admin_page
    if page is None:
        return ""
    address = inventory.machine(balancer).address
    host = f"[{address}]" if ":" in address else address
    return f"{'https' if page.tls else 'http'}://{host}:{page.port}{page.path}"
