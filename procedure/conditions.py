"""What must hold before a command acts, beyond the invariants: pure predicates over facts, with their reasons."""

from __future__ import annotations

from collections.abc import Mapping

from inventory.models import Component, Inventory, NagiosMonitoring, Role
from procedure import who
from procedure.facts import ClusterFact, Facts, LocationConstraint, NodeState, ReplicationFact
from procedure.invariants import caught_up, not_seen
from procedure.replication import catches_up, channel_from, replay_problem, replication_problem
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, ComponentOn, PowerOf, ReplayOn, ReplicationOn, Silences, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed, unknown, warned
from procedure.who import PAIR_WORDS, PairName


def is_vacated(situation: Situation, machine: str) -> Verdict:
    """The machine is on the host that goes down: nothing else is ever powered off."""
    condition = f"{machine} is on the vacated VM-Host {situation.vacated}"
    if situation.goes(machine):
        return passed(condition)
    return failed(condition, f"it is on {situation.surviving}", "Abort: the plan does not fit the inventory.")


def returns(situation: Situation, machine: str) -> Verdict:
    """The machine is on the host that comes back: nothing else is ever switched on."""
    condition = f"{machine} is on the VM-Host that returns, {situation.vacated}"
    if situation.goes(machine):
        return passed(condition)
    return failed(condition, f"it is on {situation.surviving}", "Abort: the plan does not fit the inventory.")


# --- pairs ------------------------------------------------------------------------------------------------------------


def partner_is_primary(inventory: Inventory, machine: str, facts: Facts) -> Verdict:
    """The other machine of its pair is the one primary: a node that joins now finds somebody who has everything."""
    pair = inventory.pair_of(machine)
    condition = f"the partner of {machine} is primary of their pair"
    if pair is None:
        return not_applicable(condition, f"{machine} belongs to no pair", invariant=2)
    other = who.partner(pair, machine)
    if facts.cluster(other) is None:
        return not_seen(condition, [ClusterOn(machine=other)], facts, invariant=2)
    found = who.primaries(inventory, pair, facts)
    if found == (other,):
        return passed(condition, f"{other} is primary", invariant=2)
    seen = f"primary is {' and '.join(found or ()) or 'none'}"
    if (fact := facts.cluster(other)) is not None and not fact.quorum and not found:
        return failed(condition, f"{seen}: {other} has no quorum", unblock_quorum(other, machine), invariant=2)
    return failed(condition, seen, f"Look at `pcs status` on {other}; make it primary first.", invariant=2)


def unblock_quorum(machine: str, partner: str) -> str:
    """What a person does about a node that has restarted alone."""
    # votequorum(5), wait_for_all: one of two nodes that restarts alone has to see the other first.
    return (
        f"Look at `pcs status` on {machine}. If it has restarted, it waits for {partner}: see that {partner} is off, "
        f"and only then `pcs quorum unblock` on {machine}, which takes it for off; then retry."
    )


def stays_where_it_is(inventory: Inventory, joining: str, facts: Facts) -> tuple[Verdict, ...]:
    """No older location constraint would give the pair to a machine as soon as that machine joins it."""
    name = next((n for n in who.PAIR_NAMES if joining in who.pair(inventory, n).machines), None)
    if name is None:
        return ()
    condition = f"no location constraint would move the {PAIR_WORDS[name]} to {joining} by itself"
    return (nothing_moves_it(inventory, name, joining, facts, condition),)


def nothing_moves_it(inventory: Inventory, name: PairName, to: str, facts: Facts, condition: str) -> Verdict:
    """No location constraint pulls a pair to one of its machines, or keeps it off the other."""
    pair = who.pair(inventory, name)
    seen = [fact for m in pair.machines if (fact := facts.cluster(m)) is not None]
    if not seen:
        nodes: list[Subject] = [ClusterOn(machine=m) for m in pair.machines]
        # One that is off on purpose was not asked, and is no trouble.
        asked = [node for node in nodes if facts.observation(node) is not None]
        return not_seen(condition, asked or nodes, facts)
    pulled, left = inventory.machine(to).node_name, inventory.machine(who.partner(pair, to)).node_name
    constraints = {c.id: c for fact in seen for c in fact.constraints}.values()
    against = [c.id for c in constraints if pulls(c, pulled) or repels(c, left)]
    if against:
        return failed(condition, ", ".join(against), f"`pcs constraint delete {' '.join(against)}` after thinking why.")
    left_out = max(fact.constraints_left_out for fact in seen)
    if left_out:
        seen_of = f"{left_out} constraints are more than are looked at"
        return unknown(condition, seen_of, "Read them in `pcs constraint --full`; delete those nobody needs.")
    rules = [c.id for c in constraints if not c.node]
    if rules:
        return warned(condition, f"by rule, not judged: {', '.join(rules)}", "Read them in `pcs constraint --full`.")
    return passed(condition)


