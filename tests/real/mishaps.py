"""What goes wrong in a host, by real means; and how a person puts it right."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from inventory.models import Pair
from lab.real.database import Local
from lab.real.furnish import SCHEMA
from lab.real.lab import RealLab
from tests.deploy.test_sudoers import FILE
from tests.real.rights import SUDOERS, write

_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_STUBBORN = "[Service]\nExecStop=\nExecStop=/usr/bin/sleep infinity\nTimeoutStopSec=infinity\nKillMode=process\n"


async def do(lab: RealLab, host: str, *argv: str, stdin: str = "") -> str:
    """What a person types as root; what it says."""
    done = await lab.hosts[host].run(*argv, stdin=stdin)
    assert done.code == 0, (host, argv, done)
    return done.stdout


# --- disks ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def full_disk(lab: RealLab, host: str, folder: str) -> AsyncIterator[None]:
    """A small file system over a folder, full."""
    await do(lab, host, "mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", folder)
    await lab.hosts[host].run("dd", "if=/dev/zero", f"of={folder}/older", "bs=4k", "count=16")
    try:
        yield
    finally:
        await do(lab, host, "umount", folder)


# --- services ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def does_not_stop(lab: RealLab, host: str, unit: str) -> AsyncIterator[None]:
    """A service whose stop never ends; killed at last, as a person does it."""
    folder = f"/run/systemd/system/{unit}.service.d"
    await do(lab, host, "mkdir", "-p", folder)
    await do(lab, host, "tee", f"{folder}/stubborn.conf", stdin=_STUBBORN)
    await do(lab, host, "systemctl", "daemon-reload")
    try:
        yield
    finally:
        # After a power cut nothing of it is left.
        await do(lab, host, "rm", "-rf", folder)
        await do(lab, host, "systemctl", "daemon-reload")
        await lab.hosts[host].run("systemctl", "kill", "--kill-who=all", "--signal=KILL", unit)


# --- databases --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def session_that_never_ends(lab: RealLab, host: str) -> AsyncIterator[None]:
    """Somebody's forgotten query on a host, through the load balancers' address."""
    address, password = lab.inventory.pairs.load_balancer.address, lab.site.internal["app"]
    query = ("mariadb", f"--host={address}", "--user=app", f"--password={password}", "-e", "SELECT SLEEP(600)", SCHEMA)
    await do(lab, host, "systemd-run", "--unit=forgotten", *query)
    try:
        yield
    finally:
        # One that was cut off has ended already.
        await lab.hosts[host].run("systemctl", "stop", "forgotten")


@contextmanager
def asked(lab: RealLab, host: str) -> Iterator[Local]:
    """A database, asked by root; what is changed is not replicated."""
    session = Local(lab.hosts[host])
    session.rows("SET SESSION sql_log_bin = 0")
    with contextlib.closing(session):
        yield session


# --- load balancers ---------------------------------------------------------------------------------------------------


def maint_by_hand(lab: RealLab, balancer: str, vacated: str) -> None:
    """What a message of the product tells an operator to do."""
    for backend in lab.inventory.haproxy.backends:
        for server, machine in backend.servers.items():
            if lab.inventory.machine(machine).host == vacated:
                lab.truth.haproxy(balancer, f"set server {backend.name}/{server} state maint")


# --- access -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def no_sudo(lab: RealLab, host: str) -> AsyncIterator[None]:
    """An account that sudo does not know."""
    try:
        await write(lab, host, SUDOERS, "# nothing\n")
        yield
    finally:
        await write(lab, host, SUDOERS, FILE.read_text(encoding="utf-8"))


@asynccontextmanager
async def other_host_key(lab: RealLab, host: str) -> AsyncIterator[None]:
    """A host that says it is another one, to all who connect from now on."""
    try:
        await do(lab, host, "cp", "-p", _HOST_KEY, f"{_HOST_KEY}.kept")
        await do(lab, host, "sh", "-c", f"rm {_HOST_KEY} && ssh-keygen -q -t ed25519 -N '' -f {_HOST_KEY} <&-")
        await _restart_sshd(lab, host)
        yield
    finally:
        await do(lab, host, "mv", f"{_HOST_KEY}.kept", _HOST_KEY)
        await _restart_sshd(lab, host)


async def _restart_sshd(lab: RealLab, host: str) -> None:
    await do(lab, host, "systemctl", "restart", "ssh")
    # Whoever is logged in would not ask for the key again.
    await do(lab, host, "sh", "-c", "pgrep -u failover -x sshd | xargs -r kill -KILL")


# --- power ------------------------------------------------------------------------------------------------------------


async def power_cut(lab: RealLab, host: str) -> None:
    """Take its power away: the order in which hosts go is nobody's doing then."""
    lab.auditors.excused.add(host)
    await lab.outlets[host].cut()


async def power_back(lab: RealLab, host: str) -> None:
    """Switch it on, and wait until it is what it was before: its services, its node, its replication."""
    await lab.outlets[host].power_on()
    await lab.until(partial(_is_up, lab, host), f"{host} is up")
    if host in {link.replica for link in lab.inventory.database.replication}:
        await lab.until(partial(lab.replicates, host), f"{host} replicates")
    pair = lab.inventory.pair_of(host)
    if pair is not None:
        node = lab.inventory.machine(host).node_name
        await lab.until(partial(_is_online, lab, pair, node), f"{host} is online in its pair")


async def _is_up(lab: RealLab, host: str) -> bool:
    done = await lab.hosts[host].run("systemctl", "is-system-running")
    return done.stdout.strip() in ("running", "degraded")


async def _is_online(lab: RealLab, pair: Pair, node: str) -> bool:
    return node in (await lab.truth.pair(pair)).online


# --- pairs ------------------------------------------------------------------------------------------------------------


async def moved_by_hand(lab: RealLab, pair: Pair, to: str) -> None:
    """What a person does who wants a pair where it was: the other node into standby, and out of it again."""
    other = next(lab.inventory.machine(name).node_name for name in pair.machines if name != to)
    await do(lab, to, "pcs", "node", "standby", other)
    await lab.until(partial(_alone_holds, lab, pair, to), f"{to} holds {pair.address}")
    await do(lab, to, "pcs", "node", "unstandby", other)


async def _alone_holds(lab: RealLab, pair: Pair, name: str) -> bool:
    return (await lab.truth.pair(pair)).address_on == (name,)
