"""Sessions that must end before anything moves, by themselves or cut on purpose: the procedure, stage 4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import ClassVar, Literal

from inventory.approval import GateName
from inventory.models import Inventory, Role
from procedure import who
from procedure.commands.base import Command
from procedure.facts import BalancerFact, Facts, ServerState, Session, SessionCount, SessionsFact
from procedure.instructions import EndConnections, EndServerSessions, Instruction
from procedure.invariants import behind_the_balancers, not_seen, takes_all_writes
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, SessionsOn, Subject
from procedure.verdicts import Answer, Verdict, failed, passed, steps_of, together, unknown, warned, worst

USUAL_DRAIN = timedelta(minutes=1)
"""With all software stopped only its last requests end; nobody is cut off, so it can take longer."""

ROLLED_BACK = timedelta(minutes=5)
"""A connection that is killed first rolls back its transaction, and is listed until then."""

USUAL_ENDING = timedelta(seconds=5)

BLIND = "the account lacks the PROCESS privilege and sees only itself"
GRANT_PROCESS = "GRANT PROCESS ON *.* to the account of the inventory, then retry."

ENDED_BY = (
    "They end when their program disconnects: stop it on the host named (or KILL the row, which rolls back its "
    "transaction). Rows of the load balancer that stay in Sleep end when HAProxy is reloaded there. "
    "Then retry."
)


class _NobodyConnected(Command):
    """Nobody is connected: neither at the active load balancer nor at the active master."""

    balancer: str
    """The active load balancer."""
    master: str
    """The master that takes writes."""

    @property
    def target(self) -> str:
        """The machine whose sessions decide."""
        return self.master

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Both lists of sessions, and that it is still these two that are active."""
        clusters = (ClusterOn(machine=m) for m in situation.inventory.pairs.load_balancer.machines)
        return (BalancerOn(machine=self.balancer), SessionsOn(machine=self.master), *clusters)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """No session on either; the worst of the answers."""
        answers = (
            *_through_these(situation.inventory, self.balancer, self.master, facts),
            _no_balancer_sessions(situation.inventory, self.balancer, facts),
            _no_database_sessions(situation.inventory, self.master, facts),
        )
        bad = tuple(v for v in answers if not v.allows)
        condition = f"no session is active on {self.balancer} and {self.master}"
        if not bad:
            return passed(condition, "; ".join(v.reason for v in answers))
        reason = "; ".join(f"{v.condition}: {v.reason}" for v in bad)
        step = steps_of(bad)
        # Where one can't be told, the others' sessions are not all there are.
        answer = worst(bad)
        chosen = next(verdict for verdict in bad if verdict.answer is answer)
        return chosen.model_copy(update={"condition": condition, "reason": reason, "next_step": step})

    def sessions_left(self, situation: Situation, facts: Facts) -> tuple[SessionCount, ...]:
        """By the server they are with, and by the machine and account they come from."""
        inventory = situation.inventory
        balancer, database = facts.balancer(self.balancer), facts.sessions(self.master)
        return (*_at_balancer(inventory, balancer), *_at_database(inventory, database))