def can_return(inventory: Inventory, name: PairName, to: str, facts: Facts) -> Verdict:
    """No location constraint keeps a pair from one of its machines, but those of a move, which the failback clears."""
    pair = who.pair(inventory, name)
    now_on = who.partner(pair, to)
    condition = f"no location constraint would keep the {PAIR_WORDS[name]} on {now_on}"
    fact = facts.cluster(now_on)
    if fact is None:
        return not_seen(condition, [ClusterOn(machine=now_on)], facts)
    keeping, kept_off = inventory.machine(now_on).node_name, inventory.machine(to).node_name
    keeps = [c for c in fact.constraints if pulls(c, keeping) or repels(c, kept_off)]
    if pair.method == "move":
        keeps = [c for c in keeps if not who.left_by_a_move(c)]
    if inventory.machine(to).normal != "active":
        # It belongs where it is; only what a move has left there is too much.
        keeps = [c for c in keeps if who.left_by_a_move(c)]
    ids = [c.id for c in keeps]
    if ids:
        return failed(condition, ", ".join(ids), f"`pcs constraint delete {' '.join(ids)}` after thinking why.")
    return passed(condition)


def pulls(constraint: LocationConstraint, node: str) -> bool:
    """Whether it makes Pacemaker prefer a node, by whatever score."""
    return constraint.node == node and bool(constraint.score) and not constraint.score.startswith(("-", "0"))


def repels(constraint: LocationConstraint, node: str) -> bool:
    """Whether it makes Pacemaker avoid a node."""
    return constraint.node == node and constraint.score.startswith("-")


def cluster_is_able(inventory: Inventory, name: PairName, seen_from: str, facts: Facts) -> Verdict:
    """Pacemaker has quorum, is not in maintenance mode and has no failed or blocked resource."""
    condition = f"Pacemaker of the {PAIR_WORDS[name]} is able to act, as {seen_from} sees it"
    fact = facts.cluster(seen_from)
    if fact is None:
        return not_seen(condition, [ClusterOn(machine=seen_from)], facts)
    problems = cluster_problems(fact)
    if problems:
        return failed(condition, "; ".join(problems), f"Look at `pcs status --full` on {seen_from}; then retry.")
    return passed(condition, "quorum, nothing failed or blocked")


def cluster_problems(fact: ClusterFact) -> tuple[str, ...]:
    """What keeps Pacemaker from moving anything."""
    problems = [] if fact.quorum else ["no quorum"]
    problems += ["maintenance mode is on"] if fact.maintenance_mode else []
    for flag in ("failed", "blocked"):
        problems += [f"resource {r.id} is {flag}" for r in fact.resources if getattr(r, flag)]
    problems += [f"resource {r.id} is unmanaged" for r in fact.resources if not r.managed]
    problems += [f"resource {r.id} is disabled" for r in fact.resources if r.disabled]
    return tuple(dict.fromkeys(problems))


def node_can_take_over(inventory: Inventory, machine: str, seen_from: str, facts: Facts) -> Verdict:
    """The node is online and in no state in which Pacemaker would run nothing on it."""
    condition = f"{machine} is online and can run resources"
    fact = facts.cluster(seen_from)
    if fact is None:
        return not_seen(condition, [ClusterOn(machine=seen_from)], facts)
    node = who.node(inventory, fact, machine)
    problems = node_problems(node)
    if problems:
        seen = f"{', '.join(problems)}, as {seen_from} sees it"
        return failed(condition, seen, f"Bring the node {machine} to `online` in `pcs status`, then retry.")
    return passed(condition)


def node_is_online(inventory: Inventory, machine: str, seen_from: str, facts: Facts) -> Verdict:
    """The node is online, in standby or not: what leaves must be able to stop its resources."""
    condition = f"{machine} is online in Pacemaker"
    fact = facts.cluster(seen_from)
    if fact is None:
        return not_seen(condition, [ClusterOn(machine=seen_from)], facts)
    node = who.node(inventory, fact, machine)
    problems = [p for p in node_problems(node) if not p.startswith("standby")]
    if problems:
        return failed(condition, ", ".join(problems), f"Look at `pcs status` on {seen_from}; then retry.")
    return passed(condition)


def haproxy_serves(inventory: Inventory, machine: str, facts: Facts) -> Verdict:
    """HAProxy runs on a load balancer, or does not because Pacemaker runs it on the active one only."""
    condition = f"HAProxy on {machine} runs"
    fact = facts.balancer(machine)
    if fact is None:
        return not_seen(condition, [BalancerOn(machine=machine)], facts)
    if fact.running:
        return passed(condition)
    pair = inventory.pairs.load_balancer
    seen = next((cluster for m in pair.machines if (cluster := facts.cluster(m)) is not None), None)
    if seen is None:
        return not_seen(condition, [ClusterOn(machine=m) for m in pair.machines], facts)
    problem = _why_haproxy_should_run(inventory, machine, seen)
    if problem:
        step = f"Start HAProxy on {machine} and see that it works: nobody would be served there."
        return failed(condition, f"it does not run there, {problem}", step)
    return not_applicable(condition, "Pacemaker runs it on the active load balancer only")


