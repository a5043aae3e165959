"""The inventory: what a cluster is.

Every name in it refers to something else in it; `inventory.checks` proves that. Nothing here touches a machine.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from inventory.approval import Approval
from inventory.notifications import Notifications
from inventory.values import (
    AbsolutePath,
    Address,
    Duration,
    Model,
    NagiosHostName,
    Name,
    Port,
    ResourceName,
    SecretRef,
    ServiceName,
    Tls,
)


class Role(StrEnum):
    """What a machine is for; the procedure's order of power-off follows the order given here."""

    TELEPHONY = "telephony"
    WEB = "web"
    CHAT = "chat"
    API = "api"
    DATABASE_REPLICA = "database_replica"
    DATABASE_MASTER = "database_master"
    LOAD_BALANCER = "load_balancer"
    STORAGE = "storage"


APPLICATION_ROLES = (Role.TELEPHONY, Role.WEB, Role.CHAT, Role.API)


class SshConnection(Model):
    """How Linux machines and hypervisors are reached."""

    kind: Literal["ssh"] = "ssh"
    user: Name
    key: SecretRef | None = None
    """Private key file (file:/path); without one the SSH agent of the worker is used."""
    known_hosts: AbsolutePath
    """Host keys are always checked against this file, on the worker's machine."""
    port: Port = 22
    sudo: bool = True
    """Privileged commands run through `sudo -n`, which never prompts."""


class WinRmConnection(Model):
    """How Windows machines are reached."""

    kind: Literal["winrm"] = "winrm"
    transport: Literal["ntlm", "basic"] = "ntlm"
    user: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9._@\\-]+$")]
    password: SecretRef
    https: bool = True
    port: Port = 5986
    ca: AbsolutePath | None = None
    """Certificate authority that signed the machines' certificates; None: the system's."""


Connection = Annotated[SshConnection | WinRmConnection, Field(discriminator="kind")]

Word = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\n\r]+$")]
Argv = Annotated[tuple[Word, ...], Field(min_length=1, max_length=64)]
"""A command as a list of words, never as a line for a shell."""


class ManualPower(Model):
    """A person switches machines of this VM-Host on; the product can only ask the operating system to shut down."""

    provider: Literal["manual"] = "manual"


class PowerTemplates(Model):
    """Commands on the hypervisor; the words `{vm}` and `{snapshot}` are replaced inside each word."""

    on: Argv
    off: Argv
    """Cuts the power. Used only with the operator's word."""
    status: Argv
    status_on: Word
    """What `status` prints for a machine that is on (a part of the line is enough)."""
    status_off: Word
    autostart: Argv | None = None
    autostart_disabled: Word | None = None
    """What `autostart` prints when the machine does not start with its host."""
    snapshot: Argv | None = None
    snapshots: Argv | None = None
    """Lists the snapshots of a machine, one name in each line or column."""
    delete_snapshot: Argv | None = None


class CommandPower(Model):
    """Machines of this VM-Host are controlled by commands over SSH on the hypervisor."""

    provider: Literal["command"] = "command"
    address: Address
    connection: Name
    port: Port | None = None
    """None: the port of the connection."""
    commands: PowerTemplates


class VmHost(Model):
    """A hypervisor host: one side of the cluster."""

    name: Name
    power: Annotated[ManualPower | CommandPower, Field(discriminator="provider")] = ManualPower()


class Machine(Model):
    """A virtual machine."""

    name: Name
    role: Role
    host: Name
    address: Address
    os: Literal["linux", "windows"] = "linux"
    connection: Name
    port: Port | None = None
    """Port of the management connection; None: the port of the connection."""
    normal: Literal["active", "standby"] = "active"
    vm: Name | None = None
    """Its name on the hypervisor; None: the same name."""
    node: Name | None = None
    """Its name in Pacemaker; None: the same name."""
    signals: tuple[Port, ...] = ()
    """Further ports that answer while it is on: without a power provider, "off" is proved by silence on the
    management port and these."""
    aliases: tuple[Address, ...] = ()
    """Other names and addresses of it, by which the databases that replicate from it know it (`Master_Host`)."""

    @property
    def vm_name(self) -> str:
        """Its name on the hypervisor."""
        return self.vm or self.name

    @property
    def node_name(self) -> str:
        """Its name in Pacemaker."""
        return self.node or self.name


