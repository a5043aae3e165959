"""Pacemaker of one pair: nodes, a promotable clone, the resources of the primary, and how a move unfolds.

One action at a time, in the order that was recorded on a real cluster: the address stops, then the file system, the
primary is demoted, DRBD goes down on a node in standby; then the other is promoted, and all starts in reverse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, Protocol

from inventory.models import Pair
from lab.clock import Clock, Timer
from lab.drbd import RESYNCHRONISED, DrbdPair
from lab.durations import Durations

PairKind = Literal["storage", "load_balancer"]
CloneRole = Literal["Stopped", "Unpromoted", "Promoted"]
Verb = Literal["stop", "demote", "clone_stop", "clone_start", "promote", "start"]

# What each action takes of a move's duration, as recorded: a file system takes longest to stop.
_WEIGHTS: dict[Verb, float] = {
    "stop": 1.0,
    "demote": 1.0,
    "clone_stop": 1.5,
    "clone_start": 1.5,
    "promote": 1.5,
    "start": 1.0,
}
_TYPICAL_WEIGHT = 8.0
FENCING = "fencing"
"""Name of the resource that can switch either node off; it runs on one of them, and serves nobody."""


@dataclass
class Node:
    """A cluster node. A node in standby that is switched off comes back in standby."""

    machine: str
    name: str
    identity: int
    online: bool = True
    standby: bool = False
    leaving: bool = False
    seen_peer: bool = True
    clone: CloneRole = "Stopped"


@dataclass
class Resource:
    """One of the resources that run on the primary alone."""

    id: str
    agent: str
    machine: str | None = None
    activity: Literal["", "Starting", "Stopping"] = ""
    failed_on: set[str] = field(default_factory=set)

    @property
    def started_on(self) -> str | None:
        """Where it runs, fully started."""
        return self.machine if not self.activity else None


@dataclass(frozen=True)
class Failure:
    """A failed action, as `crm_mon` lists it."""

    resource: str
    task: str
    node: str
    at: float


@dataclass(frozen=True)
class Preference:
    """A location constraint that ties a resource to a machine, as a move by an older pcs leaves it."""

    resource: str
    machine: str

    @property
    def id(self) -> str:
        """Its name in the configuration, given by Pacemaker's own tools."""
        return f"cli-prefer-{self.resource}"


@dataclass(frozen=True)
class _Action:
    verb: Verb
    machine: str
    resource: Resource | None = None


class PairEvents(Protocol):
    """What a pair tells the world, and asks of it."""

    def pair_changed(self, machine: str, what: str) -> None:
        """Something changed."""

    def resource_moved(self, resource: str, machine: str, *, started: bool) -> None:
        """A resource was started or stopped on a machine."""

    def start_fails(self, machine: str) -> bool:
        """Whether resources refuse to start on this machine (a fault)."""


