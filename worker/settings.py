"""Settings of the worker: from a TOML file and from the environment, which wins. Unknown keys are refused."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from inventory.models import Inventory
from inventory.values import Duration, show_duration

PREFIX = "FAILOVER_"
FILE_VARIABLE = "FAILOVER_SETTINGS"
OTHERS = (FILE_VARIABLE,)
"""Variables of the product that are no settings of the worker."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what is compared with, nothing is bound
_WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_BIND = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})")


def _bind_address(value: str) -> str:
    match = _BIND.fullmatch(value)
    if value and (match is None or int(match["port"]) > 65535):
        raise ValueError(f"{value!r} is no address; allowed: HOST:PORT, for example 127.0.0.1:9465, or empty for none")
    return value


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a bind address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _of_numbers(value: str) -> str:
    """The SDK resolves no names where it listens."""
    if value:
        try:
            ipaddress.ip_address(split_address(value)[0])
        except ValueError:
            raise ValueError(
                f"{value!r} has a name for its host; allowed: IP:PORT, for example 127.0.0.1:9464, or empty for none"
            ) from None
    return value


def _meet(one: str, other: str) -> bool:
    """Whether two bind addresses are, or include, the same; port 0 is a free one each time."""
    (host, port), (other_host, other_port) = split_address(one), split_address(other)
    same = host == other_host or not {host, other_host}.isdisjoint(_EVERYWHERE)
    return port == other_port != 0 and same


def _web_ui(value: str) -> str:
    if value and not _WEB_ADDRESS.fullmatch(value):
        # Not repeated: it may hold a password.
        raise ValueError("no address of a web page; allowed: https://HOST, optionally with port and path, or empty")
    return value


BindAddress = Annotated[str, AfterValidator(_bind_address)]
NumericBindAddress = Annotated[BindAddress, AfterValidator(_of_numbers)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["json", "text"]


class Settings(BaseModel):
    """What a worker needs to know beside the inventory and the Temporal profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    inventory: Annotated[Path, Field(strict=False)]
    """File of the cluster's inventory."""
    metrics: NumericBindAddress = "127.0.0.1:9464"
    """Where Prometheus finds the metrics; empty: nowhere."""
    health: Annotated[BindAddress, Field(validate_default=True)] = "127.0.0.1:9465"
    """Where /healthz and /readyz answer; empty: nowhere."""
    log_format: LogFormat = "json"
    log_level: LogLevel = "INFO"
    identity: Annotated[str, Field(max_length=200)] = ""
    """Name in the Web UI; empty: host, role and process id."""
    web_ui: Annotated[str, AfterValidator(_web_ui)] = ""
    """Address of Temporal's Web UI, for the link in notifications; empty: they have none."""
    max_concurrent_activities: Annotated[int, Field(ge=20, le=1000)] = 100
    """Steps at the same time. With few of them, what lasts as long as the run (the watch on the outage) leaves no place
    for its steps. The reference cluster has 20 machines, each with a few components."""
    graceful_shutdown: Duration = timedelta(seconds=30)
    """Time for running steps to end when the worker is asked to stop; another worker takes on the rest."""

    @field_validator("health")
    @classmethod
    def _beside_the_metrics(cls, health: str, info: ValidationInfo) -> str:
        metrics = info.data.get("metrics")
        if health and metrics and _meet(health, metrics):
            raise ValueError(f"{health} is taken by metrics ({metrics}); allowed: another HOST:PORT, or empty for none")
        return health


class BadSettings(Exception):
    """Settings can't be used: all that is wrong, one problem a line, each with what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.upper()


def shown(default: object) -> str:
    """A default as it would be written."""
    return show_duration(default) if isinstance(default, timedelta) else str(default)


def load(environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: `FAILOVER_…` variables are read, all others are not ours.
        file: a TOML file; None: the one that `FAILOVER_SETTINGS` names, if any.

    Raises:
        BadSettings: with everything that is wrong.
    """
    path = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    from_file = _read(path) if path else {}
    from_environment = {
        key: environment[variable(key)] for key in Settings.model_fields if variable(key) in environment
    }
    try:
        return Settings.model_validate({**from_file, **from_environment})
    except ValidationError as error:
        raise BadSettings(_problem(detail, from_environment, path) for detail in error.errors()) from None


def secret_references(inventory: Inventory) -> tuple[str, ...]:
    """All that an inventory names as `env:NAME` or `file:/path`."""
    found = re.findall(r'"(env:[A-Za-z_][A-Za-z0-9_]*|file:/[^"\\]+)"', inventory.model_dump_json())
    return tuple(dict.fromkeys(found))


def refuse_unknown(environment: Mapping[str, str], inventory: Inventory) -> None:
    """Refuse `FAILOVER_…` variables that nobody reads: neither a setting nor a secret that the inventory names.

    Raises:
        BadSettings: a mistyped variable would otherwise be a setting that silently does not hold.
    """
    secrets = [reference.removeprefix("env:") for reference in secret_references(inventory)]
    known = {*map(variable, Settings.model_fields), *OTHERS, *secrets}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        settings = ", ".join(map(variable, Settings.model_fields))
        raise BadSettings(
            f"{name}: no setting, and no secret that the inventory names; allowed: {settings}" for name in unknown
        )


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise BadSettings([f"{path}: can't be read: {error.strerror}; allowed: a TOML file"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings([f"{path}: no TOML: {error}; allowed: lines like  inventory = '/etc/…'"]) from None


def _problem(detail: ErrorDetails, from_environment: Mapping[str, str], path: Path | None) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    where = variable(key) if key in from_environment or path is None else f"{path}: {key}"
    if detail["type"] == "missing":
        return f"{where}: missing; allowed: {allowed(key)} (set {variable(key)}, or `{key}` in the settings file)"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown; allowed: {', '.join(Settings.model_fields)}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" + ("" if "allowed" in message else f"; allowed: {allowed(key)}")


def allowed(key: str) -> str:
    """What a setting may hold, in words."""
    words = {
        "inventory": "the path of an inventory file",
        "metrics": "IP:PORT, or empty for none",
        "log_format": "json, text",
        "log_level": "DEBUG, INFO, WARNING, ERROR",
        "identity": "name in the Web UI; empty: host, role and process id",
        "web_ui": "https://HOST, optionally with port and path, or empty for none",
        "max_concurrent_activities": "a whole number from 20 to 1000",
        "graceful_shutdown": "for example 30s, 2m",
    }
    return words.get(key, "HOST:PORT, or empty for none")
