from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.completed import Completed
from activities.daemon import Daemon, read_status
from activities.errors import NotUnderstood, Rejected
from activities.ssh import Ssh
from activities.windows import Windows
from inventory.models import DaemonCommands
from lab.certificates import CertificateAuthority
from lab.winrm import CommandResult, WinRmServer
from procedure.facts import DaemonFact
from procedure.subjects import DaemonOn
from tests.activities.cluster import machine, reference
from tests.activities.ssh_server import MACHINE as LINUX
from tests.activities.ssh_server import SshServer, answering
from tests.activities.windows_server import MACHINE, WindowsSite, WindowsWithServices


@pytest.fixture
def site(tmp_path: Path) -> WindowsSite:
    return WindowsSite(tmp_path, CertificateAuthority(tmp_path), WindowsWithServices())


@pytest.fixture
async def server(site: WindowsSite) -> AsyncIterator[WinRmServer]:
    server = site.server()
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize(("printed", "state"), [(b"RUNNING\r\n", "running"), (b"STOPPED\r\n", "stopped")])
async def test_on_windows(site: WindowsSite, server: WinRmServer, printed: bytes, state: str) -> None:
    site.machine.result = CommandResult(stdout=printed)
    inventory = site.inventory(server.endpoint.port)
    windows = Windows(inventory)
    fact, source = await Daemon(inventory, Ssh(inventory), windows).daemon(DaemonOn(machine=MACHINE))
    assert fact == DaemonFact.model_validate({"state": state})
    assert source == r"winrm acd-tel1: C:\failover\AcdGroupDistribute.cmd status"
    await windows.close()


async def test_on_linux(ssh_server: SshServer) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["daemon"]["commands"]["status"] = ["/opt/daemon", "status"]
        machine(raw, LINUX)["role"] = "telephony"

    inventory = ssh_server.inventory(change)
    ssh = Ssh(inventory)
    ssh_server.answer = answering({"/opt/daemon status": (3, "STOPPED", "")})
    fact, _ = await Daemon(inventory, ssh, Windows(inventory)).daemon(DaemonOn(machine=LINUX))
    assert fact == DaemonFact(state="stopped")
    await ssh.close()


async def test_without_commands_only_a_person_can_see_it() -> None:
    inventory = reference(lambda raw: raw["daemon"].pop("commands"))
    fact, _ = await Daemon(inventory, Ssh(inventory), Windows(inventory)).daemon(DaemonOn(machine=MACHINE))
    assert fact == DaemonFact(state="by_hand")


ONE_WORD = DaemonCommands(status=("x.cmd",), running="RUNNING", start=("x.cmd",), stop=("x.cmd",))
BOTH_WORDS = ONE_WORD.model_copy(update={"stopped": "STOPPED"})


def test_an_error_alone_is_no_answer() -> None:
    for commands in (ONE_WORD, BOTH_WORDS):
        with pytest.raises(NotUnderstood, match="Java not found"):
            read_status(Completed(MACHINE, "x.cmd status", 1, "\r\n", "Java not found"), commands)


@pytest.mark.parametrize("printed", ["The license has expired.\r\n", "RUNNING or STOPPED, who knows\r\n"])
def test_with_a_word_for_stopped_any_other_answer_is_unknown(printed: str) -> None:
    completed = Completed(MACHINE, "x.cmd status", 0, printed, "")
    with pytest.raises(NotUnderstood):
        read_status(completed, BOTH_WORDS)
    assert read_status(Completed(MACHINE, "x.cmd status", 0, "STOPPED\r\n", ""), BOTH_WORDS).state == "stopped"


def test_without_it_whatever_else_is_printed_means_stopped() -> None:
    assert read_status(Completed(MACHINE, "x.cmd status", 0, "not active\r\n", ""), ONE_WORD).state == "stopped"


@pytest.mark.parametrize("status", [127, 9009])
def test_a_script_that_is_not_there(status: int) -> None:
    with pytest.raises(Rejected, match="install the command"):
        read_status(Completed(MACHINE, "x.cmd status", status, "", "not found"), ONE_WORD)


@pytest.mark.parametrize(
    ("printed", "status", "state"),
    [
        ("AcdGroupDistribute is not running\n", 3, "stopped"),
        ("AcdGroupDistribute is not running\n", 0, "stopped"),
        ("AcdGroupDistribute is running\n", 0, "running"),
        ("overrunning\n", 0, "stopped"),
    ],
)
def test_not_running_is_not_running(printed: str, status: int, state: str) -> None:
    commands = DaemonCommands(status=("x",), running="running", start=("a",), stop=("b",))
    assert read_status(Completed("m", "x", status, printed, ""), commands).state == state


def test_what_failed_or_was_cut_short_is_no_answer() -> None:
    commands = DaemonCommands(status=("x",), running="running", start=("a",), stop=("b",))
    for completed in (
        Completed("m", "x", 1, "error: cannot open display\n", ""),
        Completed("m", "x", 0, "what comes first\n", "", truncated=True),
    ):
        with pytest.raises(NotUnderstood):
            read_status(completed, commands)
