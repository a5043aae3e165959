"""An Alertmanager with the silences of API v2, its validation and its words; alerts and routing are not simulated.

Behaviour after Alertmanager 0.28: `api/v2/api.go` (answers), `silence/silence.go` (validation, update, expiry).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web

from lab.certificates import ServerCertificate
from lab.listening import Endpoint, Gate, HttpListener

Clock = Callable[[], datetime]
State = Literal["active", "pending", "expired"]

_SILENCES = "/api/v2/silences"
_SILENCE = re.compile(r"/api/v2/silence/(?P<identity>[^/]+)")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FILTER = re.compile(r'\s*\{?\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*\}?\s*', re.DOTALL)
# Order of the list: what is in force first.
_STATE_ORDER = {"active": 0, "pending": 1, "expired": 2}


class _RefusedError(Exception):
    def __init__(self, status: int, body: object) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


@dataclass(frozen=True)
class Matcher:
    """One condition on an alert's label."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    def matches(self, text: str) -> bool:
        """Whether a label of this value (empty: no such label) satisfies it."""
        found = re.fullmatch(self.value, text) is not None if self.is_regex else self.value == text
        return found == self.is_equal

    def as_json(self) -> dict[str, object]:
        """The matcher as the API shows it."""
        return {"name": self.name, "value": self.value, "isRegex": self.is_regex, "isEqual": self.is_equal}


@dataclass(frozen=True)
class Silence:
    """A silence as it is kept."""

    identity: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime
    created_by: str
    comment: str

    def state(self, now: datetime) -> State:
        """Whether it is in force at `now`, will be, or was."""
        if now < self.starts_at:
            return "pending"
        return "active" if now < self.ends_at else "expired"

    def silences(self, labels: dict[str, str], now: datetime) -> bool:
        """Whether an alert with these labels is muted at `now`."""
        if self.state(now) != "active":
            return False
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in self.matchers)

    def as_json(self, now: datetime) -> dict[str, object]:
        """The silence as the API shows it."""
        return {
            "id": self.identity,
            "status": {"state": self.state(now)},
            "updatedAt": _written(self.updated_at),
            "comment": self.comment,
            "createdBy": self.created_by,
            "endsAt": _written(self.ends_at),
            "matchers": [matcher.as_json() for matcher in self.matchers],
            "startsAt": _written(self.starts_at),
        }


@dataclass(frozen=True)
class BasicCredentials:
    """The user and password a reverse proxy or web.config.file asks for."""

    user: str
    password: str = field(repr=False)


