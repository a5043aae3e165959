"""The health check judged on facts: a healthy cluster passes; each thing that is wrong is named with a next step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inventory.models import Inventory
from procedure import health_check
from procedure.facts import (
    AutostartFact,
    BalancerFact,
    ClusterFact,
    ComponentFact,
    DaemonFact,
    Facts,
    LocationConstraint,
    PowerFact,
    ProbeFact,
    ReplicationFact,
    ResourceState,
    SessionsFact,
    Silence,
    SilencesFact,
)
from procedure.plan import Observe
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BalancerOn,
    ComponentOn,
    DaemonOn,
    PowerOf,
    ProbeOf,
    ReplayOn,
    ReplicationOn,
    SessionsOn,
    Silences,
)
from procedure.verdicts import Answer
from tests.procedure.altered import channel_with, cluster_with, drbd_with, node_with, resource_with, seen, servers_with
from tests.procedure.altered import unseen as not_seen_any_more
from tests.procedure.conftest import all_facts
from tests.procedure.paper_cluster import PaperCluster, later

FAIL, WARN, UNKNOWN = Answer.FAIL, Answer.WARN, Answer.UNKNOWN
Change = Callable[[Facts], Facts]


def constraint(node: str, score: str) -> Change:
    found = LocationConstraint(id="cli-x", resource="vip", node=node, score=score)
    return lambda f: cluster_with(f, "acd-store1", constraints=(found,))


def stranger(f: Facts) -> Facts:
    fact = f.replication("acd-dbs1")
    assert isinstance(fact, ReplicationFact)
    other = fact.channels[0].model_copy(update={"source_host": "10.9.9.9"})
    return seen(f, ReplicationOn(machine="acd-dbs1"), fact.model_copy(update={"channels": (*fact.channels, other)}))


def without_server(f: Facts) -> Facts:
    fact = f.balancer("acd-lb2")
    assert isinstance(fact, BalancerFact)
    left = tuple(s for s in fact.servers if s.server != "acd-chat2")
    return seen(f, BalancerOn(machine="acd-lb2"), fact.model_copy(update={"servers": left}))


def other_backend(f: Facts) -> Facts:
    fact = f.balancer("acd-lb2")
    assert isinstance(fact, BalancerFact)
    more = fact.servers[0].model_copy(update={"backend": "sip"})
    return seen(f, BalancerOn(machine="acd-lb2"), fact.model_copy(update={"servers": (*fact.servers, more)}))


def component(machine: str, name: str, state: str) -> Change:
    fact = ComponentFact.model_validate({"state": state})
    return lambda f: seen(f, ComponentOn(machine=machine, component=name), fact)


def silenced(f: Facts) -> Facts:
    old = Silence(id="a", machines=("acd-jb1",), until=later(1), comment="an earlier run")
    return seen(f, Silences(), SilencesFact(silences=(old,)))


def haproxy_by_pacemaker(f: Facts, *nodes: str) -> Facts:
    """Pacemaker has it running on these nodes; on the survivor it does not run."""
    f = seen(f, BalancerOn(machine="acd-lb2"), BalancerFact(running=False))
    for machine in ("acd-lb1", "acd-lb2"):
        fact = f.cluster(machine)
        assert isinstance(fact, ClusterFact)
        more = (
            ResourceState(id="lb", agent="systemd:haproxy", role="Started", nodes=(node,), active=True)
            for node in nodes
        )
        f = cluster_with(f, machine, resources=(*fact.resources, *more))
    return f


def read_only(f: Facts, master: str, *, value: bool | None) -> Facts:
    fact = f.replication(master)
    assert isinstance(fact, ReplicationFact)
    return seen(f, ReplicationOn(machine=master), fact.model_copy(update={"read_only": value}))


def crossed(f: Facts) -> Facts:
    f = servers_with(f, "acd-lb1", "db/acd-dbm1", address="10.77.0.72")
    return servers_with(f, "acd-lb1", "db/acd-dbm2", address="10.77.0.71")


def address_twice(f: Facts) -> Facts:
    fact = f.cluster("acd-store2")
    assert isinstance(fact, ClusterFact)
    return cluster_with(f, "acd-store2", addresses=(*fact.addresses, "10.77.0.100"))


WRONG: list[tuple[str, Change, Answer, str]] = [
    ("a machine is off", lambda f: seen(f, PowerOf(machine="acd-jb5"), PowerFact(state="off")), FAIL, "it is off"),
    ("its management port is silent",
     lambda f: seen(f, PowerOf(machine="acd-jb5"), PowerFact(state="on", answering=(80,), silent=(22,))), FAIL,
     "port 22 is silent"),
    ("a machine was not seen", lambda f: not_seen_any_more(f, PowerOf(machine="acd-jb5")), UNKNOWN, "connection lost"),
    ("it starts by itself", lambda f: seen(f, AutostartOf(machine="acd-jb5"), AutostartFact(enabled=True)), FAIL,
     "set to start automatically"),
    ("nobody can tell whether it does",
     lambda f: seen(f, AutostartOf(machine="acd-jb5"), AutostartFact(enabled=None)), WARN, "can't tell"),
    ("no quorum", lambda f: cluster_with(f, "acd-lb2", quorum=False), FAIL, "no quorum"),
    ("maintenance mode", lambda f: cluster_with(f, "acd-lb2", maintenance_mode=True), FAIL, "maintenance mode"),
    ("a node offline", lambda f: node_with(f, "acd-store1", "acd-store2", online=False), FAIL, "offline"),
    ("a node in standby", lambda f: node_with(f, "acd-store1", "acd-store2", standby=True), FAIL, "standby"),
    ("a node in maintenance",
     lambda f: node_with(f, "acd-store1", "acd-store2", maintenance=True), FAIL, "maintenance"),
    ("a node unclean", lambda f: node_with(f, "acd-store1", "acd-store2", unclean=True), FAIL, "unclean"),
    ("a resource failed", lambda f: resource_with(f, "acd-store1", "vip", failed=True), FAIL, "vip is failed"),
    ("a resource unmanaged", lambda f: resource_with(f, "acd-store1", "fs_r0", managed=False), FAIL, "unmanaged"),
    ("a resource blocked", lambda f: resource_with(f, "acd-store1", "fs_r0", blocked=True), FAIL, "blocked"),
    ("a resource disabled", lambda f: resource_with(f, "acd-store1", "vip", disabled=True), FAIL, "disabled"),
    ("a group stopped", lambda f: resource_with(f, "acd-store1", "fs_r0", active=False, nodes=()), FAIL,
     "fs_r0 is not on acd-store1"),
    ("the file system is not mounted", lambda f: cluster_with(f, "acd-store1", mounts=()), FAIL, "not mounted"),
    ("the address is on both", address_twice, FAIL, "acd-store2 has 10.77.0.100 too"),
    ("a failure is remembered", lambda f: cluster_with(f, "acd-store1", failures=("vip_monitor on acd-store1",)), WARN,
     "vip_monitor"),
    ("it would move back", constraint("acd-store1", "INFINITY"), FAIL, "cli-x"),
    ("the survivor is banned", constraint("acd-store2", "-INFINITY"), FAIL, "cli-x"),
    ("constraints that were left out", lambda f: cluster_with(f, "acd-store1", constraints_left_out=9), UNKNOWN,
     "9 constraints"),
    ("a constraint by rule", constraint("", ""), WARN, "by rule"),
    ("a resync",
     lambda f: drbd_with(f, "acd-store1", connection="SyncSource", peer_disk="Inconsistent"), FAIL, "SyncSource"),
    ("out of sync", lambda f: drbd_with(f, "acd-store2", out_of_sync_kib=8), FAIL, "8 KiB"),
    ("not told how much", lambda f: drbd_with(f, "acd-store2", out_of_sync_kib=None), UNKNOWN, "was not told"),
    ("DRBD is down", lambda f: drbd_with(f, "acd-store2", configured=False), FAIL, "DRBD is down"),
    ("split brain", lambda f: drbd_with(f, "acd-store2", connection="StandAlone", role="Primary"), FAIL,
     "both sides may have been written to"),
    ("DRBD and Pacemaker disagree",
     lambda f: drbd_with(f, "acd-store2", role="Primary"), FAIL, "Pacemaker says Secondary"),
    ("lag", lambda f: channel_with(f, "acd-dbs1", lag_seconds=7), FAIL, "lag 7 s"),
    ("a wrong password", lambda f: channel_with(f, "acd-dbm1", io="Connecting", io_error="1045 denied"), FAIL, "1045"),
    ("a source that nobody knows", stranger, FAIL, "10.9.9.9"),
    ("positions can't be read",
     lambda f: not_seen_any_more(f, ReplayOn(machine="acd-dbm2", source="acd-dbm1")), UNKNOWN, "connection lost"),
    ("no PROCESS privilege",
     lambda f: seen(f, SessionsOn(machine="acd-dbm1"), SessionsFact(complete=False, count=0)), FAIL, "PROCESS"),
    ("HAProxy does not run", lambda f: seen(f, BalancerOn(machine="acd-lb1"), BalancerFact(running=False)), FAIL,
     "this is the active load balancer"),
    ("HAProxy on the survivor does not run",
     lambda f: seen(f, BalancerOn(machine="acd-lb2"), BalancerFact(running=False)), FAIL,
     "Pacemaker would not start it"),
    ("HAProxy of a clone does not run on the survivor",
     lambda f: haproxy_by_pacemaker(f, "acd-lb1", "stopped"), FAIL, "although Pacemaker runs it on both"),
    ("HAProxy died and Pacemaker has not noticed", lambda f: haproxy_by_pacemaker(f, "acd-lb2"), FAIL,
     "although Pacemaker says"),
    ("a master is read_only", lambda f: read_only(f, "acd-dbm2", value=True), FAIL, "read_only is ON"),
    ("nobody tells whether a master is", lambda f: read_only(f, "acd-dbm2", value=None), UNKNOWN, "does not decide"),
    ("the admin page is not reached", lambda f: not_seen_any_more(f, BalancerOn(machine="acd-lb2")), UNKNOWN,
     "connection lost"),
    ("a server is down", lambda f: servers_with(f, "acd-lb1", "web/acd-jb2", up=False, status="DOWN"), FAIL,
     "web/acd-jb2 DOWN"),
    ("a server in MAINT",
     lambda f: servers_with(f, "acd-lb2", "web/acd-jb2", admin="maint", up=False, status="MAINT"), FAIL,
     "web/acd-jb2 MAINT"),
    ("a server is missing", without_server, FAIL, "chat/acd-chat2 is missing"),
    ("a backend that the inventory does not know", other_backend, WARN, "sip"),
    ("both masters take writes", lambda f: servers_with(f, "acd-lb1", "db/acd-dbm2", backup=False), FAIL,
     "acd-dbm1, acd-dbm2"),
    ("a server is another machine", crossed, FAIL, "db/acd-dbm1 has 10.77.0.72, the address of acd-dbm2"),
    ("a server has nobody's address", lambda f: servers_with(f, "acd-lb2", "db/acd-dbm1", address="10.9.9.9"), WARN,
     "db/acd-dbm1 10.9.9.9"),
    ("HAProxy does not tell addresses", lambda f: servers_with(f, "acd-lb2", "db/acd-dbm1", address=""), WARN,
     "vouches"),
    ("a replica takes writes", lambda f: servers_with(f, "acd-lb1", "db/acd-dbm1", address="10.77.0.61"), FAIL,
     "acd-dbs1 takes writes"),
    ("a service stopped", component("acd-jb5", "Wildfly", "stopped"), FAIL, "it is stopped"),
    ("a service missing", component("acd-jb5", "Wildfly", "missing"), FAIL, "no such service"),
    ("a program that only a person sees", component("acd-tel1", "8-Server", "by_hand"), WARN, "vouches"),
    ("the daemon twice", lambda f: seen(f, DaemonOn(machine="acd-tel2"), DaemonFact(state="running")), FAIL,
     "acd-tel1 and acd-tel2"),
    ("the daemon nowhere", lambda f: seen(f, DaemonOn(machine="acd-tel1"), DaemonFact(state="stopped")), FAIL, "none"),
    ("monitoring is not reached", lambda f: not_seen_any_more(f, Silences()), UNKNOWN, "connection lost"),
    ("silences of an earlier run", silenced, WARN, "an earlier run"),
    ("monitoring does not know a machine",
     lambda f: seen(f, Silences(), SilencesFact(unknown=("acd-jb1",))), FAIL, "no host of these names: acd-jb1"),
    ("a probe fails",
     lambda f: seen(f, ProbeOf(name="soap"), ProbeFact(ok=False, detail="HTTP 503")), FAIL, "HTTP 503"),
]  # fmt: skip


def test_a_database_that_tells_nothing_is_named_once(situation: Situation, facts: Facts) -> None:
    """Not again for each replica whose position can't be told then."""
    of_dbm1 = ReplicationOn(machine="acd-dbm1"), ReplayOn(machine="acd-dbm2", source="acd-dbm1")
    for subject in of_dbm1:
        facts = not_seen_any_more(facts, subject)
    against = [v.condition for v in health_check.judge(situation, facts) if not v.allows]
    assert against == ["acd-dbm1 replicates as the inventory says, without lag"]


