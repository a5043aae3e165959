"""The two Pacemaker pairs, storage and load balancer: stages 5 and 6 of the failover, 5, 9 and 10 of the failback."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from inventory.models import Inventory, Pair, Role
from procedure import who
from procedure.commands.base import Command
from procedure.commands.sessions import of_sessions, still_drained
from procedure.conditions import (
    cluster_is_able,
    haproxy_serves,
    next_writers_are_fresh,
    node_can_take_over,
    node_is_online,
    node_problems,
    stays_where_it_is,
)
from procedure.facts import ClusterFact, DrbdFact, Facts, LocationConstraint
from procedure.instructions import Instruction, RunOn
from procedure.invariants import (
    SPLIT_BRAIN,
    SPLIT_BRAIN_NEXT,
    drbd_in_sync,
    drbd_problem,
    drbd_seen,
    not_seen,
    not_the_only_copy,
    one_primary,
    out_of_sync_untold,
)
from procedure.replication import observed_of_replay
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, DrbdOn, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed, unknown
from procedure.who import PAIR_WORDS, PairName

__all__ = ["ClearMove", "MovePair", "PairName", "RejoinNode"]

USUAL_REJOIN = timedelta(seconds=30)
"""Starting DRBD and replaying what little was written meanwhile; a full resync takes longer."""

USUAL_CLEAR = timedelta(seconds=3)
"""A change of the configuration that moves nothing."""


def observed(inventory: Inventory, pair: Pair) -> tuple[Subject, ...]:
    """Pacemaker and, where there is one, DRBD as both machines see it: after a split brain only DRBD tells."""
    clusters = tuple(ClusterOn(machine=m) for m in pair.machines)
    return clusters if pair.drbd is None else (*clusters, *(DrbdOn(machine=m) for m in pair.machines))


class MovePair(Command):
    """Move a pair to one of its machines.

    By `standby` the other machine goes into standby, and stays there until the failback; by `move` its resources are
    moved. Either way it is the outcome that proves it: primary, every resource, the address, DRBD.
    """

    kind: Literal["move_pair"] = "move_pair"
    pair: PairName
    to: str
    """The machine that becomes primary."""
    leaver: str
    """The machine that is left."""
    method: Literal["standby", "move"] = "standby"
    """The pair's, as in the inventory: what is to be undone depends on it."""
    sessions_accepted: bool = False
    """The operator's word that sessions which are left, or not seen, do not matter; only ever with a reason."""
    back: bool = False
    """A move is taken back: it is enough that the pair is there. The standby of the other machine ends afterwards."""

    @property
    def target(self) -> str:
        """The machine that becomes primary."""
        return self.to

    @property
    def title(self) -> str:
        """One line for a person."""
        accepted = ", cutting the sessions that are left" if self.sessions_accepted else ""
        return f"Move the {PAIR_WORDS[self.pair]} to {self.to}{accepted}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Both machines of the pair, that HAProxy runs where the load balancer goes, and that nobody is connected.

        With the load balancer writes may go elsewhere: so also what both masters have replayed.
        """
        inventory = situation.inventory
        subjects = [*observed(inventory, who.pair(inventory, self.pair)), *of_sessions(inventory)]
        if self.pair == "load_balancer":
            for master in inventory.with_role(Role.DATABASE_MASTER):
                subjects += observed_of_replay(master.name, who.masters_behind(inventory, master.name))
        return tuple(dict.fromkeys(subjects))

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """Both machines of the pair, and HAProxy where the load balancer goes."""
        clusters = observed(situation.inventory, who.pair(situation.inventory, self.pair))
        return (*clusters, BalancerOn(machine=self.to)) if self.pair == "load_balancer" else clusters

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """All of the pair is on the survivor, and nothing on the leaver."""
        inventory = situation.inventory
        pair = who.pair(inventory, self.pair)
        condition = f"the {PAIR_WORDS[self.pair]} is on {self.to} with all its resources"
        fact, drbd = facts.cluster(self.to), facts.drbd(self.to)
        if fact is None:
            return not_seen(condition, [ClusterOn(machine=self.to)], facts)
        if pair.drbd is not None and drbd is None:
            return not_seen(condition, [DrbdOn(machine=self.to)], facts)
        if self.pair == "load_balancer" and facts.balancer(self.to) is None:
            return not_seen(condition, [BalancerOn(machine=self.to)], facts)
        missing = (*missing_on(inventory, pair, self.to, fact), *self._left_behind(inventory, pair, facts))
        missing = (*missing, *_drbd_missing(pair, self.to, drbd), *self._haproxy_missing(facts))
        if missing:
            past = failures_on(inventory, self.to, fact)
            again = ", mend what failed, then `pcs resource cleanup`, or Pacemaker does not try again" if past else ""
            step = f"Look at `pcs status --full` on {self.to}{again}. What has moved stays; retry waits for the rest."
            return failed(condition, "; ".join((*missing, *past)), step)
        if facts.cluster(self.leaver) is None and not _is_offline(inventory, fact, self.leaver):
            # It may still hold the address; a node that is offline, and so fenced or off, holds nothing.
            return not_seen(condition, [ClusterOn(machine=self.leaver)], facts)
        return passed(condition, f"{', '.join(pair.resources)} and {pair.address} are there")

    def _haproxy_missing(self, facts: Facts) -> tuple[str, ...]:
        haproxy = facts.balancer(self.to) if self.pair == "load_balancer" else None
        return (f"HAProxy does not run on {self.to}",) if haproxy is not None and not haproxy.running else ()

    def _left_behind(self, inventory: Inventory, pair: Pair, facts: Facts) -> tuple[str, ...]:
        fact, leaver = facts.cluster(self.to), facts.cluster(self.leaver)
        if fact is None:
            return ("nobody knows what is left behind",)
        left = [f"{r} still on {self.leaver}" for r in pair.resources if who.runs_on(inventory, fact, r, self.leaver)]
        if leaver is not None and who.holds_address(leaver, pair.address):
            left.append(f"{pair.address} still on {self.leaver}")
        node = who.node(inventory, fact, self.leaver)
        if self.back:
            return tuple(left)
        if pair.method == "standby" and (node is None or not node.standby):
            left.append(f"{self.leaver} is not in standby")
        elif pair.method == "standby" and node is not None and node.resources_running:
            left.append(f"{node.resources_running} resources still active on {self.leaver}")
        return tuple(left)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """Both nodes able, one primary, DRBD in sync (invariants 2 and 4), HAProxy there or coming along.

        And whoever gets the writes behind it has caught up (invariant 5).
        """
        inventory = situation.inventory
        return (
            cluster_is_able(inventory, self.pair, self.to, facts),
            node_can_take_over(inventory, self.to, self.to, facts),
            node_is_online(inventory, self.leaver, self.to, facts),
            one_primary(inventory, self.pair, facts),
            drbd_in_sync(inventory, self.pair, self.to, facts),
            *self._of_haproxy(inventory, facts),
            self._drained(inventory, facts),
        )

    def _of_haproxy(self, inventory: Inventory, facts: Facts) -> tuple[Verdict, ...]:
        if self.pair != "load_balancer":
            return ()
        return (haproxy_serves(inventory, self.to, facts), *next_writers_are_fresh(inventory, self.to, facts))

    def _drained(self, inventory: Inventory, facts: Facts) -> Verdict:
        fact = facts.cluster(self.to)
        leaver = who.node(inventory, fact, self.leaver) if fact else None
        if fact is not None and ((leaver is not None and leaver.standby) or not fact.transition_idle):
            # Pacemaker goes on by itself: to refuse now would cut nobody's session less.
            return not_applicable("no session is active", "the move has begun")
        return still_drained(inventory, facts, accepted=self.sessions_accepted)

    def forced(self) -> Command | None:
        """Although there are sessions; everything else must hold as before."""
        return None if self.sessions_accepted else self.model_copy(update={"sessions_accepted": True})

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """`pcs node standby` or `pcs resource move`, on the survivor; on the leaver if only that was reached."""
        inventory = situation.inventory
        pair = who.pair(inventory, self.pair)
        run_on = self.leaver if facts.cluster(self.to) is None and facts.cluster(self.leaver) is not None else self.to
        if pair.method == "standby":
            words = ("pcs", "node", "standby", inventory.machine(self.leaver).node_name)
            return (RunOn(machine=run_on, argv=words, timeout=inventory.timings.move),)
        node = inventory.machine(self.to).node_name
        return tuple(
            RunOn(machine=run_on, argv=("pcs", "resource", "move", resource, node), timeout=inventory.timings.move)
            for resource in self._to_move(inventory, pair, facts)
        )

    def _to_move(self, inventory: Inventory, pair: Pair, facts: Facts) -> tuple[str, ...]:
        # A resource takes its whole group along, so one of each group is enough, and a second would be an error.
        fact = facts.cluster(self.to) or facts.cluster(self.leaver)
        if fact is None:
            return pair.resources
        by_group: dict[str, str] = {}
        for resource in pair.resources:
            group = next((r.container for r in who.instances(fact, resource) if r.container), resource)
            if not who.runs_on(inventory, fact, resource, self.to):
                by_group.setdefault(group, resource)
        return tuple(by_group.values())

    def compensation(self) -> tuple[Command, ...]:
        """The leaver stands by again, takes over when it is in sync, and nothing binds the pair to either machine."""
        back = MovePair(pair=self.pair, to=self.leaver, leaver=self.to, method=self.method, back=True)
        if self.method == "move":
            return (ClearMove(pair=self.pair, machine=self.to), back, ClearMove(pair=self.pair, machine=self.leaver))
        return (RejoinNode(pair=self.pair, machine=self.leaver), back, RejoinNode(pair=self.pair, machine=self.to))

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a move."""
        return inventory.timings.move

    def expected(self, inventory: Inventory) -> timedelta:
        """As the pair says."""
        return who.pair(inventory, self.pair).expected_move


