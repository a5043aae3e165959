"""Where the real lab keeps its things on this machine, and how its parts are called."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path("/var/lib/failover-lab")
HOME_VARIABLE = "REAL_LAB"


@dataclass(frozen=True)
class Places:
    """Files and folders. Two labs never share them."""

    home: Path

    @classmethod
    def default(cls) -> Places:
        """Those of `REAL_LAB`, or of /var/lib/failover-lab."""
        return cls(Path(os.environ.get(HOME_VARIABLE, DEFAULT_HOME)))

    @property
    def hosts(self) -> Path:
        """A folder for each host: what it has written."""
        return self.home / "hosts"

    @property
    def site(self) -> Path:
        """The derived inventory, keys and secrets."""
        return self.home / "site"

    @property
    def ready(self) -> Path:
        """What `up` says when the lab is ready, as JSON; there only while it runs."""
        return self.home / "ready.json"

    @property
    def lock(self) -> Path:
        """Locked by the process whose lab is here."""
        return self.home / "lock"

    @property
    def cgroup(self) -> Path:
        """Control group of all hosts."""
        return cgroup_root() / f"failover-lab-{hashlib.sha256(str(self.home).encode()).hexdigest()[:8]}"

    @property
    def log(self) -> Path:
        """What the lab's own process says."""
        return self.home / "lab.log"


def cgroup_root() -> Path:
    """The unified hierarchy of control groups, also where the old ones are mounted beside it."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")
