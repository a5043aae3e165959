"""A notice, and an inventory that names whom to tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from inventory.models import Inventory, Timings
from inventory.notifications import Event
from procedure.notices import Notice
from tests.activities.cluster import reference

SECRET = "hunter2-never-shown"
TIMINGS = Timings(connect=timedelta(seconds=2), command=timedelta(seconds=4))
LINK = "https://temporal.example/namespaces/default/workflows/cluster-reference/run-1/timeline"
NOTICE = Notice(
    id="run-1.7",
    event=Event.PROBLEM,
    cluster="reference",
    direction="failover",
    headline="Waits with a problem: Stop Wildfly on acd-jb1",
    details="acd-jb1: failed, the wanted state did not come – größer als 5 min.",
    next_step="When it is mended: retry.",
    workflow_id="cluster-reference",
    run_id="run-1",
    at=datetime(2026, 11, 25, 22, 5, tzinfo=UTC),
)


def telling(*targets: dict[str, Any]) -> Inventory:
    def change(raw: dict[str, Any]) -> None:
        raw["notifications"] = {"targets": list(targets)}

    return reference(change)