def _is_offline(inventory: Inventory, seen: ClusterFact, machine: str) -> bool:
    node = who.node(inventory, seen, machine)
    return node is not None and not node.online and not node.unclean


def missing_on(inventory: Inventory, pair: Pair, machine: str, fact: ClusterFact) -> tuple[str, ...]:
    """What of a pair is not on a machine, as that machine sees it: promotion, each resource, the address."""
    name = inventory.machine(machine).node_name
    missing = []
    if pair.promotable and not any(
        r.role == "Promoted" and name in r.nodes for r in who.instances(fact, pair.promotable)
    ):
        missing.append(f"{pair.promotable} is not promoted on {machine}")
    missing += [f"{r} is not on {machine}" for r in pair.resources if not who.runs_on(inventory, fact, r, machine)]
    missing += [f"{r.id} is failed" for r in fact.resources if r.failed]
    if not who.holds_address(fact, pair.address):
        missing.append(f"{pair.address} is not on {machine}")
    if pair.mount and pair.mount not in fact.mounts:
        missing.append(f"{pair.mount} is not mounted on {machine}")
    return (*missing, *(() if fact.transition_idle else ("resources are still starting or stopping",)))


def failures_on(inventory: Inventory, machine: str, fact: ClusterFact) -> tuple[str, ...]:
    """Actions that have failed on a machine, with the reason that the resource gave."""
    node = inventory.machine(machine).node_name
    return tuple(f"failed: {line}" for line in fact.failures if f" on {node}: " in line)


