"""Checks of the cluster while one side is off (the procedure, stage 10) and probes of its functions (stage 13)."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from inventory.models import Inventory
from procedure import who
from procedure.commands.base import Command
from procedure.commands.pairs import PairName, missing_on
from procedure.facts import ClusterFact, DrbdFact, Facts, ProbeFact, ReplicationFact
from procedure.invariants import (
    SPLIT_BRAIN,
    SPLIT_BRAIN_NEXT,
    channel_from,
    drbd_seen,
    not_seen,
    replication_problem,
)
from procedure.situation import Situation
from procedure.subjects import ClusterOn, DrbdOn, ProbeOf, ReplicationOn, Subject
from procedure.verdicts import Verdict, failed, passed
from procedure.who import PAIR_WORDS

USUAL_LOOK = timedelta(seconds=5)
"""Two or three commands over one connection; `pcs` and `crm_mon` take a second each."""
USUAL_NOTICE = timedelta(minutes=1)
"""A replica may notice a vanished master only after slave_net_timeout: 60 s by default in MariaDB."""


class CheckPair(Command):
    """One machine of a pair is primary and the other is off."""

    kind: Literal["check_pair"] = "check_pair"
    mutates: ClassVar[bool] = False
    pair: PairName
    primary: str
    offline: str

    @property
    def target(self) -> str:
        """The machine that stays."""
        return self.primary

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Check that {self.primary} is primary of the {PAIR_WORDS[self.pair]} and {self.offline} is offline"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Pacemaker and DRBD as the machine that stays sees them."""
        pair = who.pair(situation.inventory, self.pair)
        drbd = (DrbdOn(machine=self.primary),) if pair.drbd else ()
        return (ClusterOn(machine=self.primary), *drbd)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Primary with everything, alone, and DRBD without its peer, which is normal now."""
        inventory = situation.inventory
        pair = who.pair(inventory, self.pair)
        condition = f"{self.primary} is primary of the {PAIR_WORDS[self.pair]}, {self.offline} is offline"
        fact, drbd = facts.cluster(self.primary), facts.drbd(self.primary)
        if fact is None:
            return not_seen(condition, [ClusterOn(machine=self.primary)], facts)
        if pair.drbd and drbd is None:
            return not_seen(condition, [DrbdOn(machine=self.primary)], facts)
        problems = (*missing_on(inventory, pair, self.primary, fact), *self._not_alone(inventory, fact))
        problems = (*problems, *(_alone_problem(self.primary, drbd) if drbd and pair.drbd else ()))
        if problems:
            split = any(SPLIT_BRAIN in problem for problem in problems)
            step = SPLIT_BRAIN_NEXT if split else f"Look at `pcs status` on {self.primary}; then retry."
            return failed(condition, "; ".join(problems), step, invariant=2)
        seen = f"; {drbd_seen(drbd)}: not synchronised, which is normal now" if drbd and pair.drbd else ""
        return passed(condition, f"all of {', '.join(pair.resources)} there{seen}", invariant=2)

    def _not_alone(self, inventory: Inventory, fact: ClusterFact) -> tuple[str, ...]:
        node = who.node(inventory, fact, self.offline)
        return (f"{self.offline} is online",) if node is not None and node.online else ()

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a move: Pacemaker notices a node that has gone within seconds."""
        return inventory.timings.move

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_LOOK


def _alone_problem(machine: str, fact: DrbdFact) -> tuple[str, ...]:
    if fact.connection == "StandAlone":
        return (f"{machine} is StandAlone: {SPLIT_BRAIN}",)
    if fact.role != "Primary" or fact.disk != "UpToDate":
        return (f"DRBD on {machine}: {drbd_seen(fact)}",)
    if fact.connection not in ("WFConnection", "Connecting"):
        return (f"DRBD on {machine} is {fact.connection}, although its peer is off",)
    return ()


class CheckReplication(Command):
    """A database machine waits for the sources that are off, and replicates from those that are not."""

    kind: Literal["check_replication"] = "check_replication"
    mutates: ClassVar[bool] = False
    machine: str
    away: tuple[str, ...] = ()
    """Sources that are off: replication from them must read "connecting"."""

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        waits = f' reads "connecting" to {", ".join(self.away)}' if self.away else " goes on"
        return f"Check that the replication of {self.machine}{waits}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Its replica status."""
        return (ReplicationOn(machine=self.machine),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Connecting to what is off, replicating from what is on."""
        inventory = situation.inventory
        waits = f"waits for {', '.join(self.away)}, which is off" if self.away else "goes on"
        condition = f"the replication of {self.machine} {waits}"
        fact = facts.replication(self.machine)
        if fact is None:
            return not_seen(condition, [ReplicationOn(machine=self.machine)], facts)
        here = tuple(s for s in who.sources_of(inventory, self.machine) if s not in self.away)
        problems = [p for s in self.away if (p := _waiting_problem(inventory, fact, s))]
        problems += [p for s in here if (p := replication_problem(inventory, fact, s))]
        if problems:
            step = f"Look at SHOW REPLICA STATUS on {self.machine}. Replicas notice a vanished master after up to 60 s."
            return failed(condition, "; ".join(problems), step)
        seen = [f"connecting to {s}" for s in self.away] + [f"replicating from {s}" for s in here]
        return passed(condition, ", ".join(seen))

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for replicas to notice."""
        return inventory.timings.replication

    def expected(self, inventory: Inventory) -> timedelta:
        """What it may take, or the deadline if that is shorter."""
        return min(USUAL_NOTICE, inventory.timings.replication) if self.away else USUAL_LOOK


def _waiting_problem(inventory: Inventory, fact: ReplicationFact, source: str) -> str:
    channel = channel_from(inventory, fact, source)
    if channel is None:
        return f"no replication from {source}"
    if channel.io != "Connecting":
        return f"IO thread from {source} reads {channel.io}" + (f" ({channel.io_error})" if channel.io_error else "")
    if channel.sql != "Yes":
        return f"SQL thread from {source} has stopped" + (f" ({channel.sql_error})" if channel.sql_error else "")
    return f"received from {source}, but not replayed" if channel.caught_up is False else ""


class RunProbe(Command):
    """A functionality probe of the inventory answers as it should."""

    kind: Literal["run_probe"] = "run_probe"
    mutates: ClassVar[bool] = False
    name: str

    @property
    def target(self) -> str:
        """The probe."""
        return self.name

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Probe {self.name}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The probe."""
        return (ProbeOf(name=self.name),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It answers as it should."""
        condition = f"probe {self.name} answers"
        fact = facts.fact(ProbeOf(name=self.name), ProbeFact)
        if fact is None:
            return not_seen(condition, [ProbeOf(name=self.name)], facts)
        if fact.ok:
            return passed(condition, f"{fact.milliseconds:.0f} ms")
        return failed(condition, fact.detail or "it does not", "Look at the software behind it; then retry.")

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time to become healthy."""
        return inventory.timings.healthy

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return timedelta(seconds=1)
