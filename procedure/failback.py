"""The controlled failback: the VM-Host that was vacated comes back, and all is as it was found before the failover.

Read `plan` from top to bottom, as the failover: it is the runbook's table of contents. The vacated host is the one that
*returns*, the surviving one runs alone until then. What the stages of both directions have in common is in
`shared_stages`; nothing here says "side 1".
"""

from __future__ import annotations

from datetime import timedelta

from inventory.models import CommandPower, Inventory, Machine, ManualMonitoring, Role
from procedure import one_sided_check, watching, who
from procedure import shared_stages as shared
from procedure.as_found import AsFound, ComponentFound
from procedure.commands import (
    CheckBalancer,
    CheckCaughtUp,
    CheckRestored,
    CheckStopped,
    CheckWholePair,
    ClearMove,
    LookAgainAlone,
    RejoinNode,
    RemoveBackup,
    SetMaintenance,
    StartMachine,
    TakeBackup,
)
from procedure.commands.restored import ServerFound
from procedure.conditions import is_service
from procedure.draft import Draft, Over
from procedure.invariants import POWER_ON_ORDER
from procedure.plan import OperatorTask, Plan, Stage
from procedure.situation import Situation
from procedure.who import PAIR_WORDS, PairName

STAGES = (
    Stage(number=0, label="precondition", title="Health check"),
    Stage(
        number=1,
        label="step 1",
        title="Back up",
        note="Now on the surviving master, which has the newest data (inferred).",
    ),
    Stage(number=2, label="step 2", title="Silence monitoring"),
    Stage(
        number=3,
        label="step 3",
        title="Stop software",
        note="On the surviving side. First everything is looked at once more, since the health check may be hours old "
        "by now (inferred).",
    ),
    Stage(number=4, label="step 4", title="Drain sessions"),
    Stage(
        number=5,
        label="step 5",
        title="Start machines",
        note="A node that comes back in standby stands by again as soon as its machine is up, so that DRBD "
        "synchronises while the others start (inferred).",
    ),
    Stage(
        number=6,
        label="step 6",
        title="Stop software",
        note="What started with the machines is stopped again.",
    ),
    Stage(
        number=7,
        label="step 7, the first",
        title="Drain sessions",
        note="Again: otherwise the procedure will fail.",
    ),
    Stage(number=8, label="step 7, the second", title="Check cluster", note="Not reached: do not go on."),
    Stage(number=9, label="elided", title="Move storage back", note="The command is inferred; the outcome proves it."),
    Stage(
        number=10,
        label="elided",
        title="Move load balancer back",
        note="A HAProxy that has restarted knows no MAINT: as soon as it has the address, the returned master takes "
        "the writes. So it must have replayed all changes before (inferred).",
    ),
    Stage(
        number=11,
        label="elided",
        title="Restore HAProxy",
        note="The returned HAProxy must read exactly as it was found, else something went wrong. Here its settings are "
        "compared, since software is stopped and nobody is UP; in stage 15 everything.",
    ),
    Stage(number=12, label="step 8", title="Start software"),
    Stage(
        number=13,
        label="step 9",
        title="Move the daemon back",
        note="AcdGroupDistribute is stopped everywhere else before it is started where it was found: never two.",
    ),
    Stage(number=14, label="step 11", title="Restore monitoring"),
    Stage(number=15, label="step 12", title="Ensure functionality"),
    Stage(number=16, label="step 13", title="Remove backups"),
)


