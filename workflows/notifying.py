"""Tells people what happens in a run, beside it: a run neither waits for them nor fails with them.

Where nobody is to be told nothing is begun here, not even a timer. So runs that began before there were notifications
replay as they were, without a patch: their inventory names nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from inventory.models import Inventory
    from inventory.notifications import Email, Event, Webhook
    from procedure.notices import Notice, cut, one_line
    from procedure.orders import NOTIFY, NotifyOrder
    from workflows import names, news
    from workflows.news import News
    from workflows.problems import problem_of
    from workflows.so_far import Mark
    from workflows.status import RunReport, Wait

FIRST_RETRY = timedelta(seconds=1)
LONGEST_RETRY = timedelta(minutes=5)
GIVEN_UP = timedelta(hours=1)
"""Of trying: what happened an hour ago is told by the next reminder."""
MARGIN = timedelta(seconds=10)
"""Added to the time-outs of the inventory: for a worker to begin and to report."""
AT_THE_END = timedelta(seconds=10)
"""What is still being told when the run is over gets so long, four tries; then the run ends without."""
LONGEST_PAUSE = timedelta(days=1)
"""Between two reminders: a gate may be open for weeks, and each reminder stays in the history of the run."""
MOST = 200
"""Notices of one run: far more than a run that goes well or badly has, few enough for its history."""

Target = Webhook | Email


class Notifier:
    """Tells what a run waits for, and its end."""

    def __init__(self, inventory: Inventory, direction: str, waits: Callable[[], tuple[Wait, ...]]) -> None:
        """Tell nothing yet.

        Args:
            inventory: of the run; names who is told.
            direction: of the run, for example failover.
            waits: tells what waits for a person now.
        """
        self._inventory = inventory
        self._wanted = inventory.notifications
        self._direction = direction
        self._address = names.address(inventory.cluster, maintenance=direction == "maintenance")
        self._waits = waits
        self._told: dict[Mark, None] = {}
        """In order, as a set would not be."""
        self._count = 0
        self._under_way: dict[asyncio.Task[None], tuple[Target, Notice]] = {}
        self._missed: dict[str, tuple[int, str]] = {}
        """By target: of how much it was not told, and what of the last of these is to be said."""
        self._reminding: asyncio.Task[None] | None = None

    def take_over(self, told: tuple[Mark, ...]) -> None:
        """That was told already, by the run that this one goes on for."""
        self._told |= dict.fromkeys(told)

    def carried_over(self) -> tuple[Mark, ...]:
        """What was told of what waits still, for the run that goes on for this one."""
        waiting = self._waiting()
        return tuple(mark for mark in self._told if mark[:2] in waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being told."""
        return not self._under_way

    def begin(self) -> None:
        """Remind from now on, if anybody wants to be reminded."""
        if self._wanted.wanting(Event.REMINDER):
            self._reminding = asyncio.create_task(self._keep_reminding())

    def look(self) -> None:
        """Tell what has begun to wait since the last look. Call it whenever something may have changed."""
        if not self._wanted.targets:
            return
        for wait in self._waits():
            self._tell_once((wait.step, wait.since, False), news.of_wait(wait, self._address))
            if wait.overdue:
                self._tell_once((wait.step, wait.since, True), news.of_overdue(wait, self._address))

    async def finish(self, report: RunReport) -> None:
        """Tell the end, and wait a moment for what is still being told."""
        if self._reminding is not None:
            self._reminding.cancel()
        self._tell(news.of_end(report))
        if not self._under_way:
            return
        try:
            await workflow.wait_condition(
                lambda: not self._under_way, timeout=AT_THE_END, timeout_summary="Until the end is told"
            )
        except (TimeoutError, asyncio.CancelledError):  # who cancels a run that is over means just this wait
            for target, notice in self._under_way.values():
                self._miss(target, notice, "it was not taken before the run ended")
            # They are left to themselves: for a run that is over Temporal tries nothing again.
            self._under_way.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """Who was not told; one note for each."""
        return tuple(
            f"{target} was not told {'of 1 thing' if count == 1 else f'of {count} things'}, the last: {last}"
            for target, (count, last) in self._missed.items()
        )

    def _tell_once(self, mark: Mark, told: News) -> None:
        if mark not in self._told:
            self._told[mark] = None
            self._tell(told)

    def _tell(self, told: News) -> None:
        targets = self._wanted.wanting(told.event)
        if not targets:
            return
        self._count += 1
        notice = self._notice(told)
        for target in targets:
            if self._count > MOST and told.event is not Event.END:
                self._miss(target, notice, f"a run tells {MOST} things, and its end")
            else:
                task = asyncio.create_task(self._deliver(target, notice))
                self._under_way[task] = (target, notice)
                task.add_done_callback(lambda done: self._under_way.pop(done, None))

    def _notice(self, told: News) -> Notice:
        info = workflow.info()
        return Notice(
            id=f"{info.run_id}.{self._count}",
            event=told.event,
            cluster=self._inventory.cluster,
            direction=self._direction,
            headline=one_line(told.headline),
            details=cut(told.details),
            next_step=told.next_step,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            at=workflow.now(),
        )

    async def _deliver(self, target: Target, notice: Notice) -> None:
        timings = self._inventory.timings
        number = notice.id.rpartition(".")[2]
        try:
            await workflow.execute_activity(
                NOTIFY,
                NotifyOrder(cluster=notice.cluster, target=target.name, notice=notice),
                result_type=str,
                activity_id=f"notify-{number}-{target.name}",
                summary=one_line(f"Tell {target.name}: {notice.headline}"),
                start_to_close_timeout=timings.connect + timings.command + MARGIN,
                schedule_to_close_timeout=GIVEN_UP,
                retry_policy=RetryPolicy(initial_interval=FIRST_RETRY, maximum_interval=LONGEST_RETRY),
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            )
        except ActivityError as error:
            self._miss(target, notice, problem_of(error, target.name, "it is told").seen)

    def _miss(self, target: Target, notice: Notice, why: str) -> None:
        who = f"{target.kind} {target.name}"
        count, _ = self._missed.get(who, (0, ""))
        self._missed[who] = (count + 1, f"“{notice.headline}”: {why}")

    async def _keep_reminding(self) -> None:
        while True:
            await workflow.wait_condition(lambda: bool(self._waits()))
            await self._remind_of(self._waiting())

    async def _remind_of(self, waiting: frozenset[tuple[str, datetime]]) -> None:
        """Remind, ever more seldom, until somebody answers or something else begins to wait."""
        since = max(began for _, began in waiting)
        while self._waiting() == waiting:
            try:
                await workflow.wait_condition(
                    lambda: self._waiting() != waiting,
                    timeout=until_reminder(self._wanted.reminder, workflow.now() - since),
                    timeout_summary="Until the next reminder",
                )
            except TimeoutError:
                self._tell(news.of_what_waits_still(self._waits(), self._address, workflow.now()))

    def _waiting(self) -> frozenset[tuple[str, datetime]]:
        return frozenset((wait.step, wait.since) for wait in self._waits())


def until_reminder(first: timedelta, waited: timedelta) -> timedelta:
    """How long until the next reminder of what has waited for so long.

    It follows from the time alone, so that a run that goes on for another one reminds as that one would have.
    """
    due, pause = first, first
    while due <= waited:
        pause = min(2 * pause, max(LONGEST_PAUSE, first))
        due += pause
    return due - waited
