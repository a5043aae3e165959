"""Notices: what those who are not at the screen are told of a run, and how it is put into words."""

from __future__ import annotations

import string
from datetime import datetime
from typing import Final
from urllib.parse import quote

from inventory.notifications import Event
from procedure.values import Value

MAX_DETAILS: Final = 3000
"""Characters: a screen full. The run tells everything; a notice is to make somebody look."""
MAX_LINE: Final = 200
"""Of a headline, and so of a subject."""


class Notice(Value):
    """One thing that happened in a run. It holds what the run's own page shows, so never a secret."""

    id: str
    """Stays the same when it is sent again: whoever receives it twice can tell."""
    event: Event
    cluster: str
    direction: str
    """For example failover."""
    headline: str
    details: str = ""
    """What happened, to which machine, what was expected, what was seen."""
    next_step: str
    """What a person is to do, and how."""
    workflow_id: str
    run_id: str
    at: datetime

    def fields(self, link: str) -> dict[str, str]:
        """What a template may name. The link is known to the worker alone."""
        return {
            "cluster": self.cluster,
            "direction": self.direction,
            "event": self.event.value,
            "headline": self.headline,
            "details": self.details,
            "next_step": self.next_step,
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "at": f"{self.at:%Y-%m-%d %H:%M:%S %Z}".strip(),
            "link": link,
        }


def written(template: str, notice: Notice, link: str) -> str:
    """A template with its fields filled in. What it names and nobody knows stays as it stands."""
    return string.Template(template).safe_substitute(notice.fields(link)).strip()


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """On one line, cut where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def cut(text: str, limit: int = MAX_DETAILS) -> str:
    """With its lines, cut where it is too long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def address_of_run(web_ui: str, namespace: str, workflow_id: str, run_id: str) -> str:
    """Address of a run in Temporal's Web UI; empty if nobody has said where that is."""
    if not web_ui:
        return ""
    path = f"namespaces/{quote(namespace)}/workflows/{quote(workflow_id)}/{quote(run_id)}"
    return f"{web_ui.rstrip('/')}/{path}/timeline"
