"""After an abort: how to go on from there, and how to go back, each as a list to read."""

from __future__ import annotations

from procedure import rendering, rollback
from procedure.as_found import AsFound
from procedure.plan import Gate, Observe, Plan, Step
from procedure.rollback import Undo
from procedure.situation import Situation
from workflows.status import Ways


def ways(
    situation: Situation,
    undo: Undo,
    as_found: AsFound,
    *,
    over: set[str],
    carry_on: str,
    begun: Plan | None = None,
) -> Ways:
    """Both ways.

    Args:
        situation: of the run.
        undo: the plan of the run, and what of it was begun.
        as_found: what the cluster was before it.
        over: steps that ended well or were skipped.
        carry_on: what is typed to carry the run on.
        begun: a roll-back that did not come to its end; None: there was none.
    """
    plan = undo.run
    left = (step for step in plan.in_order() if step.id not in over)
    back = begun or rollback.plan(situation, as_found, undo)
    # What was taken back already would have to be done again: whoever carries the run on looks.
    went_back = begun is not None and any(step.id in over for step in begun.steps)
    return Ways(
        on_command=carry_on,
        on=tuple(_words(step, situation) for step in left if not (went_back or isinstance(step.action, Observe))),
        back=tuple(
            _words(step, situation)
            for step in back.in_order()
            if not isinstance(step.action, Gate) and step.id not in over
        ),
    )


def _words(step: Step, situation: Situation) -> str:
    sent = rendering.told(step, situation).commands
    return f"{step.title}: {'; '.join(sent)}" if sent else step.title
