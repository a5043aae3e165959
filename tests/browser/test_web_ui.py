"""A person approves in the Temporal Web UI: a real server with its Web UI, a real Chromium, the lab and a worker.

The person knows nothing but what the page shows: which signal to send, and the JSON to paste.
With `SCREENS=directory` it leaves pictures of what was seen.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lab.demo import Demo, Wishes, demonstration
from lab.processes import Processes
from tests.browser.web_ui import Shown, WebUi, browser_window, chromium, shown_signals

NO_BROWSER = "no Chromium was found in the path, so the Web UI is not tried; install one, or name it: CHROMIUM=/path"
GATES = ("before_start", "before_power_off", "functionality")
EXECUTABLE = chromium()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),  # it takes half a minute alone, and shares the machine with whole labs
    pytest.mark.skipif(not EXECUTABLE, reason=NO_BROWSER),
]


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    """Temporal server with Web UI, the lab and a worker, each a process of its own."""
    wishes = Wishes(vacate="vm-host-1", speed="20", crash=False, auto=True)
    async with demonstration(wishes, tmp_path) as started:
        yield started


@pytest.fixture
async def web_ui(demo: Demo) -> AsyncIterator[WebUi]:
    """A browser window."""
    assert EXECUTABLE is not None, "the tests are skipped where there is none"
    screens = Path(os.environ["SCREENS"]) if os.environ.get("SCREENS") else None
    async with browser_window(EXECUTABLE, demo.web_ui, screens) as window:
        yield window


async def begin(demo: Demo) -> None:
    """Start the failover as a person types it."""
    processes: Processes = demo.processes
    argv = ("--inventory", demo.lab.inventory, "--vacate", demo.wishes.vacate, "--reason", "new memory modules")
    starter = await processes.python("starter", "starters.failover", *argv, environment=demo.environment)
    assert await starter.wait() == 0, processes.log("starter").read_text()


def told(details: str, signal: str, gate: str) -> Shown:
    """The signal the page tells to send at a gate."""
    fitting = [one for one in shown_signals(details) if one.signal == signal and one.payload.get("gate") == gate]
    assert len(fitting) == 1, f"{signal} for {gate} should be told once:\n{details}"
    return fitting[0]


async def result(demo: Demo) -> dict[str, Any]:
    """What the run ended with."""
    found: dict[str, Any] = await (await demo.runs()).latest.result()
    return found


async def test_a_failover_is_approved_in_the_browser(demo: Demo, web_ui: WebUi) -> None:
    await begin(demo)
    await web_ui.open("cluster-reference")

    details = await web_ui.details("before_start")
    await web_ui.shoot("1-current-details")
    for word in ("outage", "acd-store1", "acd-dbm1", "critical path", "Health check", "More Actions"):
        assert word in details

    # In the list one sees what waits for a person, without opening anything.
    await web_ui.list('WaitingFor!="nothing"')
    await web_ui.show_columns("Stage", "WaitingFor")
    await web_ui.text("Vacate vm-host-1, so that vm-host-2 goes on alone?")
    await web_ui.shoot("1-list")
    await web_ui.open("cluster-reference")
    await web_ui.tab("User Metadata")

    # Something that is no JSON object is answered where the person looks, and opens nothing.
    await web_ui.signal("approve", '"yes please"')
    details = await web_ui.details("NOT accepted")
    assert "approve" in details
    assert "gate, seen, by" in details
    await web_ui.shoot("2-not-understood")

    for number, gate in enumerate(GATES, start=3):
        details = await web_ui.details(f'"gate": "{gate}"')
        await web_ui.shoot(f"{number}-{gate}")
        wanted = told(details, "approve", gate)
        described = await web_ui.signal(wanted.signal, wanted.signed("Ada, on duty"), screen=f"{number}-signal-{gate}")
        assert "gate" in described, "the drop-down says what each signal takes"
        await web_ui.tab("Pending Activities")
        await web_ui.shoot(f"{number}-pending-after-{gate}")
        await web_ui.details("approved")

    details = await web_ui.details("Ended: completed")
    await web_ui.shoot("6-ended")
    report = await result(demo)
    assert report["outcome"] == "completed"
    accepted = [said for said in report["decisions"] if said["accepted"]]
    assert [(said["about"], said["by"]) for said in accepted] == [(gate, "Ada, on duty") for gate in GATES]
    assert [said["accepted"] for said in report["decisions"]] == [False, True, True, True]

    await web_ui.tab("Timeline")
    await web_ui.shoot("7-timeline")
    for summary in ("Delete the snapshot", "Deadline: Is the system fully operational", "Start Wildfly on acd-jb4"):
        await web_ui.scroll_to(summary)
    await web_ui.shoot("7-timeline-scrolled")
    await web_ui.tab("Search Attributes")
    await web_ui.text("ended: completed")
    await web_ui.shoot("8-search-attributes")
    await web_ui.list('Stage="ended: completed"')
    await web_ui.shoot("9-list")
