"""A lab that runs in another process, asked over its control endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp


class RemoteLab:
    """What `python -m lab up` said when it was ready, and the way to ask it more."""

    def __init__(self, ready: Mapping[str, Any]) -> None:
        self.inventory = str(ready["inventory"])
        self.speed = float(ready["speed"])
        self.seed = int(ready["seed"])
        self._environment = Path(ready["environment"])
        token = Path(ready["token"]).read_text()
        self._session = aiohttp.ClientSession(str(ready["control"]), headers={"Authorization": f"Bearer {token}"})

    async def __aenter__(self) -> RemoteLab:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def environment(self) -> dict[str, str]:
        """The secrets a worker needs, as environment variables."""
        lines = self._environment.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    async def ask(self, what: str) -> Any:  # noqa: ANN401 - JSON of many shapes
        """GET one of the things the control endpoint tells."""
        async with self._session.get(f"/{what}") as answer:
            answer.raise_for_status()
            return await answer.json()

    async def tell(self, what: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON of many shapes
        """POST one of the things the control endpoint does."""
        async with self._session.post(f"/{what}", json=dict(body)) as answer:
            answer.raise_for_status()
            return await answer.json()
