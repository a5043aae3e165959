"""Bad inventories: the reference cluster with one thing changed, and what must be said about it.

`bad_inventories.txt` shows all messages for people to read. After a change of wording:

    python -m tests.inventory.bad_inventories        writes it anew; read the difference before committing
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inventory.loading import parse
from inventory.problems import InventoryError, Problem

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"
GOLDEN = Path(__file__).with_name("bad_inventories.txt")


@dataclass(frozen=True)
class Bad:
    """One bad inventory."""

    what: str
    changes: tuple[tuple[str, str], ...]
    """Text of the reference, and what stands there instead; the first occurrence."""
    path: str
    line: str
    """A piece of the line that the problem must point to."""
    says: str
    """A piece of what is wrong or of what is allowed."""

    def text(self) -> str:
        """The bad inventory itself."""
        text = REFERENCE.read_text()
        for old, new in self.changes:
            assert old in text, f"{self.what}: the reference has no {old!r}"
            text = text.replace(old, new, 1)
        return text

    def problems(self) -> tuple[Problem, ...]:
        """What is said about it; nothing if it passes."""
        try:
            parse(self.text(), "bad.yaml")
        except InventoryError as error:
            return error.problems
        return ()


def one(what: str, old: str, new: str, *, path: str, line: str, says: str) -> Bad:
    """A bad inventory with a single change."""
    return Bad(what, ((old, new),), path, line, says)


COMMENTED = REFERENCE.read_text().partition("\n# notifications:\n")[2]
"""What the reference shows of notifications, below their heading."""
TOLD = "notifications:\n" + "".join(line.removeprefix("# ") for line in COMMENTED.splitlines(keepends=True))
"""The same, in use."""


def told(what: str, old: str, new: str, *, path: str, line: str, says: str) -> Bad:
    """The reference with notifications, and a single change in these."""
    assert old in TOLD, f"{what}: the reference shows no {old!r}"
    changes = (("# notifications:\n" + COMMENTED, TOLD.replace(old, new, 1)),)
    return Bad(what, changes, f"notifications.{path}", line, says)


MONITORING = REFERENCE.read_text().partition("\nmonitoring:\n")[2].partition("#\n# Nagios:")[0]
"""What the reference says about its Alertmanager."""
NAGIOS = """  provider: nagios
  address: 10.77.0.5
  connection: linux
  command_file: /var/lib/nagios4/rw/nagios.cmd
  host_names: {acd-jb1: acd-jb1.example.com}
"""


def nagios(what: str, old: str, new: str, *, path: str, line: str, says: str) -> Bad:
    """The reference with Nagios instead of an Alertmanager, and a single change in that."""
    assert old in NAGIOS, f"{what}: there is no {old!r}"
    return Bad(what, ((MONITORING, NAGIOS.replace(old, new, 1)),), path, line, says)


TEL1 = "{name: acd-tel1, role: telephony, host: vm-host-1, address: 10.77.0.21, os: windows, connection: windows}"
JB1 = "{name: acd-jb1, role: web, host: vm-host-1, address: 10.77.0.31, connection: linux}"
JB2 = "{name: acd-jb2, role: web, host: vm-host-1, address: 10.77.0.32, connection: linux}"
LB2 = "{name: acd-lb2, role: load_balancer, host: vm-host-2, address: 10.77.0.82, connection: linux, normal: standby}"
DBM2 = (
    "{name: acd-dbm2, role: database_master, host: vm-host-2, address: 10.77.0.72, connection: linux, normal: standby}"
)
CHAT2 = "  - {name: acd-chat2, role: chat, host: vm-host-2, address: 10.77.0.42, connection: linux}\n"
MANUAL2 = """    power:
      provider: command
      address: 10.77.0.2
      connection: hypervisor
      commands: *libvirt
"""
START_8_SERVER = '    start_by_hand: "Open shell:startup in the Explorer and start the link to startup_launcher.cmd."\n'
SOCKET = "  socket:\n    path: /run/haproxy/admin.sock            # default\n"
PAGE = """  admin_page:
    port: 7777                               # default
    path: /haproxy?stats                     # default; `stats uri`
    user: failover
    password: env:FAILOVER_HAPROXY_PASSWORD  # `stats auth`
    tls:                                     # default: without TLS
      ca: /etc/failover/tls/ca.pem
