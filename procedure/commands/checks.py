"""Checks of the cluster while one side is off, or when it has just come back, and probes of its functions.

The procedure, stages 10 and 13 of the failover, stages 8 and 15 of the failback.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from inventory.models import Inventory
from procedure import who
from procedure.commands.base import Command
from procedure.commands.pairs import PairName, missing_on, observed
from procedure.conditions import is_service, node_problems, unblock_quorum
from procedure.facts import ClusterFact, DrbdFact, Facts, ProbeFact, ReplicationFact
from procedure.invariants import (
    SPLIT_BRAIN,
    SPLIT_BRAIN_NEXT,
    caught_up,
    drbd_problem,
    drbd_seen,
    not_seen,
    out_of_sync_untold,
)
from procedure.replication import channel_from, observed_of_replay, replication_problem
from procedure.situation import Situation
from procedure.subjects import ClusterOn, ComponentOn, DrbdOn, ProbeOf, ReplicationOn, Subject
from procedure.verdicts import Answer, Verdict, failed, passed, unknown
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
            step = SPLIT_BRAIN_NEXT if split else self._next(fact)
            # Where a cluster may run without quorum, that alone is no problem.
            problems = problems if fact.quorum else (f"{self.primary} has no quorum", *problems)
            return failed(condition, "; ".join(problems), step, invariant=2, settled=split)
        seen = f"; {drbd_seen(drbd)}: not synchronised, which is normal now" if drbd and pair.drbd else ""
        return passed(condition, f"all of {', '.join(pair.resources)} there{seen}", invariant=2)

    def _next(self, fact: ClusterFact) -> str:
        if fact.quorum:
            return f"Look at `pcs status` on {self.primary}; then retry."
        return unblock_quorum(self.primary, self.offline)

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


class CheckWholePair(Command):
    """Both machines of a pair are there and in sync: one is primary with everything, the other holds nothing."""

    kind: Literal["check_whole_pair"] = "check_whole_pair"
    mutates: ClassVar[bool] = False
    pair: PairName
    primary: str
    other: str

    @property
    def target(self) -> str:
        """The machine that is primary."""
        return self.primary

    @property
    def title(self) -> str:
        """One line for a person."""
        words = PAIR_WORDS[self.pair]
        return f"Check that {self.primary} is still primary of the {words} and {self.other} stands by in sync"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Pacemaker and DRBD as both machines see them."""
        return observed(situation.inventory, who.pair(situation.inventory, self.pair))

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Both nodes online and able, everything on the primary alone, DRBD UpToDate on both, as both see it."""
        inventory = situation.inventory
        pair = who.pair(inventory, self.pair)
        condition = f"{self.primary} is primary of the {PAIR_WORDS[self.pair]}, {self.other} stands by in sync"
        unseen = [s for s in self.observes(situation) if (o := facts.observation(s)) is None or o.fact is None]
        if unseen:
            return not_seen(condition, unseen, facts, invariant=2)
        problems = [
            *self._as_seen_from(inventory, facts, self.primary),
            *self._as_seen_from(inventory, facts, self.other),
        ]
        problems += [p for m in pair.machines if pair.drbd and (p := drbd_problem(m, facts.drbd(m)))]
        if problems:
            split = any(SPLIT_BRAIN in problem for problem in problems)
            step = SPLIT_BRAIN_NEXT if split else f"Look at `pcs status` on both and at /proc/drbd on {self.other}."
            reason = "; ".join(dict.fromkeys(problems))
            return failed(condition, reason, f"{step} Not reached: do not go on.", invariant=2, settled=split)
        if pair.drbd and (untold := out_of_sync_untold(pair, facts)):
            return unknown(condition, untold, "Look at /proc/drbd there, then retry.", invariant=4)
        return passed(condition, f"all of {', '.join(pair.resources)} on {self.primary}", invariant=2)

    def _as_seen_from(self, inventory: Inventory, facts: Facts, machine: str) -> tuple[str, ...]:
        pair, fact = who.pair(inventory, self.pair), facts.cluster(machine)
        if fact is None:
            return (f"{machine} does not tell",)
        problems = [f"{m} is {p}" for m in pair.machines for p in node_problems(who.node(inventory, fact, m))]
        problems += [] if fact.quorum else [f"{machine} has no quorum"]
        if machine == self.primary:
            return (*problems, *missing_on(inventory, pair, machine, fact))
        problems += [f"{r} is on {machine}" for r in pair.resources if who.runs_on(inventory, fact, r, machine)]
        problems += [f"{pair.address} is on {machine}"] if who.holds_address(fact, pair.address) else []
        return (*problems, *((f"{pair.mount} is mounted on {machine}",) if pair.mount in fact.mounts else ()))

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time to catch up, where there is something to catch up on."""
        has_drbd = who.pair(inventory, self.pair).drbd is not None
        return inventory.timings.catch_up if has_drbd else inventory.timings.move

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_LOOK


