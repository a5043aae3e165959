"""The delivered sudoers file, and what a simulated sudo allows by it.

Read is the part of sudoers(5) that the file uses: aliases of hosts and commands, and who may run what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from inventory.loading import load
from inventory.models import CommandPower, Inventory, NagiosMonitoring

_DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
FILE = _DEPLOY / "sudoers.d" / "controlled-failover"
MONITORING_HOST = "acd-mon"
"""What the file calls the monitoring server."""

May = Callable[[Sequence[str]], bool]
"""Whether one machine's sudo lets the account run these words as root."""

SPECIFICATION = re.compile(r"(?P<user>\S+) (?P<hosts>.+?) = \(root\) NOPASSWD: (?P<commands>.+)")
ALIAS = re.compile(r"(?P<kind>Host|Cmnd)_Alias (?P<name>[A-Z][A-Z0-9_]*) = (?P<members>.+)")
_HOST = re.compile(r"[a-z][a-z0-9-]*")
_COMMAND = re.compile(r'(?:/[\w+-][\w.+-]*)+(?: (?:[^\\"!^$#=:,]|\\[=:,\\])+)?')
"""A program by its path and its arguments. Whatever else sudo knows (exceptions, "no arguments", tags, digests,
wildcards in the path, regular expressions, escapes of other characters) the file has not, so none of it is read."""
COMMENT = re.compile(r"#(?!include|-?\d)")
"""What is no comment to sudo either: an included file, an account by its number."""
UNESCAPED = re.compile(r"(?<!\\),\s*")


@dataclass(frozen=True)
class Rule:
    """One command on one host."""

    host: str
    command: str

    def allows(self, host: str, argv: tuple[str, ...]) -> bool:
        """As sudo matches: the program by its path, all arguments together by fnmatch(3); a bare program takes any."""
        path, _, arguments = self.command.partition(" ")
        if host != self.host or argv[0] not in (path, PurePosixPath(path).name):
            return False
        wanted = re.sub(r"\\([,:=\\])", r"\1", arguments)
        return not arguments or fnmatchcase(" ".join(argv[1:]), wanted)


class Sudoers:
    """What sudo allows on the machines of a simulated site."""

    def __init__(self, rules: list[Rule] | None = None) -> None:
        self.rules = rules
        """None: everything, for a site that the delivered file was not written for."""

    @classmethod
    def of(cls, inventory: Inventory) -> Sudoers:
        """By the delivered file, where it is the right one for this inventory."""
        return cls(read(adapted(FILE.read_text(encoding="utf-8"), inventory)) if _is_meant(inventory) else None)

    def on(self, host: str) -> May:
        """What the rules say on one host, at any time: they may be changed."""
        return lambda argv: self.rules is None or any(rule.allows(host, tuple(argv)) for rule in self.rules)


def adapted(text: str, inventory: Inventory) -> str:
    """The file with the inventory's values where its header tells the engineer to put them, but for other machines.

    Raises:
        ValueError: what is to be replaced is not there.
    """
    seconds = math.ceil(inventory.timings.backup.total_seconds())
    for reference, here in (
        ("failover-reference-", f"failover-{inventory.cluster}-"),
        ("--wait 3600 ", f"--wait {seconds} "),
        ("/etc/failover/backup.cnf", inventory.backup.defaults_file),
        ("/srv/backup/", f"{inventory.backup.directory.rstrip('/')}/"),
    ):
        if reference not in text:
            raise ValueError(f"{reference!r} stands nowhere in the file, and is to become {here!r}")
        text = text.replace(reference, here)
    return text


def _is_meant(inventory: Inventory) -> bool:
    """Whether nothing but what `adapted` puts in, or what needs fewer rules, differs from the reference cluster."""
    reference = load(_DEPLOY / "inventories" / "reference.yaml")
    watched = inventory.monitoring
    return (
        _named(inventory) == _named(reference)
        and _services(inventory) <= _services(reference)
        and _power(inventory) <= _power(reference)
        and (inventory.haproxy.socket is None or inventory.haproxy.socket == reference.haproxy.socket)
        and (not isinstance(watched, NagiosMonitoring) or _nagios_files(watched) == _NAGIOS_FILES)
    )


def _named(inventory: Inventory) -> object:
    pairs = (inventory.pairs.storage, inventory.pairs.load_balancer)
    machines = {(m.name, m.role, m.host, m.os, m.vm_name, m.node_name) for m in inventory.machines}
    return machines, [(set(pair.machines), pair.method, pair.drbd) for pair in pairs]


def _services(inventory: Inventory) -> set[object]:
    return {(c.role, c.service) for c in inventory.components if c.role != "telephony" and c.service}


def _power(inventory: Inventory) -> set[object]:
    hosts = inventory.vm_hosts
    return {(h.name, h.power.commands.model_dump_json()) for h in hosts if isinstance(h.power, CommandPower)}


_NAGIOS_FILES = ("/var/lib/nagios4/rw/nagios.cmd", "/var/lib/nagios4/status.dat")


def _nagios_files(watched: NagiosMonitoring) -> tuple[str, str]:
    return watched.command_file, watched.status_file


def read(text: str) -> list[Rule]:
    """The rules for the account `failover`, with aliases filled in.

    Raises:
        ValueError: a line of another form or for another account, what only sudo understands, or an alias that nothing
            uses.
    """
    hosts: dict[str, list[str]] = {}
    commands: dict[str, list[str]] = {}
    used: set[str] = set()
    rules = []
    for line in _lines(text):
        if alias := ALIAS.fullmatch(line):
            named, form = (hosts, _HOST) if alias["kind"] == "Host" else (commands, _COMMAND)
            if alias["name"] in {*hosts, *commands, "ALL"}:
                raise ValueError(f"{alias['name']} stands twice, or is sudo's own")
            named[alias["name"]] = _filled_in(alias["members"], named, form, used)
        elif (specification := SPECIFICATION.fullmatch(line)) and specification["user"] == "failover":
            allowed = _filled_in(specification["commands"], commands, _COMMAND, used)
            on = _filled_in(specification["hosts"], hosts, _HOST, used)
            rules += [Rule(host, command) for host in on for command in allowed]
        elif line != "Defaults:failover !requiretty":
            raise ValueError(line)
    if unused := {*hosts, *commands} - used:
        raise ValueError(f"nothing uses {sorted(unused)}")
    return rules


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not COMMENT.match(line)))
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip()]


def _filled_in(members: str, aliases: dict[str, list[str]], form: re.Pattern[str], used: set[str]) -> list[str]:
    found = []
    for member in UNESCAPED.split(members):
        used.add(member)
        if member not in aliases and not form.fullmatch(member):
            raise ValueError(member)
        found += aliases.get(member, [member])
    return found
