"""SSH of simulated machines: real asyncssh clients against real servers; what is behind them is the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from inventory.models import Inventory, SshConnection
from lab.addresses import derive
from lab.clock import ScaledClock
from lab.faults import Fault, StateFault
from lab.listening import Endpoint
from lab.ssh import SshServer
from lab.stations import linux_shell
from lab.world import World

# Everything that takes simulated time takes a thousandth of it.
FAST = 1000.0
Reach = Callable[[str], Awaitable["Reached"]]


@dataclass
class Reached:
    """A simulated machine and a connection to it."""

    world: World
    server: SshServer
    connection: asyncssh.SSHClientConnection
    key: asyncssh.SSHKey

    async def run(self, command: str, stdin: str = "") -> tuple[int | None, str, str]:
        """Exit status, stdout and stderr."""
        done = await self.connection.run(command, input=stdin)
        return done.exit_status, str(done.stdout), str(done.stderr)

    async def connect(
        self, *, user: str = "failover", key: asyncssh.SSHKey | None = None
    ) -> asyncssh.SSHClientConnection:
        """Another connection."""
        return await connect(self.server, user, key or self.key)


async def connect(server: SshServer, user: str, key: asyncssh.SSHKey) -> asyncssh.SSHClientConnection:
    known = asyncssh.import_known_hosts(server.known_hosts_line)
    return await asyncssh.connect(
        server.endpoint.address,
        server.endpoint.port,
        username=user,
        client_keys=[key],
        known_hosts=known,
        config=None,
        agent_path=None,
    )


@pytest.fixture
async def reach(reference: Inventory, tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Reached]]]:
    site = derive(reference, tmp_path / "lab", speed=20)
    world = World(site.inventory, ScaledClock(FAST))
    opened: list[Reached] = []

    async def open_to(name: str) -> Reached:
        machine = site.inventory.machine(name)
        way = site.inventory.connections[machine.connection]
        assert isinstance(way, SshConnection)
        shell = linux_shell(world, site, machine, way)
        server = SshServer(Endpoint(machine.address), shell, user="failover", client_key=site.client_key)
        await server.start()
        opened.append(Reached(world, server, await connect(server, "failover", site.client_key), site.client_key))
        return opened[-1]

    yield open_to
    for reached in opened:
        reached.connection.abort()
        await reached.server.stop()
    site.close()


async def test_only_the_labs_key_and_user_are_let_in(reach: Reach) -> None:
    there = await reach("acd-jb1")
    with pytest.raises(asyncssh.PermissionDenied):
        await there.connect(user="root")
    with pytest.raises(asyncssh.PermissionDenied):
        await there.connect(key=asyncssh.generate_private_key("ssh-ed25519"))
    assert there.server.logins == 1


async def test_another_host_key_is_noticed(reach: Reach) -> None:
    there = await reach("acd-jb1")
    line = there.server.known_hosts_line
    await there.server.stop()
    there.server.show_host_key(its_own=False)
    await there.server.start()
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await asyncssh.connect(
            there.server.endpoint.address,
            there.server.endpoint.port,
            known_hosts=asyncssh.import_known_hosts(line),
            client_keys=[there.key],
            config=None,
        )


async def test_a_service_is_stopped_and_shown(reach: Reach) -> None:
    there = await reach("acd-jb1")
    show = "env LC_ALL=C systemctl show --property=LoadState,ActiveState,SubState -- wildfly"
    assert await there.run(show) == (0, "LoadState=loaded\nActiveState=active\nSubState=running\n", "")
    assert (await there.run("systemctl stop wildfly"))[0] == 1
    assert await there.run("sudo -n systemctl stop wildfly") == (0, "", "")
    assert await there.run(show) == (0, "LoadState=loaded\nActiveState=inactive\nSubState=dead\n", "")
    assert (await there.run("systemctl is-active wildfly"))[:2] == (3, "inactive\n")
    assert (await there.run("service wildfly status"))[0] == 127
    assert (await there.run("/usr/sbin/service wildfly status"))[0] == 3
    assert (await there.run("sudo -n service wildfly start"))[0] == 0
    assert (await there.run("systemctl is-active wildfly"))[:2] == (0, "active\n")


async def test_an_unknown_unit_is_as_systemd_says(reach: Reach) -> None:
    there = await reach("acd-jb1")
    code, _, error = await there.run("sudo -n systemctl stop nothing")
    assert (code, error) == (5, "Failed to stop nothing.service: Unit nothing.service not loaded.\n")
    assert "LoadState=not-found" in (await there.run("systemctl show nothing"))[1]


async def test_what_is_not_simulated_fails_and_is_recorded(reach: Reach) -> None:
    there = await reach("acd-jb1")
    for command in ("reboot", "sh -c true", "systemctl mask wildfly", "echo a | cat", "cat <(true)", "touch $HOME"):
        assert (await there.run(command))[0] == 127
    assert len(there.world.unknown_commands) == 6
    # Inside of quotes these characters are plain ones.
    assert await there.run("echo 'a | b; $c'") == (0, "a | b; $c\n", "")


async def test_pacemaker_and_drbd_answer_as_recorded_on_a_standby_node(reach: Reach) -> None:
    there = await reach("acd-store1")
    assert (await there.run("sudo -n pcs node standby acd-store1 --wait=60"))[0] == 0
    code, xml, _ = await there.run("sudo -n crm_mon --output-as=xml")
    assert code == 0
    assert '<node name="acd-store1" id="1" online="true" standby="true"' in xml
    assert 'role="Promoted"' in xml
    code, out, error = await there.run("sudo -n drbdadm role r0")
    assert (code, out) == (10, "")
    assert "Device minor not allocated" in error
    assert await there.run("sudo -n drbdadm dstate r0") == (0, "Consistent\n", "")
    assert " 0:" not in (await there.run("cat /proc/drbd"))[1]
    assert (await there.run("findmnt -rn /dev/drbd0"))[:2] == (1, "")
    vip = there.world.inventory.pairs.storage.address
    assert vip not in (await there.run("ip -o -4 addr show"))[1]


async def test_pacemaker_refuses_what_real_ones_refuse(reach: Reach) -> None:
    there = await reach("acd-store1")
    assert (await there.run("crm_mon --output-as=xml"))[0] == 4
    assert (await there.run("sudo -n crm_mon --as-xml"))[0] == 64
    assert (await there.run("sudo -n pcs node standby nobody"))[0] == 1
    assert (await there.run("sudo -n pcs resource move nothing acd-store2"))[0] == 1


async def test_a_stopped_cluster_answers_102(reach: Reach) -> None:
    there = await reach("acd-store1")
    there.world.pairs["storage"].gone("acd-store1")
    code, out, _ = await there.run("sudo -n crm_mon --output-as=xml")
    assert code == 102
    assert '<status code="102" message="Not connected">' in out


async def test_a_dump_is_made_and_proved(reach: Reach) -> None:
    there = await reach("acd-dbm1")
    path = "/srv/backup/x.sql"
    dump = (
        f"sudo -n flock --nonblock --conflict-exit-code 75 {path}.lock mysqldump --all-databases --result-file={path}"
    )
    assert (await there.run(dump))[0] == 0
    assert "-- Dump completed on " in (await there.run(f"tail --bytes=200 -- {path}"))[1]
    size = int((await there.run(f"stat -c %s {path}"))[1])
    assert size > there.world.inventory.backup.minimum_bytes
    assert len((await there.run(f"sha256sum -- {path}"))[1].split()[0]) == 64
    assert (await there.run(f"mv -- {path} {path}.done"))[0] == 0
    assert (await there.run(f"test -e {path}"))[0] == 1
    assert (await there.run(f"rm -f -- {path}.done"))[0] == 0
    assert "No such file" in (await there.run(f"stat --format=%s -- {path}.done"))[2]


async def test_a_second_dump_meets_the_lock(reach: Reach) -> None:
    there = await reach("acd-dbm1")
    lock = "/srv/backup/x.lock"
    there.world.machines["acd-dbm1"].locks.add(lock)
    assert (await there.run(f"sudo -n flock --nonblock --conflict-exit-code 75 {lock} true"))[0] == 75
    assert (await there.run(f"sudo -n flock --wait 0.05 --conflict-exit-code 75 {lock} true"))[0] == 75
    waiting = asyncio.ensure_future(there.run(f"sudo -n flock --wait 60 --conflict-exit-code 75 {lock} true"))
    there.world.machines["acd-dbm1"].locks.clear()
    there.world.changed("acd-dbm1", "lock released")
    assert (await waiting)[0] == 0


@pytest.mark.parametrize(("kind", "code"), [("disk_full", 5), ("dump_truncated", 0)])
async def test_a_dump_that_fails_is_never_complete(reach: Reach, kind: StateFault, code: int) -> None:
    there = await reach("acd-dbm1")
    there.world.faults.add(Fault("acd-dbm1", kind))
    assert (await there.run("sudo -n mysqldump --result-file=/srv/backup/x.sql"))[0] == code
    assert "Dump completed" not in (await there.run("tail -c 200 /srv/backup/x.sql"))[1]


async def test_a_command_dies_with_its_connection_and_the_service_still_stops(reach: Reach) -> None:
    there = await reach("acd-dbm1")
    there.world.faults.add(Fault("acd-dbm1", "hang", "flock *"))
    waiting = asyncio.ensure_future(there.run("flock /run/lock/x true"))
    stuck = there.world.faults.add(Fault("acd-dbm1", "service_stuck", "jtel-listener"))
    stopping = asyncio.ensure_future(there.run("sudo -n systemctl stop jtel-listener"))
    service = there.world.machines["acd-dbm1"].services["jtel-listener"]
    await there.world.until(lambda: service.status == "stopping")
    there.connection.abort()
    await asyncio.gather(waiting, stopping, return_exceptions=True)
    there.world.faults.clear(stuck)
    await there.world.until(lambda: service.status == "stopped")


async def test_a_signal_ends_a_command(reach: Reach) -> None:
    there = await reach("acd-jb1")
    there.world.faults.add(Fault("acd-jb1", "hang", "true"))
    async with there.connection.create_process("true") as process:
        process.stdin.write_eof()
        process.send_signal("TERM")
        await process.wait_closed()
        assert process.exit_signal is not None
        assert process.exit_signal[0] == "TERM"


async def test_faults_of_one_operation(reach: Reach) -> None:
    there = await reach("acd-jb1")
    faults, service = there.world.faults, there.world.machines["acd-jb1"].services["wildfly"]
    faults.add(Fault("acd-jb1", "refuse", "systemctl stop *", times=1))
    assert (await there.run("sudo -n systemctl stop wildfly"))[0] == 1
    faults.add(Fault("acd-jb1", "lie", "systemctl stop *", times=1))
    assert (await there.run("sudo -n systemctl stop wildfly"))[0] == 0
    assert service.status == "running"
    faults.add(Fault("acd-jb1", "drop", "systemctl stop *", times=1))
    assert (await there.run("sudo -n systemctl stop wildfly"))[0] is None
    assert service.status == "running"
    assert [entry.effect for entry in there.world.journal.entries] == ["fault: refuse", "fault: lie"]


async def test_sudo_can_be_taken_away(reach: Reach) -> None:
    there = await reach("acd-jb1")
    there.world.faults.add(Fault("acd-jb1", "sudo_denied", "systemctl"))
    assert await there.run("sudo -n systemctl stop wildfly") == (1, "", "sudo: a password is required\n")
    assert (await there.run("sudo -n true"))[0] == 0


async def test_shutting_down_is_one_command(reach: Reach) -> None:
    there = await reach("acd-jb1")
    assert (await there.run("shutdown -h now"))[0] == 1
    assert (await there.run("sudo -n shutdown -h now"))[0] == 0
    assert there.world.machines["acd-jb1"].power in ("stopping", "off")
    await there.world.until(lambda: there.world.machines["acd-jb1"].power == "off")
    assert there.world.journal.count("acd-jb1", "shutdown") == 1


async def test_an_answer_is_lost_although_it_was_done(reach: Reach) -> None:
    there = await reach("acd-jb1")
    there.world.faults.add(Fault("acd-jb1", "lose", "systemctl stop *", times=1))
    assert (await there.run("sudo -n systemctl stop wildfly"))[0] is None
    assert there.connection.is_closed()
    assert there.world.machines["acd-jb1"].services["wildfly"].status == "stopped"
