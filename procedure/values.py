"""Base of the procedure's values: immutable, printable, comparable, and tolerant of fields a newer version added."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A value. Unknown fields are ignored, so that a run survives a worker of another version."""

    model_config = ConfigDict(frozen=True, extra="ignore")
