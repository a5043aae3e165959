"""A last look at everything before the outage begins: the procedure, at the head of stage 3."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal, NamedTuple

from inventory.models import Inventory, Role
from procedure import who
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.situation import Situation
from procedure.subjects import Subject
from procedure.verdicts import Answer, Verdict, failed, passed, steps_of, told_together, unknown

USUAL_LOOK = timedelta(seconds=5)
"""As the health check: a few commands over one connection to each machine, all machines at the same time."""
A_MOMENT = timedelta(seconds=20)
"""What passes by itself does so within this time: a replication that lags behind the end of a dump, a server that
missed one check. Anything else has changed, and waiting would not change it back."""


class LookAgain(Command):
    """The cluster is still healthy, and still as it was found: hours may have passed since, at a gate or in a dump."""

    kind: Literal["look_again"] = "look_again"
    mutates: ClassVar[bool] = False
    storage: str
    """Primary of the storage pair, as found."""
    load_balancer: str
    """Primary of the load-balancer pair, as found."""
    writer: str
    """The master that took writes, as found."""
    daemon: tuple[str, ...] = ()
    """Where AcdGroupDistribute ran, as found; nowhere if only a person can see it."""

    @property
    def target(self) -> str:
        """All of it."""
        return "cluster"

    @property
    def title(self) -> str:
        """One line for a person."""
        return "Look again: everything is still healthy and as it was found"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """All that the health check observed."""
        from procedure import health_check  # noqa: PLC0415 - it judges with the rules of commands, and so needs them

        return health_check.subjects(situation.inventory)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """The health check finds nothing, and nobody has moved anything since the plan was made."""
        from procedure import health_check  # noqa: PLC0415 - as above

        condition = "everything is still healthy and as it was found"
        against = [v for v in health_check.judge(situation, facts) if not v.allows]
        places = Places(self.storage, self.load_balancer, self.writer, self.daemon)
        moved = places.moved(situation.inventory, facts)
        reasons = (*moved, *told_together(against))
        step = (
            steps_of(against) or "Put it back as it was found and retry; or abort, and start anew from what is there."
        )
        if not reasons:
            return passed(condition, f"{self.writer} takes writes; {self.storage}, {self.load_balancer} are primary")
        if all(v.answer is Answer.UNKNOWN for v in against) and not moved:
            return unknown(condition, "; ".join(reasons), step)
        return failed(condition, "; ".join(reasons), step)

    def deadline(self, inventory: Inventory) -> timedelta:
        """Not long: it waits for what passes by itself."""
        return A_MOMENT

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_LOOK


class Places(NamedTuple):
    """Where everything was found."""

    storage: str
    load_balancer: str
    writer: str
    daemon: tuple[str, ...]

    def moved(self, inventory: Inventory, facts: Facts) -> tuple[str, ...]:
        """What was seen, and is elsewhere now. What was not seen is told by the health check."""
        pairs = inventory.pairs
        places = (
            ("the primary of the storage pair", (self.storage,), who.primaries(inventory, pairs.storage, facts)),
            (
                "the primary of the load-balancer pair",
                (self.load_balancer,),
                who.primaries(inventory, pairs.load_balancer, facts),
            ),
            ("the master that takes writes", (self.writer,), who.writers(inventory, facts)),
            ("where AcdGroupDistribute runs", self.daemon, _running(inventory, facts)),
        )
        return tuple(
            f"{what} has changed from {' and '.join(found)} to {' and '.join(now) or 'none'}"
            for what, found, now in places
            if now is not None and now != found
        )


def _running(inventory: Inventory, facts: Facts) -> tuple[str, ...] | None:
    seen = {m.name: facts.daemon(m.name) for m in inventory.with_role(Role.TELEPHONY)}
    if any(fact is None or fact.state == "by_hand" for fact in seen.values()):
        return None
    return tuple(name for name, fact in seen.items() if fact is not None and fact.state == "running")


class LookAgainAlone(Command):
    """One side still runs alone and well: the last moment before a failback begins an outage."""

    kind: Literal["look_again_alone"] = "look_again_alone"
    mutates: ClassVar[bool] = False

    @property
    def target(self) -> str:
        """All of it."""
        return "cluster"

    @property
    def title(self) -> str:
        """One line for a person."""
        return "Look again: one side still runs alone and well, the other is off"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """All that the health check of one side observed."""
        from procedure import one_sided_check  # noqa: PLC0415 - it judges with the rules of commands, and so needs them

        return one_sided_check.subjects(situation)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """That health check finds nothing."""
        from procedure import one_sided_check  # noqa: PLC0415 - as above

        condition = f"{situation.surviving} still runs alone and well, and all of {situation.vacated} is off"
        against = [v for v in one_sided_check.judge(situation, facts) if not v.allows]
        if not against:
            return passed(condition)
        reason = "; ".join(told_together(against))
        step = steps_of(against)
        if all(v.answer is Answer.UNKNOWN for v in against):
            return unknown(condition, reason, step)
        return failed(condition, reason, step)

    def deadline(self, inventory: Inventory) -> timedelta:
        """Not long: it waits for what passes by itself."""
        return A_MOMENT

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_LOOK
