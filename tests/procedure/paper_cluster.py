"""A cluster on paper: just enough of a simulation to say what would be observed, and what an instruction changes.

Everything happens at once and without fault. It shares nothing with the procedure but the words of its facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from inventory.models import Inventory, Pair, Role
from procedure import instructions as do
from procedure.commands.base import Command
from procedure.facts import (
    AutostartFact,
    BackupFact,
    BalancerFact,
    ClusterFact,
    ComponentFact,
    DaemonFact,
    DrbdFact,
    Fact,
    Facts,
    LocationConstraint,
    NodeState,
    Observation,
    PowerFact,
    ProbeFact,
    ReplayFact,
    ReplicaChannel,
    ReplicationFact,
    ResourceState,
    ServerState,
    Session,
    SessionsFact,
    Silence,
    SilencesFact,
    SnapshotFact,
)
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BackupAt,
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    DrbdOn,
    PowerOf,
    ProbeOf,
    ReplayOn,
    ReplicationOn,
    SessionsOn,
    Silences,
    SnapshotOf,
    Subject,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class PaperCluster:
    """The cluster of an inventory, in its normal state at first."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.off: set[str] = set()
        self.running = {(m.name, c.name) for m in inventory.machines for c in inventory.components_on(m)}
        self.standby: set[str] = set()
        self.primary = {pair.address: self._normal(pair) for pair in self.pairs}
        self.haproxy_down: set[str] = set()
        self.constraints: dict[str, LocationConstraint] = {}
        self.lag: dict[str, int] = {}
        """Seconds that a database machine lags behind its sources."""
        self.not_received: set[str] = set()
        """Database machines that have just connected: they lag by 0 s, and lack what their sources wrote."""
        self.maint: set[tuple[str, str, str]] = set()
        self.behind: dict[tuple[str, str], str] = {}
        """Machines that servers of HAProxy really are, where the inventory says another."""
        self.daemon = {inventory.with_role(Role.TELEPHONY)[0].name}
        self.backups: set[tuple[str, str]] = set()
        self.snapshots: set[tuple[str, str]] = set()
        self.silences: list[Silence] = []
        self.stuck: list[Session] = []
        """Sessions of the master that takes writes which don't end with the software; those of `hung` never end."""
        self.held: dict[tuple[str, str], int] = {}
        """Sessions of the active load balancer with its servers, by backend and server."""

    @property
    def pairs(self) -> tuple[Pair, Pair]:
        return (self.inventory.pairs.storage, self.inventory.pairs.load_balancer)

    def _normal(self, pair: Pair) -> str:
        return next(m for m in pair.machines if self.inventory.machine(m).normal == "active")

    # What would be observed

    def facts(self, subjects: Iterable[Subject]) -> Facts:
        return Facts(observations=tuple(self.observe(subject) for subject in subjects))

    def first_look(self, command: Command, situation: Situation) -> Facts:
        """What a command sees before it does anything."""
        facts = self.facts(command.observes(situation))
        return facts.merged(map(self.observe, command.observes_then(situation, facts)))

    def observe(self, subject: Subject) -> Observation:
        asked = {getattr(subject, "machine", None), getattr(subject, "source", None)}
        if asked & self.off and not isinstance(subject, PowerOf | SnapshotOf | AutostartOf):
            return Observation(
                subject=subject, at=NOW, source="paper", problem="connection refused", trouble="transient"
            )
        return Observation(subject=subject, at=NOW, source="paper", fact=self._fact(subject))

    def _fact(self, subject: Subject) -> Fact:  # noqa: C901, PLR0911, PLR0912 - one branch a kind of subject
        match subject:
            case ComponentOn(machine=m, component=c):
                if m in self.inventory.component(m, c).by_hand_on:
                    return ComponentFact(state="by_hand")
                return ComponentFact(state="running" if (m, c) in self.running else "stopped")
            case PowerOf(machine=m):
                on = m not in self.off
                ports = (self._management_port(m),)
                return PowerFact(
                    state="on" if on else "off",
                    provider="on" if on else "off",
                    answering=ports if on else (),
                    silent=() if on else ports,
                )
            case AutostartOf():
                return AutostartFact(enabled=False)
            case ClusterOn(machine=m):
                return self._cluster(m)
            case DrbdOn(machine=m):
                return self._drbd(m)
            case BalancerOn(machine=m):
                return self._balancer(m)
            case ReplicationOn(machine=m):
                return self._replication(m)
            case ReplayOn(machine=m):
                behind = m in self.not_received or self.lag.get(m)
                return ReplayFact(written="0-1-9", replayed="0-1-9", lacking="0-1-9" if behind else "")
            case SessionsOn(machine=m):
                return self._sessions(m)
            case DaemonOn(machine=m):
                seen: Literal["running", "stopped"] = "running" if m in self.daemon else "stopped"
                return DaemonFact(state=seen if self.inventory.daemon.commands else "by_hand")
            case SnapshotOf(machine=m, name=n):
                return SnapshotFact(exists=(m, n) in self.snapshots)
            case BackupAt(machine=m, path=p):
                there = (m, p) in self.backups
                return BackupFact(exists=there, complete=there, bytes=99999 if there else 0, sha256="ab" * 32)
            case Silences():
                by_hand = self.inventory.monitoring.provider == "manual"
                return SilencesFact(by_hand=by_hand, silences=tuple(self.silences))
            case ProbeOf():
                return ProbeFact(ok=bool(self.running), milliseconds=3.0)

    def _management_port(self, machine: str) -> int:
        found = self.inventory.machine(machine)
        return found.port or self.inventory.connections[found.connection].port

    def _pair_of(self, machine: str) -> Pair:
        return next(pair for pair in self.pairs if machine in pair.machines)

    def _cluster(self, machine: str) -> ClusterFact:
        pair = self._pair_of(machine)
        here = self.primary[pair.address]
        others = [m for m in pair.machines if m != here and m not in self.off and m not in self.standby]
        resources = [
            ResourceState(id=r, agent="ocf:paper", role="Started", nodes=(here,), active=True) for r in pair.resources
        ]
        if pair.promotable:
            roles = [("Promoted", here), *(("Unpromoted", m) for m in others)]
            resources += [
                ResourceState(id="drbd", agent="drbd", role=role, nodes=(m,), active=True, container=pair.promotable)
                for role, m in roles
            ]
        nodes = tuple(
            NodeState(
                name=m,
                online=m not in self.off,
                standby=m in self.standby,
                resources_running=sum(m in r.nodes for r in resources),
            )
            for m in pair.machines
        )
        mine = machine == here
        return ClusterFact(
            quorum=True,
            nodes=nodes,
            resources=tuple(resources),
            addresses=(self.inventory.machine(machine).address, *((pair.address,) if mine else ())),
            mounts=(pair.mount,) if mine and pair.mount else (),
            constraints=tuple(c for c in self.constraints.values() if c.node in pair.machines),
        )

    def _drbd(self, machine: str) -> DrbdFact:
        if machine in self.standby:
            return DrbdFact(configured=False)
        pair = self._pair_of(machine)
        peer = next(m for m in pair.machines if m != machine)
        role = "Primary" if self.primary[pair.address] == machine else "Secondary"
        if peer in self.standby or peer in self.off:
            return DrbdFact(
                configured=True,
                connection="WFConnection",
                role=role,
                peer_role="Unknown",
                disk="UpToDate",
                peer_disk="DUnknown",
                out_of_sync_kib=0,
            )
        other = "Secondary" if role == "Primary" else "Primary"
        return DrbdFact(
            configured=True,
            connection="Connected",
            role=role,
            peer_role=other,
            disk="UpToDate",
            peer_disk="UpToDate",
            out_of_sync_kib=0,
        )

    def _balancer(self, machine: str) -> BalancerFact:
        if not self._haproxy_runs(machine):
            return BalancerFact(running=False)
        states = [
            self._server(machine, backend.name, backend.kind, server, self.behind.get((backend.name, server), name))
            for backend in self.inventory.haproxy.backends
            for server, name in backend.servers.items()
        ]
        return BalancerFact(servers=tuple(states))

    def _haproxy_runs(self, machine: str) -> bool:
        pair = self.inventory.pairs.load_balancer
        by_pacemaker = self.inventory.haproxy.service in pair.resources
        return machine not in self.haproxy_down and (not by_pacemaker or self.primary[pair.address] == machine)

    def _server(self, balancer: str, backend: str, kind: str, server: str, machine: str) -> ServerState:
        maint = (balancer, backend, server) in self.maint
        alive = machine not in self.off and (kind == "database" or any(m == machine for m, _ in self.running))
        backup = kind == "database" and self.inventory.machine(machine).normal == "standby"
        return ServerState(
            backend=backend,
            server=server,
            status="MAINT" if maint else "UP" if alive else "DOWN",
            admin="maint" if maint else "ready",
            up=alive and not maint,
            backup=backup,
            sessions=self.held.get((backend, server), 0) if balancer == self.active_balancer() else 0,
            address=self.inventory.machine(machine).address,
        )

    def _replication(self, machine: str) -> ReplicationFact:
        sources = [r.source for r in self.inventory.database.replication if r.replica == machine]
        channels = [
            ReplicaChannel(
                source_host=source,
                io="Connecting" if source in self.off else "Yes",
                sql="Yes",
                lag_seconds=None if source in self.off else self.lag.get(machine, 0),
                caught_up=True,
            )
            for source in sources
        ]
        return ReplicationFact(version="10.11", read_only=False, channels=tuple(channels))

    def _sessions(self, machine: str) -> SessionsFact:
        users = [m for m, c in sorted(self.running) if c == "Wildfly"] if machine == self.writer() else []
        rows = [
            Session(id=i, user="app", address=f"{self.inventory.machine(m).address}:40000", command="Sleep")
            for i, m in enumerate(users)
        ]
        rows += self.stuck if machine == self.writer() else []
        return SessionsFact(complete=True, count=len(rows), sessions=tuple(rows))

    def writer(self) -> str | None:
        """Where writes go, by the model's own truth."""
        active = self.active_balancer()
        for backend in self.inventory.haproxy.backends:
            if backend.kind == "database":
                real = {s: self.behind.get((backend.name, s), m) for s, m in backend.servers.items()}
                order = sorted(real.items(), key=lambda s: self.inventory.machine(s[1]).normal)
                for server, machine in order:
                    if machine not in self.off and (active, backend.name, server) not in self.maint:
                        return machine
        return None

    def active_balancer(self) -> str:
        """Where HAProxy is reached, by the model's own truth."""
        return self.primary[self.inventory.pairs.load_balancer.address]

    # What an instruction changes

    def carry_out(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.RunOn(machine=machine, argv=argv):
                self._run(machine, list(argv))
            case do.WindowsServiceAction(machine=machine, service=service, action=action):
                self._service(machine, service, action)
            case do.WindowsCommand(machine=machine, argv=argv):
                (self.daemon.add if argv[-1] == "start" else self.daemon.discard)(machine)
            case do.WindowsShutdown(machine=machine):
                self._power_off(machine)
            case do.SetServers(balancer=balancer, backend=backend, servers=servers, state=state):
                keys = {(balancer, backend, server) for server in servers}
                self.maint = self.maint | keys if state == "maint" else self.maint - keys
            case do.EndServerSessions(backend=backend, servers=servers):
                self.held = {key: n for key, n in self.held.items() if key not in {(backend, s) for s in servers}}
            case do.EndConnections():
                self.stuck = [session for session in self.stuck if session.user == "hung"]
            case do.CreateSilence(machines=machines, duration=duration, comment=comment):
                name = f"s{len(self.silences)}"
                self.silences.append(Silence(id=name, machines=machines, until=NOW + duration, comment=comment))
            case do.LiftSilence(machines=machines):
                self.silences = [s for s in self.silences if not set(s.machines) & set(machines)]

    def _run(self, machine: str, argv: list[str]) -> None:  # noqa: C901, PLR0912 - one branch a command
        match argv:
            case ["systemctl", "poweroff"] | ["shutdown", "-h", "now"]:
                self._power_off(machine)
            case ["systemctl", action, service] | ["service", service, action]:
                self._service(machine, service, action)
            case ["pcs", "node", "standby", node]:
                self.standby.add(node)
                self._leave(node)
            case ["pcs", "node", "unstandby", node]:
                self.standby.discard(node)
                self._joined(node)
            case ["pcs", "resource", "move", resource, node]:
                name = f"cli-prefer-{resource}"
                self.constraints[name] = LocationConstraint(id=name, resource=resource, node=node, score="INFINITY")
                self._becomes_primary(node)
            case ["pcs", "resource", "clear", resource]:
                self.constraints.pop(f"cli-prefer-{resource}", None)
            case ["flock", "--wait", *_, "true"]:
                pass
            case ["flock", *_, result]:
                assert result.endswith(".part")
            case ["mv", "--", _, path]:
                self.backups.add((machine, path))
            case ["rm", "--force", "--", path, *_]:
                self.backups.discard((machine, path))
            case ["virsh", *_, "snapshot-create-as", vm, name, "--disk-only", "--atomic"]:
                self.snapshots.add((vm, name))
            case ["virsh", *_, "snapshot-delete", vm, name]:
                self.snapshots.discard((vm, name))
            case ["virsh", *_, "destroy", vm]:
                self._power_off(vm)
            case ["virsh", *_, "start", vm]:
                self.power_on(vm)
            case _:
                raise AssertionError(f"the paper cluster does not know {argv} on {machine}")

    def _service(self, machine: str, service: str, action: str) -> None:
        for component in self.inventory.components_on(self.inventory.machine(machine)):
            if component.service == service:
                key = (machine, component.name)
                (self.running.add if action == "start" else self.running.discard)(key)
                return
        raise AssertionError(f"no service {service} on {machine}")

    def _leave(self, node: str) -> None:
        pair = self._pair_of(node)
        if self.primary[pair.address] == node:
            self._becomes_primary(next(m for m in pair.machines if m != node))

    def _becomes_primary(self, node: str) -> None:
        pair = self._pair_of(node)
        if self.primary[pair.address] != node and self.inventory.haproxy.service in pair.resources:
            for balancer in pair.machines:  # it stops on the one and starts on the other
                self._haproxy_forgets(balancer)
        self.primary[pair.address] = node

    def _haproxy_forgets(self, balancer: str) -> None:
        """Nothing that was set outlasts its end."""
        self.maint = {key for key in self.maint if key[0] != balancer}

    def _joined(self, node: str) -> None:
        """A constraint calls the pair as soon as its node can run it."""
        called = any(c.node == node and c.score == "INFINITY" for c in self.constraints.values())
        if called and node not in self.standby | self.off:
            self._becomes_primary(node)

    def _power_off(self, machine: str) -> None:
        self.off.add(machine)
        self.running = {(m, c) for m, c in self.running if m != machine}
        self.daemon.discard(machine)

    def by_hand(self, machine: str, what: str, *, start: bool) -> None:
        """A person starts or stops a program, or the daemon."""
        if what == "AcdGroupDistribute":
            (self.daemon.add if start else self.daemon.discard)(machine)
        else:
            self.inventory.component(machine, what)
            (self.running.add if start else self.running.discard)((machine, what))

    def power_on(self, machine: str) -> None:
        """Everything that is installed starts with the machine; a node in standby stays so."""
        self.off.discard(machine)
        found = self.inventory.machine(machine)
        self.running |= {(machine, c.name) for c in self.inventory.components_on(found)}
        self._haproxy_forgets(machine)
        if self.inventory.pair_of(machine):
            self._joined(machine)


def later(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)
