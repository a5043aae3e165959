"""What can be observed. A subject names it; the fact of the same name in `procedure.facts` is what is seen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from procedure.values import Value


class ComponentOn(Value):
    """A component of a machine: is it running?"""

    kind: Literal["component"] = "component"
    machine: str
    component: str

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return f"component:{self.machine}:{self.component}"


class _OnMachine(Value):
    kind: str
    machine: str

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return f"{self.kind}:{self.machine}"


class PowerOf(_OnMachine):
    """Is the machine on, off, reachable?"""

    kind: Literal["power"] = "power"


class AutostartOf(_OnMachine):
    """Would the machine start by itself with its VM-Host?"""

    kind: Literal["autostart"] = "autostart"


class ClusterOn(_OnMachine):
    """Pacemaker's state as this machine sees it, and the addresses this machine holds."""

    kind: Literal["cluster"] = "cluster"


class DrbdOn(_OnMachine):
    """DRBD's state as this machine sees it."""

    kind: Literal["drbd"] = "drbd"


class BalancerOn(_OnMachine):
    """HAProxy of this machine: every server of every backend, with its sessions."""

    kind: Literal["balancer"] = "balancer"


class ReplicationOn(_OnMachine):
    """Replica status of this database machine."""

    kind: Literal["replication"] = "replication"


class ReplayOn(_OnMachine):
    """What of all that `source` has written this database machine has executed: by their positions."""

    kind: Literal["replay"] = "replay"
    source: str

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return f"replay:{self.machine}:{self.source}"


class SessionsOn(_OnMachine):
    """Process list of this database machine."""

    kind: Literal["sessions"] = "sessions"


class DaemonOn(_OnMachine):
    """Does AcdGroupDistribute run on this telephony machine?"""

    kind: Literal["daemon"] = "daemon"


class SnapshotOf(_OnMachine):
    """A snapshot of this machine on its hypervisor."""

    kind: Literal["snapshot"] = "snapshot"
    name: str

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return f"snapshot:{self.machine}:{self.name}"


class BackupAt(_OnMachine):
    """A database dump on this machine."""

    kind: Literal["backup"] = "backup"
    path: str
    whole: bool = True
    """Whether it is whole, and its sum, matter too: reading a large dump takes minutes."""

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return f"backup:{self.machine}:{self.path}{'' if self.whole else ':presence'}"


class Silences(Value):
    """What is silenced at the monitoring server."""

    kind: Literal["silences"] = "silences"

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return "silences"


class ProbeOf(Value):
    """A functionality probe of the inventory."""

    kind: Literal["probe"] = "probe"
    name: str

    @property
    def key(self) -> str:
        """Unique among all subjects."""
        return f"probe:{self.name}"


Subject = Annotated[
    ComponentOn
    | PowerOf
    | AutostartOf
    | ClusterOn
    | DrbdOn
    | BalancerOn
    | ReplicationOn
    | ReplayOn
    | SessionsOn
    | DaemonOn
    | SnapshotOf
    | BackupAt
    | Silences
    | ProbeOf,
    Field(discriminator="kind"),
]
