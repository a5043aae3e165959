"""Rights at the databases and at HAProxy, as deploy/privileges.md gives them: without one, what needs it says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from inventory.models import Inventory
from lab.real import grants
from lab.real.database import Local
from lab.real.lab import RealLab
from procedure.commands.backup import TakeBackup
from procedure.commands.sessions import AwaitDrained
from procedure.facts import BalancerFact, Facts, Observation, ProbeFact, ReplicationFact, SessionsFact
from procedure.instructions import EndConnections, SetServers
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ProbeOf, ReplicationOn, SessionsOn
from procedure.verdicts import Answer
from tests.deploy.test_sudoers import DUMP
from tests.real.rights import OF_THE_BACKUP, hands_for, refused, revoked, seen, unseen, write

HAPROXY = "/etc/haproxy/haproxy.cfg"
SILENT = "the dump says nothing"


# --- databases --------------------------------------------------------------------------------------------------------


async def test_the_document_says_all_there_is(hosts: RealLab) -> None:
    """Nothing else was granted to the two accounts."""
    root = Local(hosts.hosts["acd-dbm1"])
    rows = root.rows(
        "SELECT grantee, GROUP_CONCAT(privilege_type ORDER BY 1) AS given FROM information_schema.user_privileges"
        " WHERE grantee LIKE '''failover%' GROUP BY grantee"
    )
    root.close()
    given = {row["grantee"]: set(row["given"].split(",")) for row in rows}
    balancers = [hosts.inventory.machine(name).address for name in hosts.inventory.pairs.load_balancer.machines]
    assert given == {
        "'failover'@'10.77.0.250'": {"PROCESS", "SLAVE MONITOR", "BINLOG MONITOR", "CONNECTION ADMIN"},
        OF_THE_BACKUP: {"SELECT", "SHOW VIEW", "TRIGGER", "EVENT"},
        **{f"'failover'@'{address}'": {"USAGE"} for address in balancers},
    }


async def test_without_process_a_list_of_one_proves_nothing(hosts: RealLab) -> None:
    subject = SessionsOn(machine="acd-dbm1")
    async with hands_for(hosts) as hands:
        whole = await seen(hands, subject)
        with revoked(hosts, "acd-dbm1", "PROCESS"):
            observation = await hands.observe(subject)
    assert isinstance(whole, SessionsFact)
    assert whole.complete
    assert whole.count > 0
    fact = observation.fact
    assert isinstance(fact, SessionsFact)
    assert (fact.complete, fact.count) == (False, 0)
    verdict = AwaitDrained(balancer="acd-lb1", master="acd-dbm1").wanted(
        Situation(hosts.inventory, "vm-host-1"), Facts(observations=(observation, balancer_without_sessions()))
    )
    assert verdict.answer is Answer.UNKNOWN
    assert "lacks the PROCESS privilege" in verdict.reason
    assert "GRANT PROCESS ON *.*" in verdict.next_step


def balancer_without_sessions() -> Observation:
    subject = BalancerOn(machine="acd-lb1")
    return Observation(subject=subject, at=datetime.now(UTC), source="test", fact=BalancerFact())


async def test_without_slave_monitor_replication_is_not_seen(hosts: RealLab) -> None:
    subject = ReplicationOn(machine="acd-dbs2")
    async with hands_for(hosts) as hands:
        with revoked(hosts, "acd-dbs2", "SLAVE MONITOR"):
            observation = await unseen(hands, subject)
        fact = await seen(hands, subject)
    assert "SLAVE MONITOR" in observation.next_step
    assert observation.next_step.startswith("GRANT ")
    assert "SHOW" in observation.problem
    assert isinstance(fact, ReplicationFact)
    assert [channel.io for channel in fact.channels] == ["Yes"]


async def test_without_binlog_monitor_only_the_own_position_is_missing(hosts: RealLab) -> None:
    subject = ReplicationOn(machine="acd-dbs2")
    async with hands_for(hosts) as hands:
        with revoked(hosts, "acd-dbs2", "BINLOG MONITOR"):
            less = await seen(hands, subject)
        whole = await seen(hands, subject)
    assert isinstance(less, ReplicationFact)
    assert isinstance(whole, ReplicationFact)
    assert whole.position
    assert less.position == ""
    assert [c.source_host for c in less.channels] == [c.source_host for c in whole.channels]


async def test_without_connection_admin_nobody_is_cut(normal: RealLab) -> None:
    instruction = EndConnections(machine="acd-dbm1")
    before = ids(normal, "acd-dbm1")
    assert before
    async with hands_for(normal) as hands:
        with revoked(normal, "acd-dbm1", "CONNECTION ADMIN"):
            trouble = await refused(hands, instruction)
        assert before <= ids(normal, "acd-dbm1")
        evidence = await hands.act(instruction)
    assert "GRANT CONNECTION ADMIN" in trouble.next_step
    assert trouble.seen.startswith("KILL CONNECTION")
    assert evidence.answer.startswith(f"cut {len(before)} of {len(before)}: ")
    # A session ends a moment after it was cut.
    await normal.until(lambda: not before & ids(normal, "acd-dbm1"), "those who were cut are gone")


def ids(lab: RealLab, machine: str) -> set[int]:
    return {int(row["id"]) for row in lab.truth.sessions(machine)}


async def test_a_probe_through_the_load_balancers_comes_from_them(hosts: RealLab) -> None:
    address = hosts.inventory.machine("acd-lb1").address
    root = Local(hosts.hosts["acd-dbm1"])
    root.rows("SET SESSION sql_log_bin = 0")
    async with hands_for(hosts) as hands:
        root.rows(f"RENAME USER 'failover'@'{address}' TO 'failover'@'192.0.2.1'")
        try:
            fact = await seen(hands, ProbeOf(name="database"))
        finally:
            root.rows(f"RENAME USER 'failover'@'192.0.2.1' TO 'failover'@'{address}'")
            root.close()
        again = await seen(hands, ProbeOf(name="database"))
    assert isinstance(fact, ProbeFact)
    assert not fact.ok
    assert f"Access denied for user 'failover'@'{address}'" in fact.detail
    assert isinstance(again, ProbeFact)
    assert again.ok


@pytest.mark.parametrize(
    ("grant", "said"),
    [
        ("SELECT", "SELECT command denied"),
        ("SHOW VIEW", "SHOW VIEW command denied"),
        ("EVENT", "Couldn't execute 'show events': Access denied"),
        ("TRIGGER", SILENT),
    ],
)
async def test_a_dump_without_a_grant(grant: str, said: str, hosts: RealLab) -> None:
    """It fails, and its words say which; but without TRIGGER it is silently short, as deploy/privileges.md warns."""
    command = TakeBackup(machine="acd-dbm2", path=DUMP)
    _, dump, _ = command.instructions(Situation(hosts.inventory, "vm-host-1"), Facts())
    async with hands_for(hosts) as hands, something_of_each(hosts, "acd-dbm2"):
        with revoked(hosts, "acd-dbm2", grant, OF_THE_BACKUP):
            if said == SILENT:
                await hands.act(dump)
                assert await parts(hosts) == {"VIEW", "EVENT", "PROCEDURE"}
            else:
                with pytest.raises(Exception, match=said):
                    await hands.act(dump)
        await hands.act(dump)
        assert await parts(hosts) == {"VIEW", "TRIGGER", "EVENT", "PROCEDURE"}
        await hosts.hosts["acd-dbm2"].run("rm", "-f", f"{DUMP}.part", f"{DUMP}.lock")


@asynccontextmanager
async def something_of_each(lab: RealLab, machine: str) -> AsyncIterator[None]:
    """A database with one of everything that a dump must hold."""
    root = Local(lab.hosts[machine])
    for statement in (
        "SET SESSION sql_log_bin = 0",
        "CREATE DATABASE each_kind",
        "CREATE TABLE each_kind.t (i INT)",
        "CREATE VIEW each_kind.kept_view AS SELECT i FROM each_kind.t",
        "CREATE TRIGGER each_kind.kept_trigger BEFORE INSERT ON each_kind.t FOR EACH ROW SET NEW.i = 1",
        "CREATE EVENT each_kind.kept_event ON SCHEDULE EVERY 1 DAY DO SELECT 1",
        "CREATE PROCEDURE each_kind.kept_procedure() SELECT 1",
    ):
        root.rows(statement)
    try:
        yield
    finally:
        root.rows("DROP DATABASE each_kind")
        root.close()


async def parts(lab: RealLab) -> set[str]:
    """Which of them are in the dump."""
    kept = "(VIEW|TRIGGER|EVENT|PROCEDURE) [^ ]*kept_[a-z]+"
    done = await lab.hosts["acd-dbm2"].run("grep", "-oE", kept, f"{DUMP}.part")
    return {line.split()[0] for line in done.stdout.splitlines()}


# --- HAProxy ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def configured(lab: RealLab, old: str, new: str) -> AsyncIterator[None]:
    """HAProxy of the load balancer that stands by, with another line in its configuration."""
    host = lab.hosts["acd-lb2"]
    whole = (await host.run("cat", HAPROXY)).stdout
    changed = whole.replace(old, new)
    assert changed != whole
    try:
        await restart_with(lab, changed)
        yield
    finally:
        await restart_with(lab, whole)
        await lab.until(lab.is_normal, "the load balancer that stands by is as before")


async def restart_with(lab: RealLab, configuration: str) -> None:
    await write(lab, "acd-lb2", HAPROXY, configuration)
    # systemd refuses a service that is started too often within a few seconds.
    for words in (("reset-failed", "haproxy"), ("restart", "haproxy")):
        done = await lab.hosts["acd-lb2"].run("systemctl", *words)
        assert done.code == 0, done.stderr


def to_maint(state: str = "maint") -> SetServers:
    return SetServers.model_validate({"balancer": "acd-lb2", "backend": "web", "servers": ("acd-jb6",), "state": state})


def by_socket(inventory: Inventory) -> Inventory:
    data = inventory.model_dump(exclude_unset=True)
    data["haproxy"] |= {"admin_page": None, "change_by": "socket"}
    return Inventory.model_validate(data)


async def test_a_page_without_stats_admin_is_only_read(normal: RealLab) -> None:
    async with hands_for(normal) as hands, configured(normal, "    stats admin if ", "    # "):
        assert isinstance(await seen(hands, BalancerOn(machine="acd-lb2")), BalancerFact)
        trouble = await refused(hands, to_maint())
        assert "DENY" in trouble.seen
        assert "`stats admin` in haproxy.cfg" in trouble.next_step
        assert (normal.truth.balancer("acd-lb2") or {})["web/acd-jb6"] != "MAINT"


async def test_a_page_whose_stats_admin_names_another_worker(normal: RealLab) -> None:
    async with hands_for(normal) as hands, configured(normal, "admin if { src 10.77.0.250", "admin if { src 192.0.2.1"):
        assert "DENY" in (await refused(hands, to_maint())).seen


async def test_a_wrong_password_of_the_page(hosts: RealLab, monkeypatch: pytest.MonkeyPatch) -> None:
    page = hosts.inventory.haproxy.admin_page
    assert page is not None
    async with hands_for(hosts) as hands:
        monkeypatch.setenv(page.password.removeprefix("env:"), "wrong")
        observation = await unseen(hands, BalancerOn(machine="acd-lb2"))
        trouble = await refused(hands, to_maint())
    assert "401" in observation.problem
    assert "401" in trouble.seen
    assert "user and password of haproxy.admin_page" in trouble.next_step


async def test_a_socket_of_the_level_operator_is_only_read(normal: RealLab) -> None:
    async with hands_for(normal, by_socket(normal.inventory)) as hands:
        async with configured(normal, "level admin", "level operator"):
            assert isinstance(await seen(hands, BalancerOn(machine="acd-lb2")), BalancerFact)
            trouble = await refused(hands, to_maint())
            assert "level admin" in trouble.next_step
        await hands.act(to_maint())
        assert (normal.truth.balancer("acd-lb2") or {})["web/acd-jb6"] == "MAINT"
        await hands.act(to_maint("ready"))
    await normal.until(normal.is_normal, "acd-jb6 gets calls again")


def test_what_the_document_grants_on_masters_alone(hosts: RealLab) -> None:
    on_replica = list(grants.statements(hosts.site, "acd-dbs1"))
    on_master = list(grants.statements(hosts.site, "acd-dbm1"))
    assert [s for s in on_master if s not in on_replica] == [
        "GRANT CONNECTION ADMIN ON *.* TO 'failover'@'10.77.0.250'"
    ]
    assert not any("…" in s or "WORKER" in s or "BALANCER" in s for s in on_master)