def test_a_healthy_cluster_passes(situation: Situation, facts: Facts) -> None:
    verdicts = health_check.judge(situation, facts)

    assert {v.answer for v in verdicts} == {Answer.PASS}, [v.text for v in verdicts if v.answer is not Answer.PASS]
    conditions = [v.condition for v in verdicts]
    assert len(set(conditions)) == len(conditions), "each condition is judged once"


def test_a_write_of_this_moment_is_no_lag(situation: Situation, facts: Facts) -> None:
    """Writes go on: a replica has often received one that it has not replayed yet."""
    for machine in ("acd-dbm1", "acd-dbm2", "acd-dbs1", "acd-dbs2"):
        facts = channel_with(facts, machine, caught_up=False)
    assert [v.text for v in health_check.judge(situation, facts) if v.answer is not Answer.PASS] == []


@pytest.mark.parametrize("row", WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_said(row: tuple[str, Change, Answer, str], situation: Situation, facts: Facts) -> None:
    _, change, answer, says = row

    verdicts = [v for v in health_check.judge(situation, change(facts)) if v.answer is not Answer.PASS]

    assert any(v.answer is answer and (says in v.reason or says in v.next_step) for v in verdicts), [
        v.text for v in verdicts
    ]
    assert all(v.next_step for v in verdicts if v.answer is not Answer.NOT_APPLICABLE)


def test_whatever_was_not_observed_is_unknown(situation: Situation, facts: Facts) -> None:
    for observation in facts.observations:
        verdicts = health_check.judge(situation, not_seen_any_more(facts, observation.subject))

        assert any(v.answer is UNKNOWN for v in verdicts), f"{observation.subject.key} does not matter to anybody"


def test_each_machine_is_observed_once_and_nothing_waits(situation: Situation) -> None:
    rounds = health_check.rounds(situation)

    targets = [step.action.target for step in rounds if isinstance(step.action, Observe)]
    assert targets == [*(m.name for m in situation.inventory.machines), "monitoring", "probes"]
    assert not any(step.after for step in rounds)


def test_haproxy_that_runs_on_the_active_load_balancer_only_is_fine(situation: Situation, facts: Facts) -> None:
    verdicts = health_check.judge(situation, haproxy_by_pacemaker(facts, "acd-lb1"))

    assert {v.answer for v in verdicts} == {Answer.PASS, Answer.NOT_APPLICABLE}


def test_only_masters_stand_in_a_database_backend(inventory: Inventory) -> None:
    database = next(b for b in inventory.haproxy.backends if b.kind == "database")
    wrong = database.model_copy(update={"servers": {"acd-dbm1": "acd-dbm1", "acd-dbs2": "acd-dbs2"}})
    backends = tuple(wrong if b == database else b for b in inventory.haproxy.backends)
    changed = inventory.model_copy(update={"haproxy": inventory.haproxy.model_copy(update={"backends": backends})})
    situation, cluster = Situation(changed, "vm-host-1"), PaperCluster(changed)

    refused = [v.reason for v in health_check.judge(situation, all_facts(cluster, situation)) if not v.allows]

    assert any("db/acd-dbs2 is acd-dbs2, which is no master" in reason for reason in refused)


def test_crossed_server_names_are_seen_before_anything_is_touched(inventory: Inventory) -> None:
    cluster = PaperCluster(inventory)
    cluster.behind = {("db", "acd-dbm1"): "acd-dbm2", ("db", "acd-dbm2"): "acd-dbm1"}
    situation = Situation(inventory, "vm-host-1")

    refused = [v.text for v in health_check.judge(situation, all_facts(cluster, situation)) if not v.allows]

    assert [text.split(" is ")[0] for text in refused] == ["every server on acd-lb1", "every server on acd-lb2"]


def test_a_standby_machine_may_have_its_software_stopped(situation: Situation, facts: Facts) -> None:
    verdicts = health_check.judge(situation, component("acd-dbm2", "Platform UDP Listener", "stopped")(facts))

    assert {v.answer for v in verdicts} == {Answer.PASS}