class AwaitDrained(_NobodyConnected):
    """Wait until nobody is connected any more."""

    kind: Literal["await_drained"] = "await_drained"
    mutates: ClassVar[bool] = False
    in_slices: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Wait until no session is left on {self.balancer} and {self.master}"

    def forced(self) -> Command:
        """Cut who is left, if people agree to that."""
        return EndSessions(balancer=self.balancer, master=self.master)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for sessions to end; then the operator decides."""
        return inventory.timings.drain

    def expected(self, inventory: Inventory) -> timedelta:
        """About a minute, or the deadline if that is shorter."""
        return min(USUAL_DRAIN, inventory.timings.drain)


class EndSessions(_NobodyConnected):
    """Cut whoever is still connected. Nothing would undo it."""

    kind: Literal["end_sessions"] = "end_sessions"
    approval: ClassVar[GateName | None] = "end_sessions"

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"End the sessions that are left on {self.balancer} and {self.master}"

    def question(self, seen: str) -> str:
        """Whom it would cut."""
        return f"They are cut off, whatever they are doing; a transaction that is open is rolled back. Left are: {seen}"

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """It is still these two that everything goes through, and all who are connected are seen.

        Whether the software is stopped is no condition: what can't be stopped is why people end its sessions. If it
        connects again, the wanted state does not come, and who is left is told.
        """
        seen = _all_are_seen(self.master, facts)
        return (*_through_these(situation.inventory, self.balancer, self.master, facts), seen)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """At the load balancer for each backend, then at the master; only where there are any."""
        inventory, sessions = situation.inventory, facts.sessions(self.master)
        busy = _busy(inventory, facts.balancer(self.balancer))
        at_balancer = (self._at_balancer(inventory, backend, servers) for backend, servers in busy.items())
        at_master = (EndConnections(machine=self.master),) if sessions is None or sessions.count else ()
        return (*at_balancer, *at_master)

    def _at_balancer(self, inventory: Inventory, backend: str, servers: tuple[str, ...]) -> EndServerSessions:
        by_page, socket = inventory.haproxy.change_by == "admin_page", inventory.haproxy.socket
        return EndServerSessions(
            balancer=self.balancer,
            backend=backend,
            servers=servers,
            page=who.admin_page_url(inventory, self.balancer) if by_page else "",
            socket=socket.path if socket else "",
        )

    def deadline(self, inventory: Inventory) -> timedelta:
        """Until transactions are rolled back."""
        return ROLLED_BACK

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_ENDING


def _through_these(inventory: Inventory, balancer: str, master: str, facts: Facts) -> tuple[Verdict, ...]:
    """All who are connected are connected through these two."""
    active = _still_active(inventory, balancer, facts)
    # Behind another load balancer, which nobody has looked at, nothing can be told of the writes.
    return (active, takes_all_writes(inventory, master, facts)) if active.allows else (active,)


def _all_are_seen(master: str, facts: Facts) -> Verdict:
    condition = f"all sessions of {master} are seen"
    fact = facts.sessions(master)
    if fact is None:
        return not_seen(condition, [SessionsOn(machine=master)], facts)
    return passed(condition) if fact.complete else unknown(condition, BLIND, GRANT_PROCESS)


def _busy(inventory: Inventory, fact: BalancerFact | None) -> dict[str, tuple[str, ...]]:
    """Backends with those of their servers that somebody is connected to; on paper all that could be."""
    if fact is None:
        counted = (b for b in inventory.haproxy.backends if b.name not in inventory.sessions.ignore_backends)
        return {backend.name: tuple(backend.servers) for backend in counted}
    busy = servers_with_sessions(inventory, fact)
    names = dict.fromkeys(state.backend for state in busy)
    return {name: tuple(state.server for state in busy if state.backend == name) for name in names}


def _still_active(inventory: Inventory, balancer: str, facts: Facts) -> Verdict:
    condition = f"{balancer} is the active load balancer"
    pair = inventory.pairs.load_balancer
    found = who.primaries(inventory, pair, facts)
    if found is None:
        return not_seen(condition, [ClusterOn(machine=m) for m in pair.machines], facts)
    if found == (balancer,):
        return passed(condition, f"{balancer} is active")
    seen = f"active is {' and '.join(found) or 'none'}"
    step = f"It was {balancer} when the run began: move it back there and retry; or abort, and begin again."
    return failed(condition, seen, step)


def _no_balancer_sessions(inventory: Inventory, balancer: str, facts: Facts, but: tuple[str, ...] = ()) -> Verdict:
    condition = f"HAProxy on {balancer} has no session"
    fact = facts.balancer(balancer)
    if fact is None:
        return not_seen(condition, [BalancerOn(machine=balancer)], facts)
    if not fact.running:
        return failed(condition, "HAProxy does not run there", f"Start HAProxy on {balancer}, then retry.")
    left = servers_with_sessions(inventory, fact, but)
    if left:
        seen = ", ".join(f"{s.backend}/{s.server}: {s.sessions + s.queued}" for s in left)
        return failed(condition, seen, "Wait, or find out who holds them; nobody is cut off without your word.")
    return passed(condition, f"0 on {balancer}")


def of_sessions(inventory: Inventory) -> tuple[Subject, ...]:
    """What tells whether nobody is connected, whoever is active."""
    masters = inventory.with_role(Role.DATABASE_MASTER)
    return (*behind_the_balancers(inventory), *(SessionsOn(machine=m.name) for m in masters))


def still_drained(inventory: Inventory, facts: Facts, *, accepted: bool) -> Verdict:
    """Nobody has connected again since the drain: to software started by hand meanwhile, for example.

    Args:
        inventory: the cluster.
        facts: of this moment, of the subjects in `of_sessions`.
        accepted: the operator has said, with a reason, that the sessions left do not matter.
    """
    condition = "no session is active on the active load balancer and master"
    balancer = who.primary(inventory, inventory.pairs.load_balancer, facts)
    taking = who.writers(inventory, facts)
    if balancer is None or taking is None:
        return _or_accepted(not_seen(condition, behind_the_balancers(inventory), facts), accepted=accepted)
    masters = taking or tuple(m.name for m in inventory.with_role(Role.DATABASE_MASTER))
    # Probes go on during the outage, each with a session at HAProxy for a moment; the process list tells theirs apart.
    databases = tuple(b.name for b in inventory.haproxy.backends if b.kind == "database")
    answers = [_no_balancer_sessions(inventory, balancer, facts, but=databases)]
    answers += [_no_database_sessions(inventory, master, facts) for master in masters]
    against = [v for v in answers if not v.allows]
    if not against:
        return passed(condition, "; ".join(v.reason for v in answers))
    reason = "; ".join(f"{v.condition}: {v.reason}" for v in against)
    step = together((*(v.next_step for v in against), STOP_AGAIN))
    # HAProxy goes on trying servers that were stopped until its checks have seen it: such a call is over in a moment.
    passing = all(verdict.answer is Answer.FAIL for verdict in against)
    changed = against[0].model_copy(
        update={"condition": condition, "reason": reason, "next_step": step, "passing": passing}
    )
    return _or_accepted(changed, accepted=accepted)


STOP_AGAIN = "Stop what connected again, then retry; or retry with force and a reason: the sessions left will be cut."


def _or_accepted(verdict: Verdict, *, accepted: bool) -> Verdict:
    if not accepted:
        return verdict
    return warned(verdict.condition, f"accepted by the operator: {verdict.reason}", verdict.next_step)


def servers_with_sessions(
    inventory: Inventory, fact: BalancerFact, but: tuple[str, ...] = ()
) -> tuple[ServerState, ...]:
    """Servers that somebody is connected to, or waits for, without the backends that don't count."""
    counted = (s for s in fact.servers if s.backend not in (*inventory.sessions.ignore_backends, *but))
    return tuple(s for s in counted if s.sessions or s.queued)


