"""The health check: never start from an unknown state (the procedure, stage 0 and section 3).

`rounds` says what is observed, all of it at the same time; `judge` says what it means. Only when every answer is
*pass*, *warn* or *not applicable* may a run begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from inventory.models import Inventory, Machine, Pair, Role
from procedure import who
from procedure.commands.pairs import missing_on
from procedure.conditions import (
    can_be_silenced,
    cluster_is_able,
    haproxy_serves,
    is_writable,
    node_can_take_over,
    nothing_moves_it,
)
from procedure.facts import AutostartFact, BalancerFact, Facts, ProbeFact
from procedure.invariants import (
    SPLIT_BRAIN,
    SPLIT_BRAIN_NEXT,
    drbd_problem,
    drbd_seen,
    not_seen,
    one_primary,
    servers_cross,
)
from procedure.plan import Observe, Step
from procedure.replication import is_source, replication_problem
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    DrbdOn,
    PowerOf,
    ProbeOf,
    ReplayOn,
    ReplicationOn,
    SessionsOn,
    Silences,
    Subject,
)
from procedure.verdicts import Answer, Verdict, failed, not_applicable, passed, unknown, warned
from procedure.who import PAIR_WORDS, PairName

USUAL_ROUND = timedelta(seconds=5)
"""A few commands over one connection to each machine, all machines at the same time."""


def subjects(inventory: Inventory) -> tuple[Subject, ...]:
    """All that is observed, of all systems."""
    of_machines = (s for m in inventory.machines for s in (*subjects_of(inventory, m), *_replays(inventory, m.name)))
    return (*of_machines, Silences(), *(ProbeOf(name=probe.name) for probe in inventory.probes))


def rounds(situation: Situation) -> tuple[Step, ...]:
    """What is observed: one step for each machine, one for monitoring, one for the probes; none waits for another."""
    inventory = situation.inventory
    machines = tuple(
        round_of(m.name, (*subjects_of(inventory, m), *_replays(inventory, m.name))) for m in inventory.machines
    )
    probes = tuple(ProbeOf(name=probe.name) for probe in inventory.probes)
    return (*machines, round_of("monitoring", (Silences(),)), *((round_of("probes", probes),) if probes else ()))


def round_of(target: str, subjects: tuple[Subject, ...]) -> Step:
    """One target and what is observed of it."""
    action = Observe(target=target, subjects=subjects)
    return Step(
        id=f"0-observe-{target.lower().replace('_', '-')}",
        stage=0,
        title=f"Observe {target}",
        action=action,
        expected=USUAL_ROUND,
    )


def subjects_of(inventory: Inventory, machine: Machine) -> tuple[Subject, ...]:
    """All that is observed of one machine."""
    name = machine.name
    subjects: list[Subject] = [PowerOf(machine=name), AutostartOf(machine=name)]
    subjects += [ComponentOn(machine=name, component=c.name) for c in inventory.components_on(machine)]
    pair = inventory.pair_of(name)
    if pair is not None:
        subjects += [ClusterOn(machine=name), *([DrbdOn(machine=name)] if pair.drbd else [])]
    if machine.role is Role.LOAD_BALANCER:
        subjects.append(BalancerOn(machine=name))
    if machine.role in (Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        subjects.append(ReplicationOn(machine=name))
    if machine.role is Role.DATABASE_MASTER:
        subjects.append(SessionsOn(machine=name))
    if machine.role is Role.TELEPHONY:
        subjects.append(DaemonOn(machine=name))
    return tuple(subjects)


def _replays(inventory: Inventory, replica: str) -> tuple[ReplayOn, ...]:
    return tuple(ReplayOn(machine=replica, source=source) for source in who.sources_of(inventory, replica))


def judge(situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
    """What the facts mean: one verdict for each thing that must hold before a failover, all of them, in reading order.

    An *unknown* or *fail* among them ends the run before anything is touched.
    """
    return (
        *_machines(situation.inventory, facts),
        *autostart(situation.inventory, facts),
        *(verdict for name in who.PAIR_NAMES for verdict in _pair(situation, name, facts)),
        *_drbd(situation.inventory, facts),
        *_replication(situation.inventory, facts),
        *_positions(situation.inventory, facts),
        *(
            sessions_visible(situation.inventory, machine.name, facts)
            for machine in situation.inventory.with_role(Role.DATABASE_MASTER)
        ),
        *(
            verdict
            for name in situation.inventory.pairs.load_balancer.machines
            for verdict in _balancer(situation.inventory, name, facts)
        ),
        _writer(situation.inventory, facts),
        *_components(situation.inventory, facts),
        _daemon(situation.inventory, facts),
        _monitoring(situation.inventory, facts),
        *(probe_answers(probe.name, facts) for probe in situation.inventory.probes),
    )


# --- machines ---------------------------------------------------------------------------------------------------------


def _machines(inventory: Inventory, facts: Facts) -> Iterator[Verdict]:
    for machine in inventory.machines:
        yield reachable(inventory, machine, facts)


def reachable(inventory: Inventory, machine: Machine, facts: Facts) -> Verdict:
    """The machine is on, and its management port answers."""
    condition = f"{machine.name} is on and answers"
    fact = facts.power(machine.name)
    if fact is None:
        return not_seen(condition, [PowerOf(machine=machine.name)], facts)
    port = machine.port or inventory.connections[machine.connection].port
    if fact.state != "on" or port in fact.silent:
        seen = f"it is {fact.state}" + (f", port {port} is silent" if port in fact.silent else "")
        return failed(condition, seen, f"Start {machine.name}, or repair the way to it; then try again.")
    return passed(condition)


def autostart(inventory: Inventory, facts: Facts) -> Iterator[Verdict]:
    """No machine starts by itself with its VM-Host."""
    for machine in inventory.machines:
        condition = f"{machine.name} does not start by itself with {machine.host}"
        subject = AutostartOf(machine=machine.name)
        fact = facts.fact(subject, AutostartFact)
        if fact is None:
            yield not_seen(condition, [subject], facts)
        elif fact.enabled is None:
            yield warned(condition, "its provider can't tell", "The approver vouches for it at the first gate.")
        elif fact.enabled:
            step = f"Switch off its automatic start on {machine.host}: started by itself it may damage the cluster."
            yield failed(condition, "it is set to start automatically", step)
        else:
            yield passed(condition)


# --- Pacemaker --------------------------------------------------------------------------------------------------------


def _pair(situation: Situation, name: PairName, facts: Facts) -> Iterator[Verdict]:
    inventory = situation.inventory
    pair = who.pair(inventory, name)
    for machine in pair.machines:
        yield cluster_is_able(inventory, name, machine, facts)
        yield node_can_take_over(inventory, machine, who.partner(pair, machine), facts)
    yield one_primary(inventory, name, facts)
    yield _is_whole(inventory, name, facts)
    yield _as_normal(inventory, name, facts)
    yield _stays_away(situation, name, facts)
    yield from remembered_failures(name, pair, facts)


def _is_whole(inventory: Inventory, name: PairName, facts: Facts) -> Verdict:
    pair = who.pair(inventory, name)
    condition = f"all resources of the {PAIR_WORDS[name]} run on its primary, and on it alone"
    primary = who.primary(inventory, pair, facts)
    here = facts.cluster(primary) if primary else None
    if primary is None or here is None:
        return not_seen(condition, [ClusterOn(machine=m) for m in pair.machines], facts)
    other = who.partner(pair, primary)
    problems = [*missing_on(inventory, pair, primary, here)]
    problems += [f"{r} runs on {other} too" for r in pair.resources if who.runs_on(inventory, here, r, other)]
    there = facts.cluster(other)
    if there is not None and who.holds_address(there, pair.address):
        problems.append(f"{other} has {pair.address} too")
    if problems:
        return failed(condition, "; ".join(problems), f"Repair it until `pcs status` on {primary} shows all started.")
    return passed(condition, f"{', '.join(pair.resources)} on {primary}")


def _as_normal(inventory: Inventory, name: PairName, facts: Facts) -> Verdict:
    pair = who.pair(inventory, name)
    condition = f"the primary of the {PAIR_WORDS[name]} is the one that is normally active"
    primary = who.primary(inventory, pair, facts)
    if primary is None:
        return not_seen(condition, [ClusterOn(machine=m) for m in pair.machines], facts)
    if inventory.machine(primary).normal == "active":
        return passed(condition, f"{primary} is primary")
    seen = f"{primary} is primary, although it normally stands by"
    return warned(condition, seen, "Make sure that you know why. The run works from the state as found.")


def _stays_away(situation: Situation, name: PairName, facts: Facts) -> Verdict:
    """No location constraint would move the pair to the vacated side again, or keep it off the surviving one."""
    condition = f"no location constraint would move the {PAIR_WORDS[name]} back by itself"
    leaver = situation.leaver_of(who.pair(situation.inventory, name))
    return nothing_moves_it(situation.inventory, name, leaver, facts, condition)


def remembered_failures(name: PairName, pair: Pair, facts: Facts) -> Iterator[Verdict]:
    """Failures and orphans that Pacemaker still knows of: a warning, and nothing if there are none."""
    seen = [fact for m in pair.machines if (fact := facts.cluster(m)) is not None]
    past = dict.fromkeys(failure for fact in seen for failure in fact.failures)
    orphans = dict.fromkeys(f"resource {r.id} is orphaned" for fact in seen for r in fact.resources if r.orphaned)
    if past or orphans:
        condition = f"Pacemaker of the {PAIR_WORDS[name]} remembers no failure"
        step = "Find out why, then `pcs resource cleanup`: a failure that is remembered may forbid a node."
        yield warned(condition, "; ".join((*past, *orphans)), step)


# --- DRBD -------------------------------------------------------------------------------------------------------------


def _drbd(inventory: Inventory, facts: Facts) -> Iterator[Verdict]:
    """Read on both machines, always: after a split brain Pacemaker looks healthy, and only DRBD tells."""
    for name in who.PAIR_NAMES:
        pair = who.pair(inventory, name)
        if pair.drbd is not None:
            primary = who.primary(inventory, pair, facts)
            yield from (_in_sync(machine, primary, facts) for machine in pair.machines)


def _in_sync(machine: str, primary: str | None, facts: Facts) -> Verdict:
    condition = f"DRBD on {machine} is Connected, UpToDate/UpToDate, nothing out of sync"
    fact = facts.drbd(machine)
    if fact is None:
        return not_seen(condition, [DrbdOn(machine=machine)], facts, invariant=4)
    problem = drbd_problem(machine, fact)
    if SPLIT_BRAIN in problem:
        seen = f"{problem}: it refuses its peer, because both sides may have been written to"
        return failed(condition, seen, SPLIT_BRAIN_NEXT, invariant=4)
    if problem:
        return failed(condition, problem, f"Look at /proc/drbd on {machine}; wait for the resync.", invariant=4)
    if fact.out_of_sync_kib is None:
        return unknown(condition, "how much is out of sync was not told", "Look at /proc/drbd.", invariant=4)
    role = "Primary" if machine == primary else "Secondary"
    if primary is not None and fact.role != role:
        seen = f"it is {fact.role}, Pacemaker says {role}"
        return failed(condition, seen, "DRBD and Pacemaker disagree: repair that first.", invariant=4)
    return passed(condition, drbd_seen(fact), invariant=4)


# --- database ---------------------------------------------------------------------------------------------------------


def _replication(inventory: Inventory, facts: Facts) -> Iterator[Verdict]:
    for machine in inventory.with_role(Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        condition = f"{machine.name} replicates as the inventory says, without lag"
        fact = facts.replication(machine.name)
        if fact is None:
            yield not_seen(condition, [ReplicationOn(machine=machine.name)], facts, invariant=5)
            continue
        sources = who.sources_of(inventory, machine.name)
        problems = [p for s in sources if (p := replication_problem(inventory, fact, s))]
        expected = [inventory.machine(s) for s in sources]
        strangers = [c.source_host for c in fact.channels if not any(is_source(c, m) for m in expected)]
        problems += [f"replicates from {host}, which the inventory does not say" for host in strangers]
        if machine.role is _MASTER:
            yield is_writable(machine.name, facts)
        if problems:
            step = f"Repair the replication (SHOW REPLICA STATUS on {machine.name}), or the inventory."
            yield failed(condition, "; ".join(problems), step, invariant=5)
        else:
            yield passed(condition, f"from {', '.join(sources) or 'nobody'}", invariant=5)


def _positions(inventory: Inventory, facts: Facts) -> Iterator[Verdict]:
    """Steps that move writes go by positions: that they can be read must not show in the middle of an outage."""
    for link in inventory.database.replication:
        subject = ReplayOn(machine=link.replica, source=link.source)
        seen = facts.observation(subject)
        # None: a run of a version that did not look at it yet. A database that tells nothing at all is named above.
        if seen is None or any(_tells_nothing(machine, facts) for machine in (link.replica, link.source)):
            continue
        condition = f"what {link.replica} has replayed of {link.source} can be read"
        # While writes go on a replica is always a little behind: how far is told by its lag.
        yield passed(condition) if seen.fact else not_seen(condition, [subject], facts, invariant=5)


def _tells_nothing(machine: str, facts: Facts) -> bool:
    seen = facts.observation(ReplicationOn(machine=machine))
    return seen is not None and seen.fact is None


def sessions_visible(inventory: Inventory, master: str, facts: Facts) -> Verdict:
    """The account sees all sessions of a master, and not only its own."""
    condition = f"all sessions of {master} can be seen"
    fact = facts.sessions(master)
    if fact is None:
        return not_seen(condition, [SessionsOn(machine=master)], facts)
    if not fact.complete:
        step = f"GRANT PROCESS ON *.* to the account {inventory.database.user}; an empty list proves nothing."
        return failed(condition, "the account lacks the PROCESS privilege", step)
    return passed(condition, f"{fact.count} now")


# --- HAProxy ----------------------------------------------------------------------------------------------------------


def _balancer(inventory: Inventory, name: str, facts: Facts) -> Iterator[Verdict]:
    condition = f"HAProxy on {name} can be read"
    fact = facts.balancer(name)
    if fact is None:
        yield not_seen(condition, [BalancerOn(machine=name)], facts)
    elif not fact.running and who.primary(inventory, inventory.pairs.load_balancer, facts) == name:
        yield failed(condition, "it does not run, although this is the active load balancer", f"Start it on {name}.")
    elif not fact.running:
        yield haproxy_serves(inventory, name, facts)
    else:
        yield passed(condition)
        yield _all_up(name, fact)
        yield backends_match(inventory, name, fact)
        yield servers_cross(inventory, name, facts)
        yield from addresses_told(inventory, name, fact)


def addresses_told(inventory: Inventory, name: str, fact: BalancerFact) -> Iterator[Verdict]:
    """Which machine a server is can be proved by its address alone; else the approver vouches for the inventory."""
    known = {b.name for b in inventory.haproxy.backends}
    unproved = [s for s in fact.servers if s.backend in known and who.machine_at(inventory, s.address) is None]
    if unproved:
        condition = f"the addresses of all servers on {name} prove which machines they are"
        step = (
            "The approver vouches for `haproxy.backends` at the first gate. `stats show-legends` on the admin page, or "
            "the runtime socket instead of it, lets HAProxy tell its addresses."
        )
        yield warned(condition, ", ".join(f"{s.backend}/{s.server} {s.address or 'not told'}" for s in unproved), step)


def _all_up(name: str, fact: BalancerFact) -> Verdict:
    condition = f"every server is UP on {name}"
    down = [f"{s.backend}/{s.server} {s.status}" for s in fact.servers if not s.up or s.admin != "ready"]
    if down:
        return failed(condition, ", ".join(down), "Repair these machines, or set them to READY; then try again.")
    return passed(condition, f"{len(fact.servers) + fact.left_out} servers")


def backends_match(inventory: Inventory, name: str, fact: BalancerFact) -> Verdict:
    """HAProxy has the servers that the inventory names, and no others in its backends."""
    condition = f"the backends on {name} are those of the inventory"
    wanted = {(b.name, server) for b in inventory.haproxy.backends for server in b.servers}
    known = {b.name for b in inventory.haproxy.backends}
    seen = {(s.backend, s.server) for s in fact.servers}
    wrong = [f"{b}/{s} is missing" for b, s in sorted(wanted - seen)]
    wrong += [f"{b}/{s} is not in the inventory" for b, s in sorted(seen - wanted) if b in known]
    if wrong:
        return failed(condition, ", ".join(wrong), "Correct `haproxy.backends` in the inventory, or HAProxy.")
    others = sorted({b for b, _ in seen} - known)
    if others:
        step = "Add them to `haproxy.backends`: what is not there is not set to MAINT."
        more = f", and {fact.left_out} servers more" if fact.left_out else ""
        return warned(condition, f"not in the inventory: {', '.join(others)}{more}", step)
    return passed(condition)


_MASTER = Role.DATABASE_MASTER


def _writer(inventory: Inventory, facts: Facts) -> Verdict:
    condition = "exactly one master takes database writes"
    taking = who.writers(inventory, facts)
    if taking is None:
        balancers = inventory.pairs.load_balancer.machines
        return not_seen(condition, [BalancerOn(machine=b) for b in balancers], facts)
    strangers = [
        f"{b.name}/{server} is {machine}, which is no master"
        for b in inventory.haproxy.backends
        for server, machine in b.servers.items()
        if b.kind == "database" and inventory.machine(machine).role is not Role.DATABASE_MASTER
    ]
    strangers += [f"{m} takes writes and is no master" for m in taking if inventory.machine(m).role is not _MASTER]
    if strangers:
        return failed(condition, ", ".join(strangers), "A database backend holds the two masters and nothing else.")
    if len(taking) != 1:
        seen = f"{', '.join(taking) or 'none'} take writes behind the active load balancer"
        return failed(condition, seen, "All but one server of a database backend must be `backup`, or in MAINT.")
    return passed(condition, taking[0])


# --- software ---------------------------------------------------------------------------------------------------------


def _components(inventory: Inventory, facts: Facts) -> Iterator[Verdict]:
    for machine in inventory.machines:
        for component in inventory.components_on(machine):
            yield _component(machine, component.name, facts)


def _component(machine: Machine, name: str, facts: Facts) -> Verdict:
    condition = f"{name} runs on {machine.name}"
    fact = facts.component(machine.name, name)
    if fact is None:
        return not_seen(condition, [ComponentOn(machine=machine.name, component=name)], facts)
    if fact.state == "by_hand":
        return warned(condition, "only a person can see it", "The approver vouches for it at the first gate.")
    if fact.state == "running":
        return passed(condition)
    if fact.state == "stopped" and machine.normal == "standby":
        return passed(condition, "stopped, and the machine normally stands by")
    if fact.state == "missing":
        step = "Correct the service name, the features or by_hand_on in the inventory."
        return failed(condition, "there is no such service", step)
    seen = f"it is {fact.state}" + (f" ({fact.detail})" if fact.detail else "")
    return failed(condition, seen, f"Start {name} on {machine.name} and see that it works; then try again.")


def _daemon(inventory: Inventory, facts: Facts) -> Verdict:
    condition = "AcdGroupDistribute runs on exactly one telephony machine"
    return runs_once(condition, [m.name for m in inventory.with_role(Role.TELEPHONY)], facts)


def runs_once(condition: str, telephony: list[str], facts: Facts) -> Verdict:
    """AcdGroupDistribute runs on exactly one of these machines."""
    seen = {name: fact for name in telephony if (fact := facts.daemon(name)) is not None}
    if len(seen) < len(telephony):
        missing: list[Subject] = [DaemonOn(machine=name) for name in telephony if name not in seen]
        return not_seen(condition, missing, facts, invariant=7)
    if not telephony or any(fact.state == "by_hand" for fact in seen.values()):
        return not_applicable(condition, "only a person can see it, if there is one", invariant=7)
    running = [name for name, fact in seen.items() if fact.state == "running"]
    if len(running) != 1:
        step = "Let it run on exactly one of them: calls to ACD groups are not routed properly otherwise."
        return failed(condition, f"it runs on {' and '.join(running) or 'none'}", step, invariant=7)
    return passed(condition, running[0], invariant=7)


# --- monitoring and probes --------------------------------------------------------------------------------------------


def _monitoring(inventory: Inventory, facts: Facts) -> Verdict:
    found, fact = can_be_silenced(inventory, facts), facts.silences()
    if fact is None or found.answer is not Answer.PASS:
        return found
    left = [silence.comment or silence.id for silence in fact.silences]
    if left:
        seen = f"silences of an earlier run are there: {', '.join(left)}"
        return warned(found.condition, seen, "If no machine is off on purpose, end them at the monitoring server.")
    return found


def probe_answers(name: str, facts: Facts) -> Verdict:
    """A functionality probe answers as it should."""
    condition = f"probe {name} answers"
    fact = facts.fact(ProbeOf(name=name), ProbeFact)
    if fact is None:
        return not_seen(condition, [ProbeOf(name=name)], facts)
    if fact.ok:
        return passed(condition, f"{fact.milliseconds:.0f} ms")
    return failed(condition, fact.detail or "it does not", "Repair what it tries, or the probe; then try again.")
