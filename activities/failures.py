"""The one place where trouble becomes a failure that Temporal knows.

Only *transient* is retried by Temporal. Everything else waits for the operator, with a `StepProblem` in the details.
No failure carries its cause: Temporal would keep the words of a library in the history, and those may hold a secret.
The cause is told by the message, which this project writes itself.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.engine import StepInterrupted, StepStopped
from activities.errors import SystemTrouble, Transient, shortened
from procedure.orders import TRANSIENT
from procedure.reports import StepProblem

MAX_MESSAGE: Final = 2000
"""Of a failure's message. Temporal keeps 4 kB of the last failure of a step that is retried, and cuts it otherwise."""

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


def is_last_attempt(attempts: int | None = None) -> bool:
    """Whether the running activity will not be tried again.

    Args:
        attempts: how often it is tried at most; None: what its retry policy says, for ever if it says nothing.
    """
    info = activity.info()
    limit = attempts or (info.retry_policy.maximum_attempts if info.retry_policy else 0)
    return 0 < limit <= info.attempt


def failure(problem: StepProblem, *, retry: bool) -> ApplicationError:
    """The failure for Temporal, with the problem in its details."""
    message = shortened(problem.text, MAX_MESSAGE)
    if retry:
        # Without the report, which would be cut away together with everything else.
        return ApplicationError(message, problem.model_copy(update={"report": None}), type=TRANSIENT)
    return ApplicationError(message, problem, type=problem.kind, non_retryable=True)


@contextmanager
def as_failures(machine: str, expected: str, log: Log, *, last_attempt: bool) -> Iterator[None]:
    """Turn whatever goes wrong inside into a failure; cancellation passes through.

    Args:
        machine: what the step is about, where the trouble does not say it.
        expected: the wanted state, in words.
        log: told each problem.
        last_attempt: trouble that is transient becomes *unknown*, since nobody tries again.

    Raises:
        ApplicationError: of type *transient*, or of one of the kinds of a `StepProblem`.
    """
    try:
        yield
    except ApplicationError:
        raise
    except StepStopped as stopped:
        problem, retry = stopped.problem, isinstance(stopped, StepInterrupted)
    except SystemTrouble as trouble:
        problem, retry = _of_trouble(trouble, expected), isinstance(trouble, Transient)
    except Exception as bug:  # A run must not die of a bug of a worker: it waits for the operator.
        problem, retry = _of_bug(bug, machine, expected), False
        # Without the words of the exception, which may hold a secret.
        log.error("unexpected %s at %s", type(bug).__name__, _places(bug))  # noqa: TRY400
    else:
        return
    retry = retry and not last_attempt
    log.warning("%s%s", problem.text, " It is tried again." if retry else "")
    raise failure(problem, retry=retry) from None


def _of_trouble(trouble: SystemTrouble, expected: str) -> StepProblem:
    return StepProblem(
        kind="rejected" if trouble.trouble == "rejected" else "unknown",
        machine=trouble.machine,
        expected=expected,
        seen=trouble.seen,
        next_step=trouble.next_step or "look at the system yourself, then retry",
    )


def _of_bug(bug: Exception, machine: str, expected: str) -> StepProblem:
    """Without the exception's own words: nobody knows what they hold."""
    return StepProblem(
        kind="unknown",
        machine=machine,
        expected=expected,
        seen=f"the worker met an error it does not expect: {type(bug).__name__} at {_places(bug)}",
        next_step="look at the system yourself, then retry, or skip with a reason; and report this error",
    )


def _places(bug: Exception) -> str:
    frames = traceback.extract_tb(bug.__traceback__)[-3:]
    return " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))
