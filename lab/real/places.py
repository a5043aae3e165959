"""Where the real lab keeps its things on this machine, and how its parts are called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path("/var/lib/failover-lab")
HOME_VARIABLE = "FAILOVER_REAL_LAB"


@dataclass(frozen=True)
class Places:
    """Files and folders. One lab at a time on a machine: bridges and addresses are fixed."""

    home: Path

    @classmethod
    def default(cls) -> Places:
        """Those of `FAILOVER_REAL_LAB`, or of /var/lib/failover-lab."""
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
    def control(self) -> Path:
        """Socket on which the running lab takes orders."""
        return self.home / "control.sock"

    @property
    def lock(self) -> Path:
        """Held while a lab runs."""
        return self.home / "lock"

    @property
    def log(self) -> Path:
        """What the lab's own process says."""
        return self.home / "lab.log"


def cgroup_root() -> Path:
    """Where the hosts' control groups are: the unified hierarchy, also where the old ones are mounted beside it."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return (hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")) / "failover-lab"
