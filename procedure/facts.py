"""Facts: what was seen, when, where from. What could not be read or understood is an observation without a fact."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from procedure.subjects import (
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    DrbdOn,
    PowerOf,
    ReplayOn,
    ReplicationOn,
    SessionsOn,
    Silences,
    Subject,
)
from procedure.values import Value


class ComponentFact(Value):
    """State of a service, or of a program that only a person can see (`by_hand`)."""

    kind: Literal["component"] = "component"
    state: Literal["running", "stopped", "starting", "stopping", "failed", "missing", "by_hand"]
    """`missing`: no such service there."""
    detail: str = ""


class PowerFact(Value):
    """Power of a machine: by its provider, and by what answers."""

    kind: Literal["power"] = "power"
    state: Literal["on", "off", "undecided"]
    """`off` only when the provider says so, or when at least two signals were silent; else `undecided`."""
    provider: Literal["on", "off"] | None = None
    answering: tuple[int, ...] = ()
    """Ports that accepted a connection."""
    silent: tuple[int, ...] = ()
    """Ports that accepted none."""
    refused: tuple[int, ...] = ()
    """Those of them that refused one, which only a system does that runs: no witness that it is off."""


class AutostartFact(Value):
    """Whether a machine starts with its VM-Host; None: the provider can't tell."""

    kind: Literal["autostart"] = "autostart"
    enabled: bool | None


class NodeState(Value):
    """A Pacemaker node."""

    name: str
    online: bool
    standby: bool = False
    standby_on_fail: bool = False
    maintenance: bool = False
    pending: bool = False
    unclean: bool = False
    shutdown: bool = False
    resources_running: int = 0


class ResourceState(Value):
    """One instance of a Pacemaker resource. A stopped instance has no node."""

    id: str
    agent: str
    role: str
    """In the words of Pacemaker 2.1: Started, Stopped, Promoted, Unpromoted, Starting, …; older are translated."""
    nodes: tuple[str, ...] = ()
    active: bool = False
    managed: bool = True
    failed: bool = False
    blocked: bool = False
    disabled: bool = False
    orphaned: bool = False
    container: str | None = None
    """Clone or group it belongs to."""


class LocationConstraint(Value):
    """A location constraint that prefers, bans or forces a node."""

    id: str
    resource: str
    node: str = ""
    score: str = ""
    role: str = ""


class ClusterFact(Value):
    """Pacemaker as one node sees it."""

    kind: Literal["cluster"] = "cluster"
    quorum: bool
    maintenance_mode: bool = False
    nodes: tuple[NodeState, ...]
    resources: tuple[ResourceState, ...]
    failures: tuple[str, ...] = ()
    """Failed actions, one line each; of very many the last, and how many were left out."""
    constraints: tuple[LocationConstraint, ...] = ()
    """Of very many those that a move leaves and those that name a node come first."""
    constraints_left_out: int = 0
    addresses: tuple[str, ...] = ()
    """IPv4 and IPv6 addresses this machine holds, without prefix length; of very many always those of the pairs."""
    mounts: tuple[str, ...] = ()
    """Mount points of the pair's file system on this machine."""
    transition_idle: bool = True
    """False while a resource is starting, stopping or moving."""


class DrbdFact(Value):
    """DRBD as one node sees it."""

    kind: Literal["drbd"] = "drbd"
    configured: bool
    """False: the resource is down on this node (so it is on a node in standby)."""
    connection: str = ""
    """Connected, SyncSource, SyncTarget, WFConnection, StandAlone, …"""
    role: str = ""
    peer_role: str = ""
    disk: str = ""
    peer_disk: str = ""
    out_of_sync_kib: int | None = None
    synced_percent: float | None = None


class ServerState(Value):
    """A server of a backend."""

    backend: str
    server: str
    status: str
    """As HAProxy says it: UP, DOWN, MAINT, MAINT (via …), DRAIN, UP 1/3, no check, …"""
    admin: Literal["ready", "drain", "maint"]
    """What an administrator set, apart from health."""
    up: bool
    backup: bool = False
    weight: int = 1
    sessions: int = 0
    queued: int = 0
    check: str = ""
    address: str = ""
    """Address it sends connections to, without port; empty: not told (an admin page without `stats show-legends`)."""