class CheckStopped(Command):
    """No software runs on machines that were just started and stopped again."""

    kind: Literal["check_stopped"] = "check_stopped"
    mutates: ClassVar[bool] = False
    machines: tuple[str, ...]

    @property
    def target(self) -> str:
        """All of them."""
        return "software"

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Check that no software runs on {', '.join(self.machines)}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Every service of these machines."""
        return tuple(ComponentOn(machine=m, component=c) for m, c in self._services(situation.inventory))

    def _services(self, inventory: Inventory) -> tuple[tuple[str, str], ...]:
        found = ((m, c) for m in self.machines for c in inventory.components_on(inventory.machine(m)))
        return tuple((machine, component.name) for machine, component in found if is_service(component, machine))

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """None of them runs: a service that starts late would have been missed when all were stopped."""
        condition = "no software runs on the machines that have come back"
        services = self._services(situation.inventory)
        unseen: list[Subject] = [
            ComponentOn(machine=m, component=c) for m, c in services if facts.component(m, c) is None
        ]
        if unseen:
            return not_seen(condition, unseen, facts)
        alive = ("running", "starting", "stopping")
        left = [f"{c} on {m} is {f.state}" for m, c in services if (f := facts.component(m, c)) and f.state in alive]
        if left:
            return failed(condition, ", ".join(left), "It started late with its machine: stop it by hand, then retry.")
        return passed(condition, f"{len(services)} services do not run")

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a stop."""
        return inventory.timings.stop

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_LOOK


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
        problems = [p for s in self.away if (p := waiting_problem(inventory, fact, s))]
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


def waiting_problem(inventory: Inventory, fact: ReplicationFact, source: str) -> str:
    """What is wrong with the replication from a machine that is off; empty if it waits for it and has replayed all."""
    channel = channel_from(inventory, fact, source)
    if channel is None:
        return f"no replication from {source}"
    if channel.io != "Connecting":
        return f"IO thread from {source} reads {channel.io}" + (f" ({channel.io_error})" if channel.io_error else "")
    if channel.sql != "Yes":
        return f"SQL thread from {source} has stopped" + (f" ({channel.sql_error})" if channel.sql_error else "")
    return f"received from {source}, but not replayed" if channel.caught_up is False else ""


SQL_STOPPED = (
    "Look at Last_SQL_Error in SHOW REPLICA STATUS on {machine} and mend it: what it could not replay is missing "
    "there, and a returning master must not build on that."
)
IO_STOPPED = (
    "{machine} does not try its source any more: look at Last_IO_Error in SHOW REPLICA STATUS there. If it has only "
    "tried too often while its source was off (Source_Retry_Count, Master_Retry_Count), START REPLICA (START SLAVE) on "
    "{machine}."
)


def what_has_given_up(inventory: Inventory, machine: str, fact: ReplicationFact, sources: tuple[str, ...]) -> str:
    """What a person must do where a replication has ended with an error; empty where none has: it may go on by itself.

    One that reads "No" without an error is just starting, or was stopped by somebody.
    """
    channels = [channel for source in sources if (channel := channel_from(inventory, fact, source))]
    if any(channel.sql == "No" and channel.sql_error for channel in channels):
        return SQL_STOPPED.format(machine=machine)
    if any(channel.io == "No" and channel.io_error for channel in channels):
        return IO_STOPPED.format(machine=machine)
    return ""


class CheckCaughtUp(Command):
    """A database machine has replayed all that its sources wrote, now that both sides are on again."""

    kind: Literal["check_caught_up"] = "check_caught_up"
    mutates: ClassVar[bool] = False
    machine: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Check that {self.machine} has replayed all that its sources wrote"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Its replica status, and its position beside that of each source."""
        return observed_of_replay(self.machine, who.sources_of(situation.inventory, self.machine))

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Both threads run towards every source, and it has executed all that each has written."""
        inventory, sources = situation.inventory, who.sources_of(situation.inventory, self.machine)
        verdict = caught_up(self.machine, sources, facts, inventory)
        fact = facts.replication(self.machine)
        if fact is None or verdict.answer is not Answer.FAIL:
            return verdict
        given_up = what_has_given_up(inventory, self.machine, fact, sources)
        look = f"Look at SHOW REPLICA STATUS on {self.machine}."
        soon = f"{look} Replicas try a source that was away again after up to 60 s."
        step = f"{given_up or soon} Not reached: do not go on."
        return verdict.model_copy(update={"next_step": step, "settled": bool(given_up)})

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time to catch up."""
        return inventory.timings.catch_up

    def expected(self, inventory: Inventory) -> timedelta:
        """Until it tries its source again, or the deadline if that is shorter."""
        return min(USUAL_NOTICE, inventory.timings.catch_up)


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
