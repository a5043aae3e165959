"""Every recording of Pacemaker is understood as what it was, and a mutilated one as nothing at all."""

from __future__ import annotations

import random
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.errors import NotUnderstood, SystemTrouble, Transient
from activities.pacemaker import read_addresses, read_constraints, read_crm_mon, read_mounts
from procedure.facts import ClusterFact, NodeState, ResourceState
from tests.activities.recorded import RECORDINGS, recorded

HERE = "pacemaker-drbd"
PAIR_ADDRESS = "10.77.0.100"
STATES = sorted("/".join(path.parts[-3:-1]) for path in (RECORDINGS / HERE).glob("*/*/crm_mon.xml"))

# state, store | nodes: + online, - offline, S standby, resources on it
#            | roles and where: P promoted, U unpromoted, @ started,
#            | * not managed, !failed, !disabled
#            | what the machine itself holds: address, mount
EXPECTED = """
01-healthy-store1-primary 1          | 1+3 2+1 r0:P1 r0:U2 fs:@1 vip:@1                                 | address mount
01-healthy-store1-primary 2          | 1+3 2+1 r0:P1 r0:U2 fs:@1 vip:@1                                 |
02-store1-standby 1                  | 1+S0 2+3 r0:P2 r0:off fs:@2 vip:@2                               |
02-store1-standby 2                  | 1+S0 2+3 r0:P2 r0:off fs:@2 vip:@2                               | address mount
02a-store1-going-standby 1           | 1+S2 2+1 r0:P1 r0:U2 fs:Stopping1 vip:off moving                 |
02a-store1-going-standby 2           | 1+S2 2+1 r0:P1 r0:U2 fs:@1 vip:off moving                        |
03-store1-unstandby-secondary 1      | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 |
03-store1-unstandby-secondary 2      | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 | address mount
04-store1-off 2                      | 1-0 2+3 r0:P2 r0:off fs:@2 vip:@2                                | address mount
05-store1-resyncing 1                | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 |
05-store1-resyncing 2                | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 | address mount
06-store1-back-resynced 1            | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 |
06-store1-back-resynced 2            | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 | address mount
07-primary-power-cut 1               | 1+3 2-0 r0:P1 r0:off fs:@1 vip:@1                                | address mount
08-old-primary-back 1                | 1+3 2+1 r0:P1 r0:U2 fs:@1 vip:@1                                 | address mount
08-old-primary-back 2                | 1+3 2+1 r0:P1 r0:U2 fs:@1 vip:@1                                 |
11a-splitbrain-just-rejoined 1       | 1+2 2+3 r0:P1 r0:P2 fs:@1,2 vip:@2                               | mount
11a-splitbrain-just-rejoined 2       | 1+2 2+3 r0:P1 r0:P2 fs:@1,2 vip:@2                               | mount
12-splitbrain-repaired 1             | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 |
12-splitbrain-repaired 2             | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 | address mount
12a-splitbrain-repair-reconnecting 1 | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 |
12a-splitbrain-repair-reconnecting 2 | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 | address mount
13-vip-failed-and-recovered 1        | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2 failures=1                      |
13-vip-failed-and-recovered 2        | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2 failures=1                      | address mount
13a-vip-lost 1                       | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:Starting2!failed moving failures=1 |
13a-vip-lost 2                       | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2 moving failures=1               | address mount
20-maintenance-mode 1                | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 | address mount
20-maintenance-mode 2                | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 |
21-disconnected-by-hand 1            | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 | address mount
21-disconnected-by-hand 2            | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 |
23-full-resync-slow 1                | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 | address mount
23-full-resync-slow 2                | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 |
24-resync-paused 1                   | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 | address mount
24-resync-paused 2                   | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 |
27-secondary-unconfigured 1          | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 | address mount
27-secondary-unconfigured 2          | 1+3 2+1 r0:P1* r0:U2* fs:@1* vip:@1* maintenance                 |
30-vip-disabled 1                    | 1+2 2+1 r0:P1 r0:U2 fs:@1 vip:off!disabled                       | mount
30-vip-disabled 2                    | 1+2 2+1 r0:P1 r0:U2 fs:@1 vip:off!disabled                       |
31-fs-unmanaged 1                    | 1+3 2+1 r0:P1 r0:U2 fs:@1* vip:@1                                | address mount
31-fs-unmanaged 2                    | 1+3 2+1 r0:P1 r0:U2 fs:@1* vip:@1                                |
33-both-standby 1                    | 1+S0 2+S0 r0:off r0:off fs:off vip:off                           |
33-both-standby 2                    | 1+S0 2+S0 r0:off r0:off fs:off vip:off                           |
35-after-pcs-resource-move 1         | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 |
35-after-pcs-resource-move 2         | 1+1 2+3 r0:U1 r0:P2 fs:@2 vip:@2                                 | address mount
"""


