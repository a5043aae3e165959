"""The auditors of the real lab see what is broken by hand: they can't be silent because they are blind."""

from __future__ import annotations

import pytest

from lab.real import auditors
from lab.real.lab import RealLab
from lab.real.site import MONITOR
from tests.real.mishaps import do, moved_by_hand

pytestmark = pytest.mark.timeout(300)


async def seen(lab: RealLab, invariant: int, words: str) -> None:
    """Wait until the auditors say so."""

    def said() -> bool:
        return any(v.invariant == invariant and words in v.what for v in lab.auditors.violations)

    await lab.until(said, f"the auditors see invariant {invariant}: {words}", 30)


async def test_an_address_on_both_nodes(normal: RealLab) -> None:
    host, address = normal.hosts["acd-lb2"], normal.inventory.pairs.load_balancer.address
    await host.run("ip", "address", "add", f"{address}/16", "dev", "eth0")
    await seen(normal, 2, "the address of the load balancer pair is on acd-lb1 and acd-lb2")
    await host.run("ip", "address", "del", f"{address}/16", "dev", "eth0")


async def test_a_pair_without_a_primary(normal: RealLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditors, "_MOVE_SECONDS", 2.0)
    pair = normal.inventory.pairs.load_balancer
    await do(normal, "acd-lb1", "pcs", "node", "standby", "--all")
    await seen(normal, 2, "the load balancer pair has no primary for more than 2 s")
    await do(normal, "acd-lb1", "pcs", "node", "unstandby", "--all")
    await normal.until(lambda: bool(normal.truth.holders(pair.address, pair.machines)), "somebody holds the address")
    await moved_by_hand(normal, pair, "acd-lb1")
    await normal.until(normal.is_normal, "the pair is as it was")


async def test_every_server_of_a_backend_in_maint(normal: RealLab) -> None:
    for state in ("maint", "ready"):
        for server in ("acd-chat1", "acd-chat2"):
            assert normal.truth.haproxy("acd-lb1", f"set server chat/{server} state {state}") == "\n"
        if state == "maint":
            await seen(normal, 6, "every server of chat on acd-lb1 is in MAINT")
    await normal.until(normal.is_normal, "HAProxy sees every server up again")


async def test_the_writer_is_switched_off_in_the_wrong_order(normal: RealLab) -> None:
    await normal.hosts["acd-dbm1"].cut()
    await seen(normal, 3, "acd-dbm1 is off and was the one that takes the writes")
    await seen(normal, 3, "acd-dbm1 is off while db/acd-dbm1 is UP on acd-lb1")
    await seen(normal, 9, "acd-dbm1 (database_master) is off while acd-dbs1 (database_replica) is on")


async def test_a_master_that_lacks_transactions_takes_the_writes(normal: RealLab) -> None:
    await normal.hosts["acd-dbm2"].run("mysql", "-e", "STOP SLAVE")
    await normal.hosts["acd-dbm1"].run(
        "mysql", "jtel", "-e", "INSERT INTO calls (who) VALUES ('written while it stood still')"
    )
    for balancer in ("acd-lb1", "acd-lb2"):
        normal.truth.haproxy(balancer, "set server db/acd-dbm1 state maint")
    await seen(normal, 5, "acd-dbm2 takes the writes after acd-dbm1 and does not replicate from acd-dbm1")
    await seen(normal, 5, "transactions of acd-dbm1")


async def test_a_node_left_in_standby(normal: RealLab) -> None:
    await normal.hosts["acd-store1"].run("pcs", "node", "standby", "acd-store2")
    found = await normal.auditors.at_end()
    assert [(v.invariant, v.what) for v in found] == [(10, "acd-store2 is left in standby")]
    await normal.hosts["acd-store1"].run("pcs", "node", "unstandby", "acd-store2")
    await normal.until(normal.is_normal, "the pair is as it was")


async def test_a_machine_left_silenced(normal: RealLab) -> None:
    amtool = ("amtool", "--alertmanager.url=http://127.0.0.1:9093", "silence")
    words = ("--author=anna", "--comment=new disk", "instance=acd-jb1")
    made = await do(normal, MONITOR, *amtool, "add", *words)
    found = await normal.auditors.at_end()
    assert [(v.invariant, v.what) for v in found] == [(11, "monitoring of acd-jb1 is still silenced")]
    await do(normal, MONITOR, *amtool, "expire", made.strip())
