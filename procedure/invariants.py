"""What must never happen: the eleven invariants of the procedure, section 6.

Those that can be seen on facts are predicates here, and every command that could break one has it among its
conditions; they are evaluated on facts of that very moment. The others are kept by how things are built, and the
table says where. A fact that was not observed is *unknown*, and unknown never lets a mutating step pass.
"""

from __future__ import annotations

from typing import NamedTuple

from inventory.models import Backend, Inventory, Pair, Role
from procedure import who
from procedure.facts import BalancerFact, DrbdFact, Facts, ServerState
from procedure.replication import catches_up, replay_problem, replayed_words, replication_problem
from procedure.situation import Situation
from procedure.subjects import BalancerOn, ClusterOn, DaemonOn, DrbdOn, PowerOf, ReplayOn, ReplicationOn, Subject
from procedure.verdicts import Answer, Verdict, failed, not_applicable, passed, together, unknown, with_retry
from procedure.who import PAIR_WORDS, PairName


class Invariant(NamedTuple):
    """One thing that must never happen."""

    number: int
    never: str
    kept_by: str


INVARIANTS = (
    Invariant(
        1,
        "A mutating step runs while the state it depends on is unknown.",
        "how every step is carried out: conditions are evaluated on facts observed just before, unknown refuses, and a "
        "time-out is unknown until observed again",
    ),
    Invariant(2, "A pair has no primary, or two, outside the moment of its own move.", "one_primary"),
    Invariant(
        3,
        "A machine is powered off while it is primary, has the only UpToDate copy, takes writes, or is READY.",
        "not_primary, not_the_only_copy, takes_no_writes, in_maintenance",
    ),
    Invariant(4, "A storage pair is moved while DRBD is not Connected and UpToDate on both.", "drbd_in_sync"),
    Invariant(5, "A master becomes writable before it has replayed the other's changes.", "caught_up"),
    Invariant(6, "Every server of a backend is in MAINT.", "a_server_stays"),
    Invariant(7, "AcdGroupDistribute runs on two telephony machines, or on none at the end.", "daemon_nowhere_else"),
    Invariant(
        8,
        "Two runs work on one cluster at once.",
        "the name of the workflow: one per cluster, for both directions, and Temporal refuses a second",
    ),
    Invariant(9, "The order of power-off or power-on is broken.", "off_before, on_before"),
    Invariant(
        10,
        "A run ends as completed with a step skipped, or a failback leaves a node in standby.",
        "the run's outcome, which counts skips, and the last stage of the failback",
    ),
    Invariant(
        11,
        "Monitoring stays silenced after a run has ended, except for machines that are off on purpose.",
        "the plan: stage 12 of the failover, 14 of the failback, and what is done on abort",
    ),
)

POWER_OFF_ORDER: tuple[tuple[Role, ...], ...] = (
    (Role.TELEPHONY, Role.WEB, Role.CHAT, Role.API),
    (Role.DATABASE_REPLICA,),
    (Role.DATABASE_MASTER,),
    (Role.LOAD_BALANCER,),
    (Role.STORAGE,),
)
"""Machines of one group go at the same time, each group after the one before it (the procedure, stage 9)."""
POWER_ON_ORDER = tuple(reversed(POWER_OFF_ORDER))
"""They return in the opposite order (the procedure, stage 5 of the failback)."""


# --- 2: a pair has exactly one primary --------------------------------------------------------------------------------


def one_primary(inventory: Inventory, name: PairName, facts: Facts) -> Verdict:
    """2: the pair has one primary, or is in the moment of a move."""
    pair = who.pair(inventory, name)
    condition = f"the {PAIR_WORDS[name]} has exactly one primary"
    found = who.primaries(inventory, pair, facts)
    if found is None:
        return not_seen(condition, [ClusterOn(machine=m) for m in pair.machines], facts, invariant=2)
    if len(found) == 1:
        return passed(condition, f"{found[0]} is primary", invariant=2)
    if _is_moving(pair, facts) and all(len(view) < 2 for view in who.views(inventory, pair, facts)):
        return passed(condition, "a move is under way at this moment", invariant=2)
    seen = f"both are primary: {' and '.join(found)}" if found else "neither is primary"
    return failed(
        condition, seen, "Look at `pcs status` on both; never repair two primaries by restarting one.", invariant=2
    )