class PacemakerPair:
    """One two-node cluster."""

    def __init__(
        self,
        kind: PairKind,
        pair: Pair,
        *,
        node_names: dict[str, str],
        primary: str,
        clock: Clock,
        durations: Durations,
        events: PairEvents,
    ) -> None:
        self.kind: PairKind = kind
        self.pair = pair
        self.nodes = {
            machine: Node(machine, node_names[machine], number) for number, machine in enumerate(pair.machines, start=1)
        }
        self.resources = [Resource(name, agent_of(name), primary) for name in pair.resources]
        self.failures: list[Failure] = []
        self.moving_to: str | None = None
        self.preferences: list[Preference] = []
        self.standby_changed = 0.0
        self.fencing_on: str | None = self.peer(primary).machine
        self._clock, self._durations, self._events = clock, durations, events
        self._action: _Action | None = None
        self._timer: Timer | None = None
        machines = (pair.machines[0], pair.machines[1])
        self.drbd = DrbdPair(machines, clock, durations, self._drbd_changed) if pair.drbd else None
        self._begin(primary)

    def _begin(self, primary: str) -> None:
        if self.drbd:
            self.drbd.nodes[primary].primary = True
        if self.pair.promotable:
            for node in self.nodes.values():
                node.clone = "Promoted" if node.machine == primary else "Unpromoted"

    def _drbd_changed(self, machine: str, what: str) -> None:
        self._events.pair_changed(machine, what)
        if what == RESYNCHRONISED:
            # A node with current data may be promoted: where it is preferred, it is now.
            self.settle()

    @property
    def idle(self) -> bool:
        """Whether no action is running or due."""
        return self._action is None and self._next() is None

    def running_action(self) -> tuple[str, str, str] | None:
        """Task, resource and machine of the action that runs now."""
        if self._action is None:
            return None
        inner = str(self.pair.promotable).removesuffix("-clone")
        task = {"clone_stop": "stop", "clone_start": "start"}.get(self._action.verb, self._action.verb)
        return task, self._action.resource.id if self._action.resource else inner, self._action.machine

    @property
    def primaries(self) -> list[str]:
        """Who is promoted; without a promotable clone, who has all resources."""
        if self.pair.promotable:
            return [node.machine for node in self.nodes.values() if node.clone == "Promoted"]
        return [m for m in self.nodes if all(resource.started_on == m for resource in self.resources)]

    @property
    def address_on(self) -> str | None:
        """Who holds the address that moves."""
        return self._address().machine if self._address().activity != "Starting" else None

    @property
    def mounted_on(self) -> str | None:
        """Who has mounted the file system."""
        found = next((r for r in self.resources if r.agent == "ocf:heartbeat:Filesystem"), None)
        return found.machine if found and found.activity != "Starting" else None

    def peer(self, machine: str) -> Node:
        """The other node."""
        return next(node for name, node in self.nodes.items() if name != machine)

    def has_quorum(self, machine: str) -> bool:
        """two_node with wait_for_all: after a start the peer must have been seen once."""
        return self.nodes[machine].seen_peer

    def node_named(self, name: str) -> Node | None:
        """The node of that name in Pacemaker."""
        return next((node for node in self.nodes.values() if node.name == name), None)

    @property
    def body(self) -> str:
        """What moves: the name of the group, or of the only resource."""
        return self.resources[0].id if len(self.resources) == 1 else f"g_{self.kind}"

    def running_on(self, machine: str) -> int:
        """How many resource instances are active on a node, stopping ones included."""
        own = sum(resource.machine == machine for resource in self.resources)
        return own + (self.nodes[machine].clone != "Stopped") + (self.fencing_on == machine)

    def instances(self) -> int:
        """How many resource instances are configured."""
        return len(self.resources) + (2 if self.pair.promotable else 0) + 1

    def set_standby(self, machine: str, *, standby: bool) -> bool:
        """`pcs node standby` or `unstandby`; False if it was so already."""
        node = self.nodes[machine]
        if node.standby == standby:
            return False
        node.standby = standby
        self.standby_changed = self._clock.now()
        self._events.pair_changed(machine, "standby" if standby else "unstandby")
        self.settle()
        return True

    def move(self, machine: str) -> None:
        """`pcs resource move`: prefer a node until it has everything."""
        self.moving_to = machine
        self._events.pair_changed(machine, "move")
        self.settle()

    def prefer(self, resource: str, machine: str) -> None:
        """Tie a resource to a machine, instead of where it was tied: `pcs resource move` until 0.10."""
        self.preferences = [p for p in self.preferences if p.resource != resource]
        self.preferences.append(Preference(resource, machine))
        self._events.pair_changed(machine, "constraint set")
        self.settle()

    def clear(self, resource: str) -> None:
        """`pcs resource clear`: take back what moves have left for a resource."""
        self.preferences = [p for p in self.preferences if p.resource != resource]
        self._events.pair_changed(next(iter(self.nodes)), "constraint cleared")
        self.settle()

    def cleanup(self) -> None:
        """`pcs resource cleanup`: forget failures and try again."""
        self.failures.clear()
        for resource in self.resources:
            resource.failed_on.clear()
        self._events.pair_changed(next(iter(self.nodes)), "cleanup")
        self.settle()

    def join(self, machine: str) -> None:
        """Pacemaker has started on a machine."""
        node, peer = self.nodes[machine], self.peer(machine)
        node.online, node.leaving = True, False
        if peer.online:
            node.seen_peer = peer.seen_peer = True
        for resource in self.resources:
            resource.failed_on.discard(machine)
        self._events.pair_changed(machine, "node online")
        self.settle()

    def leave(self, machine: str) -> None:
        """Pacemaker is being stopped in order: resources move first."""
        if self.nodes[machine].online:
            self.nodes[machine].leaving = True
            self.settle()

    def has_left(self, machine: str) -> bool:
        """Whether nothing runs on the node any more."""
        busy_here = self._action is not None and self._action.machine == machine
        return not busy_here and self.running_on(machine) == 0

    def gone(self, machine: str) -> None:
        """The node is offline, in order or because its machine vanished."""
        node = self.nodes[machine]
        node.online, node.leaving, node.seen_peer, node.clone = False, False, False, "Stopped"
        if self._action and self._action.machine == machine:
            self._call_off()
        for resource in self.resources:
            if resource.machine == machine:
                resource.machine, resource.activity = None, ""
        if self.drbd:
            self.drbd.bring_down(machine, what="node gone")
        self._events.pair_changed(machine, "node offline")
        self.settle()

    def settle(self) -> None:
        """Begin the next action, if one is due and none is running."""
        self._place_fencing()
        if self._action is not None:
            return
        action = self._next()
        if action is None:
            self._arrived()
            return
        self._action = action
        if action.resource:
            action.resource.machine = action.machine
            action.resource.activity = "Stopping" if action.verb == "stop" else "Starting"
        self._timer = self._clock.after(self._seconds(action), self._finish)
        self._events.pair_changed(action.machine, f"{action.verb} begins")

    def _place_fencing(self) -> None:
        """It stays where it is, and goes on if its node may run nothing any more."""
        able = [machine for machine in self.nodes if self._eligible(machine)]
        if self.fencing_on not in able:
            self.fencing_on = able[0] if able else None

    def _seconds(self, action: _Action) -> float:
        weight = _WEIGHTS[action.verb]
        if action.resource and action.resource.agent == "ocf:heartbeat:Filesystem":
            weight += 1.0
        return self._durations.move(self.pair) * weight / _TYPICAL_WEIGHT

    def _call_off(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._action = self._timer = None

    def _arrived(self) -> None:
        if self.moving_to and all(resource.started_on == self.moving_to for resource in self.resources):
            self.moving_to = None

    def _finish(self) -> None:
        action = self._action
        self._action = self._timer = None
        if action is None:
            return
        self._apply(action)
        self._events.pair_changed(action.machine, f"{action.verb} done")
        self.settle()

    def _apply(self, action: _Action) -> None:
        node = self.nodes[action.machine]
        if action.resource is not None:
            self._apply_resource(action, action.resource)
        elif action.verb == "demote":
            node.clone = "Unpromoted"
            if self.drbd:
                self.drbd.demote(action.machine)
        elif action.verb == "promote":
            self._apply_promote(node)
        elif action.verb == "clone_stop":
            node.clone = "Stopped"
            if self.drbd:
                self.drbd.bring_down(action.machine)
        else:
            node.clone = "Unpromoted"
            if self.drbd:
                self.drbd.bring_up(action.machine)

    def _apply_promote(self, node: Node) -> None:
        if self.drbd is None or self.drbd.promote(node.machine):
            node.clone = "Promoted"
        else:
            self._fail(str(self.pair.promotable).removesuffix("-clone"), "promote", node)

    def _apply_resource(self, action: _Action, resource: Resource) -> None:
        resource.activity = ""
        if action.verb == "stop":
            resource.machine = None
            self._events.resource_moved(resource.id, action.machine, started=False)
        elif self._events.start_fails(action.machine):
            resource.machine = None
            resource.failed_on.add(action.machine)
            self._fail(resource.id, "start", self.nodes[action.machine])
        else:
            self._events.resource_moved(resource.id, action.machine, started=True)

    def _fail(self, resource: str, task: str, node: Node) -> None:
        self.failures.append(Failure(resource, task, node.name, self._clock.now()))

    def _eligible(self, machine: str) -> bool:
        node = self.nodes[machine]
        return node.online and node.seen_peer and not node.standby and not node.leaving

    def _target(self) -> str | None:
        """Who should be primary: the one asked for or preferred, else who is, else who can."""
        able = [machine for machine in self.nodes if self._eligible(machine) and self._current(machine)]
        sound = [m for m in able if not any(m in resource.failed_on for resource in self.resources)]
        able = sound or able
        holder = self._holder()
        for wish in (self.moving_to, *(preference.machine for preference in self.preferences), holder):
            if wish in able:
                return wish
        return able[0] if able else None

    def _current(self, machine: str) -> bool:
        return self.drbd is None or self.drbd.nodes[machine].disk == "UpToDate"

    def _holder(self) -> str | None:
        promoted = next((node.machine for node in self.nodes.values() if node.clone == "Promoted"), None)
        return promoted or next((resource.machine for resource in self.resources if resource.machine), None)

    def _next(self) -> _Action | None:
        target = self._target()
        return self._next_stop(target) or self._next_clone_stop(target) or self._next_start(target)

    def _next_stop(self, target: str | None) -> _Action | None:
        for resource in reversed(self.resources):
            machine = resource.machine
            if machine is not None and machine != target and self.nodes[machine].online:
                return _Action("stop", machine, resource)
        return None

    def _next_clone_stop(self, target: str | None) -> _Action | None:
        for node in self.nodes.values():
            if node.clone == "Promoted" and node.machine != target and node.online:
                return _Action("demote", node.machine)
        for node in self.nodes.values():
            if node.clone == "Unpromoted" and node.online and not self._eligible(node.machine):
                return _Action("clone_stop", node.machine)
        return None

    def _next_start(self, target: str | None) -> _Action | None:
        if target and self.pair.promotable:
            action = self._next_clone_start(target)
            if action is not None:
                return action
        return self._next_resource(target) if target else None

    def _next_clone_start(self, target: str) -> _Action | None:
        order = sorted(self.nodes.values(), key=lambda node: node.machine != target)
        for node in order:
            if node.clone == "Stopped" and self._eligible(node.machine):
                return _Action("clone_start", node.machine)
        name = str(self.pair.promotable).removesuffix("-clone")
        failed = any(f.resource == name and f.node == self.nodes[target].name for f in self.failures)
        if self.nodes[target].clone == "Unpromoted" and not failed and not self._other_promoted(target):
            return _Action("promote", target)
        return None

    def _other_promoted(self, machine: str) -> bool:
        return self.peer(machine).clone == "Promoted"

    def _next_resource(self, target: str) -> _Action | None:
        if self.pair.promotable and self.nodes[target].clone != "Promoted":
            return None
        for resource in self.resources:
            if resource.machine is None:
                # The rest of a group waits for its failed member.
                return None if target in resource.failed_on else _Action("start", target, resource)
        return None

    def _address(self) -> Resource:
        for resource in self.resources:
            if resource.agent == "ocf:heartbeat:IPaddr2":
                return resource
        return self.resources[-1]


def agent_of(resource: str) -> str:
    """The resource agent that a name stands for, as far as names tell; the simulation needs no more."""
    name = resource.lower()
    if re.search(r"(^|[_.-])v?ip|addr", name):
        return "ocf:heartbeat:IPaddr2"
    if any(word in name for word in ("fs", "mount", "filesystem")):
        return "ocf:heartbeat:Filesystem"
    if "haproxy" in name:
        return "systemd:haproxy"
    if "samba" in name or "smb" in name:
        return "systemd:smbd"
    return "ocf:heartbeat:Dummy"
