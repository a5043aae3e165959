"""Monitoring: silences of an Alertmanager (API v2), of Nagios (`activities.nagios`), or of a person.

One silence per machine, so that each side can be given back on its own. Only silences made by this product, known by
their creator, are seen, extended or lifted. A silence is never shortened by silencing again.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from activities.errors import NotUnderstood, Permanent, Rejected, shortened
from activities.hands import Act, Observe, Observed, System
from activities.nagios import NagiosSystem
from activities.secrets import resolve
from activities.shell import Shell
from activities.web import beginning, client, extensions, refuse_status, translating
from inventory.models import AlertmanagerMonitoring, Inventory, NagiosMonitoring
from procedure.facts import Silence, SilencesFact
from procedure.instructions import CreateSilence, LiftSilence
from procedure.subjects import Silences

SERVICE: Final = "monitoring server"
CREATOR: Final = "controlled-failover"
"""`createdBy` of the product's own silences."""
MAX_ANSWER: Final = 16_000_000
"""Bytes of an answer: some 30,000 silences, of which Alertmanager keeps ended ones for five days."""
CLOCKS_APART: Final = timedelta(minutes=5)
"""A silence begins this much earlier than now, which Alertmanager reads as now: with a clock that is behind the
worker's it would else begin later."""


class _Api(BaseModel):
    """Of Alertmanager's API: a newer version may tell more."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class _Matcher(_Api):
    name: str
    value: str
    is_regex: Annotated[bool, Field(alias="isRegex")]
    is_equal: Annotated[bool, Field(alias="isEqual")] = True
    """Alertmanager tells it from 0.22 on; before, every matcher was one of equality."""


class _Status(_Api):
    state: Literal["active", "pending", "expired"]


class _Silence(_Api):
    id: str
    status: _Status
    comment: str
    created_by: Annotated[str, Field(alias="createdBy")]
    starts_at: Annotated[str, Field(alias="startsAt")]
    """As written: an extended silence must begin at exactly the same time to stay the same one."""
    ends_at: Annotated[datetime, Field(alias="endsAt")]
    matchers: list[_Matcher]


_SILENCES = TypeAdapter(list[_Silence])
_Own = list[tuple[str, _Silence]]
"""Machine and silence."""


class AlertmanagerSystem:
    """Silences of an Alertmanager."""

    def __init__(self, inventory: Inventory, settings: AlertmanagerMonitoring) -> None:
        self._settings = settings
        self._timings = inventory.timings
        self._machines = {_pattern(machine.name): machine.name for machine in inventory.machines}
        self._client: httpx.AsyncClient | None = None
        self._retired: list[httpx.AsyncClient] = []

    def observers(self) -> dict[type[Any], Observe]:
        """`Silences`."""
        return {Silences: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """`CreateSilence`, `LiftSilence`."""
        return {CreateSilence: self.create, LiftSilence: self.lift}

    async def close(self) -> None:
        """Close connections."""
        for each in (*self._retired, *([self._client] if self._client else [])):
            await each.aclose()
        self._retired.clear()
        self._client = None

    async def observe(self, _: Silences) -> Observed:
        """The product's own silences that are in force.

        Raises:
            SystemTrouble: it can't be told.
        """
        silences = tuple(
            Silence(id=silence.id, machines=(machine,), until=silence.ends_at, comment=shortened(silence.comment))
            for machine, silence in await self._own()
        )
        return SilencesFact(silences=silences), f"GET {self._url('silences')}"

    async def create(self, instruction: CreateSilence) -> str:
        """Silence machines, or make their silence longer.

        Raises:
            SystemTrouble: not all of it was done, or nobody knows.
        """
        until = datetime.now(UTC) + instruction.duration
        longest = _longest(await self._own())
        changed = [
            await self._silence(machine, longest.get(machine), until, instruction.comment)
            for machine in instruction.machines
            if not _long_enough(longest.get(machine), until)
        ]
        return f"{len(changed)} of {len(instruction.machines)} machines silenced until {_written(until)}"

    async def lift(self, instruction: LiftSilence) -> str:
        """End the product's own silences of machines.

        Raises:
            SystemTrouble: not all of it was done, or nobody knows.
        """
        own = [silence for machine, silence in await self._own() if machine in instruction.machines]
        for silence in own:
            await self._ask("DELETE", f"silence/{silence.id}")
        return f"{len(own)} silences lifted"

    async def _silence(self, machine: str, before: _Silence | None, until: datetime, comment: str) -> str:
        matcher = {"name": self._settings.label, "value": _pattern(machine), "isRegex": True, "isEqual": True}
        body = {
            "matchers": [matcher],
            "startsAt": before.starts_at if before else _written(datetime.now(UTC) - CLOCKS_APART),
            "endsAt": _written(until),
            "createdBy": CREATOR,
            "comment": comment,
        }
        if before:
            body["id"] = before.id
        return (await self._ask("POST", "silences", body)).text

    async def _own(self) -> _Own:
        """The product's own silences in force, each with the machine it is about."""
        answer = await self._ask("GET", "silences")
        try:
            silences = _SILENCES.validate_json(answer.content)
        except ValidationError:
            # Without the cause: it would repeat what others wrote there.
            words = f"GET {self._url('silences')} answered no list of silences: {shortened(answer.text, 120)}"
            raise NotUnderstood(SERVICE, words, "check that the URL is an Alertmanager's, 0.16 or newer") from None
        return [
            (machine, silence)
            for silence in silences
            if silence.created_by == CREATOR and silence.status.state == "active"
            if (machine := self._machine(silence.matchers)) is not None
        ]

    def _machine(self, matchers: list[_Matcher]) -> str | None:
        """The machine of a silence made here. One with further conditions silences less, so it does not count."""
        if len(matchers) != 1 or matchers[0].name != self._settings.label:
            return None
        matcher = matchers[0]
        return self._machines.get(matcher.value) if matcher.is_regex and matcher.is_equal else None

    async def _ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> httpx.Response:
        asked = f"{method} {self._url(what)}"
        limit = self._timings.command.total_seconds()
        try:
            with translating(SERVICE, asked):
                # In all: the client's own time-outs are for each part of an answer, which may come drop by drop.
                async with asyncio.timeout(limit):
                    answer = await self._answer(method, self._url(what), body)
            refuse_status(SERVICE, asked, answer)
        except Rejected:
            # What is mended then, a password or an authority, counts at the next try.
            if self._client:
                self._retired.append(self._client)  # others may be asking with it at this moment
                self._client = None
            raise
        return answer

    async def _answer(self, method: str, url: str, body: dict[str, Any] | None) -> httpx.Response:
        asked = self._connected().stream(
            method, url, json=body, auth=self._auth(), extensions=extensions(self._settings.tls)
        )
        async with asked as answer:
            content = await beginning(answer, MAX_ANSWER)
        if len(content) > MAX_ANSWER:
            raise NotUnderstood(SERVICE, f"{method} {url} answers more than {MAX_ANSWER} bytes", "lift old silences")
        # Without its request, which holds the password.
        return httpx.Response(answer.status_code, content=content)

    def _auth(self) -> httpx.BasicAuth | None:
        """Read anew each time: a corrected password counts at the next try."""
        if not self._settings.user or not self._settings.password:
            return None
        return httpx.BasicAuth(self._settings.user, resolve(self._settings.password, SERVICE).get_secret_value())

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = client(SERVICE, tls=self._settings.tls, timeout=self._timings.connect)
        return self._client

    def _url(self, what: str) -> str:
        return f"{self._settings.url.rstrip('/')}/api/v2/{what}"