def _at_balancer(inventory: Inventory, fact: BalancerFact | None) -> Iterator[SessionCount]:
    counts: Counter[str] = Counter()
    backends = {backend.name: backend for backend in inventory.haproxy.backends}
    for state in servers_with_sessions(inventory, fact) if fact else ():
        known = backends.get(state.backend)
        machine = who.machine_behind(inventory, known, state) if known else None
        counts[machine or f"{state.backend}/{state.server}"] += state.sessions + state.queued
    for machine, count in counts.most_common():
        yield SessionCount(kind="load balancer", machine=machine, count=count)


def _at_database(inventory: Inventory, fact: SessionsFact | None) -> Iterator[SessionCount]:
    if fact is None:
        return
    groups = Counter((_host_of(session), session.user) for session in fact.sessions)
    for (host, user), count in groups.most_common():
        machine = who.machine_at(inventory, host) or host
        yield SessionCount(kind="database", machine=machine, user=user, count=count)
    if hidden := max(fact.count - len(fact.sessions), 0):
        yield SessionCount(kind="database", machine="others", count=hidden)


def _no_database_sessions(inventory: Inventory, master: str, facts: Facts) -> Verdict:
    condition = f"the process list of {master} holds replication entries only"
    fact = facts.sessions(master)
    if fact is None:
        return not_seen(condition, [SessionsOn(machine=master)], facts)
    if not fact.complete:
        return unknown(condition, BLIND, GRANT_PROCESS)
    if fact.count == 0:
        return passed(condition, f"0 on {master}")
    return failed(condition, who_is_left(inventory, fact), ENDED_BY)


def who_is_left(inventory: Inventory, fact: SessionsFact) -> str:
    """The sessions left, grouped by user and host: "12 from app@10.77.0.31 (acd-lb1, Sleep)"."""
    names = {machine.address: f"{machine.name}, " for machine in inventory.machines}
    groups = Counter(_from(session, names) for session in fact.sessions)
    listed = [f"{count} from {source}" for source, count in groups.most_common()]
    hidden = fact.count - len(fact.sessions)
    return ", ".join(listed + ([f"{hidden} more"] if hidden > 0 else []))


def _from(session: Session, names: Mapping[str, str]) -> str:
    host = _host_of(session)
    return f"{session.user}@{host} ({names.get(host, '')}{session.command})"


def _host_of(session: Session) -> str:
    return session.address.rsplit(":", 1)[0] if session.address.count(":") == 1 else session.address