def table() -> dict[str, tuple[str, str]]:
    rows = (tuple(column.strip() for column in line.split("|")) for line in EXPECTED.strip().splitlines())
    return {state.replace(" ", "/acd-store"): (cluster, machine) for state, cluster, machine in rows}


def told(state: str) -> str:
    """The cluster of a recording in the shorthand of the table."""
    fact = read_crm_mon("m", recorded(HERE, *state.split("/"), "crm_mon.xml"))
    nodes = " ".join(_node(node) for node in fact.nodes)
    resources = " ".join(_resource(resource) for resource in _sorted(fact))
    more = [
        *([] if fact.quorum else ["no-quorum"]),
        *(["maintenance"] if fact.maintenance_mode else []),
        *([] if fact.transition_idle else ["moving"]),
        *([f"failures={len(fact.failures)}"] if fact.failures else []),
    ]
    return " ".join((nodes, resources, *more))


def told_machine(state: str) -> str:
    """What the machine of a recording holds itself."""
    place = state.split("/")
    addresses = read_addresses("m", recorded(HERE, *place, "ip_addr_o.out"))
    mounts = read_mounts("m", recorded(HERE, *place, "findmnt_drbd.out"))
    held = ["address"] if PAIR_ADDRESS in addresses else []
    return " ".join(held + ["mount" for target, source in mounts if (target, source) == ("/srv/acd", "/dev/drbd0")])


def _short(node: str) -> str:
    return node.removeprefix("acd-store")


def _node(node: NodeState) -> str:
    return f"{_short(node.name)}{'+' if node.online else '-'}{'S' if node.standby else ''}{node.resources_running}"


def _sorted(fact: ClusterFact) -> list[ResourceState]:
    return sorted(fact.resources, key=lambda resource: (resource.id, resource.nodes or ("~",)))


def _resource(resource: ResourceState) -> str:
    roles = {"Promoted": "P", "Unpromoted": "U", "Started": "@", "Stopped": "off"}
    where = ",".join(sorted(_short(node) for node in resource.nodes))
    flags = [flag for flag in ("failed", "blocked", "disabled", "orphaned") if getattr(resource, flag)]
    more = "".join("!" + flag for flag in flags) + ("" if resource.managed else "*")
    name = {"drbd_r0": "r0", "fs_r0": "fs"}.get(resource.id, resource.id)
    return f"{name}:{roles.get(resource.role, resource.role)}{where}{more}"


def test_the_table_holds_every_recorded_state() -> None:
    assert sorted(table()) == STATES
    assert len({state.split("/")[0] for state in STATES}) == 23


@pytest.mark.parametrize("state", STATES)
def test_a_recorded_cluster_is_understood(state: str) -> None:
    assert told(state) == table()[state][0]


@pytest.mark.parametrize("state", STATES)
def test_addresses_and_mounts_of_a_recorded_machine(state: str) -> None:
    assert told_machine(state) == table()[state][1]


@pytest.mark.parametrize(
    "state", sorted("/".join(p.parts[-3:-1]) for p in (RECORDINGS / HERE).glob("*/*/pcs_status.xml"))
)
def test_pcs_tells_the_same_nodes_and_roles_in_the_same_xml(state: str) -> None:
    pcs = read_crm_mon("m", recorded(HERE, *state.split("/"), "pcs_status.xml"))
    own = read_crm_mon("m", recorded(HERE, *state.split("/"), "crm_mon.xml"))
    assert [node.name for node in pcs.nodes] == [node.name for node in own.nodes]
    assert {r.container for r in pcs.resources} == {"drbd_r0-clone", "g_store"}


