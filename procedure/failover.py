"""The controlled failover: one VM-Host is vacated, the other goes on alone.

Read `plan` from top to bottom: it is the runbook's table of contents. What a stage hands on with `after=` is what
the next one waits for, so what does not wait for each other runs at the same time. Each stage says below, in the words
of the procedure, what it does and where; nothing here says "side 1", since either host can be the one that goes.
"""

from __future__ import annotations

from datetime import timedelta

from inventory.models import CommandPower, Machine, ManualMonitoring, Role
from inventory.values import show_duration
from procedure import health_check, watching, who
from procedure import shared_stages as shared
from procedure.as_found import AsFound
from procedure.commands import (
    CheckPair,
    CheckReplication,
    DeleteSnapshot,
    LookAgain,
    MovePair,
    RemoveBackup,
    SetMaintenance,
    ShutDownMachine,
    SilenceMonitoring,
    TakeBackup,
    TakeSnapshot,
)
from procedure.draft import Draft, Over
from procedure.invariants import POWER_OFF_ORDER
from procedure.plan import OperatorTask, Opposite, Plan, Stage
from procedure.situation import Situation
from procedure.who import PairName

STAGES = (
    Stage(number=0, label="preconditions", title="Health check"),
    Stage(number=1, label="step 1", title="Back up"),
    Stage(number=2, label="step 2", title="Silence monitoring"),
    Stage(
        number=3,
        label="step 3",
        title="Stop software",
        note="First everything is looked at once more, since the health check may be hours old by now (inferred). "
        "Chat, REST API and listener are stopped on both sides too, since they are started again on the surviving one "
        "(inferred).",
    ),
    Stage(number=4, label="step 4", title="Drain sessions"),
    Stage(number=5, label="step 5", title="Move storage", note="The command is inferred; the outcome proves it."),
    Stage(number=6, label="step 6", title="Move load balancer"),
    Stage(
        number=7,
        label="step 7",
        title="Set MAINT",
        note="The surviving load balancer matters, the other is set against an accidental failover. From here on "
        "database writes go to the surviving master (inferred).",
    ),
    Stage(
        number=8,
        label="step 8",
        title="Move the daemon",
        note="AcdGroupDistribute is a script of the 8-Server: it is stopped here, and started when the 8-Server runs "
        "again (inferred).",
    ),
    Stage(number=9, label="step 9", title="Shut down machines"),
    Stage(
        number=10,
        label="step 10, the first",
        title="Check cluster",
        note="Which replica must read connecting follows from whom it replicates from (inferred).",
    ),
    Stage(
        number=11,
        label="step 10, the second",
        title="Start software",
        note="It waits until both pairs are checked. It does not wait for replicas to notice that their source has "
        "gone, which may take a minute and which no software needs (inferred).",
    ),
    Stage(
        number=12,
        label="step 11",
        title="Restore monitoring",
        note="The vacated side stays silenced, after the run too.",
    ),
    Stage(number=13, label="step 12", title="Ensure functionality"),
    Stage(number=14, label="step 13", title="Remove backups"),
)


def plan(situation: Situation, as_found: AsFound, reference: str) -> Plan:
    """The failover that vacates a VM-Host.

    Args:
        situation: the cluster, and which host goes.
        as_found: what the cluster is now; `AsFound.normal` for a plan on paper.
        reference: names the run in backups, snapshots and silences; letters, digits, dot, hyphen, underscore.
    """
    draft = Draft(situation, as_found, reference, STAGES)

    healthy = check_health(draft)
    approved = approve_start(draft, after=healthy)
    backed_up = back_up(draft, after=approved)
    silenced = silence_monitoring(draft, after=approved)
    unchanged = look_again(draft, after=backed_up + silenced)
    stopped = stop_software(draft, after=unchanged)
    drained = drain_sessions(draft, after=stopped)
    storage_moved = move_storage(draft, after=drained)
    balancer_moved = move_load_balancer(draft, after=storage_moved)
    in_maint = set_maintenance(draft, after=balancer_moved)
    daemon_stopped = stop_daemon(draft, after=drained)
    released = approve_power_off(draft, after=in_maint + daemon_stopped)
    off = shut_down_machines(draft, after=released)
    pairs_checked = check_pairs(draft, after=off)
    replication_checked = check_replication(draft, off=off)
    started = start_software(draft, after=pairs_checked)
    daemon_started = start_daemon(draft, after=started)
    up = await_servers_up(draft, after=started)
    alarmed = restore_monitoring(draft, silenced=silenced, after=up + daemon_started)
    probed = probe_functions(draft, after=up + daemon_started)
    working = approve_functionality(draft, after=alarmed + probed + replication_checked)
    keep_silent(draft, after=working)
    remove_backups(draft, after=working)

    return draft.plan("failover")


