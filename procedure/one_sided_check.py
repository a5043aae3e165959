"""The health check before a failback: one side runs alone and well, the other is off (the procedure, section 5).

`rounds` says what is observed, `judge` what it means. A machine that is off is asked nothing: only its VM-Host tells
about it. Any *unknown* or *fail* ends the run before anything is touched, and says what to do first.
"""

from __future__ import annotations

from collections.abc import Iterator

from inventory.models import CommandProbe, Machine, Role
from procedure import who
from procedure.commands.checks import CheckPair, waiting_problem, what_has_given_up
from procedure.conditions import (
    can_be_silenced,
    can_return,
    cluster_is_able,
    is_writable,
    node_can_take_over,
    nothing_moves_it,
)
from procedure.facts import BalancerFact, Facts, SilencesFact
from procedure.health_check import (
    addresses_told,
    autostart,
    backends_match,
    probe_answers,
    reachable,
    remembered_failures,
    round_of,
    runs_once,
    sessions_visible,
    subjects_of,
)
from procedure.invariants import (
    behind_the_balancers,
    not_in_state,
    not_seen,
    servers_cross,
)
from procedure.plan import Step
from procedure.replication import is_source, replication_problem
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BalancerOn,
    ComponentOn,
    PowerOf,
    ProbeOf,
    ReplicationOn,
    Silences,
    Subject,
)
from procedure.verdicts import Answer, Verdict, failed, passed, warned
from procedure.who import PAIR_WORDS, PairName

BY_THEMSELVES = (
    "They may have damaged the cluster. Look first at the survivors: `pcs status`, DRBD (StandAlone or two primaries: "
    "split brain), SHOW REPLICA STATUS and the admin page of HAProxy. Then shut {machines} down by hand, in the order "
    "applications, database replicas, masters, load balancer, storage; switch off what started them, and begin again."
)


def subjects(situation: Situation) -> tuple[Subject, ...]:
    """All that is observed."""
    machines = (s for m in situation.inventory.machines for s in _subjects_of(situation, m))
    return (*machines, Silences(), *_probes(situation))


def rounds(situation: Situation) -> tuple[Step, ...]:
    """What is observed: one step for each machine, one for monitoring, one for the probes; none waits for another."""
    machines = tuple(round_of(m.name, _subjects_of(situation, m)) for m in situation.inventory.machines)
    probes = _probes(situation)
    return (*machines, round_of("monitoring", (Silences(),)), *((round_of("probes", probes),) if probes else ()))


def _subjects_of(situation: Situation, machine: Machine) -> tuple[Subject, ...]:
    if situation.goes(machine.name):
        return (PowerOf(machine=machine.name), AutostartOf(machine=machine.name))
    return subjects_of(situation.inventory, machine)


def _probes(situation: Situation) -> tuple[ProbeOf, ...]:
    # One that runs on a machine that is off can't answer.
    probes = situation.inventory.probes
    able = (p for p in probes if not (isinstance(p, CommandProbe) and situation.goes(p.machine)))
    return tuple(ProbeOf(name=probe.name) for probe in able)


