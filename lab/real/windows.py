"""The Windows machines beside the real hosts: SIMULATED, the WinRM endpoint of the simulated lab on their addresses.

No Windows runs in a namespace. What a telephony machine is asked over WinRM is answered by the model of `lab.world`, in
which nothing but these machines is looked at; they are switched on and off by the same power controller as the others.
"""

from __future__ import annotations

from inventory.models import Machine
from lab.clock import ScaledClock
from lab.durations import Durations
from lab.real import network
from lab.real.site import RealSite
from lab.stations import Station
from lab.watching import Operation
from lab.world import World

_SPEED = 20.0
"""Simulated seconds in a real one: services of Windows take about as long as those of the real hosts then."""


class SimulatedMachine:
    """The power supply of a simulated machine."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name

    @property
    def on(self) -> bool:
        """Whether it has power."""
        return self._world.machines[self.name].power != "off"

    async def power_on(self) -> None:
        """Switch it on."""
        self._world.power_on(self.name)

    async def cut(self) -> None:
        """Take its power away."""
        self._world.cut_power(self.name)


class SimulatedWindowsMachines:
    """All Windows machines of the inventory."""

    def __init__(self, site: RealSite) -> None:
        self.world = World(site.inventory, ScaledClock(_SPEED), Durations())
        self._machines: list[Machine] = [m for m in site.inventory.machines if m.os == "windows"]
        # Beside real hosts, which are silent when they are off.
        self._stations = {
            m.name: Station(self.world, site.common, m, site.authority, always_silent=True) for m in self._machines
        }
        self.outlets = {m.name: SimulatedMachine(self.world, m.name) for m in self._machines}

    async def start(self) -> None:
        """Listen."""
        self.world.watch(self)
        for machine in self._machines:
            network.add_address(machine.address)
        for station in self._stations.values():
            station.begin()
        for station in self._stations.values():
            await station.settled()

    async def stop(self) -> None:
        """Listen no more."""
        for station in self._stations.values():
            await station.end()

    def before(self, operation: Operation, machine: str) -> None:
        """Nothing has changed yet."""

    def after(self, machine: str, what: str) -> None:
        """Have a machine's server follow."""
        if machine in self._stations:
            self._stations[machine].wake()
