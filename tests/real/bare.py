"""The bare commands of a plan: the same instructions in the same order over kept connections, sent straight.

No Temporal, no first look, no condition, no report: what remains is what the systems themselves need. Only the outcome
is polled, ten times a second, since no command may begin before the one that it waits for has worked.
"""

from __future__ import annotations

import asyncio
import contextlib

from activities.errors import SystemTrouble
from activities.hands import Hands
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.plan import Plan, Step
from procedure.situation import Situation
from procedure.verdicts import Answer

_POLL_SECONDS = 0.1
_OVER = (Answer.PASS, Answer.WARN, Answer.NOT_APPLICABLE)


async def carry_out_bare(plan: Plan, situation: Situation, hands: Hands) -> None:
    """Send everything that a plan sends."""
    over = {step.id: asyncio.Event() for step in plan.steps}

    async def in_turn(step: Step) -> None:
        for before in step.after:
            await over[before].wait()
        if isinstance(step.action, Command):
            await _perform(step.action, situation, hands)
        over[step.id].set()

    async with asyncio.TaskGroup() as together:
        for step in plan.steps:
            together.create_task(in_turn(step))


async def _perform(command: Command, situation: Situation, hands: Hands) -> None:
    if command.mutates:
        for instruction in command.instructions(situation, Facts()):
            # An answer that is lost, as of a machine that shuts down, is no reason to stop here: the outcome is polled.
            with contextlib.suppress(SystemTrouble):
                await hands.act(instruction)
    facts = Facts()
    while command.wanted(situation, facts).answer not in _OVER:
        facts = Facts(observations=await hands.observe_all(command.awaits(situation, facts)))
        if command.wanted(situation, facts).answer not in _OVER:
            await asyncio.sleep(_POLL_SECONDS)
