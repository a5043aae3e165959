"""Facts of the paper cluster with one thing different: a small factory for tables of conditions."""

from __future__ import annotations

from procedure.facts import (
    BalancerFact,
    ClusterFact,
    DrbdFact,
    Fact,
    Facts,
    NodeState,
    Observation,
    ReplicaChannel,
    ReplicationFact,
    ServerState,
    SessionsFact,
)
from procedure.subjects import BalancerOn, ClusterOn, DrbdOn, ReplicationOn, SessionsOn, Subject
from tests.procedure.paper_cluster import NOW


def seen(facts: Facts, subject: Subject, fact: Fact) -> Facts:
    """With another fact of a subject."""
    return facts.merged([Observation(subject=subject, at=NOW, source="test", fact=fact)])


def unseen(facts: Facts, *subjects: Subject) -> Facts:
    """Without facts of some subjects: the connection was lost."""
    lost = [Observation(subject=s, at=NOW, source="test", problem="connection lost") for s in subjects]
    return facts.merged(lost)


def cluster_with(facts: Facts, machine: str, **changes: object) -> Facts:
    """Pacemaker as a machine sees it, with fields changed."""
    fact = facts.cluster(machine)
    assert isinstance(fact, ClusterFact)
    return seen(facts, ClusterOn(machine=machine), fact.model_copy(update=changes))


def node_with(facts: Facts, seen_from: str, node: str, **changes: object) -> Facts:
    """One node with fields changed, as a machine sees it."""
    fact = facts.cluster(seen_from)
    assert isinstance(fact, ClusterFact)
    nodes: tuple[NodeState, ...] = tuple(n.model_copy(update=changes) if n.name == node else n for n in fact.nodes)
    return cluster_with(facts, seen_from, nodes=nodes)


def resource_with(facts: Facts, seen_from: str, resource: str, **changes: object) -> Facts:
    """All instances of a resource with fields changed, as a machine sees it."""
    fact = facts.cluster(seen_from)
    assert isinstance(fact, ClusterFact)
    resources = tuple(r.model_copy(update=changes) if r.id == resource else r for r in fact.resources)
    return cluster_with(facts, seen_from, resources=resources)


def drbd_with(facts: Facts, machine: str, **changes: object) -> Facts:
    """DRBD as a machine sees it, with fields changed."""
    fact = facts.drbd(machine)
    assert isinstance(fact, DrbdFact)
    return seen(facts, DrbdOn(machine=machine), fact.model_copy(update=changes))


def channel_with(facts: Facts, machine: str, **changes: object) -> Facts:
    """The first replication of a machine with fields changed."""
    fact = facts.replication(machine)
    assert isinstance(fact, ReplicationFact)
    first: ReplicaChannel = fact.channels[0].model_copy(update=changes)
    changed = fact.model_copy(update={"channels": (first, *fact.channels[1:])})
    return seen(facts, ReplicationOn(machine=machine), changed)


def servers_with(facts: Facts, balancer: str, *servers: str, **changes: object) -> Facts:
    """Servers of one HAProxy ("backend/server") with fields changed."""
    fact = facts.balancer(balancer)
    assert isinstance(fact, BalancerFact)
    states: tuple[ServerState, ...] = tuple(
        s.model_copy(update=changes) if f"{s.backend}/{s.server}" in servers else s for s in fact.servers
    )
    return seen(facts, BalancerOn(machine=balancer), fact.model_copy(update={"servers": states}))


def idle(facts: Facts) -> Facts:
    """With nobody connected to the first master."""
    return seen(facts, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=True, count=0))
