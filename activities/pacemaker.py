"""Pacemaker: nodes, resources, failures, location constraints, and the addresses and mounts a machine holds.

Read as XML: `crm_mon --output-as=xml` (2.0.3 and later), else `crm_mon --as-xml`. Roles are told in the words of 2.1.
Location constraints come from `cibadmin --query --scope constraints`. Both need the rights of root or of the group
`haclient`; they change nothing.

A node whose Pacemaker is stopped, starting or stopping is *transient*: it may be up a moment later, and until then
nothing is known about the cluster from there.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from activities.completed import Completed
from activities.errors import NotUnderstood, Transient, shortened
from activities.hands import Act, Observe, Observed
from activities.markup import MAX_CHARACTERS, Element, Reader, parse
from activities.shell import Shell, answer
from inventory.models import Inventory, Pair
from procedure.facts import ClusterFact, LocationConstraint, NodeState, ResourceState
from procedure.subjects import ClusterOn

CRM_MON = ("crm_mon", "--output-as=xml")
CRM_MON_BEFORE_2 = ("crm_mon", "--as-xml", "--inactive")
CONSTRAINTS = ("cibadmin", "--query", "--scope", "constraints")
ADDRESSES = ("ip", "-o", "addr", "show")
MOUNTS = ("findmnt", "-rn", "-o", "TARGET,SOURCE")

NOT_CONNECTED = 102
"""Exit status of crm_mon 2.x where the cluster is stopped (CRM_EX_DISCONNECT)."""
_MOVING = frozenset({"Starting", "Stopping", "Promoting", "Demoting", "Migrating"})
# crm_mon(8) of 1.1 and 2.0 on the left; the same roles since 2.1.
_SINCE_2_1 = {"Master": "Promoted", "Slave": "Unpromoted"}
_ROLES = ("Started", "Stopped", "Promoted", "Unpromoted", *_SINCE_2_1, *sorted(_MOVING))
_RESTING = ("Started", "Stopped", *_SINCE_2_1, *_SINCE_2_1.values())
PENDING = "193"
"""Result of an operation that was sent and has not answered yet (PCMK_OCF_UNKNOWN)."""
SHOWN_FAILURES = 50
SHOWN_CONSTRAINTS = 200
SHOWN_ADDRESSES = 100
"""More of them would fill the history of a run, which is looked at hundreds of times."""
MAX_NODES = 100
MAX_RESOURCES = 500
"""Instances. None of them may be left out, so a cluster with more is not understood."""
MAX_FAILURE = 300
"""Characters of a failure: its reason is a resource agent's own words."""
_LEFT_BY_MOVES = ("cli-prefer-", "cli-ban-")
_SCORE = re.compile(r"[+-]?(INFINITY|\d{1,7})")


def read_crm_mon(machine: str, text: str) -> ClusterFact:
    """Nodes, resources and failures of `crm_mon`'s XML; without constraints, addresses and mounts.

    Raises:
        Transient: Pacemaker is stopped, starting or stopping there, or has no coordinator yet.
        NotUnderstood: anything this version does not know.
    """
    return _CrmMon(machine).fact(parse(machine, text))