class Component(Model):
    """A piece of software on every machine of a role (the procedure, section 2)."""

    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ./+-]*$")]
    role: Role
    features: tuple[Name, ...] = ()
    """It is installed where the site uses one of these features; empty: always."""
    control: Literal["service", "operator"] = "service"
    """`operator`: a program in a logged-on desktop, stopped and started by a person."""
    service: ServiceName | None = None
    """systemd unit, or Windows service (key name or display name)."""
    manager: Literal["systemd", "sysv"] = "systemd"
    """For Linux: `systemctl`, or `service` where there is none."""
    stop_by_hand: str = ""
    start_by_hand: str = ""
    """Exact instructions, shown when a person has to do it."""
    by_hand_on: tuple[Name, ...] = ()
    """Machines on which it is not a service although it is elsewhere."""
    start_after: tuple[str, ...] = ()
    """Components of the same machine that must run first; stopping goes the other way round."""
    expected_stop: Duration = timedelta(seconds=10)
    expected_start: Duration = timedelta(seconds=30)


class Pair(Model):
    """Two machines, one per VM-Host, under one Pacemaker cluster."""

    machines: tuple[Name, Name]
    method: Literal["standby", "move"] = "standby"
    promotable: ResourceName | None = None
    """The promotable clone that makes a machine primary; None: the machine with all resources is primary."""
    resources: Annotated[tuple[ResourceName, ...], Field(min_length=1)]
    """Resources that run on the primary alone."""
    drbd: ResourceName | None = None
    """DRBD resource; None: DRBD conditions are not applicable."""
    drbd_minor: Annotated[int, Field(ge=0, le=1048575)] = 0
    mount: AbsolutePath | None = None
    address: Address
    """The address that moves with the primary."""
    expected_move: Duration = timedelta(seconds=40)


class Pairs(Model):
    """The two Pacemaker pairs."""

    storage: Pair
    load_balancer: Pair


class Replication(Model):
    """One replication: `replica` replays what `source` writes."""

    replica: Name
    source: Name


class Database(Model):
    """Access to the masters and replicas, and who replicates from whom."""

    user: Name
    password: SecretRef
    port: Port = 3306
    tls: Tls | None = None
    replication: Annotated[tuple[Replication, ...], Field(min_length=1)]


class AdminPage(Model):
    """The statistics page of HAProxy with administration switched on."""

    port: Port = 7777
    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/?=&-]*$")] = "/haproxy?stats"
    user: Name
    password: SecretRef
    tls: Tls | None = None


class RuntimeSocket(Model):
    """HAProxy's runtime socket, reached through SSH; needs `level admin`."""

    path: AbsolutePath = "/run/haproxy/admin.sock"


class Backend(Model):
    """A backend of HAProxy; the same on both load balancers."""

    name: ResourceName
    kind: Literal["application", "database"] = "application"
    servers: Annotated[dict[ResourceName, Name], Field(min_length=1)]
    """HAProxy server name to machine."""


class Haproxy(Model):
    """How both load balancers are read and set."""

    admin_page: AdminPage | None = None
    socket: RuntimeSocket | None = None
    change_by: Literal["admin_page", "socket"] = "admin_page"
    service: ServiceName = "haproxy"
    check_interval: Duration = timedelta(seconds=2)
    """How often HAProxy checks its servers: READY shows UP before the first check."""
    backends: Annotated[tuple[Backend, ...], Field(min_length=1)]


class Sessions(Model):
    """What does not count as a session."""

    ignore_users: tuple[Annotated[str, Field(min_length=1, max_length=80)], ...] = ()
    """Database users of monitoring and of HAProxy's check."""
    ignore_addresses: tuple[Address, ...] = ()
    ignore_backends: tuple[ResourceName, ...] = ()


