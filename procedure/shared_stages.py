"""What the stages of failover and failback have in common. Each takes its number, and hands on what is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from inventory.models import CommandPower, CommandProbe, Inventory, Machine, ManualMonitoring, Role
from inventory.values import show_duration
from procedure import who
from procedure.commands import (
    AwaitDrained,
    AwaitServersUp,
    LiftSilence,
    MovePair,
    RunProbe,
    SilenceMonitoring,
    StartDaemon,
    StopDaemon,
)
from procedure.conditions import is_service
from procedure.draft import BY_HAND, Draft, Over
from procedure.plan import OperatorTask
from procedure.situation import Situation
from procedure.who import PairName

# --- the first gate ---------------------------------------------------------------------------------------------------


def vouched_for(inventory: Inventory, machines: Iterable[Machine]) -> tuple[str, ...]:
    """What no provider can tell, and the approver therefore vouches for: of machines that are on, and of both hosts."""
    blind = [
        host.name
        for host in inventory.vm_hosts
        if not isinstance(host.power, CommandPower) or host.power.commands.autostart is None
    ]
    by_hand = [
        f"{component.name} runs on {machine.name} as it should."
        for machine in machines
        for component in inventory.components_on(machine)
        if not is_service(component, machine.name)
    ]
    starts = [f"No machine of {host} starts by itself when the host boots." for host in blind]
    daemon = not inventory.daemon.commands and inventory.with_role(Role.TELEPHONY)
    return (
        *starts,
        *by_hand,
        *(("AcdGroupDistribute runs on exactly one telephony machine.",) if daemon else ()),
    )


# --- backups ----------------------------------------------------------------------------------------------------------


def backup_path(inventory: Inventory, reference: str) -> str:
    """Where the dump of a run lies on the master that took it; called alike in both directions, for one sudo rule."""
    return f"{inventory.backup.directory.rstrip('/')}/failover-{reference}.sql"


# --- monitoring -------------------------------------------------------------------------------------------------------


def sides(situation: Situation) -> dict[str, tuple[str, ...]]:
    """Machines of the vacated and of the surviving host: each side has a silence of its own, so one can be lifted."""
    return {
        situation.vacated: tuple(m.name for m in situation.vacated_side()),
        situation.surviving: tuple(m.name for m in situation.surviving_side()),
    }


def silence(draft: Draft, stage: int, *, comment: str, after: Over) -> Over:
    """A downtime for all machines; without access to the monitoring server a person schedules it."""
    if isinstance(draft.inventory.monitoring, ManualMonitoring):
        downtime = show_duration(draft.inventory.monitoring.downtime)
        text = f"Schedule a downtime of {downtime} for all machines of the cluster. Extend it if the run takes longer."
        task = OperatorTask(target="monitoring", instructions=text, expected=BY_HAND)
        return draft.ask(stage, "silence-by-hand", task, after=after, title="Silence monitoring by hand")
    over: Over = ()
    for host, machines in sides(draft.situation).items():
        command = SilenceMonitoring(machines=machines, comment=comment)
        over += draft.do(stage, f"silence-{host}", command, after=after, title=f"Silence all machines of {host}")
    return over


def lift_silence(draft: Draft, stage: int, host: str, *, after: Over) -> Over:
    """Alarms of all machines of a host count again."""
    lift = LiftSilence(machines=sides(draft.situation)[host])
    title = f"Lift the silence of all machines of {host}"
    return draft.do(stage, f"lift-silence-{host}", lift, after=after, title=title)


def keep_silences(draft: Draft, stage: int, *, comment: str, silenced: Over, until: Mapping[str, Over]) -> None:
    """Extended while the run lasts, until a host's silence is lifted; lifted by an abort, but for what is off."""
    machines = sides(draft.situation)
    for host in (draft.situation.vacated, draft.situation.surviving):
        extend = SilenceMonitoring(machines=machines[host], comment=comment, only_extend=True)
        every = draft.inventory.monitoring.downtime / 8
        draft.keep_up(extend, every=every, after=silenced, until=until.get(host, ()))
    for host in (draft.situation.surviving, draft.situation.vacated):
        lift = LiftSilence(machines=machines[host], keep_if_off=host == draft.situation.vacated)
        draft.on_abort(stage, f"on-abort-lift-silence-{host}", lift)