def _why_haproxy_should_run(inventory: Inventory, machine: str, seen: ClusterFact) -> str:
    instances = who.haproxy_resources(inventory, seen)
    if not instances:
        return "and Pacemaker would not start it"
    # One that is being started, in the moment of a move, is on its way.
    if any(r.role == "Started" and inventory.machine(machine).node_name in r.nodes for r in instances):
        return "although Pacemaker says that it does"
    return "although Pacemaker runs it on both" if len(instances) > 1 else ""


def node_problems(node: NodeState | None) -> tuple[str, ...]:
    """What keeps a node from running resources."""
    if node is None:
        return ("not a node of this cluster",)
    problems = [] if node.online else ["offline"]
    flags = {
        "standby": node.standby,
        "standby after a failure": node.standby_on_fail,
        "in maintenance": node.maintenance,
        "unclean": node.unclean,
        "pending": node.pending,
        "shutting down": node.shutdown,
    }
    return tuple(problems + [word for word, set_ in flags.items() if set_])


# --- software ---------------------------------------------------------------------------------------------------------


def service_exists(machine: str, component: str, facts: Facts) -> Verdict:
    """There is such a service, and something else than a person controls it."""
    condition = f"{component} is a service on {machine}"
    fact = facts.component(machine, component)
    if fact is None:
        return not_seen(condition, [ComponentOn(machine=machine, component=component)], facts)
    if fact.state == "missing":
        step = "Correct the service name, the features or by_hand_on in the inventory, or install it; then retry."
        return failed(condition, "there is no such service", step)
    return passed(condition)


def run_first(inventory: Inventory, machine: str, component: Component) -> tuple[str, ...]:
    """Components of the machine that must run before this one, as far as they are services there."""
    here = {c.name: c for c in inventory.components_on(inventory.machine(machine))}
    return tuple(name for name in component.start_after if name in here and is_service(here[name], machine))


def stop_first(inventory: Inventory, machine: str, component: Component) -> tuple[str, ...]:
    """Components of the machine that must be stopped before this one: those that start after it."""
    here = inventory.components_on(inventory.machine(machine))
    return tuple(c.name for c in here if component.name in c.start_after and is_service(c, machine))


def is_service(component: Component, machine: str) -> bool:
    """Whether the product controls a component on a machine, and not a person."""
    return component.control == "service" and machine not in component.by_hand_on


def components_are(machine: str, names: tuple[str, ...], states: tuple[str, ...], facts: Facts) -> Verdict:
    """Other components of the machine are in one of these states."""
    condition = f"{', '.join(names)} on {machine} {'is' if len(names) == 1 else 'are'} {states[0]}"
    if not names:
        return not_applicable(f"nothing else on {machine} comes first", "no order is given")
    unseen: list[Subject] = [
        ComponentOn(machine=machine, component=n) for n in names if facts.component(machine, n) is None
    ]
    if unseen:
        return not_seen(condition, unseen, facts)
    wrong = [f"{n} is {f.state}" for n in names if (f := facts.component(machine, n)) and f.state not in states]
    return failed(condition, ", ".join(wrong), "Let that come first, then retry.") if wrong else passed(condition)


# --- database ---------------------------------------------------------------------------------------------------------


def is_writable(master: str, facts: Facts) -> Verdict:
    """The database of a master accepts writes: it is not read_only."""
    condition = f"the database of {master} accepts writes"
    fact = facts.replication(master)
    if fact is None or fact.read_only is None:
        return not_seen(condition, [ReplicationOn(machine=master)], facts)
    if fact.read_only:
        step = f"SET GLOBAL read_only = OFF on {master}, and in its configuration, after thinking why it is on."
        return failed(condition, "read_only is ON", step)
    return passed(condition, "read_only is OFF")


def next_writers(inventory: Inventory, to: str, facts: Facts) -> tuple[str, ...]:
    """Masters that would get writes behind the HAProxy of a load balancer, and do not get them now.

    One that runs gives them to its servers without MAINT, though they may not be UP yet. One that Pacemaker starts with
    the move knows no MAINT, so any master may be meant.
    """
    masters = tuple(m.name for m in inventory.with_role(Role.DATABASE_MASTER))
    fact = facts.balancer(to)
    now = who.writers(inventory, facts) or ()
    then = who.may_write_behind(inventory, fact) if fact is not None and fact.running else masters
    return tuple(m for m in masters if m in then and m not in now)