class _CrmMon(Reader):
    """One answer of crm_mon."""

    def fact(self, root: Element) -> ClusterFact:
        self._answered(root)
        summary = self.child(root, "summary")
        nodes = self._nodes(root, summary)
        resources = tuple(self._resources(self.child(root, "resources")))
        self._consistent(nodes, resources)
        if len(nodes) > MAX_NODES or len(resources) > MAX_RESOURCES:
            raise NotUnderstood(self.machine, f"a cluster of {len(nodes)} nodes and {len(resources)} resources")
        return ClusterFact(
            quorum=self._quorum(summary),
            maintenance_mode=self.flag(self.child(summary, "cluster_options"), "maintenance-mode"),
            nodes=nodes,
            resources=resources,
            failures=_last_failures(tuple(self._failures(root))),
            transition_idle=self._idle(root, nodes, resources),
        )

    def _answered(self, root: Element) -> None:
        if root.tag == "crm_mon":
            return
        if root.tag != "pacemaker-result":
            raise NotUnderstood(self.machine, f"an answer of crm_mon with the root <{root.tag}>")
        status = self.child(root, "status")
        if status.get("code") == str(NOT_CONNECTED):
            raise _stopped(self.machine, f"crm_mon: {status.get('message')}")
        if self.text(status, "code") != "0":
            raise NotUnderstood(self.machine, f"crm_mon: status {status.get('code')}, {status.get('message')}")
        daemon = root.find("pacemakerd")
        if daemon is not None and self.text(daemon, "state") != "running":
            raise _stopped(self.machine, f"pacemakerd is {daemon.get('state')}")

    def _quorum(self, summary: Element) -> bool:
        coordinator = self.child(summary, "current_dc")
        if not self.flag(coordinator, "present"):
            raise Transient(
                self.machine, "Pacemaker has no coordinator (DC) yet", "wait, or look at `pcs status` there"
            )
        return self.flag(coordinator, "with_quorum")

    def _nodes(self, root: Element, summary: Element) -> tuple[NodeState, ...]:
        elements = self.child(root, "nodes").findall("node")
        configured = self.number(self.child(summary, "nodes_configured"), "number")
        if not elements or len(elements) != configured:
            raise NotUnderstood(self.machine, f"{configured} nodes are configured, {len(elements)} are listed")
        return tuple(self._node(element) for element in elements)

    def _node(self, element: Element) -> NodeState:
        self.word(element, "type", ("member", "remote"))
        return NodeState(
            name=self.text(element, "name"),
            online=self.flag(element, "online"),
            standby=self.flag(element, "standby"),
            standby_on_fail=self.flag(element, "standby_onfail"),
            maintenance=self.flag(element, "maintenance"),
            pending=self.flag(element, "pending"),
            unclean=self.flag(element, "unclean"),
            shutdown=self.flag(element, "shutdown"),
            resources_running=self.number(element, "resources_running"),
        )

    def _resources(self, parent: Element, within: _Within | None = None) -> Iterator[ResourceState]:
        within = within or _Within()
        for element in parent:
            if element.tag == "resource":
                yield self._resource(element, within)
            elif element.tag in ("clone", "group"):
                yield from self._resources(element, self._deeper(element, within))
            else:
                raise NotUnderstood(self.machine, f"a resource of the kind <{element.tag}> ({element.get('id')})")

    def _deeper(self, element: Element, within: _Within) -> _Within:
        # crm_mon 1.1 tells neither `managed` nor `disabled` of a group; then its members alone tell.
        return _Within(
            container=within.container or self.text(element, "id"),
            promotable=within.promotable or (element.tag == "clone" and self.flag(element, "multi_state")),
            clone=within.clone or element.tag == "clone",
            managed=within.managed and self.flag(element, "managed", default=True),
            disabled=within.disabled or self.flag(element, "disabled", default=False),
        )

    def _resource(self, element: Element, within: _Within) -> ResourceState:
        name = self.text(element, "id")
        role = self.word(element, "role", _ROLES)
        nodes = tuple(self.text(node, "name") for node in element.findall("node"))
        running_on = self.number(element, "nodes_running_on")
        if len(nodes) != running_on:
            raise NotUnderstood(self.machine, f"resource {name} runs on {running_on} nodes, {len(nodes)} are listed")
        return ResourceState(
            # Instances of a clone may be numbered: drbd_r0:1.
            id=name.partition(":")[0] if within.clone else name,
            agent=self.text(element, "resource_agent"),
            role=_SINCE_2_1.get(role, role),
            nodes=nodes,
            active=self.flag(element, "active"),
            managed=self.flag(element, "managed") and within.managed,
            failed=self.flag(element, "failed"),
            blocked=self.flag(element, "blocked"),
            disabled=within.disabled or self._wanted_stopped(element, within),
            orphaned=self.flag(element, "orphaned"),
            container=within.container,
        )

    def _wanted_stopped(self, element: Element, within: _Within) -> bool:
        if "target_role" not in element.attrib:
            return False
        wanted = self.word(element, "target_role", _RESTING)
        # A promotable resource that is kept from being promoted counts as disabled for Pacemaker too.
        return wanted == "Stopped" or (within.promotable and wanted in ("Slave", "Unpromoted"))

    def _consistent(self, nodes: tuple[NodeState, ...], resources: tuple[ResourceState, ...]) -> None:
        names = {node.name for node in nodes}
        if len(names) != len(nodes):
            raise NotUnderstood(self.machine, "a node is listed twice")
        strangers = {node for resource in resources for node in resource.nodes} - names
        if strangers:
            raise NotUnderstood(self.machine, f"resources run on nodes that are not listed: {sorted(strangers)}")

    def _failures(self, root: Element) -> Iterator[str]:
        for parent in root.findall("failures"):
            for failure in parent:
                what = failure.get("op_key") or self.text(failure, "id")
                # Pacemaker 2.1.5 escapes it once more than XML asks for: Couldn&amp;apos;t mount.
                reason = html.unescape(failure.get("exitreason", ""))
                line = (
                    f"{what} on {self.text(failure, 'node')}: {self.text(failure, 'exitstatus')}"
                    f" ({self.text(failure, 'exitcode')}), {self.text(failure, 'status')}"
                    f"{', ' + reason if reason else ''}, {failure.get('last-rc-change', 'time not told')}"
                )
                yield shortened(line, MAX_FAILURE)

    def _idle(self, root: Element, nodes: tuple[NodeState, ...], resources: tuple[ResourceState, ...]) -> bool:
        online = {node.name for node in nodes if node.online}
        moving = any(resource.role in _MOVING for resource in resources)
        announced = any(element.get("pending") for element in root.iter("resource"))
        # What an offline node did not finish will never answer.
        sent = any(
            operation.get("rc") == PENDING
            for history in root.findall("node_history/node")
            if history.get("name") in online
            for operation in history.iter("operation_history")
        )
        return not (moving or announced or sent or _leaving(nodes, resources))


