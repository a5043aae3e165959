"""The bare commands of a plan: the same instructions in the same order over kept connections, sent straight.

No Temporal, no first look, no condition, no report: what remains is what the systems themselves need. Only the outcome
is polled, ten times a second, since no command may begin before the one that it waits for has worked.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from activities.errors import SystemTrouble
from activities.hands import Hands
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.plan import Plan, Step
from procedure.situation import Situation
from procedure.verdicts import Answer

_POLL_SECONDS = 0.1
_LONGEST_SECONDS = 60.0
_OVER = (Answer.PASS, Answer.WARN, Answer.NOT_APPLICABLE)


Spans = dict[int, list[tuple[datetime, datetime]]]
"""When the steps of each stage began and ended; gates are none."""


async def carry_out_bare(plan: Plan, situation: Situation, hands: Hands) -> Spans:
    """Send everything that a plan sends.

    Returns:
        When it did.
    """
    over = {step.id: asyncio.Event() for step in plan.steps}
    spans: Spans = {}

    async def in_turn(step: Step) -> None:
        for before in step.after:
            await over[before].wait()
        if isinstance(step.action, Command):
            began = datetime.now(UTC)
            await _perform(step.action, situation, hands)
            spans.setdefault(step.stage, []).append((began, datetime.now(UTC)))
        over[step.id].set()

    async with asyncio.TaskGroup() as together:
        for step in plan.steps:
            together.create_task(in_turn(step))
    return spans


async def _perform(command: Command, situation: Situation, hands: Hands) -> None:
    trouble = ""
    if command.mutates:
        for instruction in command.instructions(situation, Facts()):
            # An answer that is lost, as of a machine that shuts down, is no reason to stop here: the outcome is polled.
            try:
                await hands.act(instruction)
            except SystemTrouble as lost:
                trouble = f" {lost.machine}: {lost.seen}"
    facts = Facts()
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            while command.wanted(situation, facts).answer not in _OVER:
                facts = Facts(observations=await hands.observe_all(command.awaits(situation, facts)))
                if command.wanted(situation, facts).answer not in _OVER:
                    await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise RuntimeError(f"not so within {_LONGEST_SECONDS:g} s: {command.title}.{trouble}") from None