# --- 0: health check --------------------------------------------------------------------------------------------------


def check_health(draft: Draft) -> Over:
    """Never start from an unknown state: everything is observed, and any *unknown* or *fail* ends the run."""
    return tuple(step for round_ in health_check.rounds(draft.situation) for step in draft.add(round_))


def approve_start(draft: Draft, *, after: Over) -> Over:
    """Before anything is touched a person sees plan and facts, vouches for what nobody can see, and decides."""
    vacated, surviving = draft.situation.vacated, draft.situation.surviving
    question = f"Vacate {vacated}, so that {surviving} goes on alone?"
    vouched = (*shared.vouched_for(draft.inventory, draft.inventory.machines), *backup_goes_down(draft))
    watches = watching.everything(draft.situation)
    return draft.gate(0, "before_start", question, after=after, vouched=vouched, watches=watches)


def backup_goes_down(draft: Draft) -> tuple[str, ...]:
    """The dump lies on the master that took it; with the active side vacated, that one goes down."""
    master = draft.as_found.writer
    if not draft.situation.goes(master):
        return ()
    return (f"The database backup lies on {master}, which goes down: who may need it meanwhile copies it elsewhere.",)


# --- 1: back up -------------------------------------------------------------------------------------------------------


def back_up(draft: Draft, *, after: Over) -> Over:
    """A database backup on the active master is required; snapshots of critical machines are good to have."""
    master = draft.as_found.writer
    backup = TakeBackup(machine=master, path=shared.backup_path(draft.inventory, draft.reference))
    for warning in backup_goes_down(draft):
        draft.note(1, warning)
    backed_up = draft.do(1, f"back-up-{master}", backup, after=after)
    return backed_up + take_snapshots(draft, after=backed_up)


def take_snapshots(draft: Draft, *, after: Over) -> Over:
    """Of both masters, load balancers and storages, where the VM-Host can: one at a time, who stands by first.

    While a snapshot is made its machine may stand still for seconds, so never two of them, and never during the dump.
    """
    if not draft.inventory.backup.snapshots:
        draft.note(1, "No snapshots: switched off in the inventory. They are beneficial, not required.")
    found = draft.as_found
    active = (found.writer, found.load_balancer, found.storage)
    over: Over = ()
    for machine in sorted(with_snapshots(draft, say_why_not=True), key=active.__contains__):
        command = TakeSnapshot(machine=machine, name=snapshot_name(draft))
        after = draft.do(1, f"snapshot-{machine}", command, after=after)
        over += after
    return over


def with_snapshots(draft: Draft, *, say_why_not: bool = False) -> tuple[str, ...]:
    """Critical machines whose VM-Host can make snapshots."""
    critical = draft.inventory.with_role(Role.DATABASE_MASTER, Role.LOAD_BALANCER, Role.STORAGE)
    able = [
        host.name
        for host in draft.inventory.vm_hosts
        if isinstance(host.power, CommandPower) and host.power.commands.snapshot and host.power.commands.snapshots
    ]
    for host in draft.inventory.vm_hosts:
        if say_why_not and draft.inventory.backup.snapshots and host.name not in able:
            draft.note(1, f"No snapshots on {host.name}: its power provider can make none.")
    return tuple(m.name for m in critical if draft.inventory.backup.snapshots and m.host in able)