def _last_failures(failures: tuple[str, ...]) -> tuple[str, ...]:
    left_out = len(failures) - SHOWN_FAILURES
    return failures if left_out <= 0 else (f"{left_out} more failures", *failures[left_out:])


def _leaving(nodes: tuple[NodeState, ...], resources: tuple[ResourceState, ...]) -> bool:
    """Whether something still has to leave a node in standby: between two actions nothing else tells of the move."""
    left = {node.name for node in nodes if node.online and node.standby and not node.maintenance}
    return any(
        resource.active and resource.managed and not resource.blocked and left.intersection(resource.nodes)
        for resource in resources
    )


@dataclass(frozen=True)
class _Within:
    """What the clones and groups around a resource say."""

    container: str | None = None
    promotable: bool = False
    clone: bool = False
    managed: bool = True
    disabled: bool = False


def _stopped(machine: str, seen: str) -> Transient:
    return Transient(
        machine, f"Pacemaker does not run there: {seen}", "wait until it has started, or `pcs cluster start` there"
    )


def read_constraints(machine: str, text: str) -> tuple[LocationConstraint, ...]:
    """All location constraints: preferences, bans, what `pcs resource move` leaves (cli-prefer, cli-ban), rules.

    Of a rule the node is told where it names exactly one; else the node is empty: it may mean any.

    Raises:
        NotUnderstood: anything this version does not know.
    """
    reader = Reader(machine)
    root = parse(machine, text)
    if root.tag != "constraints":
        raise NotUnderstood(machine, f"an answer of cibadmin with the root <{root.tag}>")
    found: list[LocationConstraint] = []
    for element in root:
        if element.tag == "rsc_location":
            found.extend(_located(reader, element))
        elif element.tag not in ("rsc_colocation", "rsc_order", "rsc_ticket"):
            raise NotUnderstood(machine, f"a constraint of the kind <{element.tag}>")
    return tuple(found)


