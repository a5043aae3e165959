"""What was said, as a wish; or the answer to whoever said it, with what would be understood instead."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from workflows.messages import SIGNAL_MODELS, Answer, Message

MOST_ERRORS = 5
"""Told of one wish: whoever sent something else altogether needs no more."""


def understand(signal: str, said: object) -> Message | Answer:
    """The wish, or why it is none."""
    model = SIGNAL_MODELS.get(signal)
    if model is None:
        return no(f"unknown signal {signal[:60]!r}; understood are: {', '.join(SIGNAL_MODELS)}")
    try:
        return model.model_validate(said)
    except ValidationError as error:
        wrong = "; ".join(_wrong(e) for e in error.errors()[:MOST_ERRORS])
        fields = ", ".join(model.model_fields)
        return no(f"{signal} not understood ({wrong}); it takes one JSON object with the fields {fields}")


def _wrong(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else "what was sent is no JSON object"


def yes(text: str) -> Answer:
    """Accepted."""
    return Answer(accepted=True, text=text)


def no(text: str) -> Answer:
    """Not accepted, and why."""
    return Answer(accepted=False, text=text)
