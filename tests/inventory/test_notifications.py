"""Who is told: as the reference shows it, and that an inventory without it stays the same one."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from inventory.digest import digest
from inventory.loading import load, parse
from inventory.models import Inventory
from inventory.notifications import Email, Event, Notifications, Webhook
from tests.inventory.bad_inventories import COMMENTED, REFERENCE, TOLD

HISTORY = Path(__file__).parents[1] / "replay" / "histories" / "completed-vm-host-1.json"


def told(text: str = TOLD) -> Inventory:
    return parse(REFERENCE.read_text().replace("# notifications:\n" + COMMENTED, text))


def test_the_reference_shows_what_can_be_used() -> None:
    webhook, email = told().notifications.targets
    assert isinstance(webhook, Webhook)
    assert isinstance(email, Email)
    assert (webhook.events, email.used_port) == (tuple(Event), 587)
    assert told().notifications.wanting(Event.REMINDER) == (webhook,)
    assert told().notifications.target("operators") == email
    assert told().notifications.target("nobody") is None


def test_what_the_reference_leaves_out_is_the_default() -> None:
    assert told().notifications.reminder == Notifications().reminder
    every_comment = re.sub(r"(?m)^( *)# ", r"\1", TOLD)
    assert len(told(every_comment).notifications.targets) == 2


@pytest.mark.parametrize(
    "url",
    [
        "env:FAILOVER_CHANNEL",
        "file:/etc/failover/channel",
        "http://127.0.0.1:9000/hook",
        "http://localhost/hook",
        "http://[::1]:80/hook",
        "https://hooks.example.com:8443/a/b?room=7",
    ],
)
def test_addresses_of_webhooks(url: str) -> None:
    webhook = told(TOLD.replace("https://hooks.example.com/failover", f'"{url}"')).notifications.targets[0]
    assert isinstance(webhook, Webhook)
    assert webhook.url == url


def test_an_inventory_without_them_has_the_digest_that_it_had_before_there_were_any() -> None:
    events = json.loads(HISTORY.read_text(encoding="utf-8"))["events"]
    request = payload(events[0]["workflowExecutionStartedEventAttributes"])
    first = next(e for e in events if "activityTaskScheduledEventAttributes" in e)
    order = payload(first["activityTaskScheduledEventAttributes"])
    assert digest(Inventory.model_validate(request["inventory"])) == order["inventory_digest"]


def payload(attributes: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64decode(attributes["input"]["payloads"][0]["data"])
    decoded: dict[str, Any] = json.loads(data)
    return decoded


def test_a_section_that_says_nothing_new_makes_no_difference_to_the_digest() -> None:
    bare = load(REFERENCE)
    assert digest(told("notifications: {reminder: 30m, targets: []}\n")) == digest(bare)
    assert digest(told("notifications: {reminder: 31m}\n")) != digest(bare)
    assert digest(told()) not in (digest(bare), digest(told(TOLD.replace("on-call", "night-shift"))))


def test_survives_being_written_down() -> None:
    text = yaml.safe_dump(told().model_dump(mode="json", exclude_none=True))
    assert parse(text) == told()
