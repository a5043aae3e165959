from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected, Transient
from activities.services import Services, read_show, read_status
from activities.ssh import Ssh
from activities.windows import Windows
from procedure.facts import ComponentFact
from procedure.subjects import ComponentOn
from tests.activities.ssh_server import MACHINE, SshServer, answering

WILDFLY = ComponentOn(machine=MACHINE, component="Wildfly")
SHOW = "systemctl show --property=LoadState,ActiveState,SubState -- wildfly"


def _show(load: str, active: str, sub: str) -> str:
    return f"LoadState={load}\nActiveState={active}\nSubState={sub}\n"


def _completed(stdout: str, status: int = 0, stderr: str = "") -> Completed:
    return Completed(MACHINE, "systemctl show", status, stdout, stderr)


@pytest.fixture
async def services(ssh_server: SshServer) -> AsyncIterator[Services]:
    inventory = ssh_server.inventory()
    ssh, windows = Ssh(inventory), Windows(inventory)
    yield Services(inventory, ssh, windows)
    await ssh.close()
    await windows.close()


@pytest.mark.parametrize(
    ("unit", "state"),
    [
        (("loaded", "active", "running"), "running"),
        (("loaded", "active", "exited"), "running"),
        (("loaded", "reloading", "reload"), "running"),
        (("loaded", "inactive", "dead"), "stopped"),
        (("loaded", "activating", "start"), "starting"),
        (("loaded", "activating", "auto-restart"), "starting"),
        (("loaded", "deactivating", "stop-sigterm"), "stopping"),
        (("loaded", "failed", "failed"), "failed"),
        (("not-found", "inactive", "dead"), "missing"),
        (("masked", "inactive", "dead"), "stopped"),
        # A unit whose file was deleted or masked while it ran still runs.
        (("not-found", "active", "running"), "running"),
        (("masked", "active", "running"), "running"),
    ],
)
async def test_a_unit(services: Services, ssh_server: SshServer, unit: tuple[str, str, str], state: str) -> None:
    ssh_server.answer = answering({SHOW: (0, _show(*unit), "")})
    fact, source = await services.component(WILDFLY)
    assert isinstance(fact, ComponentFact)
    assert fact.state == state
    assert source == "ssh acd-jb1: systemctl show wildfly"


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "LoadState=loaded\nActiveState=active\n",
        _show("loaded", "maintenance", "dead"),
        _show("error", "inactive", "dead"),
        _show("loaded", "brand-new-state", "x"),
        _show("loaded", "active", "running") + _show("loaded", "inactive", "dead"),
    ],
)
def test_what_is_not_understood_is_no_state(printed: str) -> None:
    with pytest.raises(NotUnderstood):
        read_show(_completed(printed))


def test_a_machine_without_systemd_is_told_so() -> None:
    with pytest.raises(Rejected, match="not found"):
        read_show(_completed("", 127, "bash: systemctl: command not found"))
    with pytest.raises(NotUnderstood, match="Failed to connect to bus"):
        read_show(_completed("", 1, "Failed to connect to bus: No such file or directory"))


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "state"),
    [
        (0, "wildfly is running", "", "running"),
        (1, "wildfly is dead, its pid file is there", "", "failed"),
        (2, "wildfly is dead, its lock is there", "", "failed"),
        (3, "wildfly is not running", "", "stopped"),
        (1, "", "wildfly: unrecognized service", "missing"),
        (4, "", "Unit wildfly.service could not be found.", "missing"),
    ],
)
def test_an_init_script(status: int, stdout: str, stderr: str, state: str) -> None:
    assert read_status(_completed(stdout, status, stderr)).state == state


@pytest.mark.parametrize("status", [4, 5, 150, 255])
def test_an_init_script_that_does_not_know(status: int) -> None:
    with pytest.raises(NotUnderstood):
        read_status(_completed("", status))


async def test_an_init_script_is_asked_where_there_is_no_systemd(ssh_server: SshServer) -> None:
    def sysv(raw: dict[str, Any]) -> None:
        next(c for c in raw["components"] if c["name"] == "Wildfly")["manager"] = "sysv"

    inventory = ssh_server.inventory(sysv)
    ssh = Ssh(inventory)
    ssh_server.answer = answering({"/usr/sbin/service wildfly status": (3, "stopped", "")})
    fact, _ = await Services(inventory, ssh, Windows(inventory)).component(WILDFLY)
    assert isinstance(fact, ComponentFact)
    assert fact.state == "stopped"
    await ssh.close()


@pytest.mark.parametrize("setting", [{"control": "operator", "service": None}, {"by_hand_on": [MACHINE]}])
async def test_what_only_a_person_can_see_is_not_asked(ssh_server: SshServer, setting: dict[str, Any]) -> None:
    def change(raw: dict[str, Any]) -> None:
        next(c for c in raw["components"] if c["name"] == "Wildfly").update(setting)

    inventory = ssh_server.inventory(change)
    fact, _ = await Services(inventory, Ssh(inventory), Windows(inventory)).component(WILDFLY)
    assert fact == ComponentFact(state="by_hand")
    assert not ssh_server.commands


async def test_a_machine_that_does_not_answer_is_unknown(services: Services, ssh_server: SshServer) -> None:
    await ssh_server.stop()
    with pytest.raises(Transient):
        await services.component(WILDFLY)
    await ssh_server.start()