def snapshot_name(draft: Draft) -> str:
    """Name of this run's snapshots."""
    return f"failover-{draft.reference}"


# --- 2: silence monitoring --------------------------------------------------------------------------------------------


def silence_monitoring(draft: Draft, *, after: Over) -> Over:
    """A downtime for all machines, extended if needed; a monitoring server on the vacated host is moved first."""
    monitoring = draft.inventory.monitoring
    if monitoring.host == draft.situation.vacated:
        after = move_monitoring_server(draft, after=after)
    return shared.silence(draft, 2, comment=comment(draft), after=after)


def move_monitoring_server(draft: Draft, *, after: Over) -> Over:
    """A monitoring server that runs on the vacated host would go down with it."""
    text = (
        f"Move the monitoring server from {draft.situation.vacated} to a VM-Host that stays on, and see that it works."
    )
    back = Opposite(
        title="Move the monitoring server back",
        instructions=f"Move the monitoring server back to {draft.situation.vacated}, and see that it works.",
    )
    task = OperatorTask(target="monitoring", instructions=text, expected=timedelta(minutes=10), opposite=back)
    return draft.ask(2, "move-monitoring-server", task, after=after, title="Move the monitoring server")


def comment(draft: Draft) -> str:
    """What the monitoring server shows as the reason."""
    return f"Controlled failover {draft.reference}: {draft.situation.vacated} is vacated"


# --- 3, 4: the outage begins ------------------------------------------------------------------------------------------


def look_again(draft: Draft, *, after: Over) -> Over:
    """The last moment at which nothing has happened yet: never begin an outage on facts that are hours old."""
    found = draft.as_found
    look = LookAgain(storage=found.storage, load_balancer=found.load_balancer, writer=found.writer, daemon=found.daemon)
    return draft.do(3, "look-again", look, after=after)


def stop_software(draft: Draft, *, after: Over) -> Over:
    """Everything that uses the cluster is stopped, on both sides. The outage begins here."""
    return tuple(s for machine in draft.inventory.machines for s in draft.software(3, "stop", machine, after=after))


def drain_sessions(draft: Draft, *, after: Over) -> Over:
    """Go on only at zero: sessions on the active load balancer and the active master would make the moves fail."""
    found = draft.as_found
    return shared.drain(draft, 4, balancer=found.load_balancer, master=found.writer, after=after)


# --- 5, 6, 7: everything moves to the survivor ------------------------------------------------------------------------


def move_storage(draft: Draft, *, after: Over) -> Over:
    """The surviving storage becomes primary: DRBD, file system and address."""
    return draft.do(5, "move-storage", move(draft, "storage", stage=5), after=after)


def move_load_balancer(draft: Draft, *, after: Over) -> Over:
    """The surviving load balancer becomes primary: address, and HAProxy where Pacemaker runs it."""
    return draft.do(6, "move-load-balancer", move(draft, "load_balancer", stage=6), after=after)


def move(draft: Draft, name: PairName, *, stage: int) -> MovePair:
    """To the survivor, by the pair's own method."""
    pair = who.pair(draft.inventory, name)
    if pair.method == "move":
        draft.note(stage, "Until pcs 0.11 a move leaves a location constraint. It stays until the failback clears it.")
    return shared.move(draft, name, to=draft.situation.survivor_of(pair))


def set_maintenance(draft: Draft, *, after: Over) -> Over:
    """Every server of the vacated side to MAINT, in every backend, on both HAProxies."""
    balancers = draft.inventory.pairs.load_balancer.machines
    going = shared.in_backends(draft.inventory, draft.situation.vacated_side())
    over: Over = ()
    for balancer in sorted(balancers, key=draft.situation.goes):
        title = f"Set all servers of {draft.situation.vacated} to MAINT on {balancer}"
        over += draft.do(
            7, f"maint-{balancer}", SetMaintenance(balancer=balancer, machines=going), after=after, title=title
        )
    return over