class BalancerFact(Value):
    """HAProxy of one load balancer."""

    kind: Literal["balancer"] = "balancer"
    running: bool = True
    """False: HAProxy does not run there (stopped by Pacemaker on a standby node, for example); seen, not assumed."""
    servers: tuple[ServerState, ...] = ()
    """All of the backends that the inventory names; of other backends those that matter, and some of the rest."""
    left_out: int = 0
    """Servers of other backends that are not among them."""

    def of(self, backend: str) -> tuple[ServerState, ...]:
        """Servers of a backend."""
        return tuple(server for server in self.servers if server.backend == backend)


class ReplicaChannel(Value):
    """One replication of a replica."""

    source_host: str
    source_port: int = 3306
    io: Literal["Yes", "No", "Connecting", "Preparing"]
    sql: Literal["Yes", "No"]
    lag_seconds: int | None = None
    io_error: str = ""
    sql_error: str = ""
    gtid: str = ""
    name: str = ""
    caught_up: bool | None = None
    """Whether everything received has been replayed; None: not told."""


class ReplicationFact(Value):
    """Replication of a database machine. No channel: it replicates from nobody."""

    kind: Literal["replication"] = "replication"
    version: str = ""
    read_only: bool | None = None
    channels: tuple[ReplicaChannel, ...] = ()
    position: str = ""
    """Its own binary log position (file:offset), for the record."""


class ReplayFact(Value):
    """Positions of a source, and of a replica a moment later."""

    kind: Literal["replay"] = "replay"
    written: str = ""
    """How far the source had written."""
    replayed: str = ""
    """How far the replica has replayed it."""
    lacking: str = ""
    """What the replica has not executed of what had been written; empty: it has executed all of it."""


class Session(Value):
    """A database session, bounded and without its statement's text (which may hold data of callers)."""

    id: int
    user: str
    address: str
    database: str = ""
    command: str
    seconds: int | None = None
    state: str = ""


class SessionsFact(Value):
    """Sessions of a database machine, without those that don't count."""

    kind: Literal["sessions"] = "sessions"
    complete: bool
    """False: the account lacks the PROCESS privilege and sees only itself; then a count proves nothing."""
    count: int
    sessions: tuple[Session, ...] = ()
    """At most 50 of them."""
    ignored: int = 0


class SessionCount(Value):
    """How many sessions are left of one kind, with one machine."""

    kind: Literal["load balancer", "database"]
    machine: str
    """load balancer: the server they are with; database: where they come from. A name, or an address nobody knows."""
    user: str = ""
    """database: the account."""
    count: int


class DaemonFact(Value):
    """AcdGroupDistribute on a telephony machine."""

    kind: Literal["daemon"] = "daemon"
    state: Literal["running", "stopped", "by_hand"]


class SnapshotFact(Value):
    """A snapshot on the hypervisor."""

    kind: Literal["snapshot"] = "snapshot"
    exists: bool
    possible: bool = True
    """False: the provider can't make snapshots."""


class BackupFact(Value):
    """A dump file."""

    kind: Literal["backup"] = "backup"
    exists: bool
    complete: bool = False
    """Its last line says that the dump was completed."""
    unfinished: bool = False
    """Only what is written beside its place is there: it is being made, or its making ended early."""
    bytes: int = 0
    sha256: str = ""


class Silence(Value):
    """Machines silenced until a time."""

    id: str
    machines: tuple[str, ...]
    until: datetime
    comment: str = ""


class SilencesFact(Value):
    """What is silenced; only silences made by this product."""

    kind: Literal["silences"] = "silences"
    by_hand: bool = False
    """True: a person does it, nothing can be observed."""
    silences: tuple[Silence, ...] = ()
    unknown: tuple[str, ...] = ()
    """Machines that the monitoring server does not know, so that nobody can silence them."""


