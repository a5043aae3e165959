"""What goes wrong in a host, by real means; and how a person puts it right."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

from inventory.models import Pair, Replication
from lab.real.database import Local
from lab.real.furnish import SCHEMA
from lab.real.lab import RealLab
from lab.real.pacemaker import SHARE
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


@contextmanager
def held_dump(lab: RealLab, host: str) -> Iterator[None]:
    """Somebody has locked a table: a dump of that server does not end meanwhile."""
    session = Local(lab.hosts[host])
    with contextlib.closing(session):
        session.rows(f"LOCK TABLES {SCHEMA}.calls WRITE")
        yield


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


async def power_cut(lab: RealLab, *hosts: str) -> None:
    """Take their power away, which excuses them until they are back."""
    lab.auditors.excused.update(hosts)
    await asyncio.gather(*(lab.outlets[host].cut() for host in hosts))


async def power_back(lab: RealLab, *hosts: str) -> None:
    """Switch them on, and wait until they are what they were: their services, their nodes, their replication."""
    await switch_on(lab, *hosts)
    await are_back(lab, *hosts)


async def are_back(lab: RealLab, *hosts: str) -> None:
    """Wait until hosts that are on are what they were: from now on they have no excuse."""
    for host in hosts:
        await lab.until(partial(_is_served, lab, host), f"no load balancer finds {host} DOWN")
        for link in lab.inventory.database.replication:
            if host in (link.replica, link.source):
                await lab.until(partial(_replicates_if_on, lab, link), f"{link.replica} replicates")
        pair = _pair_of(lab, host)
        if pair is not None:
            await lab.until(partial(_has_joined, lab, pair, host), f"{host} is online in its pair, which is somewhere")
    lab.auditors.excused.difference_update(hosts)


async def switch_on(lab: RealLab, *hosts: str) -> None:
    """Switch them on as soon as nobody fences them any more, and wait until they have booted."""
    for host in hosts:
        pair = _pair_of(lab, host)
        if pair is not None:
            await lab.until(partial(_is_over_with, lab, pair, host), f"the other node takes {host} for off")
    await asyncio.gather(*(lab.outlets[host].power_on() for host in hosts))
    for host in hosts:
        await lab.until(partial(_is_up, lab, host), f"{host} is up")


async def has_coordinator(lab: RealLab, host: str) -> None:
    """Wait until Pacemaker on a host has found out who decides, be it without quorum."""

    async def has_one() -> bool:
        return (await _pacemaker(lab, host)).coordinator

    await lab.until(has_one, f"{host} has a coordinator")


def _pair_of(lab: RealLab, host: str) -> Pair | None:
    return next(
        (p for p in (lab.inventory.pairs.storage, lab.inventory.pairs.load_balancer) if host in p.machines), None
    )


def _replicates_if_on(lab: RealLab, link: Replication) -> bool:
    return not all(lab.hosts[name].on for name in (link.replica, link.source)) or lab.replicates(link.replica)


async def _is_up(lab: RealLab, host: str) -> bool:
    if host not in lab.hosts:
        return lab.windows.world.machines[host].power == "on"
    done = await lab.hosts[host].run("systemctl", "is-system-running")
    return done.stdout.strip() in ("running", "degraded")


def _is_served(lab: RealLab, host: str) -> bool:
    """Also one that has been DOWN once is checked again, so it is waited for, whatever runs on it."""
    own = {f"{b.name}/{server}" for b in lab.inventory.haproxy.backends for server, m in b.servers.items() if m == host}
    states = (lab.truth.balancer(balancer) or {} for balancer in lab.inventory.pairs.load_balancer.machines)
    return not any(
        of.get(server, "").startswith("DOWN") or of.get(server) == "UP 1/2" for of in states for server in own
    )


async def _is_over_with(lab: RealLab, pair: Pair, host: str) -> bool:
    """The other node has seen that it is off, and would not cut it off again."""
    other = next(name for name in pair.machines if name != host)
    node = (await _pacemaker(lab, other)).nodes.get(lab.inventory.machine(host).node_name)
    return not lab.hosts[other].on or (node is not None and (node["online"], node["unclean"]) == ("false", "false"))


async def _has_joined(lab: RealLab, pair: Pair, host: str) -> bool:
    """It has a coordinator, all nodes there are have joined, and somebody holds the address."""
    seen = await _pacemaker(lab, host)
    own = [seen.nodes.get(lab.inventory.machine(name).node_name) for name in pair.machines if lab.hosts[name].on]
    have_joined = all(node is not None and (node["online"], node["pending"]) == ("true", "false") for node in own)
    return seen.coordinator and have_joined and bool(lab.truth.holders(pair.address, pair.machines))


@dataclass(frozen=True)
class _Pacemaker:
    """As one node sees it."""

    coordinator: bool
    nodes: Mapping[str, Mapping[str, str]]
    """Attributes by name."""


async def _pacemaker(lab: RealLab, host: str) -> _Pacemaker:
    told = await lab.hosts[host].run("crm_mon", "--output-as=xml") if lab.hosts[host].on else None
    if told is None or told.code != 0:
        return _Pacemaker(coordinator=False, nodes={})
    tree = ET.fromstring(told.stdout)
    nodes = {node.get("name", ""): node.attrib for node in tree.findall("./nodes/node")}
    return _Pacemaker(tree.find("./summary/current_dc[@present='true']") is not None, nodes)


# --- the line ---------------------------------------------------------------------------------------------------------


async def line_cut(lab: RealLab) -> None:
    """Cut the line, and wait until the pairs' nodes at the site of the power supplies have cut off the others."""
    far = _far_nodes(lab)
    lab.auditors.excused.update(far)
    lab.set_line(up=False)
    await lab.until(lambda: not any(lab.hosts[name].on for name in far), f"{far} are cut off")