def next_writers_are_fresh(inventory: Inventory, to: str, facts: Facts) -> tuple[Verdict, ...]:
    """5: whoever gets the writes as soon as the address is on a load balancer has caught up, and is writable.

    A HAProxy that has restarted knows no MAINT: it hands writes to a returned master by itself.
    """
    condition = f"who gets the writes as soon as {to} has the address has replayed all changes, and is writable"
    if facts.balancer(to) is None:
        return (not_seen(condition, [BalancerOn(machine=to)], facts, invariant=5),)
    masters = next_writers(inventory, to, facts)
    if not masters:
        return (not_applicable(condition, "the writes stay where they are", invariant=5),)
    verdicts: list[Verdict] = []
    for master in masters:
        verdicts += [
            caught_up(master, who.masters_behind(inventory, master), facts, inventory),
            is_writable(master, facts),
        ]
    return tuple(verdicts)


def nothing_is_lost(situation: Situation, machine: str, facts: Facts) -> Verdict:
    """What a master has written has been replayed by every replica that stays."""
    inventory = situation.inventory
    condition = f"every replica that stays has replayed what {machine} wrote"
    staying = tuple(r for r in who.replicas_of(inventory, machine) if not situation.goes(r))
    if inventory.machine(machine).role is not Role.DATABASE_MASTER or not staying:
        return not_applicable(condition, "none replicates from it")
    unseen: list[Subject] = [ReplicationOn(machine=r) for r in staying if facts.replication(r) is None]
    if unseen:
        return not_seen(condition, unseen, facts)
    seen = {r: fact for r in staying if (fact := facts.replication(r))}
    broken = {r: p for r, fact in seen.items() if (p := replication_problem(inventory, fact, machine))}
    cut_off = {r: p for r, p in broken.items() if _has_replayed_all_it_got(inventory, seen[r], machine)}
    lacking = {r: p for r in staying if (p := replay_problem(facts, r, machine))}
    problems = {r: p for r, p in broken.items() if r not in cut_off} | lacking
    if problems:
        step = "Wait for the replication, or repair it; then retry."
        passing = all(catches_up(inventory, seen[r], machine) for r in problems)
        return failed(condition, _each(problems), step, passing=passing)
    # A position proves that a replica has all: just connected it lags by nothing and has got nothing. Only where the
    # master tells nobody any more what it wrote, having replayed all that was received is all there can be.
    unproved = [r for r in staying if facts.replay(r, machine) is None]
    answers = len(unproved) < len(staying)
    unseen = [ReplayOn(machine=r, source=machine) for r in unproved if answers or r not in cut_off]
    if unseen:
        return not_seen(condition, unseen, facts)
    if not cut_off:
        return passed(condition, ", ".join(staying))
    silent = f"{machine} answers no more, all that was received is replayed"
    return warned(condition, f"{_each(cut_off)}; {silent if unproved else 'by its position it has all'}")


def _each(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{replica}: {problem}" for replica, problem in problems.items())


def _has_replayed_all_it_got(inventory: Inventory, fact: ReplicationFact, source: str) -> bool:
    # A master that is shutting down ends its database first. It takes no writes since stage 7.
    channel = channel_from(inventory, fact, source)
    return channel is not None and channel.io == "Connecting" and channel.sql == "Yes" and channel.caught_up is True


# --- backups ----------------------------------------------------------------------------------------------------------


def machine_answers(machine: str, facts: Facts) -> Verdict:
    """The machine is on."""
    condition = f"{machine} is on"
    fact = facts.power(machine)
    if fact is None or fact.state == "undecided":
        return not_seen(condition, [PowerOf(machine=machine)], facts)
    return passed(condition) if fact.state == "on" else failed(condition, "it is off", f"Start {machine} first.")


# --- monitoring -------------------------------------------------------------------------------------------------------


def can_be_silenced(inventory: Inventory, facts: Facts) -> Verdict:
    """The monitoring server can be asked, and it knows every machine."""
    condition = "monitoring can be silenced"
    fact = facts.silences()
    if fact is None:
        return not_seen(condition, [Silences()], facts)
    if fact.by_hand:
        return not_applicable(condition, "a person does it")
    if fact.unknown:
        seen = f"it knows no host of these names: {', '.join(_called(inventory, m) for m in fact.unknown)}"
        step = "Name each as Nagios does under monitoring.host_names, or let Nagios watch it; then try again."
        return failed(condition, seen, step)
    return passed(condition)


def _called(inventory: Inventory, machine: str) -> str:
    """A machine, and how the monitoring server is told to call it."""
    monitoring = inventory.monitoring
    name = monitoring.host_name(machine) if isinstance(monitoring, NagiosMonitoring) else machine
    return machine if name == machine else f"{machine} (there {name})"