class ProbeFact(Value):
    """Result of a probe."""

    kind: Literal["probe"] = "probe"
    ok: bool
    detail: str = ""
    milliseconds: float = 0.0


Fact = Annotated[
    ComponentFact
    | PowerFact
    | AutostartFact
    | ClusterFact
    | DrbdFact
    | BalancerFact
    | ReplicationFact
    | ReplayFact
    | SessionsFact
    | DaemonFact
    | SnapshotFact
    | BackupFact
    | SilencesFact
    | ProbeFact,
    Field(discriminator="kind"),
]


class Observation(Value):
    """A fact with its time and source, or the reason there is none."""

    subject: Subject
    at: datetime
    source: str
    """What was asked, for example `ssh acd-store1: crm_mon --output-as=xml`."""
    fact: Fact | None = None
    problem: str = ""
    """Why the fact is unknown; empty if there is one."""
    next_step: str = ""
    """What a person can do about the problem."""
    trouble: Literal["", "transient", "rejected", "not understood"] = ""
    """Kind of the problem: a connection that may come back, a refusal that won't, an answer nobody knows."""


F = TypeVar("F", bound=Value)


class Facts(Value):
    """All that was observed, looked up by subject. What was never observed is unknown."""

    observations: tuple[Observation, ...] = ()

    def observation(self, subject: Subject) -> Observation | None:
        """The latest observation of a subject."""
        for observation in reversed(self.observations):
            if observation.subject == subject:
                return observation
        return None

    def merged(self, newer: Iterable[Observation]) -> Facts:
        """These facts, with newer observations in the place of older ones of the same subject."""
        by_key = {o.subject.key: o for o in self.observations}
        by_key.update({o.subject.key: o for o in newer})
        return Facts(observations=tuple(by_key.values()))

    def why_unknown(self, subject: Subject) -> str:
        """Why there is no fact of a subject."""
        observation = self.observation(subject)
        return "not observed" if observation is None else observation.problem or "not observed"

    def _fact(self, subject: Subject, of: type[F]) -> F | None:
        observation = self.observation(subject)
        fact = observation.fact if observation else None
        return fact if isinstance(fact, of) else None

    def component(self, machine: str, component: str) -> ComponentFact | None:
        """State of a component, or None where unknown (as below)."""
        return self._fact(ComponentOn(machine=machine, component=component), ComponentFact)

    def power(self, machine: str) -> PowerFact | None:
        """Power of a machine."""
        return self._fact(PowerOf(machine=machine), PowerFact)

    def cluster(self, machine: str) -> ClusterFact | None:
        """Pacemaker as a machine sees it."""
        return self._fact(ClusterOn(machine=machine), ClusterFact)

    def drbd(self, machine: str) -> DrbdFact | None:
        """DRBD as a machine sees it."""
        return self._fact(DrbdOn(machine=machine), DrbdFact)

    def balancer(self, machine: str) -> BalancerFact | None:
        """HAProxy of a machine."""
        return self._fact(BalancerOn(machine=machine), BalancerFact)

    def replication(self, machine: str) -> ReplicationFact | None:
        """Replication of a machine."""
        return self._fact(ReplicationOn(machine=machine), ReplicationFact)

    def replay(self, machine: str, source: str) -> ReplayFact | None:
        """What a machine has replayed of a source."""
        return self._fact(ReplayOn(machine=machine, source=source), ReplayFact)

    def sessions(self, machine: str) -> SessionsFact | None:
        """Database sessions of a machine."""
        return self._fact(SessionsOn(machine=machine), SessionsFact)

    def daemon(self, machine: str) -> DaemonFact | None:
        """AcdGroupDistribute on a machine."""
        return self._fact(DaemonOn(machine=machine), DaemonFact)

    def silences(self) -> SilencesFact | None:
        """What is silenced."""
        return self._fact(Silences(), SilencesFact)

    def fact(self, subject: Subject, of: type[F]) -> F | None:
        """The fact of any subject, if it is of that type."""
        return self._fact(subject, of)
