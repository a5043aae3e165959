"""Has the outage measured beside the steps, from the first of them that ends service until it is there again."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TimeoutExpired

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel, JsonValue, ValidationError

    from inventory.models import Inventory
    from procedure.orders import WATCH_OUTAGE, OutageOrder
    from procedure.reports import Outage
    from workflows.retrying import FIRST_RETRY, HEARTBEAT

LONGEST_WATCH = timedelta(days=30)
LAST_MEASUREMENTS = timedelta(seconds=5)
"""For a worker to take up and end a measurement that was lost: it must see at least once how things are now."""


class _Log(BaseModel):
    """Of a worker's heartbeat, what is needed here."""

    outage: Outage


class OutageWatch:
    """One measurement; begun and ended at most once."""

    def __init__(self, inventory: Inventory, inventory_digest: str, notes: list[str]) -> None:
        """Measure nothing yet.

        Args:
            inventory: names the probes.
            inventory_digest: for the worker.
            notes: told what went wrong.
        """
        self._inventory = inventory
        self._digest = inventory_digest
        self._notes = notes
        self._measuring: workflow.ActivityHandle[Outage] | None = None
        self._ends = False
        self.outage: Outage | None = None

    def begin(self) -> None:
        """Begin, unless it was begun or there is nothing to measure by."""
        if self._measuring is None and any(probe.outage for probe in self._inventory.probes):
            self._measuring = self._start("watch-the-outage")

    async def end(self) -> bool:
        """End and keep what was measured; whether there is news."""
        if self._measuring is None or self._ends:
            return False
        self._ends = True
        self._measuring.cancel()
        try:
            self.outage = await self._measuring
        except ActivityError as error:
            await self._measure_the_end(error)
        return True

    def _start(self, name: str, so_far: dict[str, JsonValue] | None = None) -> workflow.ActivityHandle[Outage]:
        return workflow.start_activity(
            WATCH_OUTAGE,
            OutageOrder(
                inventory_digest=self._digest,
                cluster=self._inventory.cluster,
                interval=self._inventory.timings.probe,
                so_far=so_far,
            ),
            result_type=Outage,
            activity_id=name,
            summary="Measure the outage by the probes",
            start_to_close_timeout=LONGEST_WATCH,
            heartbeat_timeout=HEARTBEAT,
            # Always at once: what nobody measures is a gap, and what is cancelled between two attempts is lost.
            retry_policy=RetryPolicy(initial_interval=FIRST_RETRY, backoff_coefficient=1.0),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )

    async def _measure_the_end(self, lost: ActivityError) -> None:
        """A worker that died before it heard that it should end is not replaced by the server: ask another one."""
        told = lost.cause.last_heartbeat_details if isinstance(lost.cause, TimeoutExpired) else ()
        watch = self._start("watch-the-outage.2", so_far=told[0] if told else {})
        if not told:
            self._notes.append("the outage was measured, and the measurements are lost with the worker that took them")
        await workflow.sleep(LAST_MEASUREMENTS)
        watch.cancel()
        try:
            self.outage = await watch
        except ActivityError as error:
            why = "nobody was there to report it" if is_cancelled_exception(error) else str(error.cause)
            self.outage = _known(told[0]) if told else None
            to_its_end = " to its end" if self.outage else ""
            self._notes.append(f"the outage could not be measured{to_its_end}: {why}")


def _known(log: JsonValue) -> Outage | None:
    """What was measured before a worker died, by its last heartbeat; None: that tells nothing."""
    try:
        outage = _Log.model_validate(log).outage
    except ValidationError:
        return None
    return outage.model_copy(update={"gaps": (*outage.gaps, "nobody measured its end")})
