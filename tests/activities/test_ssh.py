from __future__ import annotations

import asyncio
import inspect
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import asyncssh
import pytest

from activities.errors import Rejected, SystemTrouble, Transient
from activities.ssh import KEEP, Ssh
from activities.ssh_trouble import KINDS, sudo_refusal, translated
from procedure.instructions import RunOn
from tests.activities.ssh_server import MACHINE, Command, SshServer, answering

# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_words_arrive_as_they_are(ssh: Ssh) -> None:
    words = ["printf", "a b", "$HOME", "`id`", "'", '"', ";", "*", "", "\\", "ü"]
    assert (await ssh.run(MACHINE, words)).stdout.split("\n") == words


async def test_sudo_never_prompts_and_needs_no_rule_for_env(ssh: Ssh, ssh_server: SshServer) -> None:
    await ssh.run(MACHINE, ["systemctl", "stop", "wildfly"], sudo=True)
    assert ssh_server.commands[-1].line == "env LC_ALL=C sudo -n systemctl stop wildfly"


async def test_no_sudo_where_the_inventory_says_so(ssh_server: SshServer) -> None:
    ssh = Ssh(ssh_server.inventory(lambda raw: raw["connections"]["linux"].update(sudo=False)))
    await ssh.run(MACHINE, ["true"], sudo=True)
    await ssh.close()
    assert ssh_server.commands[-1].line == "env LC_ALL=C true"


@pytest.mark.parametrize("argv", [[], ["-s"], ["LD_PRELOAD=/tmp/x", "true"]])
async def test_words_that_are_no_command_are_not_sent(ssh: Ssh, ssh_server: SshServer, argv: list[str]) -> None:
    with pytest.raises(ValueError, match="does not begin with a command"):
        await ssh.run(MACHINE, argv, sudo=True)
    assert not ssh_server.commands


async def test_stdin_is_sent_and_ended(ssh: Ssh, ssh_server: SshServer) -> None:
    async def cat(command: Command) -> None:
        await command.read_all.wait()
        command.exits(0, command.stdin)

    ssh_server.answer = cat
    assert (await ssh.run(MACHINE, ["cat"], stdin="show stat\n")).stdout == "show stat\n"
    assert (await ssh.run(MACHINE, ["cat"])).stdout == ""


async def test_a_hypervisor_is_reached_by_the_name_of_its_host(ssh: Ssh, ssh_server: SshServer) -> None:
    assert (await ssh.run("vm-host-1", ["virsh", "list"])).ok
    assert ssh_server.commands[-1].words == ["virsh", "list"]


async def test_a_windows_machine_has_no_ssh(ssh: Ssh) -> None:
    with pytest.raises(Rejected, match="acd-tel1: its connection windows is not SSH"):
        await ssh.run("acd-tel1", ["true"])


# --- what is answered -------------------------------------------------------------------------------------------------


