"""The network of the real lab: a bridge for each site, and one line between them.

The machine itself stands at the first site, under the address `CONTROLLER`: from there worker, starters and tests reach
every host, and from there the power controllers reach theirs.
"""

from __future__ import annotations

import contextlib
import subprocess
from ipaddress import IPv4Network

NETWORK = IPv4Network("10.77.0.0/16")
CONTROLLER = "10.77.0.250"
PREFIX = "flab"
_BRIDGES = (f"{PREFIX}1", f"{PREFIX}2")
MAC = "02:77:00:01:00:00"
"""Under which this machine and what is simulated on it is reached."""
_LINE = (f"{PREFIX}-wan1", f"{PREFIX}-wan2")


class NetworkError(Exception):
    """The network can't be changed; with what `ip` said."""


def up() -> None:
    """Make bridges, the line, and this machine's own address.

    Raises:
        NetworkError: something else uses these addresses, or it may not be done.
    """
    down()
    first, second = _BRIDGES
    _batch(
        # Whatever is sent while a bridge is away must not leave the machine.
        f"route replace unreachable {NETWORK} metric 4096",
        # Of its own, not that of whichever card: hosts remember it for half a minute, and cards come and go.
        f"link add {first} address {MAC} type bridge forward_delay 0",
        # This machine does not stand at the second site: asked there for its address, it would answer all the same,
        # with a hardware address that changes with each card.
        f"link add {second} type bridge forward_delay 0",
        f"link set {second} arp off",
        f"link add {_LINE[0]} type veth peer name {_LINE[1]}",
        f"link set {_LINE[0]} master {first} up",
        f"link set {_LINE[1]} master {second} up",
        f"link set {first} up",
        f"link set {second} up",
        f"address add {CONTROLLER}/{NETWORK.prefixlen} dev {first}",
    )


def down() -> None:
    """Take everything away; what is not there is no mistake."""
    for name in _links():
        _quietly("link", "del", name)
    _quietly("route", "del", "unreachable", str(NETWORK), "metric", "4096")


def others() -> str:
    """Who else uses these addresses on this machine; empty: nobody."""
    shown = subprocess.run(
        ["ip", "-o", "route", "show", "root", str(NETWORK)], capture_output=True, text=True, check=False
    )
    lines = [line.strip() for line in shown.stdout.splitlines() if PREFIX not in line and "unreachable" not in line]
    return "; ".join(lines)


def add_address(address: str) -> None:
    """Another address of this machine, for a host that is simulated on it."""
    with contextlib.suppress(NetworkError):  # It is there already.
        _batch(f"address add {address}/32 dev {_BRIDGES[0]}")


def plug_in(card: str, site: int, pid: int, mac: str) -> None:
    """Give a host its network card.

    Args:
        card: name of this machine's end.
        site: 1 or 2.
        pid: a process in the host's network namespace.
        mac: always the same for a host: others remember the old one for half a minute.

    Raises:
        NetworkError: the host is gone.
    """
    # The end of a host that was just cut off may still be there.
    _quietly("link", "del", card)
    _batch(
        f"link add {card} type veth peer name eth0 address {mac} netns {pid}",
        f"link set {card} master {_BRIDGES[site - 1]} up",
    )


def set_line(*, up: bool) -> None:
    """Cut the line between the sites, or mend it."""
    _batch(f"link set {_LINE[0]} {'up' if up else 'down'}")


def set_card(card: str, *, up: bool) -> None:
    """Pull the network plug of a host, or put it back."""
    _batch(f"link set {card} {'up' if up else 'down'}")


def card_of(number: int) -> str:
    """This machine's end of a host's card."""
    return f"{PREFIX}-h{number}"


def _links() -> list[str]:
    shown = subprocess.run(["ip", "-o", "link", "show"], capture_output=True, text=True, check=True)
    names = [line.split(":")[1].strip().partition("@")[0] for line in shown.stdout.splitlines()]
    return [name for name in names if name.startswith(PREFIX)]


def _batch(*lines: str) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NetworkError(f"{'; '.join(lines)}: {done.stderr.strip()}")


def _quietly(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=False)
