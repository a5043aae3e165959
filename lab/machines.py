"""Simulated machines: their power, their services, their files."""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass, field
from typing import Literal

from inventory.models import Component, Inventory, Machine, Role

Power = Literal["off", "booting", "on", "stopping"]
ServiceStatus = Literal["running", "stopped", "starting", "stopping", "failed"]

# What runs beside the components, by role: it starts with the machine and is not in the procedure's table.
_SYSTEM_SERVICES: dict[Role, tuple[str, ...]] = {
    Role.DATABASE_MASTER: ("mariadb",),
    Role.DATABASE_REPLICA: ("mariadb",),
    Role.LOAD_BALANCER: ("corosync", "pacemaker", "pcsd"),
    Role.STORAGE: ("corosync", "pacemaker", "pcsd"),
}


@dataclass
class Service:
    """A systemd unit or a Windows service. It starts with its machine."""

    name: str
    """Key name."""
    display: str
    status: ServiceStatus = "running"
    component: Component | None = None
    enabled: bool = True

    def called(self, name: str) -> bool:
        """Whether this is meant: key or display name, with or without `.service`, case ignored."""
        wanted = name.removesuffix(".service").casefold()
        return wanted in (self.name.casefold(), self.display.casefold())


@dataclass
class File:
    """A file of a simulated machine. Its content is made up from its text."""

    text: str = ""
    complete: bool = True
    padding: int = 0
    """Bytes that it claims to have besides its text."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.text.encode()) + self.padding

    @property
    def sha256(self) -> str:
        """Digest in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass
class MachineState:
    """A machine as it is now."""

    machine: Machine
    power: Power = "on"
    services: dict[str, Service] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    locks: set[str] = field(default_factory=set)
    snapshots: list[str] = field(default_factory=list)
    autostart: bool = False
    daemon: Literal["running", "stopped", "starting", "stopping"] = "stopped"
    """AcdGroupDistribute, on telephony machines."""
    boot_id: str = ""
    booted: float = 0.0
    """Simulated time of the last boot."""
    boots: int = 0
    shutdown_asked: bool = False

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.machine.name

    @property
    def on(self) -> bool:
        """Whether it has booted and is not going down."""
        return self.power == "on"

    @property
    def windows(self) -> bool:
        """Whether it runs Windows."""
        return self.machine.os == "windows"

    def service(self, name: str) -> Service | None:
        """The service of that key or display name."""
        return next((service for service in self.services.values() if service.called(name)), None)

    def running(self, name: str) -> bool:
        """Whether a service runs, or still stops."""
        service = self.service(name)
        return self.power in ("on", "stopping") and service is not None and service.status in ("running", "stopping")

    def new_boot(self, chance: random.Random) -> None:
        """Give it a new boot id, as the kernel does."""
        self.boots += 1
        self.boot_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))


def machine_state(inventory: Inventory, machine: Machine, chance: random.Random) -> MachineState:
    """A machine that is on, with everything installed that the inventory says."""
    state = MachineState(machine)
    for component in inventory.components_on(machine):
        if component.service:
            _install(state, component.service, component)
    for name in _SYSTEM_SERVICES.get(machine.role, ()):
        _install(state, name, None)
    if machine.role == Role.LOAD_BALANCER:
        _install(state, inventory.haproxy.service, None)
    if machine.role == Role.DATABASE_MASTER:
        state.files[f"{inventory.backup.directory}/.keep"] = File()
    state.new_boot(chance)
    return state


def _install(state: MachineState, name: str, component: Component | None) -> None:
    # A Windows service has a key name without spaces and a display name; the inventory may give either.
    key = name.replace(" ", "") if state.windows else name.removesuffix(".service")
    display = name if component is None or " " in name else component.name
    state.services[key] = Service(key, display, component=component)
