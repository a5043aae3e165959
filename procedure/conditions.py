"""What must hold before a command acts, beyond the invariants: pure predicates over facts, with their reasons."""

from __future__ import annotations

from inventory.models import Component, Inventory, Role
from procedure import who
from procedure.facts import ClusterFact, Facts, NodeState, ReplicationFact
from procedure.invariants import channel_from, not_seen, replication_problem
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, ComponentOn, PowerOf, ReplicationOn, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed, warned
from procedure.who import PAIR_WORDS, PairName


def is_vacated(situation: Situation, machine: str) -> Verdict:
    """The machine is on the host that goes down: nothing else is ever powered off."""
    condition = f"{machine} is on the vacated VM-Host {situation.vacated}"
    if situation.goes(machine):
        return passed(condition)
    return failed(condition, f"it is on {situation.surviving}", "Abort: the plan does not fit the inventory.")


# --- pairs ------------------------------------------------------------------------------------------------------------


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
    problems = {r: p for r, fact in seen.items() if (p := replication_problem(inventory, fact, machine))}
    reason = "; ".join(f"{replica}: {problem}" for replica, problem in problems.items())
    if not problems:
        return passed(condition, ", ".join(staying))
    if all(_has_replayed_all_it_got(inventory, seen[replica], machine) for replica in problems):
        return warned(condition, f"{reason}; {machine} answers no more, all that was received is replayed")
    return failed(condition, reason, "Wait for the replication, or repair it; then retry.")


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
