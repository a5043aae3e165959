"""The WinRM server of the lab against unmodified pywinrm."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import winrm
import winrm.exceptions
from winrm.protocol import Protocol

from lab.certificates import CertificateAuthority
from lab.listening import Endpoint
from lab.winrm import Account, CommandResult, WinRmServer, WinRmSettings, clixml_error
from lab.wsman import command_line

ADMIN = Account("Administrator", "Pa55-wörd; with $pace")
ADDRESS = "127.77.1.11"


@dataclass
class RecordingMachine:
    """Records what it was asked to run and answers as told; `release` ends the command `wait`."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ran: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    result: CommandResult = field(default_factory=lambda: CommandResult(stdout=b"done\r\n"))

    async def run(self, command: str, arguments: list[str], stdin: bytes) -> CommandResult:
        self.ran.append((command, arguments, stdin))
        self.started.set()
        if command == "wait":
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return self.result


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def machine() -> RecordingMachine:
    return RecordingMachine()


@pytest.fixture
async def https(machine: RecordingMachine, authority: CertificateAuthority) -> AsyncIterator[WinRmServer]:
    settings = WinRmSettings(computer_name="ACD-TEL1", certificate=authority.issue(ADDRESS))
    server = WinRmServer(Endpoint(ADDRESS), machine, [ADMIN], settings)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http(machine: RecordingMachine) -> AsyncIterator[WinRmServer]:
    server = WinRmServer(Endpoint(ADDRESS), machine, [ADMIN], WinRmSettings(computer_name="ACD-TEL1"))
    await server.start()
    yield server
    await server.stop()


def client(server: WinRmServer, ca_file: Path | None = None, **options: object) -> Protocol:
    settings: dict[str, Any] = {
        "transport": "ntlm",
        "username": ADMIN.user,
        "password": ADMIN.password,
        "ca_trust_path": str(ca_file) if ca_file else None,
        "proxy": None,
    }
    return Protocol(endpoint=server.url, **(settings | options))


def session(server: WinRmServer, ca_file: Path | None = None, **options: object) -> winrm.Session:
    new = winrm.Session(server.url, auth=(ADMIN.user, ADMIN.password))
    new.protocol = client(server, ca_file, **options)
    return new


@pytest.mark.parametrize("transport", ["ntlm", "basic", "ssl"])
async def test_runs_a_command_over_https(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority, transport: str
) -> None:
    machine.result = CommandResult(stdout="STATE : 4 RUNNING ü\r\n".encode(), stderr=b"!", exit_code=7)
    windows = session(https, authority.ca_file, transport=transport)
    response = await asyncio.to_thread(windows.run_cmd, "sc", ["query", '"jtel Platform UDP Listener"'])
    assert (response.std_out.decode(), response.std_err, response.status_code) == ("STATE : 4 RUNNING ü\r\n", b"!", 7)
    assert machine.ran == [("sc", ["query", "jtel Platform UDP Listener"], b"")]
    assert https.open_shells == 0


