"""Services: what runs on a machine. systemd units, SysV init scripts, Windows services."""

from __future__ import annotations

from typing import Any

from activities.completed import Completed
from activities.errors import NotUnderstood
from activities.hands import Act, Observe, Observed
from activities.shell import Shell, answer
from activities.windows import Windows
from inventory.models import Component, Inventory
from procedure.facts import ComponentFact
from procedure.subjects import ComponentOn

PROPERTIES = ("LoadState", "ActiveState", "SubState")
ACTIVE_STATES = {
    "active": "running",
    "reloading": "running",
    "refreshing": "running",
    "inactive": "stopped",
    "activating": "starting",
    "deactivating": "stopping",
    "failed": "failed",
}
"""ActiveState of org.freedesktop.systemd1(5). `maintenance` is neither running nor stopped: not understood."""
SERVICE = "/usr/sbin/service"
"""By its path: Debian's sshd gives an account without root's rights no PATH with /usr/sbin in it."""
LSB_STATES = {0: "running", 1: "failed", 2: "failed", 3: "stopped"}
"""Exit status of `service NAME status` (Linux Standard Base, init script actions). 4 and more: unknown."""
# `service` of sysvinit (exit 1) and of systemd (exit 4).
_NO_SUCH_SCRIPT = ("unrecognized service", "could not be found")


class Services:
    """Observes components; stopping and starting them are instructions of SSH and WinRM."""

    def __init__(self, inventory: Inventory, ssh: Shell, windows: Windows) -> None:
        self._inventory = inventory
        self._ssh = ssh
        self._windows = windows

    def observers(self) -> dict[type[Any], Observe]:
        """`ComponentOn`."""
        return {ComponentOn: self.component}

    def actors(self) -> dict[type[Any], Act]:
        """None of its own."""
        return {}

    async def close(self) -> None:
        """Nothing is its own."""

    async def component(self, subject: ComponentOn) -> Observed:
        """State of a component.

        Raises:
            SystemTrouble: it can't be told.
        """
        machine, component = subject.machine, self._inventory.component(subject.machine, subject.component)
        if component.service is None or component.control == "operator" or machine in component.by_hand_on:
            return ComponentFact(state="by_hand"), "the inventory: only a person can see it"
        if self._inventory.machine(machine).os == "windows":
            fact = await self._windows.service(machine, component.service)
            return fact, f"winrm {machine}: Get-Service '{component.service}'"
        return await self._on_linux(machine, component.service, component)

    async def _on_linux(self, machine: str, service: str, component: Component) -> Observed:
        if component.manager == "sysv":
            completed = await self._ssh.run(machine, [SERVICE, service, "status"])
            return read_status(completed), f"ssh {machine}: service {service} status"
        words = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", service]
        return read_show(await self._ssh.run(machine, words)), f"ssh {machine}: systemctl show {service}"


def read_show(completed: Completed) -> ComponentFact:
    """The state that `systemctl show` tells.

    Raises:
        Rejected: there is no systemctl there.
        NotUnderstood: a state this version doesn't know.
    """
    lines = answer(completed, 0).splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    if set(PROPERTIES) - set(values) or len(lines) > len(PROPERTIES):
        raise NotUnderstood(completed.machine, f"`{completed.command}`: {completed.words}")
    load, active, sub = (values[name] for name in PROPERTIES)
    detail = f"{active} ({sub})"
    if load == "not-found" and active == "inactive":
        return ComponentFact(state="missing", detail="systemd knows no such unit")
    if load == "masked" and active == "inactive":
        return ComponentFact(state="stopped", detail=f"{detail}, masked: it can't be started")
    if active not in ACTIVE_STATES or load not in ("loaded", "masked", "not-found"):
        raise NotUnderstood(completed.machine, f"`{completed.command}`: load state {load}, {detail}")
    return ComponentFact.model_validate({"state": ACTIVE_STATES[active], "detail": detail})


def read_status(completed: Completed) -> ComponentFact:
    """The state that the exit status of `service NAME status` tells.

    Raises:
        Rejected: there is no `service` there.
        NotUnderstood: the script doesn't know.
    """
    if any(words in completed.stdout + completed.stderr for words in _NO_SUCH_SCRIPT):
        return ComponentFact(state="missing", detail=completed.words)
    answer(completed, *LSB_STATES)
    return ComponentFact.model_validate({"state": LSB_STATES[completed.exit_status or 0], "detail": completed.words})