class ManualMonitoringSystem:
    """A person silences and restores monitoring; nothing can be observed."""

    def observers(self) -> dict[type[Any], Observe]:
        """`Silences`."""
        return {Silences: self.observe}

    def actors(self) -> dict[type[Any], Act]:
        """`CreateSilence` and `LiftSilence`, which are both refused."""
        return {CreateSilence: self.refuse, LiftSilence: self.refuse}

    async def close(self) -> None:
        """Nothing is open."""

    async def observe(self, _: Silences) -> Observed:
        """That a person does it."""
        return SilencesFact(by_hand=True), "the inventory: monitoring is silenced by a person"

    async def refuse(self, instruction: CreateSilence | LiftSilence) -> str:
        """Say that only a person can do it.

        Raises:
            Permanent: always.
        """
        raise Permanent(SERVICE, "monitoring is silenced by a person here", f"do it by hand: {instruction.text}")


def monitoring_system(inventory: Inventory, shell: Shell) -> System:
    """The system of the inventory's provider: each observes `Silences`, and creates and lifts them."""
    if isinstance(inventory.monitoring, AlertmanagerMonitoring):
        return AlertmanagerSystem(inventory, inventory.monitoring)
    if isinstance(inventory.monitoring, NagiosMonitoring):
        return NagiosSystem(inventory, inventory.monitoring, shell)
    return ManualMonitoringSystem()


def _pattern(machine: str) -> str:
    """A machine's name in the label, with or without a port. Alertmanager's patterns are anchored and RE2."""
    return f"^({re.escape(machine)})(:[0-9]+)?$"


def _longest(own: _Own) -> dict[str, _Silence]:
    return {machine: silence for machine, silence in sorted(own, key=lambda one: one[1].ends_at)}


def _long_enough(silence: _Silence | None, until: datetime) -> bool:
    # A second less is the same: the time was taken a moment ago, and Alertmanager keeps milliseconds.
    return silence is not None and silence.ends_at >= until - timedelta(seconds=1)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
