"""How commands end, for whoever calls them from a script."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; the same everywhere and never renumbered."""

    OK = 0
    """Done: the inventory is good, the answer was given, the run completed."""
    BROKEN = 1
    """The command broke off by a mistake of its own; what it did is not known. (Python uses the same number.)"""
    USAGE = 2
    """The command line was wrong; nothing was done. (argparse uses the same number.)"""
    BAD_INVENTORY = 3
    """The inventory can't be used; every problem was printed and nothing was done."""
    NO_SERVER = 4
    """The Temporal server can't be reached."""
    NO_WORKER = 5
    """The server is there, but no worker of this cluster takes the run up."""
    REFUSED = 6
    """The server or the run refused the request; the reason was printed."""
    WAITING = 7
    """The run waits for a person."""
    ABORTED = 8
    """The run was aborted or rolled back by the operator's decision."""
    COMPLETED_WITH_SKIPS = 9
    """The run came to its end, but at least one step was skipped."""
    FAILED = 10
    """The run failed, or ended in another way than by completing."""
    UNFINISHED = 11
    """The health check came to no end: nothing is known about the cluster."""
    INTERRUPTED = 130
    """Interrupted at the keyboard (128 + SIGINT); a run that was started goes on."""