@pytest.mark.parametrize("state", [state for state in STATES if not re.match(r"\d+a-", state)])
def test_the_text_of_crm_mon_agrees(state: str) -> None:
    """crm_mon's text was taken at another moment, so only states at rest are compared."""
    place = state.split("/")
    fact = read_crm_mon("m", recorded(HERE, *place, "crm_mon.xml"))
    text = recorded(HERE, *place, "crm_mon_1rf.out")
    seen = set(re.findall(r"Promoted (acd-\S+)", text))
    for promoted in re.findall(r"Promoted: \[ (.*?) \]", text):
        seen |= set(promoted.split())
    assert {node for r in fact.resources if r.role == "Promoted" for node in r.nodes} == seen
    assert ("partition with quorum" in text) == fact.quorum
    assert ("unmanaged" in text or "maintenance" in text) == any(not r.managed for r in fact.resources)


def test_a_failure_is_told_with_what_where_and_when() -> None:
    fact = read_crm_mon("m", recorded(HERE, "13a-vip-lost", "acd-store1", "crm_mon.xml"))
    assert fact.failures == ("vip_monitor_10000 on acd-store2: not running (7), complete, 2026-11-22 22:48:19Z",)


HEALTHY = recorded(HERE, "01-healthy-store1-primary", "acd-store1", "crm_mon.xml")


def before_2_1(text: str) -> str:
    """The same state as crm_mon 1.1 tells it (written after its schema, not recorded)."""
    text = re.sub(r"<pacemaker-result[^>]*>", '<?xml version="1.0"?>\n<crm_mon version="1.1.23">', text)
    text = text.replace("</pacemaker-result>", "</crm_mon>")
    text = re.sub(r"<pacemakerd .*/>|<status .*/>", "", text)
    text = re.sub(r'(<group id="\w+" number_resources="\d+").*>', r"\1 >", text)
    return text.replace('role="Promoted"', 'role="Master"').replace('role="Unpromoted"', 'role="Slave"')


def test_pacemaker_1_1_means_the_same_in_older_words() -> None:
    assert read_crm_mon("m", before_2_1(HEALTHY)) == read_crm_mon("m", HEALTHY)


def test_numbered_instances_of_a_clone_keep_their_name() -> None:
    numbered = HEALTHY.replace('<resource id="drbd_r0"', '<resource id="drbd_r0:1"')
    assert {r.id for r in read_crm_mon("m", numbered).resources} == {"drbd_r0", "fs_r0", "vip"}


@pytest.mark.parametrize(
    "text",
    [
        '<pacemaker-result api-version="2.25"><status code="102" message="Not connected"/></pacemaker-result>',
        HEALTHY.replace('state="running"', 'state="starting_daemons"'),
        HEALTHY.replace('<current_dc present="true"', '<current_dc present="false"'),
    ],
)
def test_a_cluster_that_is_stopped_or_starting_may_be_there_a_moment_later(text: str) -> None:
    with pytest.raises(Transient):
        read_crm_mon("m", text)


