"""Faults of the simulated world: what goes wrong, where, how often. Chance is seeded, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

OperationFault = Literal["refuse", "hang", "drop", "lose", "slow", "lie"]
"""What can happen to one operation: it fails with an error; it never answers; the connection is cut before it is
carried out, or after, so that its answer is lost; it takes `seconds` longer; it claims success and has no effect."""

StateFault = Literal[
    "unreachable",
    "hangs",
    "service_stuck",
    "session_stuck",
    "pair_stuck",
    "wrong_password",
    "host_key_changed",
    "shutdown_stuck",
    "dump_truncated",
    "disk_full",
    "drbd_standalone",
    "sudo_denied",
    "replication_stopped",
    "replication_held",
    "autostart",
    "boot_stuck",
    "resync_stuck",
    "pulled_back",
    "haproxy_differs",
]
"""What is wrong as long as the fault lasts: no connection is accepted; connections
are accepted and nothing is answered; a service stays in stopping; a session never
ends; a pair's resources don't start on this machine; credentials are refused; the machine shows another host key; it
does not shut down; a dump ends early and says nothing, or fails for want of room; DRBD does not speak to its peer;
`sudo` refuses; replication has stopped with an error, or receives and does not replay; a machine starts with its
VM-Host, which is booting; it does not come up; DRBD's resynchronisation stands still; an old location constraint pulls
the pair to this machine; its HAProxy starts with another configuration than before."""

FaultKind = Literal[OperationFault, StateFault]
OPERATION_FAULTS: tuple[str, ...] = get_args(OperationFault)
STATE_FAULTS: tuple[str, ...] = get_args(StateFault)


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        machine: its name, that of a VM-Host, `monitoring` for a monitoring server with Nagios, or `*` for all.
        kind: what goes wrong.
        operation: which operation, as a pattern such as `systemctl stop *`, `connect`, `Stop-Service *`, `query *`. For
            `service_stuck` the service, for `sudo_denied` the command, for `haproxy_differs` what differs: `weight` or
            `backup`.
        times: how often it happens; None: until cleared.
        seconds: simulated seconds that `slow` adds.
        probability: how likely it is each time, 0 to 1.
        hits: how often it has happened.
    """

    machine: str
    kind: FaultKind
    operation: str = "*"
    times: int | None = None
    seconds: float = 30.0
    probability: float = 1.0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in OPERATION_FAULTS + STATE_FAULTS:
            raise ValueError(
                f"no fault is called {self.kind!r}; there are {', '.join(OPERATION_FAULTS + STATE_FAULTS)}"
            )

    def concerns(self, machine: str, operation: str) -> bool:
        """Whether it is about this machine and operation, and not used up."""
        left = self.times is None or self.hits < self.times
        return left and self.machine in (machine, "*") and fnmatchcase(operation, self.operation)


class Faults:
    """The faults that are set. `changed(fault, is_set)` is called when one is set or cleared."""

    def __init__(self, seed: int, changed: Callable[[Fault, bool], None]) -> None:
        self._seed = seed
        self._chances: dict[str, random.Random] = {}
        self._changed = changed
        self.active: list[Fault] = []
        self.ever: set[tuple[str, str]] = set()
        """Kinds and machines of all faults there ever were: what auditors excuse."""

    def add(self, fault: Fault) -> Fault:
        """Set a fault."""
        self.active.append(fault)
        self.ever.add((fault.kind, fault.machine))
        self._changed(fault, True)
        return fault

    def clear(self, *faults: Fault) -> None:
        """Clear these faults; all of them, if none is given."""
        for fault in faults or tuple(self.active):
            if fault in self.active:
                self.active.remove(fault)
                self._changed(fault, False)

    def strikes(self, machine: str, operation: str) -> Fault | None:
        """The fault that happens to this operation now, counted; state faults are asked for with `holds`."""
        for fault in self.active:
            if fault.kind in OPERATION_FAULTS and fault.concerns(machine, operation) and self._happens(fault):
                fault.hits += 1
                return fault
        return None

    def holds(self, kind: StateFault, machine: str, operation: str = "*") -> bool:
        """Whether a state fault holds for this machine (and service or command)."""
        for fault in self.active:
            if fault.kind == kind and fault.concerns(machine, operation):
                fault.hits += 1
                return True
        return False

    def was(self, kind: StateFault, machine: str) -> bool:
        """Whether this fault has ever been set for a machine."""
        return bool({(kind, machine), (kind, "*")} & self.ever)

    def as_dicts(self) -> list[dict[str, object]]:
        """For the control endpoint."""
        return [asdict(fault) for fault in self.active]

    def _happens(self, fault: Fault) -> bool:
        if fault.probability >= 1.0:
            return True
        # A chance of its own for each machine: what one machine does moves nobody else's faults.
        chance = self._chances.setdefault(fault.machine, random.Random(f"{self._seed}:{fault.machine}"))
        return chance.random() < fault.probability
