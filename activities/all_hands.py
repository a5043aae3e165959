"""All systems of a cluster, put together: the one list to add a new system to."""

from __future__ import annotations

from activities.backup import Backups
from activities.daemon import Daemon
from activities.drbd import Drbd
from activities.hands import Hands
from activities.haproxy import HaproxySystem
from activities.machines import Machines
from activities.monitoring import monitoring_system
from activities.mysql import Databases
from activities.pacemaker import Pacemaker
from activities.probes import ProbeSystem, RunCommand
from activities.services import Services
from activities.ssh import Ssh
from activities.windows import Windows
from inventory.models import Inventory


def all_hands(inventory: Inventory) -> Hands:
    """The hands for a cluster. Nothing is connected yet; close them when done."""
    ssh, windows, databases = Ssh(inventory), Windows(inventory), Databases(inventory)
    return Hands(
        (
            Services(inventory, ssh, windows),
            Machines(inventory, ssh),
            Pacemaker(inventory, ssh),
            Drbd(inventory, ssh),
            HaproxySystem(inventory, ssh),
            databases,
            Daemon(inventory, ssh, windows),
            Backups(inventory, ssh),
            monitoring_system(inventory, ssh),
            ProbeSystem(inventory, _runner(inventory, ssh, windows), databases.query),
            # Last, so that they are closed after those that use them were asked to close.
            ssh,
            windows,
        )
    )


def _runner(inventory: Inventory, ssh: Ssh, windows: Windows) -> RunCommand:
    """Runs the command of a probe where its machine is reached."""

    async def run(machine: str, argv: tuple[str, ...]) -> str:
        on_windows = inventory.machine(machine).os == "windows"
        completed = await windows.run(machine, argv) if on_windows else await ssh.run(machine, argv)
        return "" if completed.ok else completed.words

    return run
