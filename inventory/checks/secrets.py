"""No secret in clear: not in commands, addresses or texts, and none over a connection that others can read.

Where one is suspected, the text is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from inventory.checks.access import TEMPLATES
from inventory.models import CommandPower, CommandProbe, HttpProbe, Inventory, WinRmConnection
from inventory.notifications import Email, Webhook
from inventory.problems import Finding, Path

_KEY = r"(?:password|passwd|passphrase|pass|pwd|token|secret|api[_-]?key)"
_SECRET_WORD = re.compile(rf"(?i)(?:--?|/)?(?:\w*[_-])?{_KEY}[=:].+")
_SECRET_OPTION = re.compile(rf"(?i)--?{_KEY}")
_SECRET_PARAMETER = re.compile(rf"(?i)(?:.*[_-])?{_KEY}")
# After a colon people also write sentences ("Password: see the safe"): there, one word to the end of the text or a
# word with a digit in it counts.
_SECRET_IN_TEXT = re.compile(rf"(?i)\b{_KEY}\s*(?:=\s*\S|:\s*(?:\S*\d|\S+\s*$))")
_CLIENT = re.compile(r"(?:.*[/\\])?(?:mysql|mariadb)[A-Za-z_-]*(?:\.exe)?")
# `-pSECRET`, as the clients of MySQL and MariaDB take it; also in a line for a shell.
_CLIENT_PASSWORD = re.compile(r"-p.+")
_CLIENT_LINE = re.compile(r"(?s).*\b(?:mysql|mariadb)[\w-]*\s(?:.*\s)?-p\S+.*")


def commands(inventory: Inventory) -> Iterator[Finding]:
    """Arguments of commands show in process lists and in reports, so no password stands there."""
    for path, words in _commands(inventory):
        for position in range(len(words)):
            if _is_secret(words, position):
                wrong = "this looks like a secret in clear; arguments show in process lists"
                yield Finding((*path, position), wrong, "an option file or a script on the machine that knows it")


def _is_secret(words: tuple[str, ...], position: int) -> bool:
    word, before = words[position], words[:position]
    if _SECRET_WORD.fullmatch(word) or _CLIENT_LINE.fullmatch(word):
        return True
    if before and _SECRET_OPTION.fullmatch(before[-1]) and not word.startswith("-"):
        return True
    # The program need not be the first word: `env`, `sudo` and `timeout` take one.
    return _CLIENT_PASSWORD.fullmatch(word) is not None and any(_CLIENT.fullmatch(one) for one in before)


def _commands(inventory: Inventory) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for index, host in enumerate(inventory.vm_hosts):
        if isinstance(host.power, CommandPower):
            for key in TEMPLATES:
                yield ("vm_hosts", index, "power", "commands", key), getattr(host.power.commands, key) or ()
    for index, probe in enumerate(inventory.probes):
        if isinstance(probe, CommandProbe):
            yield ("probes", index, "command"), probe.command
    if inventory.daemon.commands:
        for key in ("status", "start", "stop"):
            yield ("daemon", "commands", key), getattr(inventory.daemon.commands, key)


def addresses(inventory: Inventory) -> Iterator[Finding]:
    """Addresses of pages show in reports and in logs of others, so no password is among their parameters."""
    for index, probe in enumerate(inventory.probes):
        if isinstance(probe, HttpProbe) and _has_secret(probe.url):
            wrong = "a parameter that looks like a secret in clear"
            yield Finding(("probes", index, "url"), wrong, "a page that answers without a secret")
    for index, target in enumerate(inventory.notifications.targets):
        if isinstance(target, Webhook) and _has_secret(target.url):
            wrong = "a parameter that looks like a secret in clear"
            allowed = "env:NAME or file:/absolute/path, which then holds the whole address"
            yield Finding(("notifications", "targets", index, "url"), wrong, allowed)


def _has_secret(url: str) -> bool:
    try:
        parameters = parse_qsl(urlsplit(url).query, keep_blank_values=False)
    except ValueError:
        return False
    return any(_SECRET_PARAMETER.fullmatch(name) for name, _ in parameters)


def texts(inventory: Inventory) -> Iterator[Finding]:
    """What the operator reads is kept in the history of each run, so it says where a password is, not the password."""
    for path, text in _texts(inventory):
        if _SECRET_IN_TEXT.search(text):
            wrong = "this looks like a secret in clear; it would stay in the history of every run"
            yield Finding(path, wrong, "where the operator finds it, not the secret itself")


def _texts(inventory: Inventory) -> Iterator[tuple[Path, str]]:
    yield ("daemon", "instructions"), inventory.daemon.instructions
    for index, component in enumerate(inventory.components):
        yield ("components", index, "stop_by_hand"), component.stop_by_hand
        yield ("components", index, "start_by_hand"), component.start_by_hand
    for index, target in enumerate(inventory.notifications.targets):
        yield ("notifications", "targets", index, "text"), target.text
        if isinstance(target, Email):
            yield ("notifications", "targets", index, "subject"), target.subject
    for key in ("checklist", "address_checklist"):
        for index, item in enumerate(getattr(inventory, key)):
            yield (key, index), item


def basic_is_encrypted(inventory: Inventory) -> Iterator[Finding]:
    """Basic authentication sends the password itself with every request: never without TLS."""
    for name, connection in inventory.connections.items():
        if isinstance(connection, WinRmConnection) and connection.transport == "basic" and not connection.https:
            wrong = "basic authentication without TLS sends the password in clear"
            yield Finding(("connections", name, "https"), wrong, "`https: true`, or `transport: ntlm`")


def mail_password_is_encrypted(inventory: Inventory) -> Iterator[Finding]:
    """Mail servers get the password itself: never without TLS."""
    for index, target in enumerate(inventory.notifications.targets):
        if isinstance(target, Email) and target.password and target.security == "none":
            wrong = "without TLS the password would be sent in clear"
            allowed = "`security: starttls` or `tls`, or a relay that takes mail without a password"
            yield Finding(("notifications", "targets", index, "security"), wrong, allowed)


CHECKS = (commands, addresses, texts, basic_is_encrypted, mail_password_is_encrypted)
