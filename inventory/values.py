"""Small values that inventories are made of: names, addresses, durations, references to secrets, TLS."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,127}")
RESOURCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
NAGIOS_HOST_NAME = re.compile(r"[^\x00-\x1f`~!$%^&*|'\"<>?,()=;]{1,255}")
"""Without what Nagios itself refuses in names (illegal_object_name_chars), and without the `;` of its commands."""
ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,39}")
ABSOLUTE_PATH = re.compile(r"/[A-Za-z0-9 ._/@+-]{0,254}")
SECRET_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\x00\n]{1,254}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
LONGEST_DURATION = 40
"""Characters. More is no duration, and would be slow to search and too large a number."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Model(BaseModel):
    """Base of every inventory value: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _matching(pattern: re.Pattern[str], what: str, allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is no {what}; allowed: {allowed}")
        return value

    return AfterValidator(check)


def _secret_reference(value: str) -> str:
    # The value itself is not repeated: it may be the secret.
    if not SECRET_REFERENCE.fullmatch(value):
        raise ValueError("a secret in clear is not allowed here; allowed: env:NAME or file:/absolute/path")
    return value


_TOO_LONG = timedelta(days=9999).total_seconds()  # refused later, as every duration of more than 90 days


def parse_duration(value: object) -> object:
    """Read ``90s``, ``15m``, ``2h``, ``1h 30m`` (or ISO 8601, left to pydantic).

    Raises:
        ValueError: a bare number, which has no unit, or text that is no duration.
    """
    if isinstance(value, bool | int | float):
        raise ValueError(f"{value} has no unit; allowed: for example 30s, 5m, 2h, 500ms")  # noqa: TRY004 - pydantic reports ValueError
    if isinstance(value, str) and len(value) > LONGEST_DURATION:
        raise ValueError("this is no duration; allowed: for example 30s, 5m, 2h, 1h 30m, 500ms")
    if isinstance(value, str) and not value.startswith("P"):
        parts = _DURATION.findall(value)
        if not parts or _DURATION.sub("", value).strip():
            raise ValueError(f"{value!r} is no duration; allowed: for example 30s, 5m, 2h, 1h 30m, 500ms")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return timedelta(seconds=min(seconds, _TOO_LONG))
    return value


def _positive(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= timedelta(days=90):
        raise ValueError("a duration must be longer than nothing and at most 90d")
    return value


def show_duration(value: timedelta) -> str:
    """Write a duration the way an inventory is written: ``1h 30m``, ``45s``, ``500ms``."""
    left = round(value.total_seconds() * 1000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def _schema(pattern: str, description: str, **more: object) -> WithJsonSchema:
    # Editors check what they can: validators written in Python don't show in a schema by themselves.
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": description, **more})


def _shown(pattern: re.Pattern[str], description: str) -> WithJsonSchema:
    return _schema(f"^(?:{pattern.pattern})$", description)


Name = Annotated[
    str,
    _matching(NAME, "name", "letters, digits, dot, hyphen, underscore; at most 63"),
    _shown(NAME, "A name: letters, digits, dot, hyphen, underscore; at most 63"),
]
ServiceName = Annotated[
    str,
    _matching(SERVICE_NAME, "service name", "letters, digits, space, dot, hyphen, underscore, @; at most 128"),
    _shown(SERVICE_NAME, "A service name: letters, digits, space, dot, hyphen, underscore, @; at most 128"),
]
ResourceName = Annotated[
    str,
    _matching(RESOURCE_NAME, "resource name", "letters, digits, dot, hyphen, underscore"),
    _shown(RESOURCE_NAME, "A resource name: letters, digits, dot, hyphen, underscore"),
]
NagiosHostName = Annotated[
    str,
    _matching(NAGIOS_HOST_NAME, "host_name of Nagios", "whatever Nagios allows, so none of `~!$%^&*|'\"<>?,()=;"),
    _shown(NAGIOS_HOST_NAME, "A host_name of Nagios"),
]
Address = Annotated[
    str,
    _matching(ADDRESS, "address", "an IPv4 or IPv6 address or a host name"),
    _shown(ADDRESS, "An IPv4 or IPv6 address or a host name"),
]
AbsolutePath = Annotated[
    str,
    _matching(ABSOLUTE_PATH, "absolute path", "/ and letters, digits, space and . _ - @ +"),
    _shown(ABSOLUTE_PATH, "An absolute path"),
]
SecretRef = Annotated[
    str,
    AfterValidator(_secret_reference),
    _shown(SECRET_REFERENCE, "A reference to a secret: env:NAME or file:/absolute/path; never the secret itself"),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(show_duration, return_type=str, when_used="json"),
    _schema(
        r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$",
        "A duration with its unit: 500ms, 30s, 5m, 2h, 1h 30m",
        examples=["30s", "5m", "1h 30m"],
    ),
]


class Tls(Model):
    """TLS towards a service. Verification can't be switched off."""

    ca: AbsolutePath | None = None
    """None: the system's certificate authorities."""
    server_name: Address | None = None
    """Name in the certificate where it is not the address."""