UNKNOWN = {
    "another root": ("pacemaker-result", "pacemaker-answer"),
    "a role of a future version": ('role="Promoted"', 'role="Leading"'),
    "a flag that is no flag": ('online="true"', 'online="maybe"'),
    "a missing flag of a node": (' standby="false"', ""),
    "a missing flag of a resource": (' managed="true" failed="false"', ' failed="false"'),
    "a missing role": (' role="Started"', ""),
    "no maintenance mode": (' maintenance-mode="false"', ""),
    "a bundle": ("clone", "bundle"),
    "a node of another type": ('type="member"', 'type="ghost"'),
    "a node that is not listed": ('<node name="acd-store1" id="1" cached', '<node name="acd-store9" id="1" cached'),
    "a resource that runs nowhere and on one node": ('nodes_running_on="1"', 'nodes_running_on="0"'),
    "fewer nodes than configured": ('nodes_configured number="2"', 'nodes_configured number="3"'),
    "a number that is none": ('resources_running="3"', 'resources_running="three"'),
    "a status that is not OK": ('<status code="0"', '<status code="1"'),
    "no status": ("status", "statue"),
    "a document type": ("<pacemaker-result", '<!DOCTYPE x [<!ENTITY a "b">]><pacemaker-result'),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_is_not_understood(what: str) -> None:
    old, new = UNKNOWN[what]
    assert old in HEALTHY
    with pytest.raises(NotUnderstood):
        read_crm_mon("m", HEALTHY.replace(old, new))


def test_nothing_cut_off_is_understood() -> None:
    # The last line break may be missing: the root element is complete.
    for end in range(0, len(HEALTHY.rstrip()), 97):
        with pytest.raises(NotUnderstood):
            read_crm_mon("m", HEALTHY[:end])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_mutilated_answers_raise_nothing_but_trouble(seed: int) -> None:
    chance = random.Random(seed)
    state = recorded(HERE, *chance.choice(STATES).split("/"), "crm_mon.xml")
    start = chance.randrange(len(state))
    mutilated = state[:start] + chance.choice(["", "x", '"', "<a>", "\0", "é"]) + state[start + chance.randrange(40) :]
    with suppress(SystemTrouble):
        assert isinstance(read_crm_mon("m", mutilated), ClusterFact)


@settings(max_examples=60, deadline=None)
@given(text=st.text())
def test_no_text_raises_anything_but_trouble(text: str) -> None:
    for read in (read_crm_mon, read_constraints, read_addresses, read_mounts):
        with suppress(SystemTrouble):
            read("m", text)


# Written after the schema of Pacemaker (constraints-3.0.rng); the recorded clusters have no location constraint.
CONSTRAINTS = """<constraints>
  <rsc_order id="o" first="drbd_r0-clone" first-action="promote" then="g_store" then-action="start" kind="Mandatory"/>
  <rsc_colocation id="c" rsc="g_store" with-rsc="drbd_r0-clone" with-rsc-role="Promoted" score="INFINITY"/>
  <rsc_location id="cli-ban-vip-on-acd-lb1" rsc="vip" role="Started" node="acd-lb1" score="-INFINITY"/>
  <rsc_location id="cli-prefer-vip" rsc="vip" role="Master" node="acd-lb2" score="INFINITY"/>
  <rsc_location id="by-rule" rsc="vip">
    <rule id="r" score="100"><expression id="e" attribute="#uname" operation="eq" value="acd-lb1"/></rule>
  </rsc_location>
  <rsc_location id="elsewhere" rsc-pattern="v.*">
    <rule id="r2" score-attribute="ping"><expression id="e2" attribute="#uname" operation="ne" value="acd-lb1"/></rule>
  </rsc_location>
  <rsc_location id="set" node="acd-lb1" score="50">
    <resource_set id="s"><resource_ref id="a"/><resource_ref id="b"/></resource_set>
  </rsc_location>
</constraints>
"""


def test_location_constraints_with_bans_preferences_rules_and_sets() -> None:
    told = [" ".join((c.id, c.resource, c.node or "any", c.score, c.role)) for c in read_constraints("m", CONSTRAINTS)]
    assert told == [
        "cli-ban-vip-on-acd-lb1 vip acd-lb1 -INFINITY Started",
        "cli-prefer-vip vip acd-lb2 INFINITY Promoted",
        "by-rule vip acd-lb1 100 ",
        "elsewhere v.* any attribute ping ",
        "set a acd-lb1 50 ",
        "set b acd-lb1 50 ",
    ]


def test_no_constraints_are_none() -> None:
    assert read_constraints("m", "<constraints/>\n") == ()


@pytest.mark.parametrize(
    "change",
    [("rsc_order", "rsc_wish"), ('score="100"', 'score="much"'), ('node="acd-lb2"', ""), ('rsc="vip" role', "role")],
)
def test_constraints_that_are_not_known(change: tuple[str, str]) -> None:
    with pytest.raises(NotUnderstood):
        read_constraints("m", CONSTRAINTS.replace(*change))


def test_ipv6_and_tunnel_addresses() -> None:
    text = (
        "1: lo    inet6 ::1/128 scope host \\       valid_lft forever preferred_lft forever\n"
        "3: tun0    inet 10.8.0.1 peer 10.8.0.2/32 scope global tun0\\       valid_lft forever\n"
    )
    assert read_addresses("m", text) == ("::1", "10.8.0.1")


@pytest.mark.parametrize("text", ["", "1: lo    inet 127.0.0.1/8", "1: lo\n", "1: lo inet 1.2.3/8\n", "x\n"])
def test_addresses_that_are_cut_off_or_none(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read_addresses("m", text)


def test_mounts_with_blanks_are_unescaped() -> None:
    assert read_mounts("m", "/srv/my\\x20data /dev/drbd0\n") == (("/srv/my data", "/dev/drbd0"),)
    with pytest.raises(NotUnderstood):
        read_mounts("m", "/srv/acd\n")
