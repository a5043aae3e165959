"""The runs of a demonstration: what waits there, and what is done in a person's place. Known by queries alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

POLL = 0.25
QUERY = timedelta(seconds=5)
NOBODY = "demo (nobody was asked)"
FINISHED = "maintenance_finished"
CRASH_DURING = ("move_pair", "start_component")
"""The worker is killed while storage is moving: the outage has begun, and it is the step one fears most. Where nothing
is to be moved, while software starts."""

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Runs:
    """The run of a cluster, and its maintenance."""

    client: Client
    cluster: str

    @property
    def latest(self) -> Handle:
        """Failover or failback, whichever is under way or was the last."""
        return self.client.get_workflow_handle(f"cluster-{self.cluster}")

    @property
    def maintenance(self) -> Handle:
        """The whole of it."""
        return self.client.get_workflow_handle(f"maintenance-{self.cluster}")

    def run(self, run_id: str) -> Handle:
        """A former run."""
        return self.client.get_workflow_handle(f"cluster-{self.cluster}", run_id=run_id)

    async def approve_everything(self) -> None:
        """Do at each gate what a person does in the Web UI: read it, and send the signal it shows."""
        done = set[str]()
        while True:
            for handle in (self.latest, self.maintenance):
                for wait in (await status_of(handle))["waits"]:
                    if wait["kind"] == "gate" and wait["code"] not in done:
                        done.add(wait["code"])
                        await _approve(handle, wait)
            await asyncio.sleep(POLL)

    async def step(self, direction: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first step that fits in a run of that direction, as soon as there is one."""
        while True:
            status = await status_of(self.latest)
            for step in status["steps"]:
                if status["direction"] == direction and fits(step):
                    return dict(step)
            await asyncio.sleep(POLL)

    async def move(self, direction: str) -> dict[str, Any]:
        """The step during which the worker is to be killed, when it runs."""
        return await self.step(direction, lambda step: step["state"] == "running" and step["kind"] in CRASH_DURING)

    async def end_of(self, direction: str, step_id: str) -> None:
        """Until a step has ended."""
        await self.step(direction, lambda step: step["id"] == step_id and step["state"] == "ended")


async def _approve(handle: Handle, wait: dict[str, Any]) -> None:
    if wait["gate"] == FINISHED:
        say(f"the work is done, the VM-Host has booted, and its machines are still off: “{wait['title']}”")
    payload = {"gate": wait["gate"], "seen": wait["code"], "by": NOBODY}
    say(f"nobody is asked here, so the signal approve is sent with {json.dumps(payload)}")
    await handle.signal("approve", payload)


async def status_of(handle: Handle) -> dict[str, Any]:
    """What a run tells; nothing while there is none."""
    with contextlib.suppress(RPCError):  # no run yet, or no worker just now
        status: dict[str, Any] = await handle.query("status", rpc_timeout=QUERY)
        return status
    return {"waits": [], "steps": [], "runs": [], "direction": ""}


def say(text: str) -> None:
    """One line of the demonstration's own."""
    print(f"demo: {text}", flush=True)
