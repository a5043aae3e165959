"""Single values that are well-formed and still can't be meant: addresses of nobody, paths of everything, no command."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from inventory.models import (
    AlertmanagerMonitoring,
    CommandPower,
    HttpProbe,
    Inventory,
    NagiosMonitoring,
    SqlProbe,
    TcpProbe,
)
from inventory.problems import Finding, Path

NUMERIC = re.compile(r"[0-9.]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*")
"""What looks like an IP address."""
_IP = "an IPv4 address of four numbers up to 255, an IPv6 address, or a host name with a letter in it"
_LONGEST_ITEM = 500
_Words = tuple[str, ...]
_BROADCAST = IPv4Address("255.255.255.255")
# A probe is repeated every second or so: it must neither write, nor lock, nor take its time.
_MORE_THAN_A_LOOK = re.compile(r"(?i)\b(?:into|for\s+update|for\s+share|lock\s+in|(?:sleep|benchmark|get_lock)\s*\()")


def addresses(inventory: Inventory) -> Iterator[Finding]:
    """What looks like an IP address is one, and one that a single machine can have."""
    for path, address in _addresses(inventory):
        number = _number(address)
        if number is None and NUMERIC.fullmatch(address):
            yield Finding(path, f"{address!r} is no IP address", _IP)
        elif number is not None and (number.is_unspecified or number.is_multicast or number == _BROADCAST):
            yield Finding(path, f"{address} is the address of no machine", "the address that a machine has")


def _number(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None


def _addresses(inventory: Inventory) -> Iterator[tuple[Path, str]]:
    yield from _of_machines(inventory)
    for index, address in enumerate(inventory.sessions.ignore_addresses):
        yield ("sessions", "ignore_addresses", index), address
    for index, probe in enumerate(inventory.probes):
        if isinstance(probe, TcpProbe | SqlProbe):
            yield ("probes", index, "address"), probe.address
        if isinstance(probe, HttpProbe):
            yield ("probes", index, "url"), _host(probe.url)
    if isinstance(inventory.monitoring, AlertmanagerMonitoring):
        yield ("monitoring", "url"), _host(inventory.monitoring.url)
    if isinstance(inventory.monitoring, NagiosMonitoring):
        yield ("monitoring", "address"), inventory.monitoring.address


def _of_machines(inventory: Inventory) -> Iterator[tuple[Path, str]]:
    for index, host in enumerate(inventory.vm_hosts):
        if isinstance(host.power, CommandPower):
            yield ("vm_hosts", index, "power", "address"), host.power.address
    for index, machine in enumerate(inventory.machines):
        yield ("machines", index, "address"), machine.address
        for position, alias in enumerate(machine.aliases):
            yield ("machines", index, "aliases", position), alias
    yield ("pairs", "storage", "address"), inventory.pairs.storage.address
    yield ("pairs", "load_balancer", "address"), inventory.pairs.load_balancer.address


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def paths(inventory: Inventory) -> Iterator[Finding]:
    """Directories are compared with what a machine tells, and written to: as the machine writes them, never `/`."""
    given: list[tuple[Path, str | None]] = [
        (("pairs", "storage", "mount"), inventory.pairs.storage.mount),
        (("pairs", "load_balancer", "mount"), inventory.pairs.load_balancer.mount),
        (("backup", "directory"), inventory.backup.directory),
    ]
    for path, directory in given:
        if directory is not None and (posixpath.normpath(directory) != directory or directory == "/"):
            wrong = f"{directory!r} is the root, ends with /, or holds .., . or //"
            yield Finding(path, wrong, "a directory below /, as `pwd -P` in it writes it")


def queries(inventory: Inventory) -> Iterator[Finding]:
    """A probe only looks."""
    for index, probe in enumerate(inventory.probes):
        if isinstance(probe, SqlProbe) and _MORE_THAN_A_LOOK.search(probe.query):
            wrong = "this query writes, locks or waits"
            yield Finding(("probes", index, "query"), wrong, "one SELECT that only reads, without INTO, FOR or SLEEP")


def opposites(inventory: Inventory) -> Iterator[Finding]:
    """Commands that do different things are different."""
    for index, host in enumerate(inventory.vm_hosts):
        if isinstance(host.power, CommandPower):
            power = host.power.commands
            named: dict[str, _Words] = {"on": power.on, "off": power.off, "status": power.status}
            yield from _same(("vm_hosts", index, "power", "commands"), named)
    daemon = inventory.daemon.commands
    if daemon:
        yield from _same(("daemon", "commands"), {"status": daemon.status, "start": daemon.start, "stop": daemon.stop})


def _same(path: Path, named: dict[str, _Words]) -> Iterator[Finding]:
    first: dict[_Words, str] = {}
    for key, words in named.items():
        earlier = first.setdefault(words, key)
        if earlier != key:
            yield Finding((*path, key), f"the same command as {earlier!r}", "a command of its own")


def items(inventory: Inventory) -> Iterator[Finding]:
    """Items of the checklists can be read and ticked off."""
    for key in ("checklist", "address_checklist"):
        for index, item in enumerate(getattr(inventory, key)):
            if not item.strip() or len(item) > _LONGEST_ITEM:
                wrong = "nothing stands here" if not item.strip() else f"{len(item):,} characters: nobody would read it"
                yield Finding((key, index), wrong, f"one sentence, of at most {_LONGEST_ITEM} characters")


CHECKS = (addresses, paths, queries, opposites, items)