def _is_moving(pair: Pair, facts: Facts) -> bool:
    seen = [fact for fact in (facts.cluster(m) for m in pair.machines) if fact is not None]
    return any(not fact.transition_idle for fact in seen)


# --- 3: a machine that is powered off is not needed any more ----------------------------------------------------------


def not_primary(situation: Situation, machine: str, facts: Facts) -> Verdict:
    """3: the machine is not primary of its pair and has none of its resources."""
    pair = situation.inventory.pair_of(machine)
    condition = f"{machine} is not primary of its pair"
    if pair is None:
        return not_applicable(condition, f"{machine} belongs to no pair", invariant=3)
    other = who.partner(pair, machine)
    fact = facts.cluster(other)
    if fact is None:
        return not_seen(condition, [ClusterOn(machine=other)], facts, invariant=3)
    held = [r for r in pair.resources if who.runs_on(situation.inventory, fact, r, machine)]
    found = who.primaries(situation.inventory, pair, facts) or ()
    if machine in found or held:
        seen = f"{machine} {'is primary' if machine in found else 'still has ' + ', '.join(held)}"
        return failed(condition, f"{seen}, as {other} sees it", f"Move the pair to {other} first.", invariant=3)
    if found != (other,):
        return failed(condition, f"{other} is not primary either", f"Make {other} primary first.", invariant=3)
    return passed(condition, f"{other} is primary", invariant=3)


def not_the_only_copy(situation: Situation, machine: str, facts: Facts) -> Verdict:
    """3: the other machine of the storage pair has an UpToDate copy and is primary."""
    pair = situation.inventory.pairs.storage
    condition = f"{machine} does not hold the only UpToDate copy"
    if machine not in pair.machines or pair.drbd is None:
        return not_applicable(condition, f"{machine} has no DRBD", invariant=3)
    other = who.partner(pair, machine)
    fact = facts.drbd(other)
    if fact is None:
        return not_seen(condition, [DrbdOn(machine=other)], facts, invariant=3)
    if fact.connection == "StandAlone":
        return failed(condition, f"{other} is StandAlone: {SPLIT_BRAIN}", SPLIT_BRAIN_NEXT, invariant=3)
    if fact.role == "Primary" and fact.disk == "UpToDate":
        return passed(condition, f"{other}: {drbd_seen(fact)}", invariant=3)
    return failed(condition, f"{other}: {drbd_seen(fact)}", f"Wait until {other} is Primary and UpToDate.", invariant=3)


def takes_no_writes(situation: Situation, machine: str, facts: Facts) -> Verdict:
    """3: the machine is no master that takes writes."""
    condition = f"{machine} does not take database writes"
    if situation.inventory.machine(machine).role is not Role.DATABASE_MASTER:
        return not_applicable(condition, f"{machine} is no master", invariant=3)
    taking = who.writers(situation.inventory, facts)
    if taking is None:
        return not_seen(condition, behind_the_balancers(situation.inventory), facts, invariant=3)
    if machine in taking:
        return failed(condition, "the active load balancer sends writes there", f"Set {machine} to MAINT.", invariant=3)
    if not any(situation.inventory.machine(m).role is Role.DATABASE_MASTER for m in taking):
        seen = f"no master takes writes at all, only {', '.join(taking)}" if taking else "no master takes writes at all"
        # None for a moment: a master that missed a check of HAProxy. Others instead of a master: nothing that passes.
        return failed(condition, seen, "Bring the other master UP first.", invariant=3, passing=not taking)
    return passed(condition, f"writes go to {', '.join(taking)}", invariant=3)


def takes_all_writes(inventory: Inventory, master: str, facts: Facts) -> Verdict:
    """The machine is the one that takes the writes, as found when the run began."""
    condition = f"{master} takes the database writes, and it alone"
    taking = who.writers(inventory, facts)
    if taking is None:
        return not_seen(condition, behind_the_balancers(inventory), facts)
    if taking == (master,):
        return passed(condition, f"{master} takes the writes")
    seen = f"writes go to {', '.join(taking) or 'none'}"
    return failed(condition, seen, "Look at the load balancer: writes must go where the run found them; then retry.")


