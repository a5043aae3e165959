"""Access to what is around the machines: hypervisors, monitoring, probes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from inventory.checks.common import host_names, machine_names, repeated, unknown, web_address
from inventory.models import (
    AlertmanagerMonitoring,
    CommandPower,
    CommandProbe,
    HttpProbe,
    Inventory,
    NagiosMonitoring,
    PowerTemplates,
)
from inventory.problems import Finding, Path
from inventory.values import show_duration

TEMPLATES = {
    "on": {"{vm}"},
    "off": {"{vm}"},
    "status": {"{vm}"},
    "autostart": {"{vm}"},
    "snapshot": {"{vm}", "{snapshot}"},
    "snapshots": {"{vm}"},
    "delete_snapshot": {"{vm}", "{snapshot}"},
}
# A look takes a round trip or a session of its own: more than ten in a second would be load, not knowledge.
_SHORTEST_PAUSE = timedelta(milliseconds=100)
# A silence is renewed several times within its length, and a worker may be away for a minute.
_SHORTEST_DOWNTIME = timedelta(minutes=5)
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")  # braces of a script, which hold more than a word, are left alone


def hypervisor_connections(inventory: Inventory) -> Iterator[Finding]:
    """Hypervisors are reached by a known SSH connection."""
    for index, host in enumerate(inventory.vm_hosts):
        if isinstance(host.power, CommandPower):
            path: Path = ("vm_hosts", index, "power", "connection")
            yield from ssh_connection(path, host.power.connection, inventory)


def ssh_connection(path: Path, name: str, inventory: Inventory) -> Iterator[Finding]:
    """It is known, and it is SSH."""
    ssh = [name for name, one in inventory.connections.items() if one.kind == "ssh"]
    yield from unknown(path, name, inventory.connections, "connection")
    if name in inventory.connections and name not in ssh:
        yield Finding(path, f"{name!r} is no SSH connection", f"one of: {', '.join(ssh)}")


def power_commands(inventory: Inventory) -> Iterator[Finding]:
    """Commands on the hypervisor name the machine they are about, and their answers can be told apart."""
    for index, host in enumerate(inventory.vm_hosts):
        if isinstance(host.power, CommandPower):
            path: Path = ("vm_hosts", index, "power", "commands")
            yield from _placeholders(path, host.power.commands)
            yield from _answers(path, host.power.commands)


def _placeholders(path: Path, commands: PowerTemplates) -> Iterator[Finding]:
    for key, needed in TEMPLATES.items():
        words = getattr(commands, key)
        used = {found for word in words or () for found in _PLACEHOLDER.findall(word)}
        if words and not needed <= used:
            missing = ", ".join(sorted(needed - used))
            yield Finding(
                (*path, key), f"{missing} is missing: it would not know which machine", "a word with " + missing
            )
        if used - needed:
            wrong = f"{', '.join(sorted(used - needed))} is replaced by nothing here"
            yield Finding((*path, key), wrong, ", ".join(sorted(needed)))


def _answers(path: Path, commands: PowerTemplates) -> Iterator[Finding]:
    on, off = commands.status_on, commands.status_off
    if on in off or off in on:
        wrong = f"{on!r} and {off!r} can't be told apart: one is a part of the other"
        yield Finding((*path, "status_on"), wrong, "longer parts of the answers, of which none holds the other")
    if (commands.autostart is None) != (commands.autostart_disabled is None):
        wrong = "autostart and autostart_disabled only make sense together"
        yield Finding((*path, "autostart" if commands.autostart else "autostart_disabled"), wrong, "both or none")
    snapshots = (commands.snapshot, commands.snapshots, commands.delete_snapshot)
    if any(snapshots) and not all(snapshots):
        wrong = "snapshot, snapshots and delete_snapshot only make sense together"
        given = next(key for key in ("snapshot", "snapshots", "delete_snapshot") if getattr(commands, key))
        yield Finding((*path, given), wrong, "all three or none")


def monitoring_access(inventory: Inventory) -> Iterator[Finding]:
    """The monitoring server can be reached, and where it runs is known."""
    monitoring = inventory.monitoring
    if monitoring.host is not None:
        yield from unknown(("monitoring", "host"), monitoring.host, host_names(inventory), "VM-Host")
    if isinstance(monitoring, AlertmanagerMonitoring):
        yield from web_address(("monitoring", "url"), monitoring.url, monitoring.tls)
        if (monitoring.user is None) != (monitoring.password is None):
            given = "user" if monitoring.user else "password"
            wrong = "user and password only make sense together"
            yield Finding(("monitoring", given), wrong, "both, or none of them")
    if isinstance(monitoring, NagiosMonitoring):
        yield from ssh_connection(("monitoring", "connection"), monitoring.connection, inventory)
        yield from _host_names(inventory, monitoring)


def _host_names(inventory: Inventory, monitoring: NagiosMonitoring) -> Iterator[Finding]:
    """Each is a machine's, and no two machines are one host: the downtime of the one would be the other's."""
    path: Path = ("monitoring", "host_names")
    for machine in monitoring.host_names:
        yield from unknown((*path, machine), machine, machine_names(inventory), "machine")
    called = Counter(monitoring.host_name(name) for name in machine_names(inventory))
    for machine, host_name in monitoring.host_names.items():
        if called[host_name] > 1:
            wrong = f"{host_name!r} is what Nagios calls another machine too"
            yield Finding((*path, machine), wrong, "a host_name of its own for each machine")


def probes(inventory: Inventory) -> Iterator[Finding]:
    """Probes have names of their own and go somewhere."""
    entries: list[tuple[Path, str]] = [
        (("probes", index, "name"), one.name) for index, one in enumerate(inventory.probes)
    ]
    yield from repeated(entries, "probe")
    for index, probe in enumerate(inventory.probes):
        if isinstance(probe, CommandProbe):
            yield from unknown(("probes", index, "machine"), probe.machine, machine_names(inventory), "machine")
        if isinstance(probe, HttpProbe):
            yield from web_address(("probes", index, "url"), probe.url, probe.tls)


def timings_fit(inventory: Inventory) -> Iterator[Finding]:
    """What is waited for is looked at more than once before its time is over, and never without a pause."""
    timings = inventory.timings
    for key in ("stop", "start", "drain", "move", "shutdown", "replication", "healthy"):
        if getattr(timings, key) <= timings.poll:
            wrong = f"{key} is not longer than poll: the state would never be looked at again"
            yield Finding(("timings", key), wrong, "more than `poll`, usually by far")
    for key in ("poll", "probe"):
        if getattr(timings, key) < _SHORTEST_PAUSE:
            wrong = f"{key} is so short that machines would be kept busy by being looked at"
            yield Finding(("timings", key), wrong, f"at least {show_duration(_SHORTEST_PAUSE)}")
    if timings.connect > timings.command:
        wrong = "connect is longer than command: what is away would be waited for longer than what is slow"
        yield Finding(("timings", "connect"), wrong, "at most `command`")


def downtime_fits(inventory: Inventory) -> Iterator[Finding]:
    """Silences last long enough to be kept up without a flood of requests, and to outlive a restart of the worker."""
    downtime = inventory.monitoring.downtime
    if downtime < _SHORTEST_DOWNTIME:
        wrong = f"{show_duration(downtime)} of silence would be over before a machine has shut down"
        yield Finding(("monitoring", "downtime"), wrong, f"at least {show_duration(_SHORTEST_DOWNTIME)}, usually 2h")


CHECKS = (
    hypervisor_connections,
    power_commands,
    monitoring_access,
    probes,
    timings_fit,
    downtime_fits,
)