def plan(situation: Situation, as_found: AsFound, reference: str, *, earlier: str = "") -> Plan:
    """The failback that brings the vacated VM-Host back.

    Args:
        situation: the cluster, and which host returns.
        as_found: what the cluster was before the failover; `AsFound.normal` where no failover is known.
        reference: names the run in backups and silences; letters, digits, dot, hyphen, underscore.
        earlier: reference of the failover that is undone, whose backup was kept until now; empty: none is known.
    """
    draft = Draft(situation, as_found, reference, STAGES)

    healthy = check_health(draft)
    approved = approve_start(draft, after=healthy)
    backed_up = back_up(draft, after=approved)
    silenced = shared.silence(draft, 2, comment=comment(draft), after=approved)
    unchanged = look_again(draft, after=backed_up + silenced)
    stopped = stop_software(draft, after=unchanged)
    drained = drain_sessions(draft, stage=4, after=stopped)
    on = start_machines(draft, after=drained)
    rejoined = let_nodes_rejoin(draft, after=drained)
    stopped_again = stop_software_again(draft, after=on)
    drained_again = drain_sessions(draft, stage=7, after=stopped_again)
    whole = check_cluster(draft, after=drained_again + rejoined)
    storage_back = move_back(draft, "storage", stage=9, after=whole)
    storage_settled = leave_nothing_bound(draft, "storage", stage=9, after=storage_back)
    balancer_back = move_back(draft, "load_balancer", stage=10, after=storage_back)
    balancer_settled = leave_nothing_bound(draft, "load_balancer", stage=10, after=balancer_back)
    restored = restore_haproxy(draft, after=balancer_settled)
    started = start_software(draft, after=restored)
    up = await_servers_up(draft, after=started)
    one_daemon = move_daemon_back(draft, after=started)
    alarmed = restore_monitoring(draft, silenced=silenced, after=up + one_daemon)
    probed = shared.probe_functions(draft, 15, after=up + one_daemon)
    as_before = check_restored(draft, 15, after=up + one_daemon + storage_settled)
    working = approve_functionality(draft, after=alarmed + probed + as_before)
    remove_backups(draft, earlier, after=working)

    return draft.plan("failback", outage_until=15)


# --- 0: health check --------------------------------------------------------------------------------------------------


def check_health(draft: Draft) -> Over:
    """One side runs alone and well, the other is off; any *unknown* or *fail* ends the run."""
    if not draft.as_found.observed:
        draft.note(0, "No report of a failover was given: what is restored is the normal state of the inventory.")
    return tuple(step for round_ in one_sided_check.rounds(draft.situation) for step in draft.add(round_))


def approve_start(draft: Draft, *, after: Over) -> Over:
    """Before anything is touched a person sees plan and facts, vouches for what nobody can see, and decides."""
    state = "the state that was found before the failover" if draft.as_found.observed else "its normal state"
    question = f"Bring {draft.situation.vacated} back, and the cluster to {state}?"
    vouched = shared.vouched_for(draft.inventory, draft.situation.surviving_side())
    watches = watching.one_side(draft.situation)
    return draft.gate(0, "before_start", question, after=after, vouched=vouched, watches=watches)


def comment(draft: Draft) -> str:
    """What the monitoring server shows as the reason."""
    return f"Controlled failback {draft.reference}: {draft.situation.vacated} returns"


# --- 1: back up -------------------------------------------------------------------------------------------------------


def back_up(draft: Draft, *, after: Over) -> Over:
    """A database backup on the master that works alone."""
    if draft.inventory.backup.snapshots:
        draft.note(1, "No snapshots: a machine may stand still for a moment, and nobody could stand in for it now.")
    master = surviving_master(draft)
    command = TakeBackup(machine=master, path=shared.backup_path(draft.inventory, draft.reference))
    return draft.do(1, f"back-up-{master}", command, after=after)


def surviving_master(draft: Draft) -> str:
    """The master that takes the writes until the load balancer has moved back."""
    return draft.situation.surviving_side(Role.DATABASE_MASTER)[0].name


# --- 3, 4: the outage begins ------------------------------------------------------------------------------------------


def look_again(draft: Draft, *, after: Over) -> Over:
    """The last moment at which nothing has happened yet: never begin an outage on facts that are hours old."""
    return draft.do(3, "look-again", LookAgainAlone(), after=after)


def stop_software(draft: Draft, *, after: Over) -> Over:
    """Everything that uses the cluster is stopped, on the side that runs. The outage begins here."""
    survivors = draft.situation.surviving_side()
    return tuple(s for machine in survivors for s in draft.software(3, "stop", machine, after=after))