def behind_the_balancers(inventory: Inventory) -> list[Subject]:
    """What tells where writes go: both HAProxies, and which load balancer is active."""
    balancers = inventory.pairs.load_balancer.machines
    return [*(BalancerOn(machine=b) for b in balancers), *(ClusterOn(machine=b) for b in balancers)]


def in_maintenance(situation: Situation, machine: str, balancer: str, facts: Facts) -> Verdict:
    """3: the machine is in MAINT in every backend it stands in, on one HAProxy."""
    condition = f"{machine} is in MAINT in every backend on {balancer}"
    servers = who.servers_of(situation.inventory, (machine,))
    if not servers:
        return not_applicable(condition, f"{machine} stands in no backend", invariant=3)
    if is_off_for_good(situation, balancer, facts):
        return not_applicable(condition, f"{balancer} is off", invariant=3)
    fact = facts.balancer(balancer)
    if fact is None:
        return not_seen(condition, [BalancerOn(machine=balancer)], facts, invariant=3)
    if not fact.running:
        return not_applicable(condition, f"HAProxy does not run on {balancer}", invariant=3)
    wrong = not_in_state(fact, servers, "maint")
    if wrong:
        step = f"Set {machine} to MAINT on {balancer} first (a HAProxy that was reloaded or restarted forgets MAINT)."
        return failed(condition, ", ".join(wrong), step, invariant=3)
    return passed(condition, ", ".join(f"{backend}/{server} MAINT" for backend, server in servers), invariant=3)


def is_off_for_good(situation: Situation, machine: str, facts: Facts) -> bool:
    """Whether a machine that goes anyway is proved off: what it would do does not matter any more."""
    power = facts.power(machine)
    return situation.goes(machine) and power is not None and power.state == "off"


def servers_cross(inventory: Inventory, balancer: str, facts: Facts) -> Verdict:
    """3: no server is another machine than the inventory says; else MAINT would be set for the wrong one."""
    condition = f"every server on {balancer} is the machine that the inventory says"
    fact = facts.balancer(balancer)
    if fact is None:
        return not_seen(condition, [BalancerOn(machine=balancer)], facts, invariant=3)
    if not fact.running:
        return not_applicable(condition, f"HAProxy does not run on {balancer}", invariant=3)
    wrong = crossed_servers(inventory, fact)
    if wrong:
        step = "Correct `haproxy.backends` in the inventory, or HAProxy: MAINT would be set for the wrong machine."
        return failed(condition, ", ".join(wrong), step, invariant=3)
    return passed(condition, invariant=3)


def crossed_servers(inventory: Inventory, fact: BalancerFact) -> tuple[str, ...]:
    """Servers that have the address of another machine than the inventory says, each with what was seen."""
    return tuple(
        f"{backend.name}/{state.server} has {state.address}, the address of {real}, not of {said}"
        for backend in inventory.haproxy.backends
        for state in fact.of(backend.name)
        if (said := backend.servers.get(state.server))
        and (real := who.machine_at(inventory, state.address)) not in (None, said)
    )


def not_in_state(fact: BalancerFact, servers: tuple[tuple[str, str], ...], wanted: str) -> tuple[str, ...]:
    """Servers that an administrator has not set to a state, each with what was seen."""
    wrong = []
    for backend, server in servers:
        state = who.state_of(fact, backend, server)
        if state is None:
            wrong.append(f"{backend}/{server} is not there")
        elif state.admin != wanted:
            wrong.append(f"{backend}/{server} is {state.status}")
    return tuple(wrong)


# --- 4: a storage pair moves only in sync -----------------------------------------------------------------------------

SPLIT_BRAIN = "suspicion of split brain"
SPLIT_BRAIN_NEXT = (
    "Stop. Compare the data on both sides and decide which is kept (DRBD, resolve split brain); nothing repairs it by "
    "itself, and any further move may destroy the better copy."
)