def _located(reader: Reader, element: Element) -> Iterator[LocationConstraint]:
    for resource in _constrained(reader, element):
        common = {"id": reader.text(element, "id"), "resource": resource}
        if element.get("node"):
            yield LocationConstraint(
                **common,
                node=reader.text(element, "node"),
                score=_score(reader, reader.text(element, "score")),
                role=_role(reader, element),
            )
        rules = element.findall("rule")
        if bool(rules) == bool(element.get("node")):
            raise NotUnderstood(reader.machine, f"location constraint {common['id']} names no node and has no rule")
        for rule in rules:
            yield LocationConstraint(
                **common, node=_only_node(rule), score=_rule_score(reader, rule), role=_role(reader, rule)
            )


def _constrained(reader: Reader, element: Element) -> tuple[str, ...]:
    """What a location constraint is about: a resource, a pattern of names, or a set."""
    single = element.get("rsc") or element.get("rsc-pattern")
    listed = tuple(reader.text(reference, "id") for reference in element.iter("resource_ref"))
    named = (single,) if single else listed
    if not named:
        raise NotUnderstood(reader.machine, f"location constraint {element.get('id')} is about no resource")
    return named


def _role(reader: Reader, element: Element) -> str:
    if "role" not in element.attrib:
        return ""
    role = reader.word(element, "role", _RESTING)
    return _SINCE_2_1.get(role, role)


def _score(reader: Reader, score: str) -> str:
    if not _SCORE.fullmatch(score):
        raise NotUnderstood(reader.machine, f"{score!r} is no score of a location constraint")
    return score


def _rule_score(reader: Reader, rule: Element) -> str:
    attribute = rule.get("score-attribute")
    return f"attribute {attribute}" if attribute else _score(reader, reader.text(rule, "score"))


def _only_node(rule: Element) -> str:
    expressions = list(rule)
    if len(expressions) != 1 or expressions[0].tag != "expression":
        return ""
    only = expressions[0]
    named = only.get("attribute") == "#uname" and only.get("operation") == "eq"
    return only.get("value", "") if named else ""


def read_addresses(machine: str, text: str) -> tuple[str, ...]:
    """The addresses of `ip -o addr show`, IPv4 and IPv6, without prefix length.

    Raises:
        NotUnderstood: a line of another form, or no address at all (a machine always has its loopback address).
    """
    addresses = tuple(_address(machine, line) for line in text.splitlines())
    if not addresses or not text.endswith("\n"):
        raise NotUnderstood(machine, f"`ip -o addr show` ended early: {text[-120:]!r}")
    return addresses


def bounded_constraints(found: tuple[LocationConstraint, ...]) -> tuple[LocationConstraint, ...]:
    """So many that a history can hold them: first what a move leaves, then what names a node."""
    if len(found) <= SHOWN_CONSTRAINTS:
        return found
    return tuple(sorted(found, key=lambda c: (not c.id.startswith(_LEFT_BY_MOVES), not c.node))[:SHOWN_CONSTRAINTS])


def bounded_addresses(found: tuple[str, ...], inventory: Inventory) -> tuple[str, ...]:
    """So many that a history can hold them; that an address of a pair is not among them proves that it is not held."""
    pairs = (inventory.pairs.storage, inventory.pairs.load_balancer)
    named = {str(ipaddress.ip_address(pair.address)) for pair in pairs if _is_address(pair.address)}
    return tuple(sorted(found, key=lambda address: address not in named)[:SHOWN_ADDRESSES])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(machine: str, line: str) -> str:
    words = line.split()
    try:
        if words[2] not in ("inet", "inet6") or not words[0].endswith(":"):
            raise NotUnderstood(machine, f"a line of `ip -o addr show`: {line!r}")
        # `10.0.0.1/24`, and `10.0.0.1 peer 10.0.0.2/32` on a tunnel.
        return str(ipaddress.ip_interface(words[3]).ip)
    except (IndexError, ValueError) as error:
        raise NotUnderstood(machine, f"a line of `ip -o addr show`: {line!r}") from error


def read_mounts(machine: str, text: str) -> tuple[tuple[str, str], ...]:
    """Mount points and their sources, of `findmnt -rn`.

    Raises:
        NotUnderstood: a line of another form.
    """
    if text and not text.endswith("\n"):
        raise NotUnderstood(machine, f"`findmnt` ended early: {text[-120:]!r}")
    return tuple(_mount(machine, line) for line in text.splitlines())