def judge(situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
    """What the facts mean: one verdict for each thing that must hold before a failback, all of them, in reading order.

    An *unknown* or *fail* among them ends the run before anything is touched.
    """
    inventory = situation.inventory
    return (
        _all_off(situation, facts),
        *(reachable(inventory, machine, facts) for machine in situation.surviving_side()),
        *autostart(inventory, facts),
        *(verdict for name in who.PAIR_NAMES for verdict in _pair(situation, name, facts)),
        *_databases(situation, facts),
        *_balancer(situation, facts),
        _writer(situation, facts),
        *_components(situation, facts),
        _daemon(situation, facts),
        _monitoring(situation, facts),
        *(probe_answers(probe.name, facts) for probe in _probes(situation)),
    )


# --- machines ---------------------------------------------------------------------------------------------------------


def _all_off(situation: Situation, facts: Facts) -> Verdict:
    condition = f"all machines of {situation.vacated} are off"
    machines = [m.name for m in situation.vacated_side()]
    on = [m for m in machines if (fact := facts.power(m)) is not None and fact.state == "on"]
    if on:
        seen = f"on are {', '.join(on)}: nobody but this run may start them"
        return failed(condition, seen, BY_THEMSELVES.format(machines=", ".join(on)))
    unseen: list[Subject] = [PowerOf(machine=m) for m in machines if (f := facts.power(m)) is None or f.state != "off"]
    if unseen:
        return not_seen(condition, unseen, facts)
    return passed(condition, f"{len(machines)} are off")


# --- the pairs --------------------------------------------------------------------------------------------------------


def _pair(situation: Situation, name: PairName, facts: Facts) -> Iterator[Verdict]:
    """The survivor has everything and can work, its partner is away, and nothing would call the pair away from it."""
    inventory = situation.inventory
    pair = who.pair(inventory, name)
    survivor, returning = situation.survivor_of(pair), situation.leaver_of(pair)
    yield cluster_is_able(inventory, name, survivor, facts)
    yield node_can_take_over(inventory, survivor, survivor, facts)
    yield CheckPair(pair=name, primary=survivor, offline=returning).wanted(situation, facts)
    condition = f"no location constraint would move the {PAIR_WORDS[name]} to {returning} as soon as it is on"
    yield nothing_moves_it(inventory, name, returning, facts, condition)
    yield can_return(inventory, name, returning, facts)
    yield from remembered_failures(name, pair, facts)


# --- database ---------------------------------------------------------------------------------------------------------


def _databases(situation: Situation, facts: Facts) -> Iterator[Verdict]:
    for machine in situation.surviving_side(Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        yield _replication(situation, machine, facts)
        if machine.role is Role.DATABASE_MASTER:
            yield is_writable(machine.name, facts)
            yield sessions_visible(situation.inventory, machine.name, facts)


def _replication(situation: Situation, machine: Machine, facts: Facts) -> Verdict:
    inventory = situation.inventory
    condition = f'{machine.name} reads "connecting" to what is off, and replicates from what is on'
    fact = facts.replication(machine.name)
    if fact is None:
        return not_seen(condition, [ReplicationOn(machine=machine.name)], facts, invariant=5)
    sources = who.sources_of(inventory, machine.name)
    away = [s for s in sources if situation.goes(s)]
    problems = [p for s in away if (p := waiting_problem(inventory, fact, s))]
    problems += [p for s in sources if s not in away and (p := replication_problem(inventory, fact, s))]
    expected = [inventory.machine(s) for s in sources]
    strangers = [c.source_host for c in fact.channels if not any(is_source(c, m) for m in expected)]
    problems += [f"replicates from {host}, which the inventory does not say" for host in strangers]
    if not problems:
        return passed(condition, f"from {', '.join(sources) or 'nobody'}", invariant=5)
    repair = f"Look at SHOW REPLICA STATUS on {machine.name} and repair the replication, or the inventory."
    given_up = what_has_given_up(inventory, machine.name, fact, sources)
    step = f"{given_up} Then begin again." if given_up else repair
    return failed(condition, "; ".join(problems), step, invariant=5)


# --- HAProxy ----------------------------------------------------------------------------------------------------------


def _balancer(situation: Situation, facts: Facts) -> Iterator[Verdict]:
    inventory = situation.inventory
    name = situation.survivor_of(inventory.pairs.load_balancer)
    condition = f"HAProxy on {name} can be read"
    fact = facts.balancer(name)
    if fact is None:
        yield not_seen(condition, [BalancerOn(machine=name)], facts)
    elif not fact.running:
        yield failed(condition, "it does not run, although this is the active load balancer", f"Start it on {name}.")
    else:
        yield passed(condition)
        yield _survivors_up(situation, name, fact)
        yield _returning_in_maint(situation, name, fact)
        yield backends_match(inventory, name, fact)
        yield servers_cross(inventory, name, facts)
        yield from addresses_told(inventory, name, fact)


def _survivors_up(situation: Situation, name: str, fact: BalancerFact) -> Verdict:
    condition = f"every server of {situation.surviving} is UP on {name}"
    servers = who.servers_of(situation.inventory, tuple(m.name for m in situation.surviving_side()))
    states = {f"{b}/{s}": who.state_of(fact, b, s) for b, s in servers}
    down = [
        f"{server} {state.status if state else 'is not there'}"
        for server, state in states.items()
        if state is None or not state.up or state.admin != "ready"
    ]
    if down:
        step = "Repair these machines, or set them to READY; then try again."
        return failed(condition, ", ".join(down), step)
    return passed(condition, f"{len(servers)} servers")


def _returning_in_maint(situation: Situation, name: str, fact: BalancerFact) -> Verdict:
    """Set by the failover. Who lost it would get traffic as soon as it boots, before it has caught up."""
    condition = f"every server of {situation.vacated} is in MAINT on {name}"
    servers = who.servers_of(situation.inventory, tuple(m.name for m in situation.vacated_side()))
    wrong = not_in_state(fact, servers, "maint")
    if wrong:
        step = (
            f"Set these servers to MAINT on the admin page of {name} (a HAProxy that was reloaded or restarted forgets "
            "it): they would get traffic, and a master writes, as soon as they boot. Then try again."
        )
        return failed(condition, ", ".join(wrong), step, invariant=5)
    return passed(condition, f"{len(servers)} servers", invariant=5)


def _writer(situation: Situation, facts: Facts) -> Verdict:
    inventory = situation.inventory
    masters = tuple(m.name for m in situation.surviving_side(Role.DATABASE_MASTER))
    condition = f"database writes go to {' or '.join(masters)}, and to it alone"
    taking = who.writers(inventory, facts)
    if taking is None:
        return not_seen(condition, behind_the_balancers(inventory), facts)
    if len(taking) == 1 and taking[0] in masters:
        return passed(condition, f"{taking[0]} takes the writes")
    step = "Look at the database backend on the active load balancer; then try again."
    return failed(condition, f"writes go to {' and '.join(taking) or 'none'}", step)


# --- software ---------------------------------------------------------------------------------------------------------


def _components(situation: Situation, facts: Facts) -> Iterator[Verdict]:
    for machine in situation.surviving_side():
        for component in situation.inventory.components_on(machine):
            yield _component(machine.name, component.name, facts)


def _component(machine: str, name: str, facts: Facts) -> Verdict:
    """Runs, also where it normally stands by: this side does all the work."""
    condition = f"{name} runs on {machine}"
    fact = facts.component(machine, name)
    if fact is None:
        return not_seen(condition, [ComponentOn(machine=machine, component=name)], facts)
    if fact.state == "by_hand":
        return warned(condition, "only a person can see it", "The approver vouches for it at the first gate.")
    if fact.state == "running":
        return passed(condition)
    if fact.state == "missing":
        step = "Correct the service name, the features or by_hand_on in the inventory."
        return failed(condition, "there is no such service", step)
    seen = f"it is {fact.state}" + (f" ({fact.detail})" if fact.detail else "")
    return failed(condition, seen, f"Start {name} on {machine} and see that it works; then try again.")


def _daemon(situation: Situation, facts: Facts) -> Verdict:
    condition = f"AcdGroupDistribute runs on exactly one telephony machine of {situation.surviving}"
    return runs_once(condition, [m.name for m in situation.surviving_side(Role.TELEPHONY)], facts)


# --- monitoring -------------------------------------------------------------------------------------------------------


def _monitoring(situation: Situation, facts: Facts) -> Verdict:
    """That the machines that are off are silenced is as it should be; that others are is worth a word."""
    found, fact = can_be_silenced(situation.inventory, facts), facts.silences()
    if fact is None or found.answer is not Answer.PASS:
        return found
    left = [m.name for m in situation.surviving_side() if _is_silenced(m.name, fact)]
    if left:
        seen = f"silenced by an earlier run, although they are on: {', '.join(left)}"
        return warned(found.condition, seen, "This run lifts it at its end.")
    return found


def _is_silenced(machine: str, fact: SilencesFact) -> bool:
    return any(machine in silence.machines for silence in fact.silences)
