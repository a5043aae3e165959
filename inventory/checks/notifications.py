"""Who is told about a run: each by a name of its own, over a connection that others can't read, in words that exist."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address

from inventory.checks.common import repeated, split_address, web_address
from inventory.models import Inventory
from inventory.notifications import TEMPLATE_FIELDS, Email, Webhook
from inventory.problems import Finding, Path, one_of
from inventory.values import SECRET_REFERENCE, show_duration

# Who is reminded more often than that stops reading.
_SHORTEST_REMINDER = timedelta(minutes=1)


def names(inventory: Inventory) -> Iterator[Finding]:
    """Each target has a name of its own: by it a worker finds it, and a note tells of it."""
    entries: list[tuple[Path, str]] = [
        ((*_path(index), "name"), target.name) for index, target in enumerate(inventory.notifications.targets)
    ]
    yield from repeated(entries, "target")


def events(inventory: Inventory) -> Iterator[Finding]:
    """An event is told once."""
    for index, target in enumerate(inventory.notifications.targets):
        yield from repeated(
            [((*_path(index), "events", position), event.value) for position, event in enumerate(target.events)],
            "event",
        )


def web_addresses(inventory: Inventory) -> Iterator[Finding]:
    """What is told names machines and what is wrong with them, so it leaves the worker's machine by TLS alone."""
    for index, target in enumerate(inventory.notifications.targets):
        if isinstance(target, Webhook) and not SECRET_REFERENCE.fullmatch(target.url):
            path = (*_path(index), "url")
            yield from web_address(path, target.url, target.tls)
            if not is_private(target.url):
                wrong = "the address begins with http:, so that others can read what is told"
                yield Finding(
                    path, wrong, "https://, or http:// to the worker's own machine (127.0.0.1, ::1, localhost)"
                )


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent to an address: by TLS, or since it stays on the machine."""
    parts = split_address(url)
    if parts is None or parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mail_access(inventory: Inventory) -> Iterator[Finding]:
    """A mail server is asked with user and password, or without both; an authority is for TLS."""
    for index, target in enumerate(inventory.notifications.targets):
        if not isinstance(target, Email):
            continue
        if (target.user is None) != (target.password is None):
            given = "user" if target.user else "password"
            yield Finding((*_path(index), given), "user and password only make sense together", "both, or none of them")
        if target.ca and target.security == "none":
            wrong = "`ca` is given, but the mail server is spoken to without TLS"
            yield Finding((*_path(index), "ca"), wrong, "`security: starttls` or `tls`, or no `ca`")


def templates(inventory: Inventory) -> Iterator[Finding]:
    """A template names only what is known of an event."""
    for index, target in enumerate(inventory.notifications.targets):
        yield from _template((*_path(index), "text"), target.text)
        if isinstance(target, Email):
            yield from _template((*_path(index), "subject"), target.subject)
            if "\n" in target.subject.strip():
                yield Finding((*_path(index), "subject"), "a subject of several lines", "one line")


def _template(path: Path, text: str) -> Iterator[Finding]:
    template = string.Template(text)
    if not template.is_valid():
        wrong = "a $ that is followed by no name"
        yield Finding(path, wrong, f"$NAME, ${{NAME}}, or $$ for a dollar sign; {one_of(TEMPLATE_FIELDS)}")
        return
    for name in template.get_identifiers():
        if name not in TEMPLATE_FIELDS:
            yield Finding(path, f"${name} is not known here", one_of(TEMPLATE_FIELDS, name))


def reminder(inventory: Inventory) -> Iterator[Finding]:
    """Reminders come seldom enough to be read."""
    pause = inventory.notifications.reminder
    if pause < _SHORTEST_REMINDER:
        wrong = f"{show_duration(pause)} is so short that nobody would read them any more"
        yield Finding(("notifications", "reminder"), wrong, f"at least {show_duration(_SHORTEST_REMINDER)}")


def _path(index: int) -> Path:
    return ("notifications", "targets", index)


CHECKS = (names, events, web_addresses, mail_access, templates, reminder)
