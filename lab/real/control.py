"""The control endpoint of the real lab, for other processes: the same questions as the simulation's, where they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lab.callers import counted
from lab.control import BadRequestError, Body, ControlEndpoint
from lab.real.lab import RealLab


class RealControl(ControlEndpoint):
    """GET /status, /truth, /violations, /callers; POST /end, /reset, /power (`host`, `action`), /line (`up`)."""

    def __init__(self, lab: RealLab) -> None:
        self._lab = lab
        super().__init__(
            lab.places.site,
            {
                ("GET", "/status"): self._status,
                ("GET", "/truth"): self._truth,
                ("GET", "/violations"): self._violations,
                ("GET", "/callers"): self._callers,
                ("POST", "/end"): self._end,
                ("POST", "/reset"): self._reset,
                ("POST", "/power"): self._power,
                ("POST", "/line"): self._line,
            },
        )

    async def _status(self, _: Body) -> dict[str, Any]:
        return self._lab.status()

    async def _truth(self, _: Body) -> dict[str, Any]:
        return await self._lab.truth.whole()

    async def _violations(self, _: Body) -> list[dict[str, Any]]:
        return [asdict(violation) for violation in self._lab.auditors.violations]

    async def _callers(self, _: Body) -> dict[str, object]:
        users = {"callers": self._lab.callers, "agents": self._lab.agents}
        return counted({name: source for name, source in users.items() if source is not None})

    async def _end(self, body: Body) -> list[dict[str, Any]]:
        return [asdict(violation) for violation in await self._lab.auditors.at_end(vacated=body.get("vacated"))]

    async def _reset(self, _: Body) -> dict[str, Any]:
        await self._lab.reset()
        return self._lab.status()

    async def _power(self, body: Body) -> dict[str, Any]:
        outlets = self._lab.outlets
        name, action = body.get("host"), body.get("action")
        if name not in outlets:
            raise BadRequestError(f"there is no host {name!r}; there are {', '.join(sorted(outlets))}")
        actions: dict[str, Callable[[], Any]] = {"on": outlets[name].power_on, "cut": outlets[name].cut}
        if action not in actions:
            raise BadRequestError(f"{action!r} is neither on nor cut")
        if action == "cut":
            self._lab.auditors.excused.add(name)
        await actions[action]()
        return {"host": name, "power": "on" if outlets[name].on else "off"}

    async def _line(self, body: Body) -> dict[str, Any]:
        self._lab.set_line(up=bool(body["up"]))
        return {"line": "up" if body["up"] else "cut"}
