"""Commands over SSH that take too long, or are given up: how they end there, and what is known then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncssh
import pytest

from activities.errors import Transient
from activities.ssh import Ssh
from tests.activities.cluster import machine
from tests.activities.ssh_server import MACHINE, Command, SshServer, answering

QUICK = timedelta(milliseconds=200)


async def _hang(command: Command) -> None:
    await command.closed.wait()


async def _dies_on_term(command: Command) -> None:
    await command.signalled.wait()
    command.channel.exit_with_signal(command.signals[-1])


async def test_a_hanging_command_is_unknown_and_ended(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = _dies_on_term
    with pytest.raises(Transient, match=r"no answer within 0\.2 s"):
        await ssh.run(MACHINE, ["systemctl", "stop", "wildfly"], timeout=QUICK)
    command = ssh_server.commands[-1]
    await asyncio.wait_for(command.closed.wait(), 5)
    assert command.signals == ["TERM"]


async def test_after_a_time_out_a_new_connection_is_opened_and_the_old_one_serves_who_is_on_it(
    ssh: Ssh, ssh_server: SshServer
) -> None:
    over = asyncio.Event()

    async def answer(command: Command) -> None:
        if command.words[0] == "mysqldump":
            await over.wait()
            command.exits(0)
        elif command.words[0] == "true":
            command.exits(0)
        else:
            await _dies_on_term(command)

    ssh_server.answer = answer
    dump = asyncio.create_task(ssh.run(MACHINE, ["mysqldump"]))
    await ssh_server.got(1)
    old = ssh._lines[MACHINE].connection
    assert old
    with pytest.raises(Transient):
        await ssh.run(MACHINE, ["systemctl"], timeout=QUICK)
    assert (await ssh.run(MACHINE, ["true"])).ok
    assert len(ssh_server.connections) == 2
    over.set()
    assert (await dump).ok
    await asyncio.wait_for(old.wait_closed(), 5)


async def test_cancelling_ends_the_remote_command(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = _dies_on_term
    running = asyncio.create_task(ssh.run(MACHINE, ["mysqldump"]))
    await ssh_server.got(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(ssh_server.commands[-1].closed.wait(), 5)
    assert ssh_server.commands[-1].signals == ["TERM"]
    ssh_server.answer = answering({"true": (0, "", "")})
    assert (await ssh.run(MACHINE, ["true"])).ok
    assert len(ssh_server.connections) == 1


async def test_a_command_deaf_to_term_is_killed(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = _hang
    with pytest.raises(Transient):
        await ssh.run(MACHINE, ["sleep"], timeout=QUICK)
    command = ssh_server.commands[-1]
    await asyncio.wait_for(command.closed.wait(), 10)
    assert command.signals == ["TERM", "KILL"]


async def test_a_full_line_can_be_cancelled_while_waiting(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = _dies_on_term
    tasks = [asyncio.create_task(ssh.run(MACHINE, ["sleep"])) for _ in range(9)]
    await ssh_server.got(8)
    for task in tasks:
        task.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*tasks, return_exceptions=True))
    assert len(ssh_server.commands) == 8


async def test_a_machine_that_hangs_is_dialled_once_for_all_who_wait(ssh_server: SshServer) -> None:
    dialled = 0

    async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        await reader.read()

    listener = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    def change(raw: dict[str, Any]) -> None:
        raw["timings"]["connect"] = "300ms"
        machine(raw, MACHINE).update(port=port)

    ssh = Ssh(ssh_server.inventory(change))
    ended = await asyncio.gather(*(ssh.run(MACHINE, ["true"]) for _ in range(12)), return_exceptions=True)
    assert [type(each) for each in ended] == [Transient] * 12
    assert dialled == 1
    with pytest.raises(Transient):
        await ssh.run(MACHINE, ["true"])
    assert dialled == 2
    await ssh.close()
    listener.close()


async def test_a_channel_counts_until_it_is_closed(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = _hang
    most = 0

    async def counted(command: Command) -> None:
        nonlocal most
        most = max(most, sum(not each.closed.is_set() for each in ssh_server.commands))
        await _hang(command)

    ssh_server.answer = counted
    running = [asyncio.create_task(ssh.run(MACHINE, ["sleep"], timeout=QUICK)) for _ in range(12)]
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(each) for each in ended] == [Transient] * 12
    assert most == 8


@pytest.mark.parametrize("code", [asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE])
async def test_a_command_that_finds_no_room_is_sent_again(ssh: Ssh, ssh_server: SshServer, code: int) -> None:
    ssh_server.full, ssh_server.refusal = 2, code
    assert (await ssh.run(MACHINE, ["true"])).ok
    assert [command.words for command in ssh_server.commands] == [["true"]]


@pytest.mark.parametrize("code", [asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_REQUEST_SESSION_FAILED])
async def test_a_refusal_that_is_not_for_room_is_said_at_once(ssh: Ssh, ssh_server: SshServer, code: int) -> None:
    ssh_server.full, ssh_server.refusal = 10, code
    with pytest.raises(Transient, match="open failed"):
        await ssh.run(MACHINE, ["true"])
    assert ssh_server.full == 9, "it was sent once"


async def test_a_command_given_up_before_there_is_room_never_begins(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.full = 1
    running = asyncio.create_task(ssh.run(MACHINE, ["true"]))
    await ssh_server.refused.wait()
    running.cancel()
    await asyncio.wait([running])
    await ssh.close()
    assert running.cancelled()
    assert not ssh_server.commands


async def test_a_server_that_has_no_room_for_anyone_says_so(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.full = 1000
    with pytest.raises(Transient) as caught:
        await ssh.run(MACHINE, ["true"])
    assert "MaxSessions" in caught.value.next_step
    assert not ssh_server.commands


async def test_packets_are_ciphered_as_processors_do_it_best(ssh: Ssh, ssh_server: SshServer) -> None:
    await ssh.run(MACHINE, ["true"])
    assert ssh_server.connections[0].get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