async def test_status_and_both_outputs(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({"drbdadm": (10, "out", "err")})
    completed = await ssh.run(MACHINE, ["drbdadm", "role", "r0"])
    assert (completed.exit_status, completed.stdout, completed.stderr, completed.ok) == (10, "out", "err", False)
    assert completed.words == "exit 10: out err"


async def test_output_is_bounded_and_says_so(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({"yes": (0, "y" * (3 * KEEP), ""), "exactly": (0, "y" * KEEP, "")})
    flood = await ssh.run(MACHINE, ["yes"])
    assert (len(flood.stdout), flood.truncated, flood.ok) == (KEEP, True, True)
    assert not (await ssh.run(MACHINE, ["exactly"])).truncated


async def test_bytes_that_are_no_text_do_not_break_it(ssh: Ssh, ssh_server: SshServer) -> None:
    async def binary(command: Command) -> None:
        command.channel.set_encoding(None)
        command.channel.write(cast(str, b"a\xff"))
        command.channel.exit(0)

    ssh_server.answer = binary
    assert (await ssh.run(MACHINE, ["cat"])).stdout == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "words",
    [
        "sudo: a password is required",
        "sudo: sorry, you must have a tty to run sudo",
        "sudo: a terminal is required to read the password; either use the -S option",
        "Sorry, user failover is not allowed to execute '/usr/sbin/pcs' as root on acd-jb1.",
        "failover is not in the sudoers file.",
        "sudo: unable to resolve host acd-jb1\nsudo: a password is required",
        "sudo: interactive authentication is required",
    ],
)
async def test_sudo_that_refuses_is_no_failed_command(ssh: Ssh, ssh_server: SshServer, words: str) -> None:
    ssh_server.answer = answering({"pcs": (1, "", words + "\n")})
    with pytest.raises(Rejected, match=r"sudo refused `pcs status`: .* Next: allow user failover .*NOPASSWD"):
        await ssh.run(MACHINE, ["pcs", "status"], sudo=True)


def test_a_command_that_talks_of_passwords_is_not_sudo() -> None:
    assert not sudo_refusal(1, "mysqldump: a password is required")
    assert not sudo_refusal(0, "sudo: a password is required")
    assert not sudo_refusal(1, "sudo: unable to resolve host acd-jb1: Name or service not known")


# --- instructions -----------------------------------------------------------------------------------------------------


async def test_an_instruction_answers_what_was_answered(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({"systemctl": (0, "", "")})
    assert await ssh.carry_out(RunOn(machine=MACHINE, argv=("systemctl", "stop", "wildfly"))) == "exit 0"


async def test_an_instruction_that_fails_is_tried_again(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({"systemctl": (1, "", "Job for wildfly.service failed.")})
    with pytest.raises(Transient, match=r"sudo -n systemctl stop wildfly`: exit 1: Job for wildfly\.service failed"):
        await ssh.carry_out(RunOn(machine=MACHINE, argv=("systemctl", "stop", "wildfly")))


async def test_a_command_that_is_not_there_is_not_tried_again(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({})
    with pytest.raises(Rejected, match="command not found"):
        await ssh.carry_out(RunOn(machine=MACHINE, argv=("pcs", "status")))


# --- connections ------------------------------------------------------------------------------------------------------


async def test_concurrent_commands_share_one_connection(ssh: Ssh, ssh_server: SshServer) -> None:
    running, most = 0, 0

    async def busy(command: Command) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.01)
        running -= 1
        command.exits(0)

    ssh_server.answer = busy
    await asyncio.gather(*(ssh.run(MACHINE, ["true"]) for _ in range(30)))
    assert len(ssh_server.connections) == 1
    assert 1 < most <= 8  # sshd allows 10 sessions on a connection


async def test_a_lost_connection_is_opened_again(ssh: Ssh, ssh_server: SshServer) -> None:
    await ssh.run(MACHINE, ["true"])
    ssh_server.cut()
    connection = ssh._lines[MACHINE].connection
    assert connection
    await connection.wait_closed()
    await ssh.run(MACHINE, ["true"])
    assert len(ssh_server.connections) == 2


async def test_a_connection_lost_in_the_middle_leaves_it_unknown(ssh: Ssh, ssh_server: SshServer) -> None:
    async def cut(command: Command) -> None:
        ssh_server.cut()

    ssh_server.answer = cut
    with pytest.raises(Transient, match="systemctl stop wildfly") as lost:
        await ssh.run(MACHINE, ["systemctl", "stop", "wildfly"])
    assert lost.value.machine == MACHINE


async def test_a_detached_command_may_take_the_connection_with_it(ssh: Ssh, ssh_server: SshServer) -> None:
    async def shutdown(command: Command) -> None:
        ssh_server.cut()

    ssh_server.answer = shutdown
    completed = await ssh.run(MACHINE, ["shutdown", "-h", "now"], detached=True)
    assert completed.exit_status is None
    assert not completed.ok


async def test_a_detached_command_that_is_refused_says_so(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({"shutdown": (1, "", "Failed to power off system")})
    with pytest.raises(Transient, match="Failed to power off"):
        await ssh.carry_out(RunOn(machine=MACHINE, argv=("shutdown", "-h", "now"), detached=True))


async def test_a_closed_port_is_transient(ssh_server: SshServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ssh_server.port, port = unused.getsockname()[1], ssh_server.port
        ssh = Ssh(ssh_server.inventory())
        ssh_server.port = port
        with pytest.raises(Transient, match="Connect"):
            await ssh.run(MACHINE, ["true"])


async def test_a_server_that_says_nothing_is_transient(ssh_server: SshServer) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port, ssh_server.port = ssh_server.port, listener.sockets[0].getsockname()[1]
    ssh = Ssh(ssh_server.inventory(connect="200ms"))
    ssh_server.port = port
    with pytest.raises(Transient, match=r"no answer in time|timeout"):
        await ssh.run(MACHINE, ["true"])
    listener.close()


# --- who is it, and who are we ----------------------------------------------------------------------------------------


async def test_an_unknown_host_key_is_refused(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.trust()
    with pytest.raises(Rejected, match=r"unknown host key: .*known_hosts holds no key") as refused:
        await ssh.run(MACHINE, ["true"])
    assert ssh_server.host_key.get_fingerprint() in str(refused.value)
    assert "console" in refused.value.next_step
    assert not ssh_server.commands


async def test_a_changed_host_key_is_refused_with_both_fingerprints(ssh: Ssh, ssh_server: SshServer) -> None:
    expected = asyncssh.generate_private_key("ssh-ed25519")
    ssh_server.trust(expected)
    with pytest.raises(Rejected, match="changed host key") as refused:
        await ssh.run(MACHINE, ["true"])
    assert expected.get_fingerprint() in str(refused.value)
    assert ssh_server.host_key.get_fingerprint() in str(refused.value)


async def test_a_host_key_of_another_kind_is_refused(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.trust(asyncssh.generate_private_key("ecdsa-sha2-nistp256"))
    with pytest.raises(Rejected, match="host key"):
        await ssh.run(MACHINE, ["true"])


async def test_a_corrected_known_hosts_counts_at_once(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.trust()
    with pytest.raises(Rejected):
        await ssh.run(MACHINE, ["true"])
    ssh_server.trust(ssh_server.host_key)
    assert (await ssh.run(MACHINE, ["true"])).ok


async def test_a_missing_known_hosts_is_refused(ssh: Ssh, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").unlink()
    with pytest.raises(Rejected, match=r"known_hosts file .* can't be used"):
        await ssh.run(MACHINE, ["true"])


async def test_a_wrong_user_key_is_rejected(ssh: Ssh, ssh_server: SshServer) -> None:
    ssh_server.user_key = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(Rejected, match="Permission denied for user failover"):
        await ssh.run(MACHINE, ["true"])


async def test_a_key_open_to_others_is_refused(ssh: Ssh, tmp_path: Path) -> None:
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(Rejected, match="open to others"):
        await ssh.run(MACHINE, ["true"])


@pytest.mark.parametrize(
    "content",
    [b"no key", asyncssh.generate_private_key("ssh-ed25519").export_public_key()],
    ids=["no key at all", "a public key"],
)
async def test_a_key_that_is_none_is_refused_without_being_repeated(ssh: Ssh, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(Rejected, match="no private key that can be used") as refused:
        await ssh.run(MACHINE, ["true"])
    assert content.decode() not in str(refused.value)


async def test_the_key_is_nowhere(
    ssh: Ssh, ssh_server: SshServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    await ssh.run(MACHINE, ["true"])
    lines = (tmp_path / "key").read_text().splitlines()[1:-1]
    assert lines
    assert all(line not in caplog.text for line in lines)


async def test_without_key_and_agent_nobody_is_let_in(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    ssh = Ssh(ssh_server.inventory(lambda raw: raw["connections"]["linux"].update(key=None)))
    with pytest.raises(Rejected, match="agent"):
        await ssh.run(MACHINE, ["true"])


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real ssh-agent, without keys."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()  # it prints its address once it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield
    process.terminate()
    process.communicate()


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="needs the OpenSSH client")
async def test_the_agent_is_asked_where_no_key_is_named(ssh_server: SshServer, agent: None, tmp_path: Path) -> None:
    ssh = Ssh(ssh_server.inventory(lambda raw: raw["connections"]["linux"].update(key=None)))
    with pytest.raises(Rejected, match="agent holds no key"):
        await ssh.run(MACHINE, ["true"])
    adding = await asyncio.create_subprocess_exec("ssh-add", "-q", str(tmp_path / "key"))
    assert await adding.wait() == 0
    assert (await ssh.run(MACHINE, ["true"])).ok
    await ssh.close()


# --- every exception is known -----------------------------------------------------------------------------------------


def _exceptions() -> Iterator[type[Exception]]:
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "asyncssh"]
    for module in modules:
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, Exception) and found.__module__.startswith("asyncssh"):
                yield found


@pytest.mark.parametrize("exception", sorted(set(_exceptions()), key=str))
def test_every_exception_of_the_library_is_known(exception: type[Exception]) -> None:
    own = [cls for cls in exception.__mro__ if cls in KINDS]
    assert own, f"{exception.__name__} would end a step instead of being told"
    assert own[0].__module__.startswith("asyncssh"), f"{exception.__name__} is only known as {own[0].__name__}"
    assert own[0] is not asyncssh.Error or exception is asyncssh.Error


@pytest.mark.parametrize("exception", KINDS)
def test_every_exception_is_translated(exception: type[Exception]) -> None:
    error = exception.__new__(exception)
    error.args = ("seen",)
    if isinstance(error, asyncssh.DisconnectError | asyncssh.ChannelOpenError):
        error.reason = "seen"
    trouble = translated(MACHINE, "tried", error)
    assert isinstance(trouble, SystemTrouble)
    assert type(trouble) is KINDS[exception][0]
    assert "tried" in str(trouble)