class AlertmanagerMonitoring(Model):
    """Silences of Alertmanager's API v2."""

    provider: Literal["alertmanager"] = "alertmanager"
    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$")]
    user: Name | None = None
    password: SecretRef | None = None
    tls: Tls | None = None
    label: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "instance"
    """The label that holds a machine's name."""
    host: Name | None = None
    """VM-Host the monitoring server runs on; None: none of the two."""
    downtime: Duration = timedelta(hours=2)
    maintenance: Duration = timedelta(hours=24)
    """How long the machines of the vacated host stay silenced when the run is over: they are off on purpose."""


class NagiosMonitoring(Model):
    """Downtimes of Nagios: external commands over SSH, read back from its status file."""

    provider: Literal["nagios"] = "nagios"
    address: Address
    """Of the monitoring server."""
    connection: Name
    port: Port | None = None
    """None: the port of the connection."""
    command_file: AbsolutePath = "/var/lib/nagios4/rw/nagios.cmd"
    """`command_file` of nagios.cfg; this is where Debian's nagios4 has it."""
    status_file: AbsolutePath = "/var/lib/nagios4/status.dat"
    """`status_file` of nagios.cfg."""
    host_names: dict[Name, NagiosHostName] = Field(default_factory=dict)
    """How Nagios calls a machine (`host_name`), where that is not its name."""
    host: Name | None = None
    """VM-Host the monitoring server runs on; None: none of the two."""
    downtime: Duration = timedelta(hours=2)
    maintenance: Duration = timedelta(hours=24)
    """How long the machines of the vacated host stay silenced when the run is over: they are off on purpose."""

    def host_name(self, machine: str) -> str:
        """How Nagios calls a machine."""
        return self.host_names.get(machine, machine)


class ManualMonitoring(Model):
    """A person silences monitoring."""

    provider: Literal["manual"] = "manual"
    host: Name | None = None
    downtime: Duration = timedelta(hours=2)
    maintenance: Duration = timedelta(hours=24)
    """How long the machines of the vacated host stay silenced when the run is over: they are off on purpose."""


class Backup(Model):
    """The dump of the active master. mysqldump reads its credentials from a file there, never from its arguments."""

    directory: AbsolutePath
    """On the active master; must exist."""
    defaults_file: AbsolutePath = "/etc/failover/backup.cnf"
    minimum_bytes: Annotated[int, Field(ge=1)] = 1024
    snapshots: bool = False
    """Also snapshots of both masters, load balancers and storages, where the power provider can."""
    keep_until_failback: bool = True
    expected: Duration = timedelta(minutes=5)


class DaemonCommands(Model):
    """How AcdGroupDistribute is seen, started and stopped on a telephony machine."""

    status: Argv
    running: Word
    """What `status` prints while it runs (a part is enough)."""
    stopped: Word | None = None
    """What it prints while it does not run; then any other answer is unknown. None: it is whatever else it prints."""
    start: Argv
    stop: Argv


class Daemon(Model):
    """AcdGroupDistribute.r5, of which exactly one runs."""

    commands: DaemonCommands | None = None
    """None: moving it is an operator task."""
    instructions: str = "Start AcdGroupDistribute.r5 on the one machine and stop it on the other, in the 8-Server GUI."
    expected: Duration = timedelta(seconds=10)


class HttpProbe(Model):
    """A page that must answer."""

    kind: Literal["http"] = "http"
    name: Name
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    status: Annotated[int, Field(ge=100, le=599)] = 200
    contains: str | None = None
    tls: Tls | None = None
    outage: bool = True
    """Whether the outage is measured by it."""


class TcpProbe(Model):
    """A port that must accept."""

    kind: Literal["tcp"] = "tcp"
    name: Name
    address: Address
    port: Port
    outage: bool = False


class SqlProbe(Model):
    """A query that must return a row, on a machine or on an address."""

    kind: Literal["sql"] = "sql"
    name: Name
    address: Address
    port: Port = 3306
    query: Annotated[str, Field(pattern=r"^(?i:select)\s[^;]*$")] = "SELECT 1"
    outage: bool = False


class CommandProbe(Model):
    """A command on a machine that must exit with 0."""

    kind: Literal["command"] = "command"
    name: Name
    machine: Name
    command: Argv
    outage: bool = False


