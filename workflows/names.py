"""Names that starters, workers and workflows must agree on."""

from __future__ import annotations

from temporalio.common import SearchAttributeKey

CLUSTER = SearchAttributeKey.for_keyword("ClusterName")
STAGE = SearchAttributeKey.for_keyword("Stage")
"""For example "04 drain sessions"; "ended: completed" at the end."""
WAITING = SearchAttributeKey.for_keyword("WaitingFor")
"""What a person has to decide, or "nothing"."""
SEARCH_ATTRIBUTES = (CLUSTER, STAGE, WAITING)

FAILOVER = "ControlledFailover"
"""Type of the run in Temporal; starters need no more of a workflow than its name."""
FAILBACK = "ControlledFailback"
MAINTENANCE = "Maintenance"
HEALTH_CHECK = "HealthCheck"

SIGNALS = ("approve", "reject", "retry", "skip", "abort", "confirm", "pause", "resume", "extend")
STATUS_QUERY = "status"
PLAN_QUERY = "plan"
ROLL_BACK_QUERY = "roll_back_plan"
REPORT_QUERY = "report"
DECIDE_UPDATE = "decide"


def workflow_id(cluster: str) -> str:
    """One id per cluster for both directions: two runs can't meet (invariant 8)."""
    return f"cluster-{cluster}"


def maintenance_workflow_id(cluster: str) -> str:
    """An id of its own, since its failover and its failback have that of the cluster, one after the other."""
    return f"maintenance-{cluster}"


def health_workflow_id(cluster: str) -> str:
    """A health check changes nothing, so it may run beside a failover."""
    return f"health-{cluster}"


def address(cluster: str, *, maintenance: bool = False) -> str:
    """What stands behind `--cluster` in a command about the run of a cluster, or about its maintenance."""
    return f"{cluster} --maintenance" if maintenance else cluster


def task_queue(cluster: str) -> str:
    """Each cluster has its own queue: its workers hold its inventory and its secrets, and no other's."""
    return f"failover-{cluster}"
