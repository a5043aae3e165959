"""What can go wrong between the worker and a system. Two kinds matter to whoever writes an activity.

    SystemTrouble
    ├── Transient        the connection was lost, a time-out ran out, the system was busy: try again
    └── Permanent        trying again changes nothing
        ├── Rejected     credentials, host key, certificate, missing privilege
        └── NotUnderstood  an answer this version does not know: unknown, never a guess

Every exception of the libraries below becomes one of these, in the module that uses the library, with its cause
chained. Messages name the machine, what was tried and what was seen; they never hold a secret.
"""

from __future__ import annotations

MAX_TEXT = 400
"""Characters of a system's own words that are repeated: enough for an error message, too few for a dump."""


def shortened(text: str, limit: int = MAX_TEXT) -> str:
    """The beginning and the end of a system's answer, on one line."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    half = (limit - 5) // 2
    return f"{flat[:half]} ... {flat[-half:]}"


class SystemTrouble(Exception):
    """A system did not do what was asked, or did not answer.

    Attributes:
        machine: which machine, VM-Host or service.
        seen: what was seen, shortened.
        next_step: what a person can do about it.
    """

    trouble: str = "transient"

    def __init__(self, machine: str, seen: str, next_step: str = "") -> None:
        self.machine = machine
        self.seen = shortened(seen)
        self.next_step = next_step
        super().__init__(f"{machine}: {self.seen}" + (f" Next: {next_step}" if next_step else ""))


class Transient(SystemTrouble):
    """It may work when tried again. Whether it was done is unknown until observed."""

    trouble = "transient"


class Permanent(SystemTrouble):
    """Trying again changes nothing."""

    trouble = "rejected"


class Rejected(Permanent):
    """Access was denied: credentials, host key, certificate, missing privilege."""

    trouble = "rejected"


class NotUnderstood(Permanent):
    """The system answered something this version does not know."""

    trouble = "not understood"