def _drbd_missing(pair: Pair, machine: str, fact: DrbdFact | None) -> tuple[str, ...]:
    if pair.drbd is None:
        return ()
    if fact is None or fact.role != "Primary" or fact.disk != "UpToDate":
        return (f"DRBD on {machine}: {drbd_seen(fact)}",)
    return ()


class RejoinNode(Command):
    """Take a machine of a pair out of standby, so that it stands by again."""

    kind: Literal["rejoin_node"] = "rejoin_node"
    pair: PairName
    machine: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Let {self.machine} stand by in the {PAIR_WORDS[self.pair]} again"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Both machines of the pair."""
        return observed(situation.inventory, who.pair(situation.inventory, self.pair))

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """The node is online and out of standby, and DRBD in sync on both."""
        inventory = situation.inventory
        pair = who.pair(inventory, self.pair)
        condition = f"{self.machine} stands by in the {PAIR_WORDS[self.pair]}"
        seen_from = who.partner(pair, self.machine)
        fact = facts.cluster(seen_from)
        if fact is None:
            return not_seen(condition, [ClusterOn(machine=seen_from)], facts)
        problems = list(node_problems(who.node(inventory, fact, self.machine)))
        if pair.drbd is not None:
            if any(facts.drbd(m) is None for m in pair.machines):
                return unknown(condition, "DRBD was not seen on both machines", "Make it observable, then retry.")
            problems += [p for m in pair.machines if (p := drbd_problem(m, facts.drbd(m)))]
        if problems:
            # Waiting mends no split brain.
            split = any(SPLIT_BRAIN in problem for problem in problems)
            drbd = "" if pair.drbd is None else f" and at /proc/drbd on {self.machine}"
            step = SPLIT_BRAIN_NEXT if split else f"Look at `pcs status` on {seen_from}{drbd}."
            return failed(condition, "; ".join(problems), step, settled=split)
        if pair.drbd is not None and (untold := out_of_sync_untold(pair, facts)):
            return unknown(condition, untold, "Look at /proc/drbd there, then retry.")
        return passed(condition, "online, in sync")

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """The other machine is the one primary, with a good copy (invariants 2 and 3), and remains so."""
        return (
            one_primary(situation.inventory, self.pair, facts),
            not_the_only_copy(situation, self.machine, facts),
            *stays_where_it_is(situation.inventory, self.machine, facts),
        )

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """`pcs node unstandby`, on the other machine."""
        inventory = situation.inventory
        run_on = who.partner(who.pair(inventory, self.pair), self.machine)
        words = ("pcs", "node", "unstandby", inventory.machine(self.machine).node_name)
        return (RunOn(machine=run_on, argv=words),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """With DRBD the inventory's time to catch up: a machine that was off for long has much to receive."""
        has_drbd = who.pair(inventory, self.pair).drbd is not None
        return inventory.timings.catch_up if has_drbd else inventory.timings.move

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_REJOIN


class ClearMove(Command):
    """Take back the location constraints that `pcs resource move` leaves: 0.9 and 0.10 do, 0.11 does not."""

    kind: Literal["clear_move"] = "clear_move"
    pair: PairName
    machine: str
    """The machine the pair was moved to."""

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Clear the constraints that bind the {PAIR_WORDS[self.pair]} to {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Both machines of the pair."""
        return observed(situation.inventory, who.pair(situation.inventory, self.pair))

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """No constraint that a move has left."""
        condition = f"no move binds the {PAIR_WORDS[self.pair]} to a machine"
        fact = facts.cluster(self.machine)
        if fact is None:
            return not_seen(condition, [ClusterOn(machine=self.machine)], facts)
        left = _left_by_moves(fact)
        if left:
            step = f"Look at `pcs constraint --full` on {self.machine}; then retry."
            return failed(condition, ", ".join(c.id for c in left), step)
        return passed(condition)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """The pair has one primary, which stays where it is (invariant 2)."""
        return (one_primary(situation.inventory, self.pair, facts),)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """`pcs resource clear`, for each resource that is bound; on paper for each that was moved."""
        fact = facts.cluster(self.machine)
        bound = (
            (c.resource for c in _left_by_moves(fact)) if fact else who.pair(situation.inventory, self.pair).resources
        )
        return tuple(RunOn(machine=self.machine, argv=("pcs", "resource", "clear", r)) for r in dict.fromkeys(bound))

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a move."""
        return inventory.timings.move

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_CLEAR


def _left_by_moves(fact: ClusterFact) -> tuple[LocationConstraint, ...]:
    return tuple(c for c in fact.constraints if who.left_by_a_move(c))