async def test_a_script_arrives_as_text(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    script = "Get-Service | Where-Object { $_.Name -eq 'röbot5' }\nexit 3"
    await asyncio.to_thread(session(https, authority.ca_file).run_ps, script)
    assert machine.ran == [("powershell", [script], b"")]


async def test_an_error_record_reads_as_pywinrm_expects(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    machine.result = CommandResult(stderr=clixml_error("Cannot find any service <x> & more"), exit_code=1)
    response = await asyncio.to_thread(session(https, authority.ca_file).run_ps, "Get-Service x")
    assert response.std_err == b"Cannot find any service <x> & more"


async def test_messages_are_encrypted_over_http(http: WinRmServer, machine: RecordingMachine) -> None:
    machine.result = CommandResult(stdout=b"x" * 200_000, stderr=b"y" * 70_000)
    response = await asyncio.to_thread(session(http).run_cmd, "type", ["big.log"])
    assert (len(response.std_out), len(response.std_err)) == (200_000, 70_000)


async def test_plain_messages_over_http_are_refused(http: WinRmServer, machine: RecordingMachine) -> None:
    plain = client(http, message_encryption="never")
    with pytest.raises(winrm.exceptions.WinRMTransportError) as refused:
        await asyncio.to_thread(plain.open_shell)
    assert refused.value.code == 500
    with pytest.raises(winrm.exceptions.InvalidCredentialsError):
        await asyncio.to_thread(client(http, transport="basic").open_shell)
    assert machine.ran == []


@pytest.mark.parametrize("user", ["administrator", "ACD-TEL1\\Administrator", ".\\Administrator"])
async def test_an_account_may_be_named_with_its_machine(
    https: WinRmServer, authority: CertificateAuthority, user: str
) -> None:
    protocol = client(https, authority.ca_file, username=user)
    await asyncio.to_thread(protocol.open_shell)
    assert https.open_shells == 1


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
@pytest.mark.parametrize("wrong", [{"password": "guess"}, {"username": "nobody"}])
async def test_wrong_credentials_are_rejected(
    https: WinRmServer, authority: CertificateAuthority, transport: str, wrong: dict[str, str]
) -> None:
    intruder = client(https, authority.ca_file, transport=transport, **wrong)
    with pytest.raises(winrm.exceptions.InvalidCredentialsError):
        await asyncio.to_thread(intruder.open_shell)
    assert https.open_shells == 0
    assert https.rejected >= 1


async def test_a_stranger_s_certificate_is_refused(https: WinRmServer, tmp_path: Path) -> None:
    stranger = CertificateAuthority(tmp_path)
    with pytest.raises(requests.exceptions.SSLError):
        await asyncio.to_thread(client(https, stranger.ca_file).open_shell)


async def test_a_long_command_is_polled(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    protocol = client(https, authority.ca_file, operation_timeout_sec=1)
    shell = await asyncio.to_thread(protocol.open_shell)
    command = await asyncio.to_thread(protocol.run_command, shell, "wait")
    with pytest.raises(winrm.exceptions.WinRMOperationTimeoutError):
        await asyncio.to_thread(protocol.get_command_output_raw, shell, command)
    output = asyncio.create_task(asyncio.to_thread(protocol.get_command_output, shell, command))
    machine.release.set()
    assert await output == (b"done\r\n", b"", 0)


async def test_a_command_starts_without_being_waited_for(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    protocol = client(https, authority.ca_file)
    shell = await asyncio.to_thread(protocol.open_shell)
    await asyncio.to_thread(protocol.run_command, shell, "shutdown", ["/s"])
    await asyncio.wait_for(machine.started.wait(), timeout=5)
    assert machine.ran == [("shutdown", ["/s"], b"")]


async def test_input_reaches_a_command_that_reads_it(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    protocol = client(https, authority.ca_file)
    shell = await asyncio.to_thread(protocol.open_shell)
    command = await asyncio.to_thread(protocol.run_command, shell, "powershell", ["-Command", "-"])
    await asyncio.to_thread(protocol.send_command_input, shell, command, b"Get-Date\r\n")
    await asyncio.to_thread(protocol.send_command_input, shell, command, b"exit\r\n", True)
    await asyncio.to_thread(protocol.get_command_output, shell, command)
    assert machine.ran == [("powershell", ["-Command", "-"], b"Get-Date\r\nexit\r\n")]


async def test_a_signal_ends_the_command(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    protocol = client(https, authority.ca_file)
    shell = await asyncio.to_thread(protocol.open_shell)
    command = await asyncio.to_thread(protocol.run_command, shell, "wait")
    await asyncio.wait_for(machine.started.wait(), timeout=5)
    await asyncio.to_thread(protocol.cleanup_command, shell, command)
    assert machine.cancelled.is_set()
    with pytest.raises(winrm.exceptions.WSManFaultError):
        await asyncio.to_thread(protocol.get_command_output_raw, shell, command)


async def test_an_unknown_shell_is_a_fault(https: WinRmServer, authority: CertificateAuthority) -> None:
    with pytest.raises(winrm.exceptions.WSManFaultError) as fault:
        await asyncio.to_thread(client(https, authority.ca_file).run_command, "NO-SUCH-SHELL", "ver")
    assert fault.value.wsman_fault_code == 2150858843


async def test_a_stopped_machine_refuses_and_comes_back_on_its_port(
    https: WinRmServer, machine: RecordingMachine, authority: CertificateAuthority
) -> None:
    protocol = client(https, authority.ca_file)
    shell = await asyncio.to_thread(protocol.open_shell)
    await asyncio.to_thread(protocol.run_command, shell, "wait")
    await asyncio.wait_for(machine.started.wait(), timeout=5)
    url = https.url
    await https.stop()
    assert machine.cancelled.is_set()
    with pytest.raises(requests.exceptions.ConnectionError):
        await asyncio.to_thread(client(https, authority.ca_file).open_shell)
    await https.start()
    assert https.url == url
    with pytest.raises(winrm.exceptions.WSManFaultError):
        await asyncio.to_thread(client(https, authority.ca_file).run_command, shell, "ver")


async def test_a_hanging_machine_answers_nothing(https: WinRmServer, authority: CertificateAuthority) -> None:
    https.gate.close()
    hasty = client(https, authority.ca_file, read_timeout_sec=2, operation_timeout_sec=1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        await asyncio.to_thread(hasty.open_shell)
    https.gate.open()
    await asyncio.to_thread(hasty.open_shell)


def test_command_lines_split_as_cmd_does() -> None:
    encoded = base64.b64encode("Stop-Computer".encode("utf-16-le")).decode()
    assert command_line(f"C:\\Windows\\powershell.exe -NoProfile -enc {encoded}") == ("powershell", ["Stop-Computer"])
    assert command_line('sc stop "a b"') == ("sc", ["stop", "a b"])
    assert command_line("") == ("", [])


def test_an_account_that_the_file_can_t_hold_is_refused_without_its_password() -> None:
    with pytest.raises(ValueError, match="colon") as refused:
        Account("a", "b:secret")
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(Account("a", "secret"))
