"""What Temporal is told when a run begins, whoever begins it: a person by a starter, or a maintenance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from inventory.digest import digest
from workflows import names
from workflows.messages import MaintenanceRequest, RunRequest

TASK_TIMEOUT = timedelta(seconds=5)
"""For a worker to take a decision. Twice this is lost when a worker's host hangs; the default of 10 s is too much."""


@dataclass(frozen=True)
class Opening:
    """A run that is to begin."""

    workflow: str
    """Its type in Temporal."""
    request: RunRequest
    headline: str
    """For example "failover of reference, vacate vm-host-1"."""
    about: tuple[str, ...]
    """Further lines of its static details."""

    @property
    def cluster(self) -> str:
        """The cluster it is about."""
        return self.request.inventory.cluster

    @property
    def workflow_id(self) -> str:
        """Its id in Temporal: failover and failback share one, so that they can't meet."""
        of = names.maintenance_workflow_id if self.is_maintenance else names.workflow_id
        return of(self.cluster)

    @property
    def is_maintenance(self) -> bool:
        """Whether it begins runs of its own."""
        return self.workflow == names.MAINTENANCE

    @property
    def address(self) -> str:
        """What stands behind `--cluster` in commands about it."""
        return names.address(self.cluster, maintenance=self.is_maintenance)

    @property
    def summary(self) -> str:
        """One line for the Web UI."""
        return self.headline[0].upper() + self.headline[1:]

    @property
    def details(self) -> str:
        """Markdown for the Web UI."""
        request = self.request
        watch = f"python -m starters.status --cluster {self.address} --watch"
        return "\n".join(
            [
                f"- Cluster: {self.cluster}",
                *(f"- {line}" for line in (*self.about, *self._times)),
                f"- Reason: {request.reason or 'none given'}",
                f"- Requested by: {request.requested_by or 'nobody named'}",
                f"- Inventory: {digest(request.inventory)}",
                f"- On the command line: `{watch}`",
            ]
        )

    @property
    def _times(self) -> tuple[str, ...]:
        start, ends = self.request.start_at, self.request.window_ends
        scheduled = (f"Scheduled for: {start:%d %b %Y %H:%M %Z}",) if start else ()
        return (*scheduled, *((f"Window until: {ends:%d %b %Y %H:%M %Z}",) if ends else ()))

    @property
    def memo(self) -> dict[str, str]:
        """Shown beside the run."""
        return {
            "host": self.request.host,
            "reason": self.request.reason,
            "requested_by": self.request.requested_by,
            "inventory_digest": digest(self.request.inventory),
        }

    @property
    def search_attributes(self) -> TypedSearchAttributes:
        """By which it is found."""
        stage = "beginning" if self.is_maintenance else "00 Health check"
        stage = "scheduled" if self.request.start_at else stage
        return TypedSearchAttributes(
            [
                SearchAttributePair(names.CLUSTER, self.cluster),
                SearchAttributePair(names.STAGE, stage),
                SearchAttributePair(names.WAITING, "nothing"),
            ]
        )


def failover(request: RunRequest, *about: str) -> Opening:
    """A failover."""
    cluster, host = request.inventory.cluster, request.host
    return Opening(
        workflow=names.FAILOVER,
        request=request,
        headline=f"failover of {cluster}: vacate {host}",
        about=(f"VM-Host to vacate: {host}", *about),
    )


def failback(request: RunRequest, *about: str) -> Opening:
    """A failback."""
    cluster, host = request.inventory.cluster, request.host
    return Opening(
        workflow=names.FAILBACK,
        request=request,
        headline=f"failback of {cluster}: {host} returns",
        about=(f"VM-Host that returns: {host}", *about),
    )


def maintenance(request: MaintenanceRequest) -> Opening:
    """A whole maintenance."""
    inventory, host = request.inventory, request.host
    others = [other.name for other in inventory.vm_hosts if other.name != host]
    then = f", then {others[0]}" if request.both else ""
    return Opening(
        workflow=names.MAINTENANCE,
        request=request,
        headline=f"maintenance of {inventory.cluster}: {host} is vacated and returns{then}",
        about=(f"VM-Host: {host}{then}", f"Its runs, one after the other: `{names.workflow_id(inventory.cluster)}`"),
    )