Probe = Annotated[HttpProbe | TcpProbe | SqlProbe | CommandProbe, Field(discriminator="kind")]


class Timings(Model):
    """Time-outs and intervals. Each default says what it is for."""

    connect: Duration = timedelta(seconds=10)
    """To open a connection to a machine."""
    command: Duration = timedelta(seconds=60)
    """For one command to answer."""
    poll: Duration = timedelta(seconds=1)
    """At most between two observations of a state that is waited for; the first ones follow each other faster."""
    stop: Duration = timedelta(minutes=3)
    """For a component to be stopped: Wildfly may end its requests first."""
    start: Duration = timedelta(minutes=5)
    drain: Duration = timedelta(minutes=30)
    """For sessions to end by themselves; then the operator decides."""
    move: Duration = timedelta(minutes=3)
    """For a pair to have moved with all its resources."""
    shutdown: Duration = timedelta(minutes=5)
    boot: Duration = timedelta(minutes=10)
    """For a machine to be up after it was switched on: Windows may install updates first."""
    catch_up: Duration = timedelta(hours=2)
    """For a machine that was off to receive what was written meanwhile: DRBD's blocks, the databases' changes."""
    replication: Duration = timedelta(minutes=3)
    """For replicas to notice a vanished or returned master: Connect_Retry and slave_net_timeout are 60 s by default."""
    backup: Duration = timedelta(hours=1)
    healthy: Duration = timedelta(minutes=5)
    """For servers to be UP after their software was started."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    """How often a step is tried when the connection fails, before the operator is asked."""
    probe: Duration = timedelta(seconds=1)
    """Between two measurements of the outage."""


Monitoring = Annotated[AlertmanagerMonitoring | NagiosMonitoring | ManualMonitoring, Field(discriminator="provider")]


class Inventory(Model):
    """A cluster, whole."""

    cluster: Name
    features: tuple[Name, ...] = ()
    vm_hosts: Annotated[tuple[VmHost, ...], Field(min_length=2, max_length=2)]
    connections: Annotated[dict[Name, Connection], Field(min_length=1)]
    machines: Annotated[tuple[Machine, ...], Field(min_length=2)]
    components: tuple[Component, ...]
    pairs: Pairs
    database: Database
    haproxy: Haproxy
    sessions: Sessions = Sessions()
    monitoring: Monitoring = ManualMonitoring()
    backup: Backup
    daemon: Daemon = Daemon()
    probes: tuple[Probe, ...] = ()
    checklist: tuple[str, ...] = ()
    address_checklist: tuple[str, ...] = ()
    """Items for the operator when the daemon moves: address parameters of the UDP daemons."""
    approval: Approval = Approval()
    timings: Timings = Timings()
    notifications: Notifications = Notifications()

    def machine(self, name: str) -> Machine:
        """The machine of that name.

        Raises:
            KeyError: there is none.
        """
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise KeyError(name)

    def vm_host(self, name: str) -> VmHost:
        """The VM-Host of that name.

        Raises:
            KeyError: there is none.
        """
        for host in self.vm_hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def with_role(self, *roles: Role) -> tuple[Machine, ...]:
        """All machines of these roles, in the inventory's order."""
        return tuple(machine for machine in self.machines if machine.role in roles)

    def components_on(self, machine: Machine) -> tuple[Component, ...]:
        """What is installed on a machine: its role's components whose features the site uses."""
        return tuple(
            component
            for component in self.components
            if component.role == machine.role
            and (not component.features or set(component.features) & set(self.features))
        )

    def component(self, machine: str, name: str) -> Component:
        """The component of that name on a machine.

        Raises:
            KeyError: it is not installed there.
        """
        for component in self.components_on(self.machine(machine)):
            if component.name == name:
                return component
        raise KeyError(f"{name} on {machine}")

    def pair_of(self, machine: str) -> Pair | None:
        """The pair a machine belongs to, if any."""
        for pair in (self.pairs.storage, self.pairs.load_balancer):
            if machine in pair.machines:
                return pair
        return None
