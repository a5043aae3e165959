"""What the simulated pairs answer: crm_mon's XML, constraints, /proc/drbd, drbdadm.

Built after recordings of a real Debian 12 cluster (Pacemaker 2.1.5, DRBD 8.4.11).
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.sax.saxutils import quoteattr

from lab.drbd import DrbdPair
from lab.pacemaker import FENCING, Node, PacemakerPair, Preference, Resource

_VERSION = "2.1.5-a3f44794f94"
_FLAGS = 'orphaned="false" blocked="false" managed="true" failed="{failed}" failure_ignored="false"'
_DRBD_HEAD = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F73C670A7EC572DB9CF3E5B \n"

DISCONNECTED_XML = (
    '<pacemaker-result api-version="2.25" request="crm_mon --output-as=xml">\n'
    '  <status code="102" message="Not connected">\n'
    "    <errors>\n"
    "      <error>crm_mon: Connection to cluster failed: Connection refused</error>\n"
    "    </errors>\n"
    "  </status>\n"
    "</pacemaker-result>\n"
)


def crm_mon_xml(pair: PacemakerPair, machine: str) -> str:
    """`crm_mon --output-as=xml` as one node sees it."""
    now = datetime.now(UTC)
    parts = [
        '<pacemaker-result api-version="2.25" request="crm_mon --output-as=xml">',
        f'  <pacemakerd sys_from="pacemakerd" state="running" last_updated="{now:%Y-%m-%d %H:%M:%SZ}"/>',
        *_summary(pair, machine, now),
        "  <nodes>",
        *(_node(pair, node, _coordinator(pair)) for node in pair.nodes.values()),
        "  </nodes>",
        "  <resources>",
        *_clone(pair),
        *_group(pair),
        *_fencing(pair),
        "  </resources>",
        *_attributes(pair),
        *_history(pair, now),
        *_failures(pair, now),
        '  <status code="0" message="OK"/>',
        "</pacemaker-result>",
    ]
    return "\n".join(parts) + "\n"


def constraints_xml(pair: PacemakerPair) -> str:
    """`cibadmin --query --scope constraints`."""
    lines = ["<constraints>"]
    body = pair.body
    if pair.pair.promotable:
        clone = pair.pair.promotable
        lines += [
            f'  <rsc_colocation id="colocation-{body}-{clone}" rsc="{body}" score="INFINITY"'
            f' rsc-role="Started" with-rsc="{clone}" with-rsc-role="Promoted"/>',
            f'  <rsc_order id="order-{clone}-{body}" first="{clone}" first-action="promote"'
            f' then="{body}" then-action="start"/>',
        ]
    lines += [
        f'  <rsc_location id="{preference.id}" rsc="{preference.resource}" role="Started"'
        f' node="{pair.nodes[preference.machine].name}" score="INFINITY"/>'
        for preference in _preferences(pair)
    ]
    return "\n".join([*lines, "</constraints>"]) + "\n"


def constraints_listing(pair: PacemakerPair) -> str:
    """`pcs constraint`."""
    lines = ["Location Constraints:"]
    for preference in _preferences(pair):
        name = pair.nodes[preference.machine].name
        lines.append(f"  Resource: {preference.resource}")
        lines.append(f"    Enabled on: {name} (score:INFINITY) (role:Started)")
    lines.append("Ordering Constraints:")
    if pair.pair.promotable:
        lines.append(f"  promote {pair.pair.promotable} then start {pair.body} (kind:Mandatory)")
    lines.append("Colocation Constraints:")
    if pair.pair.promotable:
        lines.append(
            f"  {pair.body} with {pair.pair.promotable} (score:INFINITY) (rsc-role:Started) (with-rsc-role:Promoted)"
        )
    return "\n".join([*lines, "Ticket Constraints:"]) + "\n"


def proc_drbd(pair: DrbdPair, machine: str, minor: int) -> str:
    """`/proc/drbd` of 8.4. A device that is down has no line."""
    node = pair.nodes[machine]
    if not node.up:
        return _DRBD_HEAD
    connection = pair.connection(machine)
    protocol = " " if connection == "StandAlone" else "C"
    out = pair.out_of_sync(machine)
    states = f"cs:{connection} ro:{roles(pair, machine)} ds:{disks(pair, machine)}"
    text = (
        f"{_DRBD_HEAD}{minor:2}: {states} {protocol} r-----\n"
        f"    ns:{8208 if node.primary else 0} nr:{0 if node.primary else 8208} dw:8208 dr:4122 al:2 bm:0 lo:0 pe:0"
        f" ua:0 ap:0 ep:1 wo:f oos:{out}\n"
    )
    if not connection.startswith("Sync"):
        return text
    done = pair.synced()
    bar = "=" * int(done * 20) + ">"
    return (
        f"{text}\t[{bar:.<20}] sync'ed:{100 * done:5.1f}% ({out}/{round(pair.sync_kib)})K\n"
        "\tfinish: 0:00:10 speed: 20,000 (20,000) want: 20,480 K/sec\n"
    )


def roles(pair: DrbdPair, machine: str) -> str:
    """`drbdadm role`: own/peer."""
    peer = pair.peer(machine)
    seen = ("Primary" if peer.primary else "Secondary") if pair.connected else "Unknown"
    return f"{'Primary' if pair.nodes[machine].primary else 'Secondary'}/{seen}"


def disks(pair: DrbdPair, machine: str) -> str:
    """`drbdadm dstate`: own/peer."""
    return f"{pair.nodes[machine].disk}/{pair.peer(machine).disk if pair.connected else 'DUnknown'}"


def drbd_status(pair: DrbdPair, machine: str, resource: str) -> str:
    """`drbdadm status`."""
    node, peer = pair.nodes[machine], pair.peer(machine)
    lines = [f"{resource} role:{'Primary' if node.primary else 'Secondary'}", f"  disk:{node.disk}"]
    connection = pair.connection(machine)
    if connection == "WFConnection":
        lines.append("  peer connection:Connecting")
    elif connection != "StandAlone":
        lines.append(f"  peer role:{'Primary' if peer.primary else 'Secondary'}")
        state = f"{connection} peer-disk:{peer.disk} done:{100 * pair.synced():.2f}"
        lines.append(
            "    replication:" + (state if connection != "Connected" else f"Established peer-disk:{peer.disk}")
        )
    return "\n".join(lines) + "\n\n"


def _summary(pair: PacemakerPair, machine: str, now: datetime) -> list[str]:
    dc = _coordinator(pair)
    quorum = "true" if pair.has_quorum(machine) else "false"
    stamp = f"{now:%a %b %d %H:%M:%S %Y}"
    return [
        "  <summary>",
        '    <stack type="corosync"/>',
        f'    <current_dc present="true" version="{_VERSION}" name={quoteattr(dc.name)} id="{dc.identity}"'
        f' with_quorum="{quorum}" mixed_version="false"/>',
        f'    <last_update time="{stamp}"/>',
        f'    <last_change time="{stamp}" user="root" client="cibadmin" origin={quoteattr(dc.name)}/>',
        '    <nodes_configured number="2"/>',
        f'    <resources_configured number="{pair.instances()}" disabled="0" blocked="0"/>',
        '    <cluster_options stonith-enabled="true" symmetric-cluster="true" no-quorum-policy="stop"'
        ' maintenance-mode="false" stop-all-resources="false" stonith-timeout-ms="60000"'
        ' priority-fencing-delay-ms="0"/>',
        "  </summary>",
    ]


def _coordinator(pair: PacemakerPair) -> Node:
    nodes = list(pair.nodes.values())
    return next((node for node in reversed(nodes) if node.online), nodes[0])


def _node(pair: PacemakerPair, node: Node, dc: Node) -> str:
    feature = ' feature_set="3.16.1"' if node.online else ""
    return (
        f'    <node name={quoteattr(node.name)} id="{node.identity}" online="{_yes(node.online)}"'
        f' standby="{_yes(node.standby)}" standby_onfail="false" maintenance="false" pending="false" unclean="false"'
        f' health="green"{feature} shutdown="{_yes(node.leaving)}" expected_up="{_yes(node.online)}"'
        f' is_dc="{_yes(node is dc)}" resources_running="{pair.running_on(node.machine)}" type="member"/>'
    )


def _clone(pair: PacemakerPair) -> list[str]:
    clone = pair.pair.promotable
    if not clone:
        return []
    inner = clone.removesuffix("-clone")
    agent = "ocf:linbit:drbd" if pair.drbd else "ocf:pacemaker:Stateful"
    lines = [
        f'    <clone id="{clone}" multi_state="true" unique="false" managed="true" disabled="false" failed="false"'
        ' failure_ignored="false">'
    ]
    for node in sorted(pair.nodes.values(), key=lambda node: node.clone == "Stopped"):
        active = node.clone != "Stopped"
        lines += _instance(inner, agent, node.clone, [node] if active else [], indent=6)
    return [*lines, "    </clone>"]


def _group(pair: PacemakerPair) -> list[str]:
    single = len(pair.resources) == 1
    lines = [line for resource in pair.resources for line in _resource(pair, resource, indent=4 if single else 6)]
    if single:
        return lines
    head = f'    <group id="{pair.body}" number_resources="{len(pair.resources)}" managed="true" disabled="false">'
    return [head, *lines, "    </group>"]


def _fencing(pair: PacemakerPair) -> list[str]:
    nodes = [pair.nodes[pair.fencing_on]] if pair.fencing_on else []
    return _instance(FENCING, "stonith:fence_virsh", "Started" if nodes else "Stopped", nodes, indent=4)


def _resource(pair: PacemakerPair, resource: Resource, *, indent: int) -> list[str]:
    role = resource.activity or ("Started" if resource.machine else "Stopped")
    nodes = [pair.nodes[resource.machine]] if resource.machine else []
    return _instance(resource.id, resource.agent, role, nodes, indent=indent)


def _instance(name: str, agent: str, role: str, nodes: list[Node], *, indent: int) -> list[str]:
    pad = " " * indent
    head = (
        f'{pad}<resource id="{name}" resource_agent="{agent}" role="{role}" active="{_yes(bool(nodes))}"'
        f' {_FLAGS.format(failed="false")} nodes_running_on="{len(nodes)}"'
    )
    if not nodes:
        return [f"{head}/>"]
    inner = [f'{pad}  <node name={quoteattr(node.name)} id="{node.identity}" cached="true"/>' for node in nodes]
    return [f"{head}>", *inner, f"{pad}</resource>"]


def _attributes(pair: PacemakerPair) -> list[str]:
    online = [node for node in pair.nodes.values() if node.clone != "Stopped"]
    if not online:
        return []
    inner = str(pair.pair.promotable).removesuffix("-clone")
    lines = ["  <node_attributes>"]
    for node in online:
        lines += [
            f"    <node name={quoteattr(node.name)}>",
            f'      <attribute name="master-{inner}" value="10000"/>',
            "    </node>",
        ]
    return [*lines, "  </node_attributes>"]


def _history(pair: PacemakerPair, now: datetime) -> list[str]:
    running = pair.running_action()
    if running is None:
        return []
    task, resource, machine = running
    return [
        "  <node_history>",
        f"    <node name={quoteattr(pair.nodes[machine].name)}>",
        f'      <resource_history id="{resource}" orphan="false" migration-threshold="1000000">',
        f'        <operation_history call="-1" task="{task}" rc="193" rc_text="unknown"'
        f' last-rc-change="{now:%a %b %d %H:%M:%S %Y}" exec-time="0ms" queue-time="0ms"/>',
        "      </resource_history>",
        "    </node>",
        "  </node_history>",
    ]


def _failures(pair: PacemakerPair, now: datetime) -> list[str]:
    if not pair.failures:
        return []
    lines = [
        f'    <failure op_key="{failure.resource}_{failure.task}_0" node={quoteattr(failure.node)} exitstatus="error"'
        f' exitreason="" exitcode="1" call="{number}" status="complete" last-rc-change="{now:%Y-%m-%d %H:%M:%SZ}"'
        f' queued="0" exec="0" interval="0" task="{failure.task}"/>'
        for number, failure in enumerate(pair.failures, start=40)
    ]
    return ["  <failures>", *lines, "  </failures>"]


def _preferences(pair: PacemakerPair) -> list[Preference]:
    """Those that moves have left, and that of a move which is under way."""
    moving = [Preference(pair.body, pair.moving_to)] if pair.moving_to else []
    return [*pair.preferences, *moving]


def _yes(value: bool) -> str:
    return "true" if value else "false"
