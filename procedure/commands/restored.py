"""Whether all is again as it was found before the failover: the procedure, stages 11 and 15 of the failback."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from inventory.models import Inventory
from procedure import who
from procedure.commands.base import Command
from procedure.commands.looking import USUAL_LOOK, Places
from procedure.conditions import haproxy_serves, node_problems
from procedure.facts import BalancerFact, Facts, ServerState
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, Subject
from procedure.values import Value
from procedure.verdicts import Answer, Verdict, failed, passed, steps_of, told_together, unknown
from procedure.who import PAIR_WORDS

USUAL_READING = timedelta(seconds=2)
"""One request to HAProxy."""


class ServerFound(Value):
    """A server of a backend as it was found. What was not told is not compared."""

    backend: str
    server: str
    admin: Literal["ready", "drain", "maint"] = "ready"
    up: bool = True
    backup: bool | None = None
    weight: int | None = None
    address: str = ""

    @classmethod
    def of(cls, state: ServerState) -> ServerFound:
        """Of what HAProxy says, that which does not change by itself."""
        return cls(
            backend=state.backend,
            server=state.server,
            admin=state.admin,
            up=state.up,
            backup=state.backup,
            weight=state.weight,
            address=state.address,
        )

    def differences(self, now: ServerState, *, health: bool) -> tuple[str, ...]:
        """What reads otherwise now, field by field."""
        fields = {
            "admin state": (self.admin, now.admin),
            "backup": (self.backup, now.backup),
            "weight": (self.weight, now.weight),
            "address": (self.address or None, now.address or None),
            "UP": (self.up, now.up) if health else (None, None),
        }
        name = f"{self.backend}/{self.server}"
        return tuple(
            f"{name}: {field} {_word(then)} found, now {_word(is_now)}"
            for field, (then, is_now) in fields.items()
            if then is not None and is_now is not None and then != is_now
        )


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


class CheckBalancer(Command):
    """One HAProxy reads exactly as it was found before the failover."""

    kind: Literal["check_balancer"] = "check_balancer"
    mutates: ClassVar[bool] = False
    balancer: str
    running: bool | None = None
    """Whether HAProxy ran there; None: not known, then it must run where the pair's rules let it."""
    found: tuple[ServerFound, ...] = ()
    health: bool = False
    """False: only what an administrator sets, for while software is stopped. True: also who is UP."""

    @property
    def target(self) -> str:
        """The load balancer."""
        return self.balancer

    @property
    def title(self) -> str:
        """One line for a person."""
        what = "every server and who is UP" if self.health else "every setting"
        return f"Check that HAProxy on {self.balancer} reads as it was found: {what}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """HAProxy, and whether it should run there."""
        clusters = (ClusterOn(machine=m) for m in situation.inventory.pairs.load_balancer.machines)
        return (BalancerOn(machine=self.balancer), *clusters)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """Admin state, weight, backup flag, address and presence of every server, and at the end who is UP."""
        condition = f"HAProxy on {self.balancer} reads as it was found"
        runs = haproxy_serves(situation.inventory, self.balancer, facts)
        fact = facts.balancer(self.balancer)
        if fact is None or (self.running is None and not fact.running):
            return runs.model_copy(update={"condition": condition})
        problems = self._differences(situation.inventory, fact)
        if problems:
            return failed(condition, "; ".join(problems), self._put_right(fact))
        return passed(condition, f"{len(self.found)} servers" if fact.running else "it does not run there, as found")

    def _put_right(self, fact: BalancerFact) -> str:
        if self.running is not None and self.running != fact.running:
            what = "Start it" if self.running else "Stop it, or find out why it was started"
            return f"{what} on {self.balancer}, by Pacemaker where that runs it (`pcs status`), then retry."
        return (
            "Something went wrong: a HAProxy that has restarted reads as its configuration says. Compare haproxy.cfg "
            f"and the admin page of {self.balancer} with this list, put it right, then retry."
        )

    def _differences(self, inventory: Inventory, fact: BalancerFact) -> tuple[str, ...]:
        if self.running is not None and self.running != fact.running:
            return (f"HAProxy {'ran' if self.running else 'did not run'} there, now it {_does(fact.running)}",)
        found = {(s.backend, s.server): s for s in self.found}
        now = {(s.backend, s.server): s for s in fact.servers}
        problems = [d for key in found if key in now for d in found[key].differences(now[key], health=self.health)]
        # Of backends that the inventory does not name only some servers are looked at: one may be left out.
        all_of = {backend.name for backend in inventory.haproxy.backends}
        gone = [
            f"{b}/{s}: found, now missing" for b, s in found if (b, s) not in now and (b in all_of or not fact.left_out)
        ]
        new = [f"{b}/{s}: not found then, now there" for b, s in now if b in all_of and (b, s) not in found]
        return (*problems, *gone, *new)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for servers to be UP; or for a command, since what is set does not change by itself."""
        return inventory.timings.healthy if self.health else inventory.timings.command

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_READING


def _does(running: bool) -> str:
    return "does" if running else "does not"


class CheckRestored(Command):
    """The cluster is healthy, whole, and as it was found before the failover."""

    kind: Literal["check_restored"] = "check_restored"
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
        return "Check that the cluster is healthy and as it was found before the failover"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """All that the health check observes."""
        from procedure import health_check  # noqa: PLC0415 - it judges with the rules of commands, and so needs them

        return health_check.subjects(situation.inventory)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """The health check finds nothing, everything is where it was found, and no node is left behind (10)."""
        from procedure import health_check  # noqa: PLC0415 - as above

        condition = "the cluster is healthy and as it was found before the failover"
        against = [v for v in health_check.judge(situation, facts) if not v.allows]
        places = Places(self.storage, self.load_balancer, self.writer, self.daemon)
        elsewhere = (*places.moved(situation.inventory, facts), *_left_behind(situation.inventory, facts))
        reasons = (*elsewhere, *told_together(against))
        step = steps_of(against) or "Put it back as it was found; then retry."
        if not reasons:
            return passed(condition, f"{self.writer} takes writes; {self.storage}, {self.load_balancer} are primary")
        if all(v.answer is Answer.UNKNOWN for v in against) and not elsewhere:
            return unknown(condition, "; ".join(reasons), step)
        return failed(condition, "; ".join(reasons), step, invariant=10)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time to become healthy."""
        return inventory.timings.healthy

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_LOOK


def _left_behind(inventory: Inventory, facts: Facts) -> tuple[str, ...]:
    """What moves leave: nodes in standby, and constraints that bind a pair to a machine."""
    left: list[str] = []
    for name in who.PAIR_NAMES:
        pair = who.pair(inventory, name)
        seen = [fact for m in pair.machines if (fact := facts.cluster(m)) is not None]
        standby = [
            f"{m} is in standby"
            for m in pair.machines
            for fact in seen
            if "standby" in node_problems(who.node(inventory, fact, m))
        ]
        bound = [f"{c.id} binds the {PAIR_WORDS[name]}" for f in seen for c in f.constraints if who.left_by_a_move(c)]
        left += dict.fromkeys((*standby, *bound))
    return tuple(left)
