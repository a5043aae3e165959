"""Configuration of the two Pacemaker clusters: corosync.conf, as `pcs cluster setup` writes it, and the first CIB."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from inventory.models import Inventory, Pair
from lab.real import network
from lab.real.files import Files
from lab.real.site import STATEFUL, Options

POWER_PORT = 6230
SHARE = "/srv/.acd-disk"
"""Bound to the pair's mount point: a folder of each host, in place of a replicated disk."""
# A busy machine must not look like a dead peer.
_TOKEN_MILLISECONDS = 3000
# The default is 20 s, for nothing in a cluster of two that start together.
_DC_DEADTIME = "3s"


@dataclass(frozen=True)
class Nodes:
    """The two nodes of a pair: names and addresses."""

    cluster: str
    names: tuple[str, str]
    addresses: tuple[str, str]
    key: bytes

    @classmethod
    def of(cls, inventory: Inventory, cluster: str, pair: Pair) -> Nodes:
        """Those of a pair, with a new key."""
        machines = [inventory.machine(name) for name in pair.machines]
        names, addresses = [m.node_name for m in machines], [m.address for m in machines]
        return cls(cluster, (names[0], names[1]), (addresses[0], addresses[1]), secrets.token_bytes(256))


def furnish(files: Files, nodes: Nodes, cib: str) -> None:
    """Write what a node needs."""
    files.write("/etc/corosync/corosync.conf", _corosync(nodes))
    files.write("/etc/corosync/authkey", nodes.key, 0o400)
    files.write("/var/lib/pacemaker/cib/cib.xml", cib, 0o600, "hacluster:haclient")
    files.enable("corosync.service", "pacemaker.service")


def _corosync(nodes: Nodes) -> str:
    members = "".join(
        f"    node {{\n        ring0_addr: {address}\n        name: {name}\n        nodeid: {number}\n    }}\n"
        for number, (name, address) in enumerate(zip(nodes.names, nodes.addresses, strict=True), 1)
    )
    return f"""totem {{
    version: 2
    cluster_name: {nodes.cluster}
    transport: knet
    crypto_cipher: aes256
    crypto_hash: sha256
    token: {_TOKEN_MILLISECONDS}
}}
nodelist {{
{members}}}
quorum {{
    provider: corosync_votequorum
    two_node: 1
}}
logging {{
    to_syslog: yes
    timestamp: on
}}
"""


def storage_cib(inventory: Inventory, nodes: Nodes) -> str:
    """Promotable stand-in, file system and address, as a DRBD pair has them."""
    pair = inventory.pairs.storage
    mount, address = pair.resources
    stateful = STATEFUL.removesuffix("-clone")
    resources = (
        f'<clone id="{STATEFUL}">'
        + _attributes(STATEFUL, "meta", promotable="true", **{"promoted-max": "1", "clone-max": "2", "notify": "true"})
        + _primitive(
            stateful, "ocf:pacemaker:Stateful", {}, {"monitor": ("10s", "Unpromoted"), "monitor ": ("9s", "Promoted")}
        )
        + "</clone>"
        + _primitive(
            mount,
            "ocf:heartbeat:Filesystem",
            {"device": SHARE, "directory": pair.mount or "/srv/acd", "fstype": "none", "options": "bind"},
            {"monitor": ("20s", "")},
        )
        + _address(address, pair.address)
    )
    together = (
        _colocation("fs-with-primary", mount, STATEFUL, "Promoted")
        + _colocation("vip-with-fs", address, mount)
        + _order("primary-then-fs", STATEFUL, "promote", mount)
        + _order("fs-then-vip", mount, "start", address)
    )
    return _cib(nodes, resources, together)