def restore_by_hand(draft: Draft, stage: int, text: str, *, after: Over) -> Over:
    """Without access to the monitoring server a person ends the downtime, also when the run is aborted."""
    aborted = "End the downtime of all machines that are not off on purpose."
    task = OperatorTask(target="monitoring", instructions=text, expected=BY_HAND)
    on_abort = task.model_copy(update={"instructions": aborted})
    draft.ask_on_abort(stage, "on-abort-restore-by-hand", on_abort, title="Restore monitoring")
    return draft.ask(stage, "restore-by-hand", task, after=after, title="Restore monitoring by hand")


# --- sessions, pairs, load balancers ----------------------------------------------------------------------------------


def drain(draft: Draft, stage: int, *, balancer: str, master: str, after: Over) -> Over:
    """Go on only at zero: sessions on the active load balancer and the active master would make the moves fail."""
    return draft.do(stage, "drain-sessions", AwaitDrained(balancer=balancer, master=master), after=after)


def move(draft: Draft, name: PairName, *, to: str) -> MovePair:
    """To one of its machines, by the pair's own method."""
    pair = who.pair(draft.inventory, name)
    return MovePair(pair=name, to=to, leaver=who.partner(pair, to), method=pair.method)


def in_backends(inventory: Inventory, machines: Iterable[Machine]) -> tuple[str, ...]:
    """Those of the machines that stand in a backend."""
    return tuple(m.name for m in machines if who.servers_of(inventory, (m.name,)))


def await_servers_up(
    draft: Draft, stage: int, machines: Iterable[Machine], *, balancer: str, whose: str, after: Over
) -> Over:
    """The outage ends when a load balancer finds all its servers UP."""
    title = f"Wait until all servers of {whose} are UP on {balancer}"
    command = AwaitServersUp(balancer=balancer, machines=in_backends(draft.inventory, machines))
    return draft.do(stage, f"await-servers-up-{balancer}", command, after=after, title=title)


# --- AcdGroupDistribute -----------------------------------------------------------------------------------------------


def stop_daemon_on(draft: Draft, stage: int, machine: str, *, after: Over) -> Over:
    """By the inventory's command, or by a person."""
    if draft.inventory.daemon.commands:
        return draft.do(stage, f"stop-daemon-{machine}", StopDaemon(machine=machine), after=after)
    how = draft.inventory.daemon.instructions
    text = f"AcdGroupDistribute.r5 must not run on {machine} any more: stop it if it runs there. {how}"
    task = OperatorTask(target=machine, instructions=text, expected=BY_HAND)
    title = f"Stop AcdGroupDistribute on {machine} by hand"
    return draft.ask(stage, f"stop-daemon-{machine}", task, after=after, title=title)


def start_daemon_on(draft: Draft, stage: int, machine: str, *, after: Over) -> Over:
    """By the inventory's command, or by a person."""
    if draft.inventory.daemon.commands:
        return draft.do(stage, f"start-daemon-{machine}", StartDaemon(machine=machine), after=after)
    text = f"AcdGroupDistribute.r5 must run on {machine} and nowhere else. {draft.inventory.daemon.instructions}"
    task = OperatorTask(target=machine, instructions=text, expected=BY_HAND)
    title = f"Start AcdGroupDistribute on {machine} by hand"
    return draft.ask(stage, f"start-daemon-{machine}", task, after=after, title=title)


def address_parameters(inventory: Inventory, home: str | None, when: str) -> tuple[str, ...]:
    """Address parameters of the UDP daemons are a matter for a person, who must know where the daemon will run."""
    items = inventory.address_checklist
    if not items or home is None:
        return items
    return (f"AcdGroupDistribute {when.format(home=home)} For that machine:", *items)


# --- does it work? ----------------------------------------------------------------------------------------------------


def probe_functions(draft: Draft, stage: int, *, off: str = "", after: Over) -> Over:
    """What can be tried without a person is tried, but from machines of a host that is off."""
    over: Over = ()
    for probe in draft.inventory.probes:
        if isinstance(probe, CommandProbe) and draft.inventory.machine(probe.machine).host == off:
            draft.note(stage, f"Probe {probe.name} is left out: it runs on {probe.machine}, which is off.")
        else:
            over += draft.do(stage, f"probe-{probe.name}", RunProbe(name=probe.name), after=after)
    return over