async def line_mended(lab: RealLab) -> None:
    """Mend the line, and switch on what was cut off."""
    lab.set_line(up=True)
    await power_back(lab, *_far_nodes(lab))


def _far_nodes(lab: RealLab) -> list[str]:
    far, pairs = lab.inventory.vm_hosts[1].name, lab.inventory.pairs
    both = (*pairs.storage.machines, *pairs.load_balancer.machines)
    return [name for name in both if lab.inventory.machine(name).host == far]


# --- pairs ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def nothing_to_mount(lab: RealLab, host: str) -> AsyncIterator[None]:
    """A storage host that lacks what is to be mounted; a person tells Pacemaker when it is there again."""
    lab.auditors.excused.add(host)
    await do(lab, host, "mv", SHARE, f"{SHARE}.away")
    try:
        yield
    finally:
        await do(lab, host, "mv", f"{SHARE}.away", SHARE)
        await do(lab, host, "pcs", "resource", "cleanup")
        await are_back(lab, host)


async def moved_by_hand(lab: RealLab, pair: Pair, to: str) -> None:
    """What a person does who wants a pair where it was: the other node into standby, and out of it again."""
    other = next(lab.inventory.machine(name).node_name for name in pair.machines if name != to)
    await do(lab, to, "pcs", "node", "standby", other)
    await lab.until(partial(_alone_holds, lab, pair, to), f"{to} holds {pair.address}")
    await do(lab, to, "pcs", "node", "unstandby", other)


async def _alone_holds(lab: RealLab, pair: Pair, name: str) -> bool:
    return (await lab.truth.pair(pair)).address_on == (name,)


async def stands_by(lab: RealLab, pair: Pair, name: str) -> None:
    """Wait until a move away from a machine has been ordered."""

    async def is_in_standby() -> bool:
        return lab.inventory.machine(name).node_name in (await lab.truth.pair(pair)).standby

    await lab.until(is_in_standby, f"{name} stands by")