# --- 8: AcdGroupDistribute runs on exactly one telephony machine ------------------------------------------------------


def stop_daemon(draft: Draft, *, after: Over) -> Over:
    """On the vacated telephony machines, if it still runs there."""
    over: Over = ()
    for machine in (m.name for m in draft.situation.vacated_side(Role.TELEPHONY)):
        over += shared.stop_daemon_on(draft, 8, machine, after=after)
    return over or after


def start_daemon(draft: Draft, *, after: Over) -> Over:
    """On one surviving telephony machine, if it does not run there already."""
    home = daemon_home(draft)
    if home is None:
        draft.note(8, "No telephony machine survives.")
        return ()
    return shared.start_daemon_on(draft, 8, home, after=draft.steps_on(11, home) or after)


def daemon_home(draft: Draft) -> str | None:
    """Where it runs as found, if that machine stays; else the first telephony machine that stays."""
    staying = [m.name for m in draft.situation.surviving_side(Role.TELEPHONY)]
    return next((m for m in staying if m in draft.as_found.daemon), staying[0] if staying else None)


# --- 9: the vacated machines go down ----------------------------------------------------------------------------------


def approve_power_off(draft: Draft, *, after: Over) -> Over:
    """A person decides before machines are shut down."""
    question = (
        f"Everything has moved to {draft.situation.surviving}. Shut down all machines of {draft.situation.vacated}?"
    )
    when = "is started on {home} when its 8-Server runs again."
    address_parameters = shared.address_parameters(draft.inventory, daemon_home(draft), when)
    watches = watching.without_software(draft.situation)
    return draft.gate(9, "before_power_off", question, after=after, checklist=address_parameters, watches=watches)


def shut_down_machines(draft: Draft, *, after: Over) -> Over:
    """Application machines at the same time; then database replicas, masters, load balancer and storage in turn."""
    for roles in POWER_OFF_ORDER:
        group: Over = ()
        for machine in draft.situation.vacated_side(*roles):
            group += draft.do(9, f"shut-down-{machine.name}", shut_down(draft, machine), after=after)
        after = group or after
    return after


def shut_down(draft: Draft, machine: Machine) -> ShutDownMachine:
    """In order, by the operating system; by force only where the VM-Host can, and with the operator's word."""
    able = isinstance(draft.inventory.vm_host(machine.host).power, CommandPower)
    return ShutDownMachine(machine=machine.name, can_be_forced=able)


# --- 10: one side alone -----------------------------------------------------------------------------------------------


def check_pairs(draft: Draft, *, after: Over) -> Over:
    """The surviving storage and load balancer are primary, the others offline; DRBD waits for its peer."""
    over: Over = ()
    for name in who.PAIR_NAMES:
        pair = who.pair(draft.inventory, name)
        primary, offline = draft.situation.survivor_of(pair), draft.situation.leaver_of(pair)
        over += draft.do(10, f"check-{name}", CheckPair(pair=name, primary=primary, offline=offline), after=after)
    return over