def balancer_cib(inventory: Inventory, nodes: Nodes, options: Options) -> str:
    """The address; and HAProxy on both nodes, where Pacemaker runs it."""
    pair = inventory.pairs.load_balancer
    (address,) = pair.resources
    resources, together = _address(address, pair.address), ""
    if options.haproxy == "clone":
        resources += (
            '<clone id="haproxy-clone">'
            + _primitive("haproxy", "systemd:haproxy", {}, {"monitor": ("10s", "")})
            + "</clone>"
        )
        together = _colocation("vip-with-haproxy", address, "haproxy-clone") + _order(
            "haproxy-then-vip", "haproxy-clone", "start", address
        )
    return _cib(nodes, resources, together)


def _cib(nodes: Nodes, resources: str, constraints: str) -> str:
    members = "".join(f'<node id="{number}" uname="{name}"/>' for number, name in enumerate(nodes.names, 1))
    options = {
        "stonith-enabled": "true",
        "dc-deadtime": _DC_DEADTIME,
        "have-watchdog": "false",
        "cluster-infrastructure": "corosync",
        "cluster-name": nodes.cluster,
    }
    return (
        '<cib crm_feature_set="3.16.0" validate-with="pacemaker-3.7" epoch="1" num_updates="0" admin_epoch="0">'
        "<configuration><crm_config>"
        + _attributes("cib-bootstrap-options", "cluster_property_set", **options)
        + f"</crm_config><nodes>{members}</nodes>"
        + f"<resources>{resources}{_fencing(nodes)}</resources>"
        + f"<constraints>{constraints}</constraints>"
        # Whoever is primary stays it: a pair never moves back by itself.
        + "<rsc_defaults>"
        + _attributes("rsc-defaults", "meta", **{"resource-stickiness": "1000"})
        + "</rsc_defaults></configuration><status/></cib>\n"
    )


def _fencing(nodes: Nodes) -> str:
    hosts = ";".join(f"{name}:{name}" for name in nodes.names)
    given = {
        "ip": network.CONTROLLER,
        "ipport": str(POWER_PORT),
        "pcmk_host_map": hosts,
        "pcmk_host_list": " ".join(nodes.names),
        "pcmk_host_check": "static-list",
        # A host that was fenced stays off until somebody has looked.
        "pcmk_reboot_action": "off",
    }
    return _primitive("fencing", "stonith:fence_lab", given, {"monitor": ("60s", "")})


def _address(name: str, address: str) -> str:
    given = {"ip": address, "cidr_netmask": str(network.NETWORK.prefixlen), "nic": "eth0"}
    return _primitive(name, "ocf:heartbeat:IPaddr2", given, {"monitor": ("10s", "")})


def _primitive(name: str, agent: str, given: dict[str, str], operations: dict[str, tuple[str, str]]) -> str:
    kind, *rest = agent.split(":")
    provider = f' provider="{rest[0]}"' if len(rest) == 2 else ""
    ops = "".join(
        f'<op id="{name}-{operation.strip()}-{interval}" name="{operation.strip()}" interval="{interval}" timeout="30s"'
        + (f' role="{role}"' if role else "")
        + "/>"
        for operation, (interval, role) in operations.items()
    )
    return (
        f'<primitive id="{name}" class="{kind}"{provider} type="{rest[-1]}">'
        + (_attributes(f"{name}-given", "instance", **given) if given else "")
        + f"<operations>{ops}</operations></primitive>"
    )


def _attributes(name: str, kind: str, **values: str) -> str:
    tag = kind if kind.endswith("_set") else f"{kind}_attributes"
    pairs = "".join(
        f'<nvpair id="{name}-{key}" name="{key}" value={quoteattr(value)}/>' for key, value in values.items()
    )
    return f'<{tag} id="{name}-{kind}">{pairs}</{tag}>'


def _colocation(name: str, what: str, with_what: str, role: str = "") -> str:
    promoted = f' with-rsc-role="{role}"' if role else ""
    return f'<rsc_colocation id="{name}" rsc="{what}" with-rsc="{with_what}" score="INFINITY"{promoted}/>'


def _order(name: str, first: str, action: str, then: str) -> str:
    return (
        f'<rsc_order id="{name}" first="{first}" first-action="{action}" then="{then}" then-action="start"'
        ' kind="Mandatory"/>'
    )