"""
PROBE = "    url: http://10.77.0.200/CarrierPortal/login\n"

FORM = (
    one(
        "a key that is mistyped",
        "check_interval: 2s",
        "check_intervall: 2s",
        path="haproxy.check_intervall",
        line="check_intervall:",
        says="did you mean 'check_interval'",
    ),
    one(
        "a key that stands in the wrong section",
        "    method: standby\n",
        "    methods: standby\n    snapshots: true\n",
        path="pairs.storage.snapshots",
        line="snapshots: true",
        says="one of: machines, method",
    ),
    one(
        "a key that is missing",
        "cluster: reference\n",
        "",
        path="cluster",
        line="features:",
        says="'cluster' is missing",
    ),
    one(
        "a machine without an address",
        JB1,
        "{name: acd-jb1, role: web, host: vm-host-1, connection: linux}",
        path="machines[1].address",
        line="name: acd-jb1",
        says="'address' is missing",
    ),
    one(
        "a role that does not exist",
        "role: web, host: vm-host-1, address: 10.77.0.31",
        "role: webserver, host: vm-host-1, address: 10.77.0.31",
        path="machines[1].role",
        line="role: webserver",
        says="did you mean 'web'",
    ),
    one(
        "a normal state that does not exist",
        "address: 10.77.0.12, connection: linux, normal: standby",
        "address: 10.77.0.12, connection: linux, normal: passive",
        path="machines[19].normal",
        line="normal: passive",
        says="One of: active, standby",
    ),
    one(
        "a duration without a unit",
        "  drain: 30m ",
        "  drain: 30 ",
        path="timings.drain",
        line="drain: 30 ",
        says="has no unit",
    ),
    one(
        "a duration that is none",
        "  move: 3m ",
        "  move: three minutes ",
        path="timings.move",
        line="move: three",
        says="is no duration",
    ),
    one(
        "a duration of nothing",
        "  poll: 1s ",
        "  poll: 0s ",
        path="timings.poll",
        line="poll: 0s",
        says="longer than nothing",
    ),
    one(
        "a port out of range",
        "    port: 7777 ",
        "    port: 77777 ",
        path="haproxy.admin_page.port",
        line="port: 77777",
        says="at most 65535",
    ),
    one(
        "a port in words",
        "    port: 7777 ",
        "    port: http ",
        path="haproxy.admin_page.port",
        line="port: http",
        says="a whole number",
    ),
    one(
        "a number where a name belongs",
        "cluster: reference\n",
        "cluster: 2024\n",
        path="cluster",
        line="cluster: 2024",
        says='in quotes: "2024"',
    ),
    one(
        "text where a truth value belongs",
        "  keep_until_failback: true ",
        "  keep_until_failback: maybe ",
        path="backup.keep_until_failback",
        line="keep_until_failback: maybe",
        says="true or false",
    ),
    one(
        "a line for a shell where a list of words belongs",
        '        status: [virsh, --connect, "qemu:///system", domstate, "{vm}"]',
        "        status: virsh domstate {vm}",
        path="vm_hosts[0].power.commands.status",
        line="status: virsh",
        says="a list is expected",
    ),
    one(
        "three VM-Hosts",
        "  - name: vm-host-2\n",
        "  - name: vm-host-3\n  - name: vm-host-2\n",
        path="vm_hosts",
        line="- name: vm-host-1",
        says="at most 2 entries",
    ),
    one(
        "one VM-Host",
        "  - name: vm-host-2\n" + MANUAL2,
        "",
        path="vm_hosts",
        line="- name: vm-host-1",
        says="at least 2 entries",
    ),
    one(
        "a connection without a kind",
        "    kind: winrm\n",
        "",
        path="connections.windows",
        line="transport: ntlm",
        says="kind: one of: ssh, winrm",
    ),
    one(
        "a connection of a kind that does not exist",
        "    kind: winrm\n",
        "    kind: telnet\n",
        path="connections.windows",
        line="kind: telnet",
        says="'telnet' is not allowed here",
    ),
    one(
        "a blank in a machine's name",
        "name: acd-jb1,",
        "name: acd jb1,",
        path="machines[1].name",
        line="acd jb1",
        says="is no name",
    ),
    one(
        "a shell character in an address",
        "address: 10.77.0.31,",
        "address: '10.77.0.31;reboot',",
        path="machines[1].address",
        line="reboot",
        says="is no address",
    ),
    one(
        "a shell character in a service name",
        "service: wildfly\n",
        "service: wildfly && reboot\n",
        path="components[6].service",
        line="&& reboot",
        says="is no service name",
    ),
    one(
        "an option where a name belongs",
        "    user: failover                           # an account",
        "    user: -oProxyCommand=x # an account",
        path="connections.linux.user",
        line="ProxyCommand",
        says="is no name",
    ),
    one(
        "a line break in a HAProxy server's name",
        "        acd-chat1: acd-chat1",
        '        "acd-chat1\\nshutdown": acd-chat1',
        path="haproxy.backends[2].servers.acd-chat1…",
        line="shutdown",
        says="is no resource name",
    ),
    one(
        "a path that is not absolute",
        "  directory: /srv/backup ",
        "  directory: backup ",
        path="backup.directory",
        line="directory: backup",
        says="is no absolute path",
    ),
    one(
        "a query that changes something",
        "    port: 3306\n  - name: storage",
        "    port: 3306\n    query: DELETE FROM users\n  - name: storage",
        path="probes[4].query",
        line="DELETE",
        says="one SELECT",
    ),
)

SECRETS = (
    one(
        "a secret in clear",
        "password: env:FAILOVER_DATABASE_PASSWORD",
        "password: correct-horse",
        path="database.password",
        line="correct-horse",
        says="env:NAME or file:/absolute/path",
    ),
    one(
        "a secret in clear that reads as a number",
        "password: env:FAILOVER_WINDOWS_PASSWORD",
        "password: 20251122",
        path="connections.windows.password",
        line="20251122",
        says="not a reference to a secret",
    ),
    one(
        "a secret in clear that reads as an alias of YAML",
        "password: env:FAILOVER_DATABASE_PASSWORD",
        "password: *correct-horse",
        path="",
        line="correct-horse",
        says="found undefined alias",
    ),
    one(
        "a secret in clear that reads as a tag of YAML",
        "password: env:FAILOVER_DATABASE_PASSWORD",
        "password: !correct-horse",
        path="database.password",
        line="correct-horse",
        says="text that starts with ! in quotes",
    ),
    one(
        "a secret in clear that became a key",
        "  user: failover\n  password: env:FAILOVER_DATABASE_PASSWORD\n",
        "  ? user:correct-horse\n  : failover\n",
        path="database.user…",
        line="correct-horse",
        says="is not known here",
    ),
    one(
        "a secret in the address of a probe",
        PROBE,
        "    url: http://admin:correct-horse@10.77.0.200/\n",
        path="probes[0].url",
        line="correct-horse",
        says="a secret in clear",
    ),
    one(
        "a secret in the address of monitoring",
        "  url: http://10.77.0.5:9093\n",
        "  url: http://admin:correct-horse@10.77.0.5:9093\n",
        path="monitoring.url",
        line="correct-horse",
        says="without blanks, user or password",
    ),
    one(
        "a secret in a command",
        "'C:\\failover\\AcdGroupDistribute.cmd', start]",
        "'C:\\failover\\AcdGroupDistribute.cmd', --password=correct-horse]",
        path="daemon.commands.start[1]",
        line="correct-horse",
        says="process lists",
    ),
)

MACHINES = (
    one(
        "two machines of one name",
        "name: acd-jb2,",
        "name: acd-jb1,",
        path="machines[2].name",
        line="address: 10.77.0.32",
        says="taken already: machines[1].name",
    ),
    one(
        "two machines of one address",
        "address: 10.77.0.32,",
        "address: 10.77.0.31,",
        path="machines[2].address",
        line="name: acd-jb2",
        says="taken already: machines[1].address",
    ),
    one(
        "a machine with the address that moves",
        "address: 10.77.0.11,",
        "address: 10.77.0.100,",
        path="pairs.storage.address",
        line="address: 10.77.0.100",
        says="taken already: machines[9].address",
    ),
    one(
        "an address that is none",
        "address: 10.77.0.31,",
        "address: 10.77.0.310,",
        path="machines[1].address",
        line="10.77.0.310",
        says="is no IP address",
    ),
    one(
        "a VM-Host that does not exist",
        "role: web, host: vm-host-1, address: 10.77.0.31",
        "role: web, host: vmhost1, address: 10.77.0.31",
        path="machines[1].host",
        line="vmhost1",
        says="did you mean 'vm-host-1'",
    ),
    one(
        "a connection that does not exist",
        "address: 10.77.0.31, connection: linux",
        "address: 10.77.0.31, connection: ssh",
        path="machines[1].connection",
        line="connection: ssh",
        says="there is no connection 'ssh'",
    ),
    one(
        "a Windows machine reached as Linux",
        "os: windows, connection: windows",
        "os: windows, connection: linux",
        path="machines[0].connection",
        line="name: acd-tel1",
        says="a connection of kind winrm",
    ),
    one(
        "a role without a machine on the other side",
        CHAT2,
        "",
        path="machines[4].role",
        line="name: acd-chat1",
        says="has no machine on vm-host-2",
    ),
    one(
        "two active masters",
        DBM2,
        DBM2.replace(", normal: standby", ""),
        path="machines[17].normal",
        line="name: acd-dbm2",
        says="both are active",
    ),
    one(
        "a hypervisor reached by WinRM",
        "      connection: hypervisor\n",
        "      connection: windows\n",
        path="vm_hosts[0].power.connection",
        line="connection: windows",
        says="is no SSH connection",
    ),
    one(
        "manual power, and no second sign that a machine is off",
        MANUAL2,
        "    power:\n      provider: manual\n",
        path="machines[10].signals",
        line="name: acd-tel2",
        says="no second port to prove that it is off",
    ),
    one(
        "a power command that names no machine",
        'domstate, "{vm}"]',
        "domstate, acd-jb1]",
        path="vm_hosts[0].power.commands.status",
        line="domstate, acd-jb1",
        says="{vm} is missing",
    ),
    one(
        "answers of a hypervisor that can't be told apart",
        "        status_off: shut off\n",
        "        status_off: not running\n",
        path="vm_hosts[0].power.commands.status_on",
        line="status_on: running",
        says="can't be told apart",
    ),
    one(
        "answers of the daemon's script that can't be told apart",
        "    stopped: STOPPED ",
        "    stopped: NOT RUNNING ",
        path="daemon.commands.running",
        line="running: RUNNING",
        says="can't be told apart",
    ),
)

COMPONENTS = (
    one(
        "a component without a service name",
        "    service: wildfly\n",
        "",
        path="components[6].service",
        line="- name: Wildfly",
        says="`service` is missing",
    ),
    one(
        "a program for a person, without instructions",
        START_8_SERVER + "    # by_hand_on:",
        "    by_hand_on:",
        path="components[0].start_by_hand",
        line="- name: 8-Server",
        says="'start_by_hand' is missing",
    ),
    one(
        "a machine that is not of the component's role",
        "    # by_hand_on: [acd-tel2]",
        "    by_hand_on: [acd-jb1]",
        path="components[0].by_hand_on[0]",
        line="by_hand_on:",
        says="acd-tel1, acd-tel2",
    ),
    one(
        "a component twice",
        "  - name: IMAP Connector\n",
        "  - name: Exchange Connector\n",
        path="components[5].name",
        line="- name: Exchange Connector",
        says="taken already: components[4].name",
    ),
    one(
        "a component that waits for an unknown one",
        "    service: robot5\n",
        "    service: robot5\n    start_after: [Platform Listener]\n",
        path="components[0].start_after[0]",
        line="start_after:",
        says="did you mean 'Platform UDP Listener'",
    ),
    Bad(
        "components that wait for each other",
        (
            ("    service: robot5\n", "    service: robot5\n    start_after: [IMAP Connector]\n"),
            ("    service: jtelIMAPMailService\n", "    service: jtelIMAPMailService\n    start_after: [8-Server]\n"),
        ),
        path="components[0].start_after",
        line="start_after: [IMAP",
        says="8-Server after IMAP Connector after 8-Server",
    ),
    one(
        "System V on Windows",
        "    service: robot5\n",
        "    service: robot5\n    manager: sysv\n",
        path="components[0].manager",
        line="manager: sysv",
        says="acd-tel1 runs Windows",
    ),
    one(
        "a Windows display name on Linux",
        "service: jtel-clientmessenger",
        "service: jtel Client Messenger",
        path="components[7].service",
        line="jtel Client Messenger",
        says="holds a blank",
    ),
    one(
        "a feature that is mistyped",
        "  - exchange ",
        "  - exchnage ",
        path="features[2]",
        line="- exchnage",
        says="did you mean 'exchange'",
    ),
)

PAIRS = (
    one(
        "a pair with an unknown machine",
        "machines: [acd-store1, acd-store2]",
        "machines: [acd-store1, acd-stor2]",
        path="pairs.storage.machines[1]",
        line="acd-stor2",
        says="did you mean 'acd-store2'",
    ),
    one(
        "a pair with a machine of another role",
        "machines: [acd-store1, acd-store2]",
        "machines: [acd-store1, acd-lb2]",
        path="pairs.storage.machines[1]",
        line="acd-lb2",
        says="has the role load_balancer",
    ),
    one(
        "a pair on one VM-Host",
        LB2,
        LB2.replace("vm-host-2", "vm-host-1"),
        path="pairs.load_balancer.machines",
        line="[acd-lb1, acd-lb2]",
        says="are both on vm-host-1",
    ),
    one(
        "a pair with two active machines",
        LB2,
        LB2.replace(", normal: standby", ""),
        path="machines[18].normal",
        line="name: acd-lb2",
        says="both are active",
    ),
    one(
        "a pair of three",
        "machines: [acd-lb1, acd-lb2]",
        "machines: [acd-lb1, acd-lb2, acd-lb3]",
        path="pairs.load_balancer.machines",
        line="acd-lb3",
        says="at most 2 entries",
    ),
    one(
        "a host name as the address that moves",
        "    address: 10.77.0.100\n    expected_move",
        "    address: files.example.com\n    expected_move",
        path="pairs.storage.address",
        line="address: files.example.com",
        says="compared with the addresses that a machine holds",
    ),
    one(
        "the promotable clone among what runs on the primary alone",
        "resources: [fs_r0, vip]",
        "resources: [drbd_r0-clone, fs_r0, vip]",
        path="pairs.storage.resources[0]",
        line="drbd_r0-clone, fs_r0",
        says="runs on both machines",
    ),
)

DATABASE = (
    one(
        "a replication from an unknown machine",
        "{replica: acd-dbs1, source: acd-dbm1}",
        "{replica: acd-dbs1, source: acd-dbm3}",
        path="database.replication[2].source",
        line="acd-dbm3",
        says="there is no database machine",
    ),
    Bad(
        "a replication loop that isn't master-master",
        (
            ("{replica: acd-dbs1, source: acd-dbm1}", "{replica: acd-dbs1, source: acd-dbs2}"),
            ("{replica: acd-dbs2, source: acd-dbm1}", "{replica: acd-dbs2, source: acd-dbs1}"),
        ),
        path="database.replication[2]",
        line="replica: acd-dbs1",
        says="acd-dbs1 from acd-dbs2 from acd-dbs1",
    ),
    one(
        "a replica with two sources",
        "    - {replica: acd-dbs2, source: acd-dbm1}\n",
        "    - {replica: acd-dbs2, source: acd-dbm1}\n    - {replica: acd-dbs2, source: acd-dbm2}\n",
        path="database.replication[4].replica",
        line="source: acd-dbm2",
        says="already replicates from acd-dbm1",
    ),
    one(
        "a master that replicates from nowhere",
        "    - {replica: acd-dbm1, source: acd-dbm2}\n",
        "",
        path="database.replication",
        line="replica: acd-dbm2",
        says="acd-dbm1 (database_master) replicates from nowhere",
    ),
    one(
        "a master that replicates from a replica",
        "{replica: acd-dbm1, source: acd-dbm2}",
        "{replica: acd-dbm1, source: acd-dbs2}",
        path="database.replication[0].source",
        line="source: acd-dbs2",
        says="the other master: acd-dbm2",
    ),
    one(
        "a machine that replicates from itself",
        "{replica: acd-dbs1, source: acd-dbm1}",
        "{replica: acd-dbs1, source: acd-dbs1}",
        path="database.replication[2].source",
        line="source: acd-dbs1",
        says="from itself",
    ),
)

AROUND = (
    one(
        "a backend without a server on one side",
        "        acd-chat2: acd-chat2\n",
        "",
        path="haproxy.backends[2].servers",
        line="acd-chat1: acd-chat1",
        says="has no server on vm-host-2",
    ),
    one(
        "a server that is an unknown machine",
        "        acd-api2: acd-api2\n",
        "        acd-api2: acd-ap2\n",
        path="haproxy.backends[3].servers.acd-api2",
        line="acd-ap2",
        says="did you mean 'acd-api2'",
    ),
    one(
        "a backend twice",
        "    - name: soap ",
        "    - name: web ",
        path="haproxy.backends[1].name",
        line="- name: web",
        says="taken already: haproxy.backends[0].name",
    ),
    one(
        "database writes to a web server",
        "        acd-dbm2: acd-dbm2 ",
        "        acd-dbm2: acd-jb4 ",
        path="haproxy.backends[4].servers.acd-dbm2",
        line="acd-jb4",
        says="of kind database",
    ),
    Bad(
        "no way to HAProxy",
        ((PAGE, ""), (SOCKET, "")),
        path="haproxy",
        line="change_by",
        says="neither admin_page nor socket",
    ),
    one(
        "HAProxy changed by what is not configured",
        PAGE,
        "",
        path="haproxy.change_by",
        line="change_by: admin_page",
        says="`change_by: socket`",
    ),
    one(
        "an ignored backend that does not exist",
        "  # ignore_backends: [soap]",
        "  ignore_backends: [sope]",
        path="sessions.ignore_backends[0]",
        line="sope",
        says="did you mean 'soap'",
    ),
    one(
        "a monitoring server on an unknown VM-Host",
        "  # host: vm-host-1 ",
        "  host: vm-host-3 ",
        path="monitoring.host",
        line="vm-host-3",
        says="there is no VM-Host 'vm-host-3'",
    ),
    one(
        "a probe without a host",
        PROBE,
        "    url: http:///CarrierPortal/login\n",
        path="probes[0].url",
        line="http:///",
        says="no address of a web service",
    ),
    one(
        "a probe twice",
        "  - name: rest-api\n",
        "  - name: chat\n",
        path="probes[3].name",
        line="- name: chat",
        says="taken already: probes[2].name",
    ),
    one(
        "a probe on an unknown machine",
        "checklist:\n",
        "  - {name: nfs, kind: command, machine: acd-web1, command: [mountpoint, /srv/acd]}\nchecklist:\n",
        path="probes[6].machine",
        line="acd-web1",
        says="there is no machine 'acd-web1'",
    ),
    one(
        "a time that is over before the second look",
        "  shutdown: 5m ",
        "  shutdown: 500ms ",
        path="timings.shutdown",
        line="shutdown: 500ms",
        says="never be looked at again",
    ),
)

YAML = (
    one(
        "a key twice",
        "cluster: reference\n",
        "cluster: reference\ncluster: other\n",
        path="cluster",
        line="cluster: other",
        says="stands twice",
    ),
    one(
        "a tab",
        "  path: /run/haproxy/admin.sock",
        "\tpath: /run/haproxy/admin.sock",
        path="",
        line="/run/haproxy/admin.sock",
        says="a tab character",
    ),
    one(
        "a bracket that is not closed",
        "machines: [acd-lb1, acd-lb2]",
        "machines: [acd-lb1, acd-lb2",
        path="",
        line="method: standby",
        says="no YAML",
    ),
    one(
        "a tag that would run code",
        "cluster: reference\n",
        "cluster: !!python/object/apply:os.system [reboot]\n",
        path="cluster",
        line="reboot",
        says="a YAML tag",
    ),
    Bad(
        "several mistakes at once: of form, of names, and a secret",
        (
            ("password: env:FAILOVER_DATABASE_PASSWORD", "password: correct-horse"),
            ("role: web, host: vm-host-1, address: 10.77.0.31", "role: web, hots: vm-host-1, address: 10.77.0.31"),
            ("machines: [acd-store1, acd-store2]", "machines: [acd-store1, acd-stor2]"),
            ("        acd-chat2: acd-chat2\n", ""),
            ("  drain: 30m ", "  drain: 30 "),
        ),
        path="haproxy.backends[2].servers",
        line="acd-chat1: acd-chat1",
        says="has no server on vm-host-2",
    ),
)

MORE = (
    one(
        "two machines of one name on the hypervisor",
        JB1,
        JB1.replace("connection: linux", "connection: linux, vm: acd-jb2"),
        path="machines[2].name",
        line="name: acd-jb2",
        says="taken already: machines[1].vm",
    ),
    Bad(
        "two machines of one name in Pacemaker",
        (
            ("address: 10.77.0.11, connection: linux", "address: 10.77.0.11, connection: linux, node: store"),
            ("address: 10.77.0.12, connection: linux", "address: 10.77.0.12, connection: linux, node: store"),
        ),
        path="machines[19].node",
        line="name: acd-store2",
        says="taken already: machines[9].node",
    ),
    one(
        "three masters",
        JB2,
        JB2.replace("role: web", "role: database_master"),
        path="machines[17].role",
        line="name: acd-dbm2",
        says="there are 3 database masters",
    ),
    one(
        "a storage beside the pair",
        JB2,
        JB2.replace("role: web", "role: storage"),
        path="machines[2].role",
        line="name: acd-jb2",
        says="is not in pairs.storage",
    ),
    Bad(
        "a feature in use without a machine for it",
        ((CHAT2, ""), (CHAT2.replace("chat2", "chat1").replace("host-2", "host-1").replace(".42", ".41"), "")),
        path="components[7].role",
        line="role: chat",
        says="is in use, but there is no machine",
    ),
    Bad(
        "a machine whose only sign is its management port",
        (
            (MANUAL2, "    power:\n      provider: manual\n"),
            ("address: 10.77.0.34, connection: linux", "address: 10.77.0.34, connection: linux, signals: [22]"),
        ),
        path="machines[11].signals",
        line="signals: [22]",
        says="other than its management port",
    ),
    one(
        "an autostart command whose answer is not known",
        '        autostart_disabled: "Autostart:      disable"\n',
        "",
        path="vm_hosts[0].power.commands.autostart",
        line="autostart:",
        says="both or none",
    ),
    one(
        "snapshots that could be made but not deleted",
        '        delete_snapshot: [virsh, --connect, "qemu:///system", snapshot-delete, "{vm}", "{snapshot}"]\n',
        "",
        path="vm_hosts[0].power.commands.snapshot",
        line="snapshot:",
        says="all three or none",
    ),
    one(
        "a word that nothing replaces",
        'domstate, "{vm}"]',
        'domstate, "{vm}", "{host}"]',
        path="vm_hosts[0].power.commands.status",
        line="{host}",
        says="{host} is replaced by nothing here",
    ),
    one(
        "a user of monitoring without a password",
        "  # user: failover                           # default: without",
        "  user: failover # default: without",
        path="monitoring.user",
        line="user: failover # default",
        says="both, or none of them",
    ),
    nagios(
        "a Nagios that is reached by an unknown connection",
        "  connection: linux\n",
        "  connection: linuks\n",
        path="monitoring.connection",
        line="connection: linuks",
        says="did you mean 'linux'",
    ),
    nagios(
        "a Nagios that is reached by WinRM",
        "  connection: linux\n",
        "  connection: windows\n",
        path="monitoring.connection",
        line="connection: windows",
        says="'windows' is no SSH connection",
    ),
    nagios(
        "a Nagios at an address of nobody",
        "  address: 10.77.0.5\n",
        "  address: 10.77.0.500\n",
        path="monitoring.address",
        line="10.77.0.500",
        says="is no IP address",
    ),
    nagios(
        "a host_name of Nagios for an unknown machine",
        "{acd-jb1: acd-jb1.example.com}",
        "{acd-jb9: acd-jb1.example.com}",
        path="monitoring.host_names.acd-jb9",
        line="acd-jb9",
        says="there is no machine 'acd-jb9'",
    ),
    nagios(
        "a host_name of Nagios that two machines have",
        "{acd-jb1: acd-jb1.example.com}",
        "{acd-jb1: acd-jb2}",
        path="monitoring.host_names.acd-jb1",
        line="acd-jb2}",
        says="what Nagios calls another machine too",
    ),
    nagios(
        "a host_name that would be two words of a command of Nagios",
        "{acd-jb1: acd-jb1.example.com}",
        "{acd-jb1: 'acd-jb1;1'}",
        path="monitoring.host_names.acd-jb1",
        line="acd-jb1;1",
        says="is no host_name of Nagios",
    ),
    nagios(
        "a command file of Nagios with a shell's words in it",
        "/var/lib/nagios4/rw/nagios.cmd",
        "/var/lib/nagios4/rw/$(id)",
        path="monitoring.command_file",
        line="$(id)",
        says="is no absolute path",
    ),
    one(
        "TLS for an address without it",
        "  # tls: {ca: /etc/failover/tls/ca.pem}      # for https",
        "  tls: {ca: /etc/failover/tls/ca.pem} # for https",
        path="monitoring.url",
        line="url: http://10.77.0.5",
        says="`tls` is given, but the address begins with http:",
    ),
    one(
        "a password of MySQL in a command",
        "checklist:\n",
        "  - {name: sql, kind: command, machine: acd-jb1, command: [mysql, -pcorrect-horse]}\nchecklist:\n",
        path="probes[6].command[1]",
        line="correct-horse",
        says="this looks like a secret in clear",
    ),
)

MEANING = (
    Bad(
        "servers that are crossed",
        (
            ("        acd-dbm1: acd-dbm1\n", "        acd-dbm1: acd-dbm2\n"),
            ("        acd-dbm2: acd-dbm2 ", "        acd-dbm2: acd-dbm1 "),
        ),
        path="haproxy.backends[4].servers.acd-dbm1",
        line="acd-dbm1: acd-dbm2",
        says="the server acd-dbm1 is called like the machine acd-dbm1, but is mapped to acd-dbm2",
    ),
    one(
        "a replica that would take the writes",
        "        acd-dbm2: acd-dbm2 ",
        "        acd-dbs2: acd-dbs2 ",
        path="haproxy.backends[4].servers.acd-dbs2",
        line="acd-dbs2: acd-dbs2",
        says="acd-dbs2 has the role database_replica",
    ),
    one(
        "a backend of the databases that lacks a master",
        "        acd-dbm2: acd-dbm2 ",
        "        acd-dbs2: acd-dbs2 ",
        path="haproxy.backends[4].servers",
        line="acd-dbm1: acd-dbm1",
        says="exactly the two masters",
    ),
    one(
        "no backend of the databases",
        "      kind: database ",
        "      kind: application ",
        path="haproxy.backends",
        line="- name: web",
        says="no backend is of kind database",
    ),
    Bad(
        "a web machine in no backend",
        (("        acd-jb6: acd-jb6\n", ""), ("        acd-jb6: acd-jb6\n", "")),
        path="machines[13].name",
        line="acd-jb6",
        says="acd-jb6 is in no backend",
    ),
    one(
        "a secret among the parameters of a page",
        PROBE,
        "    url: http://10.77.0.200/login?user=a&password=correct-horse\n",
        path="probes[0].url",
        line="correct-horse",
        says="a parameter that looks like a secret in clear",
    ),
    one(
        "a secret in instructions",
        "  # instructions: In the 8-Server GUI, ...",
        "  instructions: Log in with password=correct-horse and press Up.",
        path="daemon.instructions",
        line="correct-horse",
        says="it would stay in the history of every run",
    ),
    one(
        "a secret in the checklist",
        "  - Run a report.",
        '  - "Run a report. Password: correct-horse"',
        path="checklist[4]",
        line="correct-horse",
        says="not the secret itself",
    ),
    one(
        "a password of MySQL behind another program",
        "checklist:\n",
        "  - {name: sql, kind: command, machine: acd-jb1, command: [sudo, mysql, -pcorrect-horse]}\nchecklist:\n",
        path="probes[6].command[2]",
        line="correct-horse",
        says="this looks like a secret in clear",
    ),
    one(
        "a password of MySQL in the environment",
        "checklist:\n",
        "  - {name: sql, kind: command, machine: acd-jb1, command: [env, MYSQL_PWD=correct-horse]}\nchecklist:\n",
        path="probes[6].command[1]",
        line="correct-horse",
        says="this looks like a secret in clear",
    ),
    one(
        "a password of MySQL in a line for a shell",
        "checklist:\n",
        "  - {name: sql, kind: command, machine: acd-jb1, command: [sh, -c, mysql -u a -pcorrect-horse]}\nchecklist:\n",
        path="probes[6].command[2]",
        line="correct-horse",
        says="this looks like a secret in clear",
    ),
    one(
        "a secret behind its option",
        "checklist:\n",
        "  - {name: sql, kind: command, machine: acd-jb1, command: [check, --token, correct-horse]}\nchecklist:\n",
        path="probes[6].command[2]",
        line="correct-horse",
        says="this looks like a secret in clear",
    ),
    one(
        "a password that everybody in the network can read",
        "    transport: ntlm                          # default; or basic\n",
        "    transport: basic\n    https: false\n",
        path="connections.windows.https",
        line="https: false",
        says="`https: true`, or `transport: ntlm`",
    ),
    one(
        "sessions of every backend that do not count",
        "  # ignore_backends: [soap] ",
        "  ignore_backends: [web, soap, chat, api] # ",
        path="sessions.ignore_backends",
        line="ignore_backends: [web",
        says="the drain would wait for nobody",
    ),
    one(
        "a pattern where a user belongs",
        "  ignore_users: [haproxy_check, monitoring] ",
        "  ignore_users: ['%', monitoring] ",
        path="sessions.ignore_users[0]",
        line="'%'",
        says="the whole name of one database user",
    ),
    one(
        "sessions through a load balancer that do not count",
        "  # ignore_addresses: [10.77.0.5] ",
        "  ignore_addresses: [10.77.0.81] ",
        path="sessions.ignore_addresses[0]",
        line="10.77.0.81",
        says="10.77.0.81 is the address of acd-lb1",
    ),
    one(
        "a silence that is over at once",
        "  downtime: 2h ",
        "  downtime: 1s ",
        path="monitoring.downtime",
        line="downtime: 1s",
        says="at least 5m",
    ),
    one(
        "looks without a pause",
        "  poll: 1s ",
        "  poll: 1ms ",
        path="timings.poll",
        line="poll: 1ms",
        says="at least 100ms",
    ),
    one(
        "a connection that may take longer than its command",
        "  connect: 10s ",
        "  connect: 5m ",
        path="timings.connect",
        line="connect: 5m",
        says="at most `command`",
    ),
    one(
        "an alias that is another machine's address",
        JB2,
        JB2.replace("}", ", aliases: [10.77.0.31]}"),
        path="machines[2].aliases[0]",
        line="aliases: [10.77.0.31]",
        says="taken already: machines[1].address",
    ),
    one(
        "an alias that is another machine's name",
        JB2,
        JB2.replace("}", ", aliases: [acd-jb1.example.com]}"),
        path="machines[2].aliases[0]",
        line="acd-jb1.example.com",
        says="is the name of acd-jb1",
    ),
    one(
        "a load balancer that runs Windows",
        "address: 10.77.0.82, connection: linux,",
        "address: 10.77.0.82, os: windows, connection: windows,",
        path="machines[18].os",
        line="acd-lb2",
        says="needs Linux",
    ),
    one(
        "a web machine in standby",
        JB2,
        JB2.replace("}", ", normal: standby}"),
        path="machines[2].normal",
        line="acd-jb2",
        says="only for database_master, load_balancer, storage",
    ),
    one(
        "a moving address that stands for all",
        "    address: 10.77.0.200\n",
        "    address: 0.0.0.0\n",
        path="pairs.load_balancer.address",
        line="0.0.0.0",
        says="the address of no machine",
    ),
    one(
        "a probe to no IP address",
        "    url: http://10.77.0.200:3000/health",
        "    url: http://999.1.1.1:3000/health",
        path="probes[2].url",
        line="999.1.1.1",
        says="'999.1.1.1' is no IP address",
    ),
    one(
        "a mount that ends with a slash",
        "    mount: /srv/acd\n",
        "    mount: /srv/acd/\n",
        path="pairs.storage.mount",
        line="/srv/acd/",
        says="as `pwd -P` in it writes it",
    ),
    one(
        "a backup into the root",
        "  directory: /srv/backup ",
        "  directory: / ",
        path="backup.directory",
        line="directory: /",
        says="a directory below /",
    ),
    one(
        "a backup on a way up",
        "  directory: /srv/backup ",
        "  directory: /srv/../etc ",
        path="backup.directory",
        line="directory: /srv/..",
        says="a directory below /",
    ),
    one(
        "a query that writes a file",
        "    port: 3306\n  - name: storage",
        "    port: 3306\n    query: SELECT 1 INTO OUTFILE '/tmp/x'\n  - name: storage",
        path="probes[4].query",
        line="OUTFILE",
        says="this query writes, locks or waits",
    ),
    one(
        "a daemon that is stopped by its start",
        "    stop: ['C:\\failover\\AcdGroupDistribute.cmd', stop]",
        "    stop: ['C:\\failover\\AcdGroupDistribute.cmd', start]",
        path="daemon.commands.stop",
        line="    stop:",
        says="the same command as 'start'",
    ),
    one(
        "power that is cut by switching on",
        'destroy, "{vm}"]',
        'start, "{vm}"]',
        path="vm_hosts[0].power.commands.off",
        line='"off"',
        says="the same command as 'on'",
    ),
    one(
        "an empty item of the checklist",
        "  - Run a report.",
        '  - ""',
        path="checklist[4]",
        line='- ""',
        says="nothing stands here",
    ),
    one(
        "an item of the checklist that nobody would read",
        "  - Run a report.",
        "  - " + "Run a report. " * 100,
        path="checklist[4]",
        line="Run a report. Run",
        says="at most 500 characters",
    ),
    one(
        "a line break in a word of a command",
        "    running: RUNNING ",
        '    running: "RUN\\nNING" ',
        path="daemon.commands.running",
        line="RUN",
        says="one line of text",
    ),
    one(
        "a machine that was left out",
        "  " + "- " + JB2 + "\n",
        "",
        path="haproxy.backends[0].servers.acd-jb2",
        line="acd-jb2: acd-jb2",
        says="one of: acd-tel1, acd-jb1, acd-jb3",
    ),
)

NOTIFICATIONS = (
    told(
        "an event that does not exist",
        "[gate, problem, task, end]",
        "[gate, problems, task, end]",
        path="targets[1].events[1]",
        line="problems",
        says="did you mean 'problem'",
    ),
    told(
        "a target that is told of nothing",
        "[gate, problem, task, end]",
        "[]",
        path="targets[1].events",
        line="events: []",
        says="at least 1 entries",
    ),
    told(
        "an event that stands twice",
        "[gate, problem, task, end]",
        "[gate, problem, gate]",
        path="targets[1].events[2]",
        line="gate, problem, gate",
        says="taken already",
    ),
    told(
        "two targets of one name",
        "name: operators",
        "name: on-call",
        path="targets[1].name",
        line="name: on-call",
        says="each target once",
    ),
    told(
        "a kind of target that does not exist",
        "kind: email",
        "kind: sms",
        path="targets[1]",
        line="kind: sms",
        says="one of: webhook, email",
    ),
    told(
        "a webhook that others can read",
        "https://hooks.example.com",
        "http://hooks.example.com",
        path="targets[0].url",
        line="http://hooks",
        says="https://, or http:// to the worker's own machine",
    ),
    told(
        "a webhook with a password in its address",
        "https://hooks.example.com",
        "https://me:correct-horse@hooks.example.com",
        path="targets[0].url",
        line="url:",
        says="without blanks, user or password",
    ),
    told(
        "a webhook with a token among its parameters",
        "hooks.example.com/failover",
        "hooks.example.com/failover?token=correct-horse",
        path="targets[0].url",
        line="url:",
        says="which then holds the whole address",
    ),
    told(
        "the key of a signature in clear",
        "secret: env:FAILOVER_WEBHOOK_SECRET",
        "secret: correct-horse",
        path="targets[0].secret",
        line="secret:",
        says="never the secret itself",
    ),
    told(
        "a mail password in clear",
        "password: env:FAILOVER_MAIL_PASSWORD",
        "password: correct-horse",
        path="targets[1].password",
        line="password:",
        says="never the secret itself",
    ),
    told(
        "a mail password over a connection that others can read",
        "security: starttls",
        "security: none",
        path="targets[1].security",
        line="security: none",
        says="sent in clear",
    ),
    told(
        "an authority for a mail server without TLS",
        "security: starttls\n      # ca:",
        "security: none\n      ca:",
        path="targets[1].ca",
        line="ca:",
        says="without TLS",
    ),
    told(
        "a mail user without a password",
        "      password: env:FAILOVER_MAIL_PASSWORD\n",
        "",
        path="targets[1].user",
        line="user: failover",
        says="both, or none",
    ),
    told(
        "a receiver with its name",
        "to: [operators@example.com]",
        "to: [Operators <operators@example.com>]",
        path="targets[1].to[0]",
        line="to:",
        says="one address, without its name",
    ),
    told(
        "a template with a field that is mistyped",
        '"[$cluster] $headline"',
        '"[$cluster] $headlin"',
        path="targets[1].subject",
        line="$headlin",
        says="did you mean 'headline'",
    ),
    told(
        "a template with a price in it",
        '# text: "$details Next: $next_step $link"',
        'text: "costs $ 5"',
        path="targets[1].text",
        line="costs",
        says="$$ for a dollar sign",
    ),
    told(
        "a template with a secret in clear",
        '# text: "$details Next: $next_step $link"',
        'text: "password: correct-horse"',
        path="targets[1].text",
        line="text:",
        says="where the operator finds it",
    ),
    told(
        "a subject of two lines",
        '"[$cluster] $headline"',
        '"[$cluster]\\n$headline"',
        path="targets[1].subject",
        line="subject:",
        says="one line",
    ),
    told(
        "reminders without end",
        "reminder: 30m",
        "reminder: 5s",
        path="reminder",
        line="reminder: 5s",
        says="at least 1m",
    ),
)


GATE = "    # needed: 2                              # approvals of different people; default: 1\n"
NAMES = "    # approvers: [anna, bert, cora]          # who may decide here; default: those above\n"
SIGNED = "    # signed: true                           # only approvals with a signature that `allowed_signers` knows"
EVERYWHERE = "  # approvers: [anna, bert]                  # who may decide"
APPROVAL = (
    Bad(
        "more approvals than approvers",
        ((NAMES, "    approvers: [anna, bert]\n"), (GATE, "    needed: 3\n")),
        path="approval.before_start.needed",
        line="needed: 3",
        says="only anna, bert may approve: it would never open",
    ),
    Bad(
        "more approvals than approvers of the section",
        ((EVERYWHERE, "  approvers: [anna] # who may decide"), (GATE, "    needed: 2\n")),
        path="approval.before_start.needed",
        line="needed: 2",
        says="at most 1, or more approvers",
    ),
    one(
        "no approval at all",
        GATE,
        "    needed: 0\n",
        path="approval.before_start.needed",
        line="needed: 0",
        says="1",
    ),
    one(
        "an approver twice",
        NAMES,
        "    approvers: [anna, Anna]\n",
        path="approval.before_start.approvers[1]",
        line="Anna",
        says="the approver 'Anna' is taken already",
    ),
    one(
        "an approver that is no name",
        NAMES,
        '    approvers: ["anna, bert"]\n',
        path="approval.before_start.approvers[0]",
        line="anna, bert",
        says="is no name",
    ),
    one(
        "signatures that nobody can check",
        SIGNED,
        "    signed: true #",
        path="approval.before_start.signed",
        line="signed: true",
        says="nothing says whose keys sign",
    ),
    one(
        "an approval that is void at once",
        "    # valid_for: 1h ",
        "    valid_for: 5s #",
        path="approval.before_start.valid_for",
        line="valid_for: 5s",
        says="at least 1m",
    ),
    one(
        "signers in a folder of nowhere",
        "  # allowed_signers: /etc/failover/allowed_signers ",
        "  allowed_signers: allowed_signers #",
        path="approval.allowed_signers",
        line="allowed_signers: allowed_signers",
        says="is no absolute path",
    ),
)

BAD = (
    *FORM,
    *SECRETS,
    *MACHINES,
    *COMPONENTS,
    *PAIRS,
    *DATABASE,
    *AROUND,
    *MORE,
    *YAML,
    *MEANING,
    *NOTIFICATIONS,
    *APPROVAL,
)


def golden() -> str:
    """All messages, for people to read."""
    parts = [
        f"{len(BAD)} bad inventories, and what is said about each. Written by tests/inventory/bad_inventories.py.\n"
    ]
    for bad in BAD:
        said = "\n".join(str(problem) for problem in bad.problems())
        parts.append(f"--- {bad.what}\n{said}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    GOLDEN.write_text(golden())