class Alertmanager:
    """One Alertmanager. `silences` is its state, for auditors."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        credentials: BasicCredentials | None = None,
        certificate: ServerCertificate | None = None,
    ) -> None:
        self._clock = clock
        self._credentials = credentials
        self._scheme = "https" if certificate else "http"
        self._listener = HttpListener(endpoint, self._serve, tls=certificate.server_context() if certificate else None)
        self._started_at = clock()
        self.silences: dict[str, Silence] = {}

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; a chosen port is known after the first start."""
        return self._listener.endpoint

    @property
    def url(self) -> str:
        """The base address of the API."""
        return f"{self._scheme}://{self.endpoint}"

    @property
    def gate(self) -> Gate:
        """Close it and the server hangs: it accepts connections and answers nothing."""
        return self._listener.gate

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""
        return self._listener.listening

    async def start(self) -> None:
        """Listen. Silences outlive a stop, as they outlive a restart.

        Raises:
            OSError: the port is taken.
        """
        await self._listener.start()

    async def stop(self) -> None:
        """Refuse and cut all connections."""
        await self._listener.stop()

    def silences_now(self, state: State = "active") -> list[Silence]:
        """The silences in `state` at this moment."""
        now = self._clock()
        return [silence for silence in self.silences.values() if silence.state(now) == state]

    def is_silenced(self, labels: dict[str, str]) -> bool:
        """Whether an alert with these labels would be muted now."""
        now = self._clock()
        return any(silence.silences(labels, now) for silence in self.silences.values())

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if not self._authorised(request):
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"}, text="Unauthorized\n")
        try:
            return self._route(request, body)
        except _RefusedError as refused:
            return _json(refused.body, refused.status)

    def _authorised(self, request: web.BaseRequest) -> bool:
        if self._credentials is None:
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        wanted = f"{self._credentials.user}:{self._credentials.password}".encode()
        try:
            return scheme == "Basic" and hmac.compare_digest(base64.b64decode(token, validate=True), wanted)
        except binascii.Error:
            return False

    def _route(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.path in ("/-/healthy", "/-/ready"):
            return web.Response(text="OK")
        routes: dict[tuple[str, str], Callable[[], web.Response]] = {
            ("GET", "/api/v2/status"): self._status,
            ("GET", _SILENCES): lambda: self._list(request.query.getall("filter", [])),
            ("POST", _SILENCES): lambda: self._post(body),
        }
        route = routes.get((request.method, request.path))
        if route is not None:
            return route()
        match = _SILENCE.fullmatch(request.path)
        if match and request.method in ("GET", "DELETE"):
            return self._one(request.method, match["identity"])
        known = match or request.path in {path for _, path in routes}
        status, code = (405, "Method Not Allowed") if known else (404, "Not Found")
        return _json({"code": status, "message": code}, status)

    def _status(self) -> web.Response:
        status = {
            "cluster": {"name": "LAB", "peers": [], "status": "ready"},
            "config": {"original": "# simulated\n"},
            "uptime": _written(self._started_at),
            "versionInfo": {
                "branch": "HEAD",
                "buildDate": "",
                "buildUser": "simulated lab",
                "goVersion": "",
                "revision": "",
                "version": "0.28.1",
            },
        }
        return _json(status)

    def _list(self, filters: Sequence[str]) -> web.Response:
        wanted = [_filter(text) for text in filters]
        now = self._clock()
        found = [silence for silence in self.silences.values() if _passes(silence, wanted)]
        found.sort(key=lambda silence: (_STATE_ORDER[silence.state(now)], silence.ends_at))
        return _json([silence.as_json(now) for silence in found])

    def _one(self, method: str, identity: str) -> web.Response:
        try:
            uuid.UUID(identity)
        except ValueError:
            message = f'silenceID in path must be of type uuid: "{identity}"'
            raise _RefusedError(422, {"code": 601, "message": message}) from None
        silence = self.silences.get(identity)
        if silence is None:
            return web.Response(status=404)
        if method == "DELETE":
            self._expire(silence)
            return web.Response(status=200)
        return _json(silence.as_json(self._clock()))

    def _expire(self, silence: Silence) -> None:
        now = self._clock()
        state = silence.state(now)
        if state == "expired":
            raise _RefusedError(500, f"silence {silence.identity} already expired")
        starts_at = now if state == "pending" else silence.starts_at
        self.silences[silence.identity] = replace(silence, starts_at=starts_at, ends_at=now, updated_at=now)

    def _post(self, body: bytes) -> web.Response:
        now = self._clock()
        wanted = _parsed(body, now)
        if wanted.starts_at >= wanted.ends_at:
            raise _RefusedError(400, "Failed to create silence: start time must be before end time")
        if wanted.ends_at < now:
            raise _RefusedError(400, "Failed to create silence: end time can't be in the past")
        before = self.silences.get(wanted.identity)
        if wanted.identity and before is None:
            raise _RefusedError(404, "silence not found")
        _validate(wanted)
        identity = self._set(before, wanted, now)
        return _json({"silenceID": identity})

    def _set(self, before: Silence | None, wanted: Silence, now: datetime) -> str:
        if before is not None and _can_update(before, wanted, now):
            self.silences[before.identity] = wanted
            return before.identity
        # A change that can't be made in place ends the old silence and makes a new one with a new id.
        if before is not None and before.state(now) != "expired":
            self._expire(before)
        identity = str(uuid.uuid4())
        starts_at = max(wanted.starts_at, now)
        self.silences[identity] = replace(wanted, identity=identity, starts_at=starts_at)
        return identity


def _can_update(before: Silence, wanted: Silence, now: datetime) -> bool:
    if before.matchers != wanted.matchers:
        return False
    state = before.state(now)
    if state == "active":
        same_second = int(before.starts_at.timestamp()) == int(wanted.starts_at.timestamp())
        return same_second and wanted.ends_at >= now
    return state == "pending" and wanted.starts_at >= now


def _validate(silence: Silence) -> None:
    for index, matcher in enumerate(silence.matchers):
        problem = _problem(matcher)
        if problem:
            raise _RefusedError(400, f"invalid silence: invalid label matcher {index}: {problem}")
    if all(matcher.matches("") for matcher in silence.matchers):
        raise _RefusedError(400, "invalid silence: at least one matcher must not match the empty string")


def _problem(matcher: Matcher) -> str | None:
    if not _LABEL_NAME.fullmatch(matcher.name):
        return f'invalid label name "{matcher.name}"'
    if matcher.is_regex:
        try:
            re.compile(matcher.value)
        except re.error as error:
            return f'invalid regular expression "{matcher.value}": {error}'
    return None


def _parsed(body: bytes, now: datetime) -> Silence:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise _RefusedError(
            400, {"code": 400, "message": f'parsing silence body from "" failed, because {error}'}
        ) from None
    if not isinstance(document, dict):
        raise _RefusedError(400, {"code": 400, "message": "parsing silence body failed: not an object"})
    for name in ("comment", "createdBy", "endsAt", "matchers", "startsAt"):
        if not document.get(name) and document.get(name) != []:
            raise _RefusedError(422, {"code": 602, "message": f"silence.{name} in body is required"})
    if not document["matchers"]:
        raise _RefusedError(422, {"code": 612, "message": "silence.matchers in body should have at least 1 items"})
    return Silence(
        identity=str(document.get("id") or ""),
        matchers=tuple(_matcher(index, matcher) for index, matcher in enumerate(document["matchers"])),
        starts_at=_time(document, "startsAt"),
        ends_at=_time(document, "endsAt"),
        updated_at=now,
        created_by=str(document["createdBy"]),
        comment=str(document["comment"]),
    )


def _matcher(index: int, document: object) -> Matcher:
    fields = document if isinstance(document, dict) else {}
    for name in ("isRegex", "name", "value"):
        if fields.get(name) is None:
            message = f"silence.matchers.{index}.{name} in body is required"
            raise _RefusedError(422, {"code": 602, "message": message})
    return Matcher(
        name=str(fields["name"]),
        value=str(fields["value"]),
        is_regex=bool(fields["isRegex"]),
        is_equal=bool(fields.get("isEqual", True)),
    )


def _time(document: dict[str, object], name: str) -> datetime:
    text = str(document[name])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _RefusedError(400, {"code": 400, "message": f'parsing time "{text}" ({name}) as RFC 3339 failed'})
    return moment.astimezone(UTC)


def _filter(text: str) -> Matcher:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise _RefusedError(400, f"bad matcher format: {text}")
    name, operator, value = match.groups()
    matcher = Matcher(name, value, is_regex="~" in operator, is_equal="!" not in operator)
    problem = _problem(matcher)
    if problem:
        raise _RefusedError(400, problem)
    return matcher


def _passes(silence: Silence, wanted: Sequence[Matcher]) -> bool:
    patterns = {matcher.name: matcher.value for matcher in silence.matchers}
    return all(matcher.matches(patterns.get(matcher.name, "")) for matcher in wanted)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(body: object, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)
