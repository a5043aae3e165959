"""One observer that stumbles must not take along what the others see, nor tell what it stumbled over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.errors import NotUnderstood
from activities.hands import Act, Hands, Observe, Observed
from activities.markup import MAX_DEPTH
from activities.pacemaker import read_crm_mon
from procedure.facts import PowerFact
from procedure.subjects import PowerOf, ProbeOf

SECRET = "hunter2-never-shown"


class Two:
    """Sees power, and has trouble with probes."""

    def __init__(self, probe: Callable[[ProbeOf], Awaitable[Observed]]) -> None:
        self._probe = probe

    def observers(self) -> dict[type[Any], Observe]:
        return {PowerOf: self._power, ProbeOf: self._probe}

    def actors(self) -> dict[type[Any], Act]:
        return {}

    async def close(self) -> None:
        return None

    async def _power(self, _: PowerOf) -> Observed:
        await asyncio.sleep(0)
        return PowerFact(state="on"), "seen"


def stumbling(error: BaseException) -> Callable[[ProbeOf], Awaitable[Observed]]:
    async def observe(_: ProbeOf) -> Observed:
        raise error

    return observe


@pytest.mark.parametrize("error", [RecursionError(SECRET), KeyError(SECRET), LookupError(SECRET), TypeError(SECRET)])
async def test_an_exception_nobody_foresaw_is_an_observation(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        power, probe = await Hands([Two(stumbling(error))]).observe_all([PowerOf(machine="m"), ProbeOf(name="p")])
    assert power.fact == PowerFact(state="on")
    assert (probe.fact, probe.trouble) == (None, "not understood")
    assert type(error).__name__ in probe.problem
    assert "test_hands.py line" in probe.problem
    assert SECRET not in probe.model_dump_json() + caplog.text


async def test_a_cancelled_observer_is_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        await Hands([Two(stumbling(asyncio.CancelledError()))]).observe(ProbeOf(name="p"))


def test_xml_that_is_too_deep_is_not_understood() -> None:
    deep = "<group>" * 5000 + "</group>" * 5000
    with pytest.raises(NotUnderstood, match=f"more than {MAX_DEPTH} deep"):
        read_crm_mon("m", f"<crm_mon><resources>{deep}</resources></crm_mon>")