def drbd_in_sync(inventory: Inventory, name: PairName, to: str, facts: Facts) -> Verdict:
    """4: DRBD is Connected and UpToDate on both, seen from both.

    A node in standby has DRBD down. When the machine to be left is in standby and is no longer primary, the move has
    begun (the health check accepts no standby before), and what counts is that the other copy is UpToDate. One that is
    primary still must be Connected: it may have been put into standby by hand, with a stale copy on the other.
    """
    pair = who.pair(inventory, name)
    condition = f"DRBD of the {PAIR_WORDS[name]} is Connected and UpToDate on both machines"
    if pair.drbd is None:
        return not_applicable(condition, f"the {PAIR_WORDS[name]} has no DRBD", invariant=4)
    leaver = who.partner(pair, to)
    if _has_begun_leaving(inventory, to, leaver, facts):
        return _survivor_copy(condition, to, facts)
    unseen: list[Subject] = [DrbdOn(machine=m) for m in pair.machines if facts.drbd(m) is None]
    if unseen:
        return not_seen(condition, unseen, facts, invariant=4)
    problems = [p for m in pair.machines if (p := drbd_problem(m, facts.drbd(m)))]
    if problems:
        split = any(SPLIT_BRAIN in problem for problem in problems)
        step = SPLIT_BRAIN_NEXT if split else "Wait until it is synchronised, or repair DRBD; then retry."
        return failed(condition, "; ".join(problems), step, invariant=4)
    untold = out_of_sync_untold(pair, facts)
    if untold:
        return unknown(condition, untold, "Look at /proc/drbd there, then retry.", invariant=4)
    return passed(condition, "; ".join(f"{m}: {drbd_seen(facts.drbd(m))}" for m in pair.machines), invariant=4)


def out_of_sync_untold(pair: Pair, facts: Facts) -> str:
    """Machines of a pair whose DRBD does not tell how much is out of sync; empty if both do."""
    untold = [m for m in pair.machines if (fact := facts.drbd(m)) is None or fact.out_of_sync_kib is None]
    return f"how much is out of sync was not told on {', '.join(untold)}" if untold else ""


def _has_begun_leaving(inventory: Inventory, to: str, leaver: str, facts: Facts) -> bool:
    seen = facts.cluster(to)
    leaving = who.node(inventory, seen, leaver) if seen else None
    if leaving is None or not leaving.standby:
        return False
    left, taking_over = facts.drbd(leaver), facts.drbd(to)
    is_left = left is not None and (not left.configured or left.role == "Secondary")
    return is_left or (taking_over is not None and taking_over.role == "Primary")


def _survivor_copy(condition: str, to: str, facts: Facts) -> Verdict:
    fact = facts.drbd(to)
    if fact is None:
        return not_seen(condition, [DrbdOn(machine=to)], facts, invariant=4)
    if fact.connection == "StandAlone":
        return failed(condition, f"{to} is StandAlone: {SPLIT_BRAIN}", SPLIT_BRAIN_NEXT, invariant=4)
    if fact.disk != "UpToDate":
        return failed(condition, f"{to}: {drbd_seen(fact)}", f"Bring the copy of {to} up to date first.", invariant=4)
    return passed(condition, f"the move has begun; {to}: {drbd_seen(fact)}", invariant=4)


def drbd_problem(machine: str, fact: DrbdFact | None) -> str:
    """What is wrong with DRBD as one machine sees it; empty if it is in sync with its peer."""
    if fact is None or not fact.configured:
        return f"{machine}: DRBD is down there"
    if fact.connection == "StandAlone":
        return f"{machine} is StandAlone: {SPLIT_BRAIN}"
    if fact.connection != "Connected" or fact.disk != "UpToDate" or fact.peer_disk != "UpToDate":
        return f"{machine}: {drbd_seen(fact)}"
    if fact.out_of_sync_kib:
        return f"{machine}: {fact.out_of_sync_kib} KiB are out of sync"
    return ""


def drbd_seen(fact: DrbdFact | None) -> str:
    """DRBD's state in its own words."""
    if fact is None or not fact.configured:
        return "DRBD down"
    seen = f"{fact.connection} {fact.role}/{fact.peer_role} {fact.disk}/{fact.peer_disk}"
    return seen if fact.synced_percent is None else f"{seen}, {fact.synced_percent:.1f} % synchronised"


# --- 5: a master takes writes only when it has replayed the other's changes -------------------------------------------