def drain_sessions(draft: Draft, *, stage: int, after: Over) -> Over:
    """Go on only at zero: sessions on the surviving load balancer and master would make the moves fail."""
    balancer = draft.situation.survivor_of(draft.inventory.pairs.load_balancer)
    return shared.drain(draft, stage, balancer=balancer, master=surviving_master(draft), after=after)


# --- 5, 6: the machines come back -------------------------------------------------------------------------------------


def start_machines(draft: Draft, *, after: Over) -> Over:
    """Storage, load balancer, databases in turn, each waited for until it is up; then the rest at the same time."""
    over: Over = ()
    for roles in POWER_ON_ORDER:
        group: Over = ()
        for machine in draft.situation.vacated_side(*roles):
            group += start(draft, machine, after=after)
        over, after = over + group, group or after
    return over


def start(draft: Draft, machine: Machine, *, after: Over) -> Over:
    """By its VM-Host where that can, else by a person."""
    command = StartMachine(machine=machine.name)
    if isinstance(draft.inventory.vm_host(machine.host).power, CommandPower):
        return draft.do(5, f"start-{machine.name}", command, after=after)
    task = switch_on_by_hand(draft.inventory, machine)
    return draft.ask(5, f"start-{machine.name}", task, after=after, title=f"Start {machine.name} by hand")


def switch_on_by_hand(inventory: Inventory, machine: Machine) -> OperatorTask:
    """What a person does where the VM-Host can't; then it is looked whether the machine is up."""
    command = StartMachine(machine=machine.name)
    called = f" (there: {machine.vm_name})" if machine.vm_name != machine.name else ""
    text = f"Switch {machine.name} on, on {machine.host}{called}, and wait until it is up."
    expected = command.expected(inventory) + timedelta(minutes=1)
    return OperatorTask(target=machine.name, instructions=text, check=command, expected=expected)


def let_nodes_rejoin(draft: Draft, *, after: Over) -> Over:
    """A standby that the failover has set outlasts the power-off. Out of it DRBD starts, and synchronises."""
    over: Over = ()
    for name in who.PAIR_NAMES:
        machine = draft.situation.leaver_of(who.pair(draft.inventory, name))
        up = draft.steps_on(5, machine) or after
        over += draft.do(5, f"rejoin-{machine}", RejoinNode(pair=name, machine=machine), after=up)
    return over


def stop_software_again(draft: Draft, *, after: Over) -> Over:
    """What started with a machine is stopped again, as soon as that machine is up."""
    over: Over = after
    for machine in draft.situation.vacated_side():
        over += draft.software(6, "stop", machine, after=draft.steps_on(5, machine.name) or after)
    return over


# --- 8: both sides are there ------------------------------------------------------------------------------------------


