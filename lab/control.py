"""The lab's control endpoint on loopback: state, truth, violations, journal, faults, reset, for another process.

Every request carries the token of the token file as `Authorization: Bearer`.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from lab.faults import Fault
from lab.lab import Lab
from lab.listening import Endpoint, HttpListener

Body = dict[str, Any]
Answer = Callable[[Body], Awaitable[object]]


class BadRequestError(Exception):
    """The request's content is not what the endpoint takes."""


class ControlEndpoint:
    """HTTP in, a lab out."""

    def __init__(self, directory: Path, answers: Mapping[tuple[str, str], Answer]) -> None:
        """Not listening yet.

        Args:
            directory: where the token's file goes.
            answers: by method and path.
        """
        self._token = secrets.token_urlsafe(24)
        self._listener = HttpListener(Endpoint("127.0.0.1"), self._serve)
        self._answers = answers
        self.token_file = directory / "control.token"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._listener.endpoint}"

    async def start(self) -> None:
        """Listen, and write the token file."""
        _write_private(self.token_file, self._token)
        await self._listener.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._listener.stop()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return web.json_response({"error": "the token is missing or wrong"}, status=401)
        answer = self._answers.get((request.method, request.path))
        if answer is None:
            return web.json_response({"error": f"there is no {request.method} {request.path}"}, status=404)
        try:
            text = await request.text()
            return web.json_response(await answer(_object(text)))
        except (ValueError, TypeError, KeyError, BadRequestError) as error:
            return web.json_response({"error": str(error)}, status=400)


class Control(ControlEndpoint):
    """The simulation's.

    GET /status, /truth, /violations, /journal, /faults, /callers, /unknown; POST /faults (the fields of `Fault`), /end
    (`{"vacated": HOST or null}`: audit a finished run), /by-hand (`machine`, `service`, `action`: what a person does),
    /reset; DELETE /faults.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        super().__init__(
            lab.site.directory,
            {
                ("GET", "/status"): self._status,
                ("GET", "/truth"): self._truth,
                ("GET", "/violations"): self._violations,
                ("GET", "/journal"): self._journal,
                ("GET", "/faults"): self._faults,
                ("POST", "/faults"): self._set_fault,
                ("DELETE", "/faults"): self._clear_faults,
                ("GET", "/callers"): self._callers,
                ("GET", "/unknown"): self._unknown,
                ("POST", "/end"): self._end,
                ("POST", "/by-hand"): self._by_hand,
                ("POST", "/reset"): self._reset,
            },
        )

    async def _status(self, _: Body) -> dict[str, object]:
        lab = self._lab
        return {
            "speed": lab.speed,
            "seed": lab.seed,
            "simulated_seconds": round(lab.world.clock.now(), 1),
            "machines": {name: state.power for name, state in lab.world.machines.items()},
            "writer": lab.world.writer(),
            "primaries": {kind: lab.world.primaries(kind) for kind in lab.world.pairs},
            "violations": len(lab.violations),
            "unknown_commands": len(lab.unknown_commands),
        }

    async def _truth(self, _: Body) -> dict[str, Any]:
        await self._lab.look()
        return self._lab.truth()

    async def _violations(self, _: Body) -> list[dict[str, Any]]:
        return [asdict(violation) for violation in self._lab.violations]

    async def _journal(self, _: Body) -> list[dict[str, object]]:
        return self._lab.journal.as_dicts()

    async def _faults(self, _: Body) -> list[dict[str, object]]:
        return self._lab.world.faults.as_dicts()

    async def _set_fault(self, body: Body) -> dict[str, Any]:
        wanted = Fault(**body)
        known = {*self._lab.world.machines, *(host.name for host in self._lab.inventory.vm_hosts), "*"}
        if wanted.machine not in known:
            raise BadRequestError(f"there is no machine {wanted.machine!r}")
        fields = ("operation", "times", "seconds", "probability")
        set_now = self._lab.fault(wanted.machine, wanted.kind, **{name: getattr(wanted, name) for name in fields})
        return asdict(set_now)

    async def _clear_faults(self, _: Body) -> dict[str, object]:
        self._lab.clear_faults()
        return {"cleared": True}

    async def _callers(self, _: Body) -> dict[str, object]:
        return self._lab.caller_statistics()

    async def _unknown(self, _: Body) -> list[tuple[str, str]]:
        return self._lab.unknown_commands

    async def _end(self, body: Body) -> list[dict[str, Any]]:
        await self._lab.look()
        return [asdict(violation) for violation in self._lab.auditors.at_end(vacated=body.get("vacated"))]

    async def _by_hand(self, body: Body) -> dict[str, object]:
        return {"effect": self._lab.by_hand(body["machine"], body["action"], body.get("service"))}

    async def _reset(self, _: Body) -> dict[str, object]:
        await self._lab.reset()
        return {"reset": True}


def _object(text: str) -> Body:
    body = json.loads(text) if text else {}
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    return body


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