def caught_up(master: str, sources: tuple[str, ...], facts: Facts, inventory: Inventory) -> Verdict:
    """5: a master has executed all that each of these sources had written when it was looked at, and goes on with it.

    The positions prove it. A replica that has just connected lags by 0 s, since it has not received anything yet.
    """
    condition = f"{master} has replayed all changes of {', '.join(sources) or 'its sources'}"
    running = replication_runs(master, sources, facts, inventory).model_copy(update={"condition": condition})
    if running.answer is not Answer.PASS:
        return running
    unseen: list[Subject] = [ReplayOn(machine=master, source=s) for s in sources if facts.replay(master, s) is None]
    if unseen:
        return not_seen(condition, unseen, facts, invariant=5)
    problems = [p for source in sources if (p := replay_problem(facts, master, source))]
    if problems:
        step = f"Wait for the replication on {master} (SHOW REPLICA STATUS), then retry."
        return failed(condition, "; ".join(problems), step, invariant=5, passing=True)
    return passed(condition, f"both threads run, {replayed_words(facts, master, sources)}", invariant=5)


def replication_runs(master: str, sources: tuple[str, ...], facts: Facts, inventory: Inventory) -> Verdict:
    """Both replication threads of a master run towards each of these sources, and it says that it does not lag."""
    condition = f"{master} replicates without lag from {', '.join(sources) or 'its sources'}"
    if not sources:
        return not_applicable(condition, f"{master} replicates from nobody concerned", invariant=5)
    fact = facts.replication(master)
    if fact is None:
        return not_seen(condition, [ReplicationOn(machine=master)], facts, invariant=5)
    problems = [p for source in sources if (p := replication_problem(inventory, fact, source))]
    if problems:
        step = f"Repair or wait for the replication on {master} (SHOW REPLICA STATUS), then retry."
        passing = all(catches_up(inventory, fact, source) for source in sources)
        return failed(condition, "; ".join(problems), step, invariant=5, passing=passing)
    return passed(condition, "both threads run, lag 0", invariant=5)


# --- 6: a backend keeps a server --------------------------------------------------------------------------------------


def a_server_stays(inventory: Inventory, balancer: str, machines: tuple[str, ...], facts: Facts) -> Verdict:
    """6: when these machines go to MAINT, every backend still has a server that is in none."""
    condition = f"every backend on {balancer} keeps a server that is not in MAINT"
    fact = facts.balancer(balancer)
    if fact is None:
        return not_seen(condition, [BalancerOn(machine=balancer)], facts, invariant=6)
    if not fact.running:
        return not_applicable(condition, f"HAProxy does not run on {balancer}", invariant=6)
    empty = [
        backend.name
        for backend, going in who.backends_of(inventory, machines)
        if not any(_stays(backend, s) for s in fact.of(backend.name) if s.server not in going)
    ]
    if empty:
        step = f"Set a server of the surviving side to READY in {', '.join(empty)} first."
        return failed(condition, f"none would be left in {', '.join(empty)}", step, invariant=6)
    return passed(condition, "each keeps at least one that is READY", invariant=6)


def _stays(backend: Backend, state: ServerState) -> bool:
    # Software may be stopped at that time, so UP is only asked of databases, which the procedure never stops.
    return state.admin == "ready" and (state.up or backend.kind != "database")


# --- 7: AcdGroupDistribute runs once ----------------------------------------------------------------------------------


def daemon_nowhere_else(inventory: Inventory, machine: str, facts: Facts) -> Verdict:
    """7: AcdGroupDistribute runs on no other telephony machine; one that is off runs nothing."""
    condition = f"AcdGroupDistribute runs on no other machine than {machine}"
    others = [m.name for m in inventory.with_role(Role.TELEPHONY) if m.name != machine]
    running = [m for m in others if (fact := facts.daemon(m)) is not None and fact.state == "running"]
    if running:
        seen = f"it runs on {', '.join(running)}"
        return failed(condition, seen, f"Stop it on {', '.join(running)} first.", invariant=7)
    unseen: list[Subject] = [DaemonOn(machine=m) for m in others if not _runs_no_daemon(m, facts)]
    if unseen:
        return not_seen(condition, unseen, facts, invariant=7)
    return passed(condition, f"not on {', '.join(others)}", invariant=7)


