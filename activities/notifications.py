"""The activity that tells one target of one notice. Nothing depends on it: what goes wrong is a note of the run."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from temporalio import activity

from activities import mail, webhooks
from activities.errors import Permanent
from activities.failures import as_failures
from inventory.models import Inventory
from inventory.notifications import Email, Webhook
from procedure.notices import address_of_run
from procedure.orders import NOTIFY, NotifyOrder

LOGGER: Final = logging.getLogger(__name__)


class NotificationActivities:
    """Tells those whom the inventory names."""

    def __init__(self, inventory: Inventory, web_ui: str = "") -> None:
        """Make the activity of a cluster.

        Args:
            inventory: names the targets and their secrets.
            web_ui: address of Temporal's Web UI, for the link to the run; empty: no link.
        """
        self._inventory = inventory
        self._web_ui = web_ui

    def all(self) -> list[Callable[..., Awaitable[Any]]]:
        """For `temporalio.worker.Worker(activities=...)`."""
        return [self.notify]

    @activity.defn(name=NOTIFY)
    async def notify(self, order: NotifyOrder) -> str:
        """Tell one target, once; Temporal tries again what is transient."""
        info, notice = activity.info(), order.notice
        log = logging.LoggerAdapter(LOGGER, {"run": notice.workflow_id, "step": info.activity_id})
        # Never the last attempt: the run gives up by time, not by count.
        with as_failures(order.target, f"{order.target} is told", log, last_attempt=False):
            target = self._target(order)
            link = address_of_run(self._web_ui, info.workflow_namespace or "", notice.workflow_id, notice.run_id)
            if isinstance(target, Webhook):
                answer = await webhooks.post(target, notice, link, self._inventory.timings)
            else:
                answer = await mail.send(target, notice, link, self._inventory.timings)
            log.info("%s was told of the %s: %s", target.name, notice.event.value, answer)
            return answer

    def _target(self, order: NotifyOrder) -> Webhook | Email:
        target = self._inventory.notifications.target(order.target)
        if order.cluster != self._inventory.cluster or target is None:
            words = f"the inventory of this worker (cluster {self._inventory.cluster}) has no such target"
            raise Permanent(order.target, words, "restart the worker with the inventory the run was started with")
        return target
