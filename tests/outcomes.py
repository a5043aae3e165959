"""What a run that ended otherwise than a test expects says of itself."""

from __future__ import annotations

from workflows.status import RunReport


def why(report: RunReport) -> str:
    """Why it ended so, with all that it leaves for people to do."""
    return "\n".join((f"{report.direction}: {report.outcome_reason}", *report.next_steps))
