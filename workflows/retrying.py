"""How long the server waits for workers, and when it tries again."""

from __future__ import annotations

from datetime import timedelta

HEARTBEAT = timedelta(seconds=5)
"""A worker that says nothing for so long is taken for dead: a longer time is what a crash costs in the outage."""
FIRST_RETRY = timedelta(seconds=1)
"""The server does not honour less."""
LONGEST_RETRY = timedelta(seconds=15)
