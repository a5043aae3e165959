"""A situation: the cluster, and which of its two hosts is vacated. Everything that depends on the side asks here."""

from __future__ import annotations

from dataclasses import dataclass

from inventory.models import Inventory, Machine, Pair, Role


@dataclass(frozen=True)
class Situation:
    """Which side goes and which stays. Nothing assumes that the first host is the one that goes."""

    inventory: Inventory
    vacated: str
    """Name of the VM-Host that goes down."""

    def __post_init__(self) -> None:
        self.inventory.vm_host(self.vacated)

    @property
    def surviving(self) -> str:
        """Name of the VM-Host that stays."""
        return next(host.name for host in self.inventory.vm_hosts if host.name != self.vacated)

    def goes(self, machine: str) -> bool:
        """Whether a machine is on the vacated side."""
        return self.inventory.machine(machine).host == self.vacated

    def vacated_side(self, *roles: Role) -> tuple[Machine, ...]:
        """Machines that go, of these roles (all, if none is given)."""
        return tuple(m for m in self._with(*roles) if m.host == self.vacated)

    def surviving_side(self, *roles: Role) -> tuple[Machine, ...]:
        """Machines that stay, of these roles (all, if none is given)."""
        return tuple(m for m in self._with(*roles) if m.host == self.surviving)

    def _with(self, *roles: Role) -> tuple[Machine, ...]:
        return self.inventory.with_role(*roles) if roles else self.inventory.machines

    def survivor_of(self, pair: Pair) -> str:
        """The machine of a pair that stays."""
        return next(name for name in pair.machines if not self.goes(name))

    def leaver_of(self, pair: Pair) -> str:
        """The machine of a pair that goes."""
        return next(name for name in pair.machines if self.goes(name))