def check_cluster(draft: Draft, *, after: Over) -> Over:
    """All nodes online, DRBD synchronised, every replica caught up by its position, the survivor still primary."""
    situation = draft.situation
    over: Over = ()
    for name in who.PAIR_NAMES:
        pair = who.pair(draft.inventory, name)
        check = CheckWholePair(pair=name, primary=situation.survivor_of(pair), other=situation.leaver_of(pair))
        over += draft.do(8, f"check-{name}", check, after=after)
    for machine in draft.inventory.with_role(Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        check_replication = CheckCaughtUp(machine=machine.name)
        over += draft.do(8, f"check-replication-{machine.name}", check_replication, after=after)
    returned = tuple(m.name for m in situation.vacated_side() if draft.inventory.components_on(m))
    title = f"Check that no software runs on any machine of {situation.vacated}: some services start late"
    return over + draft.do(8, "check-stopped", CheckStopped(machines=returned), after=after, title=title)


# --- 9, 10: everything goes back to where it was found ----------------------------------------------------------------


def move_back(draft: Draft, name: PairName, *, stage: int, after: Over) -> Over:
    """To where its primary was found, if that is on the VM-Host that returns."""
    pair = who.pair(draft.inventory, name)
    survivor, primary = draft.situation.survivor_of(pair), found_on(draft, name)
    if pair.method == "move":
        clear = ClearMove(pair=name, machine=survivor)
        after = draft.do(stage, f"clear-the-move-to-{survivor}", clear, after=after)
    if primary == survivor:
        draft.note(stage, f"The {PAIR_WORDS[name]} stays on {survivor}, where it was found.")
        return after
    step_name = f"move-{name.replace('_', '-')}"
    return draft.do(stage, step_name, shared.move(draft, name, to=primary), after=after)


def leave_nothing_bound(draft: Draft, name: PairName, *, stage: int, after: Over) -> Over:
    """The survivor stands by again: no node stays in standby, and no constraint of a move is left."""
    pair = who.pair(draft.inventory, name)
    survivor, primary = draft.situation.survivor_of(pair), found_on(draft, name)
    if primary == survivor:
        return after
    if pair.method == "move":
        clear = ClearMove(pair=name, machine=primary)
        return draft.do(stage, f"clear-the-move-to-{primary}", clear, after=after)
    return draft.do(stage, f"rejoin-{survivor}", RejoinNode(pair=name, machine=survivor), after=after)


def found_on(draft: Draft, name: PairName) -> str:
    """Where the primary of a pair was found before the failover."""
    return draft.as_found.storage if name == "storage" else draft.as_found.load_balancer


# --- 11: HAProxy ------------------------------------------------------------------------------------------------------


def restore_haproxy(draft: Draft, *, after: Over) -> Over:
    """The returned HAProxy reads as it was found; then the surviving one gives traffic to the returned side again."""
    situation, pair = draft.situation, draft.inventory.pairs.load_balancer
    returned, survivor = situation.leaver_of(pair), situation.survivor_of(pair)
    after = compare(draft, 11, returned, health=False, after=after)
    back = shared.in_backends(draft.inventory, situation.vacated_side())
    ready = SetMaintenance(balancer=survivor, machines=back, state="ready")
    title = f"Set all servers of {situation.vacated} to READY on {survivor}"
    return draft.do(11, f"ready-{survivor}", ready, after=after, title=title)


def compare(draft: Draft, stage: int, balancer: str, *, health: bool, after: Over) -> Over:
    """One HAProxy with how it was, field by field."""
    how = "as it was found" if draft.as_found.observed else "as the inventory says"
    what = "and who is UP" if health else "but for who is UP"
    title = f"Check that HAProxy on {balancer} reads {how}: every server, {what}"
    return draft.do(stage, f"compare-{balancer}", as_it_was(draft, balancer, health=health), after=after, title=title)


def as_it_was(draft: Draft, balancer: str, *, health: bool) -> CheckBalancer:
    """With what was seen before the failover; where nothing was, with READY for every server of the inventory."""
    seen = next((found for found in draft.as_found.balancers if found.balancer == balancer), None)
    if seen is None:
        servers = tuple(
            ServerFound(backend=backend.name, server=server)
            for backend in draft.inventory.haproxy.backends
            for server in backend.servers
        )
        return CheckBalancer(balancer=balancer, found=servers, health=health)
    found = tuple(ServerFound.of(state) for state in seen.servers)
    return CheckBalancer(balancer=balancer, running=seen.running, found=found, health=health)


# --- 12, 13: the outage ends ------------------------------------------------------------------------------------------


def start_software(draft: Draft, *, after: Over) -> Over:
    """On both sides, all that ran before the failover."""
    over: Over = ()
    for machine in draft.inventory.machines:
        stays = stayed_stopped(draft, machine)
        if stays:
            draft.note(12, f"{', '.join(stays)} on {machine.name} did not run before the failover, and stays stopped.")
        over += draft.software(12, "start", machine, after=after, but=stays)
    return over


def stayed_stopped(draft: Draft, machine: Machine) -> tuple[str, ...]:
    """Services of a machine that were seen and did not run; what only a person can see counts as running."""
    if not draft.as_found.observed:
        return ()
    ran = draft.as_found.running
    services = (c for c in draft.inventory.components_on(machine) if is_service(c, machine.name))
    return tuple(c.name for c in services if ComponentFound(machine=machine.name, component=c.name) not in ran)


def await_servers_up(draft: Draft, *, after: Over) -> Over:
    """The outage ends when the load balancer finds all its servers UP."""
    everything, balancer = draft.inventory.machines, draft.as_found.load_balancer
    return shared.await_servers_up(draft, 12, everything, balancer=balancer, whose="both sides", after=after)


def move_daemon_back(draft: Draft, *, after: Over) -> Over:
    """Stopped wherever it was not found, then started where it was, if it does not run there already."""
    home = daemon_home(draft)
    if home is None:
        draft.note(13, "There is no telephony machine.")
        return ()
    if not draft.as_found.daemon:
        draft.note(13, f"Where it ran only a person could see. If that was not {home}, let it run there instead.")
    others = tuple(m.name for m in draft.inventory.with_role(Role.TELEPHONY) if m.name != home)
    stopped = tuple(step for machine in others for step in shared.stop_daemon_on(draft, 13, machine, after=after))
    return shared.start_daemon_on(draft, 13, home, after=stopped or after)


def daemon_home(draft: Draft) -> str | None:
    """Where it was found; where nobody saw it, where it normally runs."""
    found = draft.as_found.daemon or AsFound.normal(draft.inventory).daemon
    return found[0] if found else None


# --- 14, 15, 16: back to normal work ----------------------------------------------------------------------------------


def restore_monitoring(draft: Draft, *, silenced: Over, after: Over) -> Over:
    """For all machines, also those that were silenced because they were off on purpose."""
    if isinstance(draft.inventory.monitoring, ManualMonitoring):
        return shared.restore_by_hand(draft, 14, "End the downtime of all machines of the cluster.", after=after)
    hosts = (draft.situation.vacated, draft.situation.surviving)
    lifted = {host: shared.lift_silence(draft, 14, host, after=after) for host in hosts}
    shared.keep_silences(draft, 14, comment=comment(draft), silenced=silenced, until=lifted)
    return tuple(step for over in lifted.values() for step in over)


def check_restored(draft: Draft, stage: int, *, after: Over) -> Over:
    """Healthy, whole, every setting as it was found, no node in standby, nothing bound by a move."""
    found = draft.as_found
    over: Over = ()
    for balancer in draft.inventory.pairs.load_balancer.machines:
        over += compare(draft, stage, balancer, health=True, after=after)
    check = CheckRestored(
        storage=found.storage, load_balancer=found.load_balancer, writer=found.writer, daemon=found.daemon
    )
    state = "as it was found before the failover" if found.observed else "in its normal state"
    title = f"Check that the cluster is healthy and {state}"
    return over + draft.do(stage, "check-restored", check, after=after, title=title)


def approve_functionality(draft: Draft, *, after: Over) -> Over:
    """A person tries the rest: test call, login, chat, REST, mail."""
    question = "Is the system fully operational on both VM-Hosts?"
    addresses = shared.address_parameters(draft.inventory, daemon_home(draft), "runs again on {home}.")
    checklist = (*draft.inventory.checklist, *addresses)
    watches = watching.everything(draft.situation)
    return draft.gate(15, "functionality", question, after=after, checklist=checklist, watches=watches)


def remove_backups(draft: Draft, earlier: str, *, after: Over) -> Over:
    """The dump of this run, and the one that the failover kept until now."""
    own = RemoveBackup(machine=surviving_master(draft), path=shared.backup_path(draft.inventory, draft.reference))
    over = draft.do(16, f"remove-backup-{own.machine}", own, after=after)
    if not earlier:
        draft.note(16, "Which backup the failover kept is not known here: look for it on both masters.")
        return over
    kept = RemoveBackup(machine=draft.as_found.writer, path=shared.backup_path(draft.inventory, earlier))
    return over + draft.do(16, f"remove-kept-backup-{kept.machine}", kept, after=after)
