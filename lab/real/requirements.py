"""What a machine needs to carry the real lab; said in full before anything is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab.real import network
from lab.real.places import cgroup_root

_TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "systemctl": "systemd",
    "ssh": "openssh-client",
}
_MEBIBYTE = 1024 * 1024
_MEMORY_NEEDED = 3072
_NET_ADMIN, _SYS_ADMIN = 12, 21  # capabilities(7)


class ImpossibleError(Exception):
    """This machine can't carry the real lab; with what is missing."""


def missing() -> list[str]:
    """What is missing here; empty: nothing."""
    if os.geteuid() != 0:
        return ["root: hosts are namespaces, which only root may make"]
    found = [
        f"the command {tool}: apt-get install {package}" for tool, package in _TOOLS.items() if not shutil.which(tool)
    ]
    if not _may(_SYS_ADMIN) or not _may(_NET_ADMIN):
        found.append("the capabilities SYS_ADMIN and NET_ADMIN: this is a container without them")
    if not _is_cgroup2(cgroup_root()):
        found.append(f"a cgroup2 hierarchy at {cgroup_root()}")
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="utf-8"):
        found.append("overlay file systems in the kernel")
    if _available_memory() < _MEMORY_NEEDED:
        found.append(f"{_MEMORY_NEEDED} MiB of free memory: there are {_available_memory()}")
    if shutil.which("ip") and (others := network.others()):
        found.append(f"the network {network.NETWORK} for itself: it is used here ({others})")
    return found


def refuse_where_impossible() -> None:
    """Refuse.

    Raises:
        ImpossibleError: something is missing.
    """
    lacking = missing()
    if lacking:
        raise ImpossibleError("the real lab can't run here. It needs\n" + "\n".join(f"  - {one}" for one in lacking))


def _may(capability: int) -> bool:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> capability & 1)


def _is_cgroup2(path: Path) -> bool:
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    return any(line.split()[1:3] == [str(path), "cgroup2"] for line in mounts)


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 // _MEBIBYTE for line in lines if line.startswith("MemAvailable:"))