def check_replication(draft: Draft, *, off: Over) -> Over:
    """Surviving masters and replicas read *connecting* to what is off; looked at as soon as their source is."""
    over: Over = ()
    for machine in draft.situation.surviving_side(Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        sources = who.sources_of(draft.inventory, machine.name)
        away = tuple(source for source in sources if draft.situation.goes(source))
        gone = tuple(step for source in away for step in draft.steps_on(9, source)) or off
        if away and machine.role is Role.DATABASE_REPLICA:
            draft.note(10, f"What {machine.name} shows, such as reports, stands still until {away[0]} is back.")
        command = CheckReplication(machine=machine.name, away=away)
        over += draft.do(10, f"check-replication-{machine.name}", command, after=gone)
    return over


# --- 11: the outage ends ----------------------------------------------------------------------------------------------


def start_software(draft: Draft, *, after: Over) -> Over:
    """Everything that was stopped starts again, on the surviving side."""
    survivors = draft.situation.surviving_side()
    return tuple(s for machine in survivors for s in draft.software(11, "start", machine, after=after))


def await_servers_up(draft: Draft, *, after: Over) -> Over:
    """The outage ends when the surviving load balancer finds all its servers UP."""
    balancer = draft.situation.survivor_of(draft.inventory.pairs.load_balancer)
    staying, surviving = draft.situation.surviving_side(), draft.situation.surviving
    return shared.await_servers_up(draft, 11, staying, balancer=balancer, whose=surviving, after=after)


# --- 12, 13, 14: back to normal work, on one side ---------------------------------------------------------------------


def restore_monitoring(draft: Draft, *, silenced: Over, after: Over) -> Over:
    """For the surviving side; the vacated side stays silenced, since it is off on purpose."""
    if isinstance(draft.inventory.monitoring, ManualMonitoring):
        return restore_by_hand(draft, after=after)
    surviving = draft.situation.surviving
    lifted = shared.lift_silence(draft, 12, surviving, after=after)
    shared.keep_silences(draft, 12, comment=comment(draft), silenced=silenced, until={surviving: lifted})
    return lifted


def keep_silent(draft: Draft, *, after: Over) -> Over:
    """The vacated machines raise no alarm while they are off on purpose; the run's own downtime ends too soon."""
    monitoring, vacated = draft.inventory.monitoring, draft.situation.vacated
    if isinstance(monitoring, ManualMonitoring):
        return after
    silence = SilenceMonitoring(
        machines=shared.sides(draft.situation)[vacated], comment=comment(draft), for_maintenance=True
    )
    title = f"Silence all machines of {vacated} for {show_duration(monitoring.maintenance)} more, since they stay off"
    return draft.do(12, f"keep-silent-{vacated}", silence, after=after, title=title)


def restore_by_hand(draft: Draft, *, after: Over) -> Over:
    """Without access to the monitoring server a person ends the downtime."""
    vacated, surviving = draft.situation.vacated, draft.situation.surviving
    maintenance = show_duration(draft.inventory.monitoring.maintenance)
    text = (
        f"End the downtime of all machines of {surviving}. Extend that of all machines of {vacated} by {maintenance}, "
        "or until the failback: they are off on purpose."
    )
    return shared.restore_by_hand(draft, 12, text, after=after)


def probe_functions(draft: Draft, *, after: Over) -> Over:
    """What can be tried without a person is tried."""
    return shared.probe_functions(draft, 13, off=draft.situation.vacated, after=after)


def approve_functionality(draft: Draft, *, after: Over) -> Over:
    """A person tries the rest: test call, login, chat, REST, mail."""
    vacated, maintenance = draft.situation.vacated, show_duration(draft.inventory.monitoring.maintenance)
    draft.note(13, f"From the gate on, all machines of {vacated} stay silenced for {maintenance}.")
    question = f"Is the system fully operational on {draft.situation.surviving} alone?"
    watches = watching.one_side(draft.situation)
    return draft.gate(13, "functionality", question, after=after, checklist=draft.inventory.checklist, watches=watches)


def remove_backups(draft: Draft, *, after: Over) -> Over:
    """Snapshots are deleted; by default the database backup is kept until the failback is over."""
    over: Over = ()
    for machine in with_snapshots(draft):
        command = DeleteSnapshot(machine=machine, name=snapshot_name(draft))
        over += draft.do(14, f"delete-snapshot-{machine}", command, after=after)
    master, path = draft.as_found.writer, shared.backup_path(draft.inventory, draft.reference)
    if draft.inventory.backup.keep_until_failback:
        draft.note(14, f"The database backup {path} on {master} is kept until the failback is over.")
    elif draft.situation.goes(master):
        draft.note(14, f"The database backup {path} stays: {master} is off.")
    else:
        over += draft.do(14, f"remove-backup-{master}", RemoveBackup(machine=master, path=path), after=after)
    return over