def _runs_no_daemon(machine: str, facts: Facts) -> bool:
    daemon, power = facts.daemon(machine), facts.power(machine)
    return (daemon is not None and daemon.state == "stopped") or (power is not None and power.state == "off")


# --- 9: the order of power-off and power-on ---------------------------------------------------------------------------


def go_before(situation: Situation, machine: str) -> tuple[str, ...]:
    """Machines of the vacated side that must be off before this one: all of the groups before its own."""
    return _earlier(situation, machine, POWER_OFF_ORDER)


def start_before(situation: Situation, machine: str) -> tuple[str, ...]:
    """Machines of the returning side that must be on before this one: all of the groups before its own."""
    return _earlier(situation, machine, POWER_ON_ORDER)


def _earlier(situation: Situation, machine: str, order: tuple[tuple[Role, ...], ...]) -> tuple[str, ...]:
    role = situation.inventory.machine(machine).role
    position = next(i for i, roles in enumerate(order) if role in roles)
    earlier = [role for roles in order[:position] for role in roles]
    return tuple(m.name for m in situation.vacated_side(*earlier)) if earlier else ()


def off_before(situation: Situation, machine: str, facts: Facts) -> Verdict:
    """9: what goes before this machine is off."""
    first = go_before(situation, machine)
    condition = f"the machines that go before {machine} are off"
    if not first:
        return not_applicable(condition, f"none goes before {machine}", invariant=9)
    on = [m for m in first if (fact := facts.power(m)) is not None and fact.state == "on"]
    if on:
        return failed(condition, f"still on: {', '.join(on)}", f"Shut down {', '.join(on)} first.", invariant=9)
    unseen: list[Subject] = [PowerOf(machine=m) for m in first if (f := facts.power(m)) is None or f.state != "off"]
    if unseen:
        return not_seen(condition, unseen, facts, invariant=9)
    return passed(condition, f"{len(first)} are off", invariant=9)


def on_before(situation: Situation, machine: str, facts: Facts) -> Verdict:
    """9: what returns before this machine is on and answers."""
    first = start_before(situation, machine)
    condition = f"the machines that return before {machine} are on"
    if not first:
        return not_applicable(condition, f"none returns before {machine}", invariant=9)
    seen = {m: fact for m in first if (fact := facts.power(m)) is not None}
    off = [m for m, fact in seen.items() if fact.state == "off"]
    silent = [m for m, fact in seen.items() if fact.state != "off" and not fact.answering]
    if off:
        return failed(condition, f"not on yet: {', '.join(off)}", f"Start {', '.join(off)} first.", invariant=9)
    if silent:
        step = f"See why no port of {', '.join(silent)} answers: still booting, or cut off from the worker."
        # A packet is lost, a busy machine answers late: it has been up before, else it would not be this one's turn.
        return failed(condition, f"no port answers on {', '.join(silent)}", step, invariant=9, passing=True)
    unseen: list[Subject] = [PowerOf(machine=m) for m in first if (f := facts.power(m)) is None or f.state != "on"]
    if unseen:
        return not_seen(condition, unseen, facts, invariant=9)
    return passed(condition, f"{len(first)} are on", invariant=9)


# --- what was not seen ------------------------------------------------------------------------------------------------


def not_seen(condition: str, subjects: list[Subject], facts: Facts, *, invariant: int | None = None) -> Verdict:
    """Nobody can tell: says of each subject that was not observed why not, and what can be done about it."""
    unseen = [s for s in subjects if (seen := facts.observation(s)) is None or seen.fact is None]
    reasons = dict.fromkeys(_why(s, facts) for s in unseen)
    said = (o.next_step for s in unseen if (o := facts.observation(s)) and o.next_step)
    reason = "; ".join(reasons) or f"{', '.join(s.key for s in subjects)}: what was seen does not decide it"
    step = together(said) or "See that it can be observed."
    return unknown(condition, reason, with_retry(step), invariant=invariant)


def _why(subject: Subject, facts: Facts) -> str:
    observation = facts.observation(subject)
    # A problem names its machine; that nothing was looked at says nothing about which.
    return observation.problem if observation and observation.problem else f"{subject.key}: not observed"
