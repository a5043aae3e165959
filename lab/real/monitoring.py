"""The monitoring server: what it watches, and what it says itself of who is silenced; the product is not asked."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from inventory.models import AlertmanagerMonitoring, Inventory, Machine, NagiosMonitoring, SshConnection
from lab.real.files import Files
from lab.real.host import Host

_ANSWER_SECONDS = 3.0
_LOG = "/var/log/nagios4/nagios.log"
_OBJECTS = "/etc/nagios4/lab.cfg"
# Where Debian's nagios4 has its files; it looks at machines more often, and writes its status file more often.
_NAGIOS = """\
log_file={log}
cfg_file={objects}
object_cache_file=/var/lib/nagios4/objects.cache
status_file={monitoring.status_file}
status_update_interval=1
nagios_user=nagios
nagios_group=nagios
check_external_commands=1
command_file={monitoring.command_file}
temp_file=/var/lib/nagios4/nagios.tmp
temp_path=/tmp
check_result_path=/var/lib/nagios4/spool/checkresults
check_result_reaper_frequency=1
cached_host_check_horizon=0
state_retention_file=/var/lib/nagios4/retention.dat
retain_state_information=1
interval_length=1
use_syslog=0
check_for_updates=0
illegal_macro_output_chars=`~$&|'"<>
"""
_GENERAL = """\
define timeperiod {
  timeperiod_name always
  alias always
  sunday 00:00-24:00
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
}
define command {
  command_name port
  command_line /usr/lib/nagios/plugins/check_tcp -H $HOSTADDRESS$ -p $ARG1$ -t 5
}
define command {
  command_name tell
  command_line /bin/true
}
define contact {
  contact_name on-call
  host_notification_period always
  service_notification_period always
  host_notification_options d,u,r
  service_notification_options w,u,c,r
  host_notification_commands tell
  service_notification_commands tell
}
"""
# Told of what is down and of its end. Downtimes are no news.
_WATCHED = """\
  max_check_attempts 3
  check_interval 3
  retry_interval 1
  check_period always
  notification_period always
  notification_options {told}
  contacts on-call
}}
"""
_BLOCK = re.compile(r"^(?P<kind>\w+) \{\n(?P<body>.*?)^\t\}$", re.MULTILINE | re.DOTALL)
_TOLD = re.compile(r"\[\d+\] (?:HOST|SERVICE) NOTIFICATION: on-call;(?P<host>[^;]+);.*")
_BEGAN = re.compile(r"\[\d+\] HOST DOWNTIME ALERT: (?P<host>[^;]+);STARTED;.*")


# --- what it has ------------------------------------------------------------------------------------------------------


def furnish(files: Files, inventory: Inventory) -> None:
    """Write its files: of the server that the inventory names."""
    monitoring = inventory.monitoring
    if not isinstance(monitoring, NagiosMonitoring):
        files.write("/etc/default/prometheus-alertmanager", 'ARGS="--cluster.listen-address="\n')
        files.enable("prometheus-alertmanager.service")
        return
    files.write("/etc/nagios4/nagios.cfg", _NAGIOS.format(log=_LOG, objects=_OBJECTS, monitoring=monitoring))
    objects = (line for machine in inventory.machines for line in _objects(inventory, monitoring, machine))
    files.write(_OBJECTS, _GENERAL + "".join(objects))
    files.enable("nagios4.service")


def _objects(inventory: Inventory, monitoring: NagiosMonitoring, machine: Machine) -> Iterator[str]:
    """A host, and the service by which it is reached; a host that nobody can reach counts as down."""
    host, connection = monitoring.host_name(machine.name), inventory.connections[machine.connection]
    service = "SSH" if isinstance(connection, SshConnection) else "WinRM"
    check = f"  check_command port!{machine.port or connection.port}\n"
    yield f"define host {{\n  host_name {host}\n  address {machine.address}\n{check}"
    yield _WATCHED.format(told="d,u,r")
    yield f"define service {{\n  host_name {host}\n  service_description {service}\n{check}"
    yield _WATCHED.format(told="w,u,c,r")


# --- what it says -----------------------------------------------------------------------------------------------------


class Monitoring:
    """Asks the monitoring server itself."""

    def __init__(self, inventory: Inventory, host: Host) -> None:
        self._inventory = inventory
        self._host = host

    def silenced(self) -> list[str] | None:
        """Machines that are silenced now, wholly or in part; None: nobody answers."""
        monitoring = self._inventory.monitoring
        if isinstance(monitoring, AlertmanagerMonitoring):
            return self._by_silences(monitoring)
        downtimes = self.downtimes()
        return self._machines(host for host, _ in downtimes) if downtimes is not None else None

    def downtimes(self) -> set[tuple[str, str | None]] | None:
        """Hosts, and their services by name, that are in a downtime: Nagios' status file; None: there is none."""
        try:
            status = self._read(self._nagios.status_file)
        except OSError:
            return None
        return {
            (block["host_name"], block.get("service_description"))
            for kind, block in _blocks(status)
            if kind in ("hostdowntime", "servicedowntime") and block["is_in_effect"] == "1"
        }

    def log(self) -> list[str]:
        """What Nagios has written into its log.

        Raises:
            OSError: it is off, or Nagios has never run.
        """
        return self._read(_LOG).splitlines()

    def told_of(self, log: Iterable[str]) -> list[str]:
        """Machines of which the person on call was told."""
        return self._machines(found["host"] for line in log if (found := _TOLD.fullmatch(line)))

    def silenced_in(self, log: Iterable[str]) -> list[str]:
        """Machines of which a downtime has begun."""
        return self._machines(found["host"] for line in log if (found := _BEGAN.fullmatch(line)))

    @property
    def _nagios(self) -> NagiosMonitoring:
        assert isinstance(self._inventory.monitoring, NagiosMonitoring)
        return self._inventory.monitoring

    def _machines(self, hosts: Iterable[str]) -> list[str]:
        found = set(hosts)
        return sorted(m.name for m in self._inventory.machines if self._nagios.host_name(m.name) in found)

    def _read(self, path: str) -> str:
        return (self._host.root / path.lstrip("/")).read_text(encoding="utf-8")

    def _by_silences(self, monitoring: AlertmanagerMonitoring) -> list[str] | None:
        try:
            with urllib.request.urlopen(f"{monitoring.url}/api/v2/silences", timeout=_ANSWER_SECONDS) as answer:
                active = [silence for silence in json.load(answer) if silence["status"]["state"] == "active"]
        except OSError:
            return None
        names = sorted(machine.name for machine in self._inventory.machines)
        return [
            name for name in names if any(_matches(silence["matchers"], monitoring.label, name) for silence in active)
        ]


def _matches(matchers: Sequence[dict[str, Any]], label: str, name: str) -> bool:
    own = [one for one in matchers if one["name"] == label]
    return bool(own) and all(
        re.fullmatch(one["value"], name) if one["isRegex"] else one["value"] == name for one in own
    )


def _blocks(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for block in _BLOCK.finditer(text):
        lines = (line.strip().partition("=") for line in block["body"].splitlines())
        yield block["kind"], {key: value for key, _, value in lines}
