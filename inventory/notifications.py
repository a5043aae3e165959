"""Who is told what about a run: by a webhook, by e-mail. A run never depends on whether they could be told."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from inventory.values import SECRET_REFERENCE, AbsolutePath, Address, Duration, Model, Name, Port, SecretRef, Tls

TEMPLATE_FIELDS: Final = (
    "cluster",
    "direction",
    "event",
    "headline",
    "details",
    "next_step",
    "workflow_id",
    "run_id",
    "at",
    "link",
)
"""What a template may name, as `$headline` or `${headline}`; `$$` is a dollar sign."""
SUBJECT: Final = "[$cluster] $headline"
TEXT: Final = """$headline

$details

Next: $next_step

$direction of cluster $cluster, $at
Run $workflow_id $run_id
$link
"""
PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
"""Of mail servers: submission (RFC 6409), submission with TLS from the start (RFC 8314), a relay."""

_URL = re.compile(r"https?://[^\s@]{1,1000}")
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


class Event(StrEnum):
    """What a notification is about."""

    GATE = "gate"
    """A person is to decide whether the run goes on."""
    PROBLEM = "problem"
    """A step did not end well, and waits for a person."""
    TASK = "task"
    """Something only a person can do is due."""
    REMINDER = "reminder"
    """Something waits for a person still, or a gate is past its deadline."""
    END = "end"
    """The run is over, whatever its outcome."""


def _web_address(value: str) -> str:
    # Not repeated: the address of a chat's webhook is a secret.
    if not SECRET_REFERENCE.fullmatch(value) and not _URL.fullmatch(value):
        raise ValueError(
            "no address of a web service; allowed: https://HOST/PATH without blanks, user or password, or env:NAME or "
            "file:/absolute/path where the address itself is a secret"
        )
    return value


def _mail_address(value: str) -> str:
    if not _MAIL_ADDRESS.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is no mail address; allowed: name@example.com, one address, without its name")
    return value


MailAddress = Annotated[str, AfterValidator(_mail_address)]
Template = Annotated[str, Field(min_length=1, max_length=4000)]
Events = Annotated[tuple[Event, ...], Field(min_length=1)]


class Webhook(Model):
    """A web service that takes a JSON object by POST."""

    kind: Literal["webhook"] = "webhook"
    name: Name
    url: Annotated[str, AfterValidator(_web_address)]
    """https, or http on the worker's own machine; or a reference to a secret that holds the address."""
    secret: SecretRef | None = None
    """Key of the signature; None: the requests are not signed."""
    tls: Tls | None = None
    events: Events = tuple(Event)
    text: Template = TEXT


class Email(Model):
    """A mail server, and whom it writes to."""

    kind: Literal["email"] = "email"
    name: Name
    host: Address
    port: Port | None = None
    """None: by `security`, 587, 465 or 25."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca: AbsolutePath | None = None
    """Certificate authority of the mail server; None: the system's."""
    user: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9._@\\-]+$")] | None = None
    password: SecretRef | None = None
    sender: MailAddress
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=50)]
    events: Events = tuple(Event)
    subject: Template = SUBJECT
    text: Template = TEXT

    @property
    def used_port(self) -> int:
        """The port as given, or the usual one."""
        return self.port or PORTS[self.security]


Target = Annotated[Webhook | Email, Field(discriminator="kind")]


class Notifications(Model):
    """Who is told, and how soon they are reminded."""

    reminder: Duration = timedelta(minutes=30)
    """After so long the first; each later one after twice the time, at most a day."""
    targets: Annotated[tuple[Target, ...], Field(max_length=8)] = ()

    def target(self, name: str) -> Webhook | Email | None:
        """The target of that name, if there is one."""
        return next((target for target in self.targets if target.name == name), None)

    def wanting(self, event: Event) -> tuple[Webhook | Email, ...]:
        """Who is to be told of an event."""
        return tuple(target for target in self.targets if event in target.events)
