"""The live picture of a run on a terminal. Durations go on between two looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from starters.screens import (
    decision_line,
    headline,
    pause_lines,
    progress_lines,
    running_line,
    running_steps,
    stage_line,
    wait_lines,
)
from starters.wording import printable
from workflows.status import StageView, Status

MOST_RUNNING = 10
"""Steps shown at the same time: software is stopped on all machines at once, and a screen has few lines."""
_STYLES = {
    "pending": "dim",
    "running": "bold cyan",
    "waiting": "bold yellow",
    "ended": "green",
    "not started": "dim",
    "not needed": "dim",
}


@dataclass
class Picture:
    """Draws the last state that is known. Texts of a run are never taken for markup."""

    status: Status | None = None
    trouble: str = ""

    def __rich__(self) -> RenderableType:
        """Called by rich each time it refreshes."""
        now = datetime.now(UTC)
        parts = [_text(self.trouble, style="bold red")] if self.trouble else []
        if self.status is not None:
            parts += _parts(self.status, now)
        return Group(*parts) if parts else Text("Looking …", style="dim")


def _parts(status: Status, now: datetime) -> list[Text]:
    parts = [_text(headline(status), style="bold")]
    parts += [_text(line, style="bold yellow") for line in pause_lines(status)]
    parts += [*(_stage(stage, now) for stage in status.stages)]
    running = running_steps(status)
    for record in running[:MOST_RUNNING]:
        parts.append(_text(f"  ▶ {running_line(record, now)}", style="cyan"))
        parts += [_text(f"      {line}", style="cyan") for line in progress_lines(record.progress)]
    if len(running) > MOST_RUNNING:
        parts.append(Text(f"  … and {len(running) - MOST_RUNNING} more", style="cyan"))
    for wait in status.waits:
        parts += [_text(line, style="yellow") for line in wait_lines(wait, status.address)]
    parts += [_text(decision_line(said), style="dim") for said in status.decisions[-2:]]
    return parts + [_text(note, style="magenta") for note in status.notes[-2:]]


def _text(text: str, style: str) -> Text:
    return Text(printable(text), style=style)


def _stage(stage: StageView, now: datetime) -> Text:
    return Text(stage_line(stage, now), style=_STYLES[stage.state], overflow="ellipsis", no_wrap=True)
