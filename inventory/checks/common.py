"""What several checks need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, urlsplit

from inventory.models import Inventory, Machine
from inventory.problems import Finding, Path, one_of, show_path
from inventory.values import ADDRESS, Tls


def repeated(entries: Iterable[tuple[Path, str]], what: str) -> Iterator[Finding]:
    """Names that stand twice; capitals make no difference to hosts, nor to people."""
    first: dict[str, Path] = {}
    for path, name in entries:
        earlier = first.setdefault(name.lower(), path)
        if earlier is not path:
            yield Finding(path, f"the {what} {name!r} is taken already: {show_path(earlier)}", f"each {what} once")


def unknown(path: Path, name: str, known: Iterable[str], what: str) -> Iterator[Finding]:
    """A name that nothing has."""
    words = list(known)
    if name not in words:
        yield Finding(path, f"there is no {what} {name!r}", one_of(words, name))


def machines_by_name(inventory: Inventory) -> dict[str, Machine]:
    """Each machine by its name; of two with one name the first."""
    found: dict[str, Machine] = {}
    for machine in inventory.machines:
        found.setdefault(machine.name, machine)
    return found


def machine_names(inventory: Inventory) -> list[str]:
    """All names of machines, in the inventory's order."""
    return [machine.name for machine in inventory.machines]


def host_names(inventory: Inventory) -> list[str]:
    """Both names of VM-Hosts."""
    return [host.name for host in inventory.vm_hosts]


def absent_sides(inventory: Inventory, machines: Iterable[Machine]) -> list[str]:
    """The VM-Hosts that have none of these machines."""
    sides = {machine.host for machine in machines}
    return [name for name in host_names(inventory) if name not in sides]


def web_address(path: Path, url: str, tls: Tls | None) -> Iterator[Finding]:
    """The address of a web service has a host and a port, no user, and https where TLS is spoken of."""
    # The address is not repeated: it may hold a password.
    parts = split_address(url)
    if parts is None:
        yield Finding(path, "no address of a web service: its host or its port is none", "http://HOST:PORT/PATH")
    elif parts.username is not None or parts.password is not None:
        wrong = "a user, and perhaps a secret in clear, in an address"
        yield Finding(path, wrong, "an address without user and password")
    elif tls and parts.scheme == "http":
        yield Finding(path, "`tls` is given, but the address begins with http:", "https:, or no `tls`")


def split_address(url: str) -> SplitResult | None:
    """The parts of the address of a web service; None: it has no usable host, or no usable port."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0 and ADDRESS.fullmatch(parts.hostname or "")
    except ValueError:
        return None
    return parts if usable else None
