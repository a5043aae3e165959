"""The part of sudoers(5) that the delivered file uses: aliases of hosts and commands, and who may run what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

SPECIFICATION = re.compile(r"(?P<user>\S+) (?P<hosts>.+?) = \(root\) NOPASSWD: (?P<commands>.+)")
ALIAS = re.compile(r"(?P<kind>Host|Cmnd)_Alias (?P<name>[A-Z][A-Z0-9_]*) = (?P<members>.+)")
UNESCAPED = re.compile(r"(?<!\\),\s*")


@dataclass(frozen=True)
class Rule:
    """One command on one host."""

    host: str
    command: str

    def allows(self, host: str, argv: tuple[str, ...]) -> bool:
        """As sudo matches: the program by its path, all arguments together by fnmatch(3)."""
        path, _, arguments = self.command.partition(" ")
        wanted = re.sub(r"\\([,:=\\])", r"\1", arguments)
        return host == self.host and PurePosixPath(path).name == argv[0] and fnmatchcase(" ".join(argv[1:]), wanted)


def read(text: str) -> list[Rule]:
    """The rules for the account `failover`, with aliases filled in.

    Raises:
        ValueError: a line of another form, or an alias that nothing uses.
    """
    hosts: dict[str, list[str]] = {}
    commands: dict[str, list[str]] = {}
    used: set[str] = set()
    rules = []
    for line in _lines(text):
        if alias := ALIAS.fullmatch(line):
            named = hosts if alias["kind"] == "Host" else commands
            if alias["name"] in {*hosts, *commands}:
                raise ValueError(f"{alias['name']} stands twice")
            named[alias["name"]] = _filled_in(alias["members"], named, used)
        elif specification := SPECIFICATION.fullmatch(line):
            assert specification["user"] == "failover"
            allowed = _filled_in(specification["commands"], commands, used)
            rules += [Rule(h, c) for h in _filled_in(specification["hosts"], hosts, used) for c in allowed]
        elif line != "Defaults:failover !requiretty":
            raise ValueError(line)
    if unused := {*hosts, *commands} - used:
        raise ValueError(f"nothing uses {sorted(unused)}")
    return rules


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip()]


def _filled_in(members: str, aliases: dict[str, list[str]], used: set[str]) -> list[str]:
    found = []
    for member in UNESCAPED.split(members):
        used.add(member)
        found += aliases.get(member, [member])
    return found