def _mount(machine: str, line: str) -> tuple[str, str]:
    columns = line.split(" ")
    if len(columns) < 2 or not columns[0].startswith("/"):
        raise NotUnderstood(machine, f"a line of `findmnt`: {line!r}")
    return _unescaped(columns[0]), _unescaped(columns[1])


def _unescaped(column: str) -> str:
    # findmnt --raw writes blanks and control characters as \x20.
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), column)


def mounts_of(pair: Pair, mounts: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Where the pair's file system is mounted: its mount point, and wherever else its DRBD device is."""
    devices: tuple[str, ...] = ()
    if pair.drbd:
        devices = (f"/dev/drbd{pair.drbd_minor}", f"/dev/drbd/by-res/{pair.drbd}", f"/dev/drbd/by-res/{pair.drbd}/0")
    return tuple(target for target, source in mounts if target == pair.mount or source in devices)


class Pacemaker:
    """Observes Pacemaker on the machines of both pairs."""

    def __init__(self, inventory: Inventory, shell: Shell) -> None:
        self._inventory = inventory
        self._shell = shell

    async def observe(self, subject: ClusterOn) -> Observed:
        """The cluster as one machine sees it.

        Raises:
            SystemTrouble: not reached, not running, or not understood.
        """
        machine = subject.machine
        pair = self._inventory.pair_of(machine)
        if pair is None:
            raise NotUnderstood(machine, "it belongs to no pair of the inventory")
        try:
            # All at once, so that they belong to the same moment; when one fails the others are ended.
            async with asyncio.TaskGroup() as together:
                state = together.create_task(self._state(machine))
                constraints = together.create_task(self._constraints(machine))
                addresses = together.create_task(self._addresses(machine))
                mounts = together.create_task(self._mounts(machine, pair))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        shown = bounded_constraints(constraints.result())
        seen = {
            "constraints": shown,
            "constraints_left_out": len(constraints.result()) - len(shown),
            "addresses": bounded_addresses(addresses.result(), self._inventory),
            "mounts": mounts.result(),
        }
        return state.result().model_copy(update=seen), f"ssh {machine}: {' '.join(CRM_MON)}"

    async def _state(self, machine: str) -> ClusterFact:
        completed = await self._shell.run(machine, CRM_MON, sudo=True, keep=MAX_CHARACTERS)
        if completed.exit_status != 0 and "option" in completed.stderr:
            completed = await self._shell.run(machine, CRM_MON_BEFORE_2, sudo=True, keep=MAX_CHARACTERS)
        if _is_disconnected(completed):
            raise _stopped(machine, completed.words)
        return read_crm_mon(machine, answer(completed, 0))

    async def _constraints(self, machine: str) -> tuple[LocationConstraint, ...]:
        completed = await self._shell.run(machine, CONSTRAINTS, sudo=True)
        if _is_disconnected(completed):
            raise _stopped(machine, completed.words)
        return read_constraints(machine, answer(completed, 0))

    async def _addresses(self, machine: str) -> tuple[str, ...]:
        return read_addresses(machine, answer(await self._shell.run(machine, ADDRESSES), 0))

    async def _mounts(self, machine: str, pair: Pair) -> tuple[str, ...]:
        if pair.mount is None and pair.drbd is None:
            return ()
        # findmnt exits with 1 where it finds nothing.
        return mounts_of(pair, read_mounts(machine, answer(await self._shell.run(machine, MOUNTS), 0, 1)))

    def observers(self) -> dict[type[Any], Observe]:
        """`ClusterOn`."""
        return {ClusterOn: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """None: `pcs` is run over SSH."""
        return {}

    async def close(self) -> None:
        """Nothing to close: the connection belongs to SSH."""


def _is_disconnected(completed: Completed) -> bool:
    # 2.x: 102; 1.1: 107 (ENOTCONN), in words on stderr or stdout.
    if completed.exit_status in (NOT_CONNECTED, 107):
        return True
    words = f"{completed.stdout} {completed.stderr}"
    return completed.exit_status not in (0, 126, 127) and (
        "Not connected" in words or "Transport endpoint is not connected" in words or "Could not connect" in words
    )
