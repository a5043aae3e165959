"""The health check before a failback: one side alone and well passes; what is wrong is named, with what to do first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inventory.models import CommandProbe, Inventory
from procedure import one_sided_check
from procedure.commands import LookAgainAlone
from procedure.facts import (
    AutostartFact,
    BalancerFact,
    ComponentFact,
    DaemonFact,
    Facts,
    LocationConstraint,
    PowerFact,
    ReplicationFact,
    SessionsFact,
)
from procedure.plan import Observe
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    PowerOf,
    ReplicationOn,
    SessionsOn,
)
from procedure.verdicts import Answer, Verdict
from tests.procedure.altered import channel_with, cluster_with, drbd_with, node_with, seen, servers_with, unseen
from tests.procedure.one_sided import OneSided, vacated
from tests.procedure.test_failover_on_paper import HOSTS, with_method
from tests.procedure.variants import moved_by_hand

Change = Callable[[Facts], Facts]


@pytest.fixture(scope="module")
def one_side(inventory: Inventory) -> OneSided:
    return vacated(inventory)


def against(situation: Situation, facts: Facts) -> list[Verdict]:
    return [v for v in one_sided_check.judge(situation, facts) if not v.allows]


@pytest.mark.parametrize("method", ["standby", "move"])
@pytest.mark.parametrize("host", HOSTS)
def test_what_a_failover_leaves_is_well(host: str, method: str, inventory: Inventory) -> None:
    one_side = vacated(with_method(inventory, method), host)

    assert against(one_side.situation, one_side.facts()) == []


@pytest.mark.parametrize("host", HOSTS)
def test_what_a_failover_by_hand_leaves_is_well(host: str, inventory: Inventory) -> None:
    one_side = vacated(moved_by_hand(inventory), host)

    assert against(one_side.situation, one_side.facts()) == []


def test_a_machine_that_is_off_is_asked_nothing(inventory: Inventory) -> None:
    probe = CommandProbe(name="mail", machine="acd-api1", command=("true",))
    situation = Situation(inventory.model_copy(update={"probes": (*inventory.probes, probe)}), "vm-host-1")

    rounds = {
        step.action.target: step.action
        for step in one_sided_check.rounds(situation)
        if isinstance(step.action, Observe)
    }

    for machine in (m.name for m in situation.vacated_side()):
        assert rounds[machine].subjects == (PowerOf(machine=machine), AutostartOf(machine=machine))
    assert "probe:mail" not in {subject.key for subject in rounds["probes"].subjects}
    assert {s for r in rounds.values() for s in r.subjects} == set(one_sided_check.subjects(situation))


def started(f: Facts) -> Facts:
    return seen(f, PowerOf(machine="acd-dbm1"), PowerFact(state="on", provider="on", answering=(22,)))


def undecided(f: Facts) -> Facts:
    return seen(f, PowerOf(machine="acd-dbm1"), PowerFact(state="undecided", silent=(22,)))


def starts_by_itself(f: Facts) -> Facts:
    return seen(f, AutostartOf(machine="acd-jb1"), AutostartFact(enabled=True))


def constraint(name: str, node: str, score: str) -> Change:
    found = LocationConstraint(id=name, resource="vip", node=node, score=score)
    return lambda f: cluster_with(f, "acd-store2", constraints=(found,))


def stranger(f: Facts) -> Facts:
    fact = f.replication("acd-dbs2")
    assert isinstance(fact, ReplicationFact)
    other = fact.channels[0].model_copy(update={"source_host": "10.9.9.9"})
    return seen(f, ReplicationOn(machine="acd-dbs2"), fact.model_copy(update={"channels": (*fact.channels, other)}))


def read_only(f: Facts) -> Facts:
    fact = f.replication("acd-dbm2")
    assert isinstance(fact, ReplicationFact)
    return seen(f, ReplicationOn(machine="acd-dbm2"), fact.model_copy(update={"read_only": True}))


def forgotten(f: Facts) -> Facts:
    """The HAProxy of the survivor was restarted by somebody."""
    return servers_with(f, "acd-lb2", "web/acd-jb1", "db/acd-dbm1", admin="ready", status="DOWN")


def component(name: str, machine: str, state: str) -> Change:
    fact = ComponentFact.model_validate({"state": state})
    return lambda f: seen(f, ComponentOn(machine=machine, component=name), fact)


def daemon(state: str) -> Change:
    return lambda f: seen(f, DaemonOn(machine="acd-tel2"), DaemonFact.model_validate({"state": state}))


WRONG: dict[str, tuple[Change, str, str]] = {
    "machines started by themselves": (
        started,
        "all machines of vm-host-1 are off: fail – on are acd-dbm1: nobody but this run may start them",
        "They may have damaged the cluster. Look first at the survivors: `pcs status`, DRBD (StandAlone or two "
        "primaries: split brain), SHOW REPLICA STATUS and the admin page of HAProxy. Then shut acd-dbm1 down by hand, "
        "in the order applications, database replicas, masters, load balancer, storage; switch off what started them, "
        "and begin again.",
    ),
    "a machine of which nobody can tell": (
        undecided,
        "all machines of vm-host-1 are off: unknown – power:acd-dbm1: what was seen does not decide it",
        "See that it can be observed",
    ),
    "a machine would start by itself": (
        starts_by_itself,
        "acd-jb1 does not start by itself with vm-host-1: fail – it is set to start automatically",
        "Switch off its automatic start",
    ),
    "split brain": (
        lambda f: drbd_with(f, "acd-store2", connection="StandAlone"),
        "acd-store2 is primary of the storage pair, acd-store1 is offline: fail – acd-store2 is StandAlone: suspicion",
        "Compare the data on both sides and decide which is kept",
    ),
    "the copy of the survivor is not good": (
        lambda f: drbd_with(f, "acd-store2", disk="Inconsistent"),
        "DRBD on acd-store2: WFConnection Primary/Unknown Inconsistent/DUnknown",
        "Look at `pcs status` on acd-store2",
    ),
    "a node is there that should be off": (
        lambda f: node_with(f, "acd-store2", "acd-store1", online=True),
        "acd-store1 is online",
        "Look at `pcs status` on acd-store2",
    ),
    "the survivor is in standby": (
        lambda f: node_with(f, "acd-lb2", "acd-lb2", standby=True),
        "acd-lb2 is online and can run resources: fail – standby",
        "Bring the node acd-lb2 to `online`",
    ),
    "an older move to the machine that returns": (
        constraint("cli-prefer-vip", "acd-store1", "INFINITY"),
        "no location constraint would move the storage pair to acd-store1 as soon as it is on: fail – cli-prefer-vip",
        "`pcs constraint delete cli-prefer-vip` after thinking why.",
    ),
    "an older preference of the machine that returns": (
        constraint("location-vip-acd-store1-50", "acd-store1", "50"),
        "no location constraint would move the storage pair to acd-store1 as soon as it is on: fail – location-vip",
        "`pcs constraint delete location-vip-acd-store1-50`",
    ),
    "an older ban of the survivor": (
        constraint("cli-ban-vip-on-acd-store2", "acd-store2", "-INFINITY"),
        "no location constraint would move the storage pair to acd-store1 as soon as it is on: fail – cli-ban-vip",
        "`pcs constraint delete cli-ban-vip-on-acd-store2`",
    ),
    "something holds the pair on the survivor": (
        constraint("cli-prefer-vip", "acd-store2", "INFINITY"),
        "no location constraint would keep the storage pair on acd-store2: fail – cli-prefer-vip",
        "`pcs constraint delete cli-prefer-vip` after thinking why.",
    ),
    "a replica with an SQL error": (
        lambda f: channel_with(f, "acd-dbs2", sql="No", sql_error="Duplicate entry '7' for key 'PRIMARY'"),
        'acd-dbs2 reads "connecting" to what is off, and replicates from what is on: fail – SQL thread from acd-dbm1 '
        "has stopped (Duplicate entry '7' for key 'PRIMARY')",
        "Look at Last_SQL_Error in SHOW REPLICA STATUS on acd-dbs2 and mend it: what it could not replay is missing "
        "there, and a returning master must not build on that. Then begin again.",
    ),
    "a replica that has tried too often in all these weeks": (
        lambda f: channel_with(f, "acd-dbm2", io="No", io_error="error connecting to master, retries: 10"),
        "IO thread from acd-dbm1 reads No (error connecting to master, retries: 10)",
        "START REPLICA (START SLAVE) on acd-dbm2. Then begin again.",
    ),
    "a replica that connects to what should be off": (
        lambda f: channel_with(f, "acd-dbm2", io="Yes"),
        "IO thread from acd-dbm1 reads Yes",
        "Look at SHOW REPLICA STATUS on acd-dbm2",
    ),
    "a replica that has not replayed what it got": (
        lambda f: channel_with(f, "acd-dbm2", caught_up=False),
        "received from acd-dbm1, but not replayed",
        "Look at SHOW REPLICA STATUS on acd-dbm2",
    ),
    "a source that the inventory does not know": (
        stranger,
        "replicates from 10.9.9.9, which the inventory does not say",
        "repair the replication, or the inventory",
    ),
    "the survivor does not accept writes": (
        read_only,
        "the database of acd-dbm2 accepts writes: fail – read_only is ON",
        "SET GLOBAL read_only = OFF on acd-dbm2",
    ),
    "sessions that can't be seen": (
        lambda f: seen(f, SessionsOn(machine="acd-dbm2"), SessionsFact(complete=False, count=0)),
        "all sessions of acd-dbm2 can be seen: fail – the account lacks the PROCESS privilege",
        "GRANT PROCESS",
    ),
    "HAProxy has ended": (
        lambda f: seen(f, BalancerOn(machine="acd-lb2"), BalancerFact(running=False)),
        "HAProxy on acd-lb2 can be read: fail – it does not run",
        "Start it on acd-lb2",
    ),
    "HAProxy has forgotten MAINT": (
        forgotten,
        "every server of vm-host-1 is in MAINT on acd-lb2: fail – web/acd-jb1 is DOWN, db/acd-dbm1 is DOWN",
        "Set these servers to MAINT on the admin page of acd-lb2 (a HAProxy that was reloaded or restarted forgets "
        "it): they would get traffic, and a master writes, as soon as they boot.",
    ),
    "a survivor is down": (
        lambda f: servers_with(f, "acd-lb2", "web/acd-jb4", up=False, status="DOWN"),
        "every server of vm-host-2 is UP on acd-lb2: fail – web/acd-jb4 DOWN",
        "Repair these machines",
    ),
    "writes go to nobody": (
        lambda f: servers_with(f, "acd-lb2", "db/acd-dbm2", up=False, status="DOWN"),
        "database writes go to acd-dbm2, and to it alone: fail – writes go to none",
        "Look at the database backend",
    ),
    "software of a survivor has ended": (
        component("Wildfly", "acd-jb4", "failed"),
        "Wildfly runs on acd-jb4: fail – it is failed",
        "Start Wildfly on acd-jb4 and see that it works",
    ),
    "also where it normally stands by": (
        component("Platform UDP Listener", "acd-dbm2", "stopped"),
        "Platform UDP Listener runs on acd-dbm2: fail – it is stopped",
        "Start Platform UDP Listener on acd-dbm2",
    ),
    "the daemon runs nowhere": (
        daemon("stopped"),
        "AcdGroupDistribute runs on exactly one telephony machine of vm-host-2: fail – it runs on none",
        "Let it run on exactly one of them",
    ),
    "a survivor that can't be asked": (
        lambda f: unseen(f, ClusterOn(machine="acd-store2"), DaemonOn(machine="acd-tel2")),
        "AcdGroupDistribute runs on exactly one telephony machine of vm-host-2: unknown – connection lost",
        "See that it can be observed",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_with_what_to_do_first(wrong: str, one_side: OneSided) -> None:
    change, says, step = WRONG[wrong]

    found = against(one_side.situation, change(one_side.facts()))

    told = [v for v in found if says in v.text]
    assert told, [v.text for v in found]
    assert step in told[0].next_step


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_told_again_before_the_outage_begins(wrong: str, one_side: OneSided) -> None:
    change, says, step = WRONG[wrong]

    verdict = LookAgainAlone().wanted(one_side.situation, change(one_side.facts()))

    assert not verdict.allows
    assert says.split(" – ")[-1] in verdict.text
    assert step in verdict.next_step


def test_what_the_move_of_the_failover_has_left_is_expected(inventory: Inventory) -> None:
    one_side = vacated(with_method(inventory, "move"))
    assert set(one_side.cluster.constraints) == {"cli-prefer-fs_r0", "cli-prefer-vip"}

    assert against(one_side.situation, one_side.facts()) == []


def test_a_survivor_that_is_still_silenced_is_a_warning(one_side: OneSided) -> None:
    cluster = one_side.cluster
    silenced = cluster.silences[0].model_copy(update={"machines": ("acd-jb4",)})
    cluster.silences.append(silenced)

    told = [v for v in one_sided_check.judge(one_side.situation, one_side.facts()) if "acd-jb4" in v.reason]

    cluster.silences.remove(silenced)
    assert [v.answer for v in told] == [Answer.WARN]
    assert "silenced by an earlier run, although they are on: acd-jb4" in told[0].reason
