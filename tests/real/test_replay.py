"""Positions say what a replica lacks; its own word, a lag of 0, does not: on real servers, counted in both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from lab.real.database import Local
from lab.real.furnish import SCHEMA
from lab.real.lab import RealLab
from procedure.commands import CheckCaughtUp
from procedure.facts import Facts, ReplayFact, ReplicationFact
from procedure.situation import Situation
from procedure.subjects import ReplayOn, ReplicationOn
from procedure.verdicts import Answer
from tests.real.rights import hands_for, revoked, seen, unseen

SOURCE, REPLICA = "acd-dbm1", "acd-dbm2"
LINK = ReplayOn(machine=REPLICA, source=SOURCE)


@contextmanager
def counting(lab: RealLab, by: str) -> Iterator[None]:
    """The replica counts by global transaction ids (slave_pos), or by files and positions (no)."""
    session = Local(lab.hosts[REPLICA])
    (before,) = session.rows("SHOW SLAVE STATUS")
    try:
        _count(session, by)
        yield
    finally:
        _count(session, before["Using_Gtid"])
        session.close()


def _count(session: Local, by: str) -> None:
    for statement in ("STOP SLAVE", f"CHANGE MASTER TO MASTER_USE_GTID = {by}", "START SLAVE"):
        session.rows(statement)


@asynccontextmanager
async def nothing_arrives(lab: RealLab) -> AsyncIterator[None]:
    """The source's answers to the replica are lost; nobody notices for as long as both wait for something to happen."""
    way = ("blackhole", lab.inventory.machine(REPLICA).address)
    lost = await lab.hosts[SOURCE].run("ip", "route", "add", *way)
    assert lost.code == 0, lost.stderr
    try:
        yield
    finally:
        await lab.hosts[SOURCE].run("ip", "route", "del", *way)


@pytest.mark.parametrize("by", ["slave_pos", "no"])
async def test_a_replica_that_has_not_got_it_yet_lags_by_nothing(by: str, normal: RealLab) -> None:
    situation, check = Situation(normal.inventory, "vm-host-1"), CheckCaughtUp(machine=REPLICA)
    async with hands_for(normal) as hands:

        async def answer() -> Answer:
            facts = Facts(observations=await hands.observe_all(check.observes(situation)))
            return check.wanted(situation, facts).answer

        async def caught_up() -> bool:
            return await answer() is Answer.PASS

        with counting(normal, by):
            await normal.until(caught_up, f"{REPLICA} has caught up")
            async with nothing_arrives(normal):
                source = Local(normal.hosts[SOURCE])
                source.rows(f"INSERT INTO {SCHEMA}.calls (who) VALUES ('late')")
                source.close()
                says, lacks = await seen(hands, ReplicationOn(machine=REPLICA)), await seen(hands, LINK)
                assert isinstance(says, ReplicationFact)
                (channel,) = says.channels
                assert (channel.io, channel.sql, channel.lag_seconds, channel.caught_up) == ("Yes", "Yes", 0, True)
                assert isinstance(lacks, ReplayFact)
                assert lacks.lacking
                assert lacks.lacking.startswith("binlog.") is (by == "no"), lacks
                assert await answer() is Answer.FAIL
            await normal.until(caught_up, f"{REPLICA} has got what was late")
        await normal.until(caught_up, f"{REPLICA} counts as before")


async def test_without_binlog_monitor_files_and_positions_are_not_seen(normal: RealLab) -> None:
    async with hands_for(normal) as hands:
        with revoked(normal, SOURCE, "BINLOG MONITOR"):
            assert isinstance(await seen(hands, LINK), ReplayFact), "global transaction ids need no privilege"
            with counting(normal, "no"):
                refused = await unseen(hands, LINK)
    assert refused.problem.startswith(f"{SOURCE}: SHOW MASTER STATUS: 1227 ")
    assert "BINLOG MONITOR" in refused.next_step


async def test_a_source_that_does_not_answer_leaves_it_unknown(normal: RealLab) -> None:
    database = normal.hosts[SOURCE]
    async with hands_for(normal) as hands:
        await database.run("systemctl", "stop", "mariadb")
        try:
            observation = await hands.observe(LINK)
        finally:
            await database.run("systemctl", "start", "mariadb")
    assert observation.fact is None
    assert observation.problem.startswith(f"{SOURCE}: connect to ")
    await normal.normal_state()
