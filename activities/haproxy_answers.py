"""What HAProxy answers: its statistics as CSV, its server states, and what it says to a change.

The words for a server's state are those of HAProxy's `stats.c`; a word that is not among them is not understood.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from activities.errors import NotUnderstood, Permanent, Rejected, SystemTrouble, Transient
from procedure.facts import ServerState

Admin = Literal["ready", "drain", "maint"]
Server = tuple[str, str]
"""Backend and server."""

_COLUMNS = ("pxname", "svname", "qcur", "scur", "status", "weight", "act", "bck", "type", "check_status")
_SERVER_ROW = "2"
"""Value of `type`: 0 is a frontend, 1 a backend, 2 a server, 3 a socket of a frontend."""
_STATUS: tuple[tuple[re.Pattern[str], Admin, bool], ...] = (
    # Pattern, what an administrator set, whether it takes new sessions.
    (re.compile(r"UP( \d+/\d+)?"), "ready", True),
    (re.compile(r"no check"), "ready", True),
    (re.compile(r"DOWN( \d+/\d+| \(agent\))?"), "ready", False),
    (re.compile(r"NOLB( \d+/\d+)?"), "ready", False),
    (re.compile(r"MAINT( \(via [^()]+/[^()]+\))?"), "maint", False),
    # Set by a name that can't be resolved, and by the server's own agent: no administrator did it.
    (re.compile(r"MAINT \(resolution\)"), "ready", False),
    (re.compile(r"DRAIN \(agent\)"), "ready", False),
    (re.compile(r"DRAIN( \d+/\d+)?"), "drain", False),
)
_STATE_COLUMNS = ("be_name", "srv_name", "srv_addr", "srv_admin_state")
# SRV_ADMF_*: forced and inherited maintenance, then drain; `disabled` in the configuration sets the first two bits too.
_MAINT, _DRAIN, _KNOWN = 0x01 | 0x02, 0x08 | 0x10, 0x7F
_STATE_BEGINS = re.compile(r"^1\n(?=# be_id be_name )", re.MULTILINE)


def read_stat(machine: str, text: str) -> tuple[ServerState, ...]:
    """Every server of every backend, from `show stat` or the page's `;csv`.

    `up` is whether it takes new sessions: so UP, `UP 1/3` (failing its checks) and `no check`, but not DRAIN.
    A server that is both drained and DOWN shows DOWN, and reads as ready: only `show servers state` tells more.

    Raises:
        NotUnderstood: a missing column, an unknown word, or a text that was cut off.
    """
    if not text.endswith("\n"):
        raise NotUnderstood(machine, f"HAProxy's statistics end early: {text[-80:]!r}")
    rows = _rows(machine, text)
    servers = tuple(_server(machine, row) for row in rows if row["type"] == _SERVER_ROW)
    _complete(machine, rows, servers)
    return servers


def _rows(machine: str, text: str) -> list[dict[str, str]]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if line]
    except csv.Error as error:
        raise NotUnderstood(machine, f"HAProxy's statistics are no CSV: {error}") from error
    header = [name.removeprefix("# ") for name in lines[0]] if lines else []
    missing = [name for name in _COLUMNS if header.count(name) != 1]
    if missing or not lines[0][0].startswith("# "):
        raise NotUnderstood(machine, f"HAProxy's statistics lack {', '.join(missing) or 'their header'}: {text[:80]!r}")
    for line in lines[1:]:
        if len(line) != len(header):
            raise NotUnderstood(machine, f"a line of HAProxy's statistics has {len(line)} columns: {line[:3]}")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _server(machine: str, row: Mapping[str, str]) -> ServerState:
    status = row["status"]
    admin, up = _meaning(machine, row)
    return ServerState(
        backend=_name(machine, row["pxname"]),
        server=_name(machine, row["svname"]),
        status=status,
        admin=admin,
        up=up,
        backup=_one_of(machine, row),
        weight=_number(machine, row, "weight"),
        sessions=_number(machine, row, "scur"),
        queued=_number(machine, row, "qcur"),
        # A check that runs at this moment is marked by a star before the result of the last one.
        check=row["check_status"].removeprefix("* "),
        address=_host(row.get("addr", "")),
    )


def _host(endpoint: str) -> str:
    """The address of `address:port` or `[address]:port`; empty if it is not told, or no address (`unix`, a name)."""
    host = endpoint.rpartition(":")[0].strip("[]") or endpoint
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        return ""


def _meaning(machine: str, row: Mapping[str, str]) -> tuple[Admin, bool]:
    for pattern, admin, up in _STATUS:
        if pattern.fullmatch(row["status"]):
            return admin, up
    raise NotUnderstood(machine, f"HAProxy says {row['pxname']}/{row['svname']} is {row['status']!r}")


def _name(machine: str, name: str) -> str:
    if not name:
        raise NotUnderstood(machine, "HAProxy lists a server without a name")
    return name


def _one_of(machine: str, row: Mapping[str, str]) -> bool:
    if (row["act"], row["bck"]) not in (("1", "0"), ("0", "1")):
        raise NotUnderstood(machine, f"{row['pxname']}/{row['svname']}: act={row['act']!r}, bck={row['bck']!r}")
    return row["bck"] == "1"


def _number(machine: str, row: Mapping[str, str], column: str) -> int:
    value = row[column]
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise NotUnderstood(machine, f"{row['pxname']}/{row['svname']}: {column}={value!r} is no number")
    return int(value)


def _complete(machine: str, rows: Sequence[Mapping[str, str]], servers: Sequence[ServerState]) -> None:
    """The row of a backend follows those of its servers: without it they may be cut off."""
    unknown = {row["type"] for row in rows} - {"0", "1", _SERVER_ROW, "3"}
    if unknown:
        raise NotUnderstood(machine, f"HAProxy lists something of the type {', '.join(sorted(unknown))}")
    ended = {row["pxname"] for row in rows if row["type"] == "1"}
    open_ended = {server.backend for server in servers} - ended
    if open_ended or not ended:
        raise NotUnderstood(machine, f"HAProxy's statistics end within {', '.join(sorted(open_ended)) or 'nothing'}")
    if len({(server.backend, server.server) for server in servers}) != len(servers):
        raise NotUnderstood(machine, "HAProxy lists a server twice")


def read_servers_state(machine: str, text: str) -> dict[Server, tuple[Admin, str]]:
    """What an administrator set on each server, and its address, from `show servers state` (version 1).

    Raises:
        NotUnderstood: another version, a missing column, an unknown flag.
    """
    lines = text.splitlines()
    if len(lines) < 2 or lines[0] != "1" or not lines[1].startswith("# ") or not text.endswith("\n"):
        raise NotUnderstood(machine, f"HAProxy's server states are of an unknown version: {text[:80]!r}")
    header = lines[1].removeprefix("# ").split()
    if any(header.count(name) != 1 for name in _STATE_COLUMNS):
        raise NotUnderstood(machine, f"HAProxy's server states lack a column: {lines[1]!r}")
    return dict(_states(machine, header, [line for line in lines[2:] if line]))


def _states(machine: str, header: Sequence[str], lines: Sequence[str]) -> Iterator[tuple[Server, tuple[Admin, str]]]:
    for line in lines:
        values = line.split()
        if len(values) != len(header):
            raise NotUnderstood(machine, f"a line of HAProxy's server states: {line!r}")
        row = dict(zip(header, values, strict=True))
        flags = row["srv_admin_state"]
        if not (flags.isascii() and flags.isdigit() and len(flags) < 4 and int(flags) & ~_KNOWN == 0):
            raise NotUnderstood(machine, f"HAProxy's administrative state {flags!r} of {row['srv_name']}")
        set_to: Admin = "maint" if int(flags) & _MAINT else "drain" if int(flags) & _DRAIN else "ready"
        yield (row["be_name"], row["srv_name"]), (set_to, _host(row["srv_addr"]))


def read_both(machine: str, text: str) -> tuple[ServerState, ...]:
    """The answer to `show stat;show servers state`: the statistics, with what an administrator set by its flags.

    Raises:
        NotUnderstood: one of them is not understood, or they don't list the same servers.
    """
    parts = _STATE_BEGINS.split(text)
    if len(parts) != 2:
        raise NotUnderstood(machine, f"HAProxy did not answer with statistics and server states: {text[:120]!r}")
    servers, states = read_stat(machine, parts[0]), read_servers_state(machine, "1\n" + parts[1])
    if {(server.backend, server.server) for server in servers} != set(states):
        raise NotUnderstood(machine, "HAProxy's statistics and its server states list different servers")
    return tuple(_with_state(server, *states[server.backend, server.server]) for server in servers)


def _with_state(server: ServerState, admin: Admin, address: str) -> ServerState:
    return server.model_copy(update={"admin": admin, "address": address or server.address})


_ST = re.compile(r".*;st=(?P<st>[A-Z]+)")
_SAID = {
    "DONE": "done",
    "NONE": "nothing was changed",
}


def read_form_answer(machine: str, status: int, location: str) -> str:
    """What the admin page said to a form: always a redirect, whose `;st=` tells. It proves nothing.

    Raises:
        Rejected: no or wrong credentials, or the page has no `stats admin`.
        Permanent: HAProxy knows no such backend, server or action (ERRP), or not all of the servers (PART).
        Transient: the form did not fit into HAProxy's buffer (EXCD).
        NotUnderstood: any other answer.
    """
    if status in (401, 403):
        raise _refused(machine, f"status {status}")
    found = _ST.fullmatch(location)
    if status != 303 or found is None:
        raise NotUnderstood(machine, f"HAProxy's admin page answered a form with {status} {location!r}")
    said = found["st"]
    if said in _SAID:
        return f"{said}: {_SAID[said]}"
    raise _not_done(machine, said)


def _not_done(machine: str, said: str) -> SystemTrouble:
    compare = "compare backends and servers of the inventory with haproxy.cfg there"
    match said:
        case "DENY":
            return _refused(machine, "DENY")
        case "PART":
            return Permanent(machine, "HAProxy's admin page: PART, it knows only some of the servers", compare)
        case "ERRP":
            return Permanent(machine, "HAProxy's admin page: ERRP, it knows no such backend, server or action", compare)
        case "EXCD":
            return Transient(machine, "HAProxy's admin page: EXCD, the form did not fit into its buffer", "")
        case _:
            return NotUnderstood(machine, f"HAProxy's admin page answered a form with {said!r}")


def _refused(machine: str, words: str) -> Rejected:
    return Rejected(
        machine,
        f"HAProxy's admin page: {words}",
        "check user and password of haproxy.admin_page, and `stats admin` in haproxy.cfg there",
    )


def read_socket_answer(machine: str, text: str) -> str:
    """What the runtime socket said to commands that answer nothing on success.

    Raises:
        Rejected: the socket's level is not `admin`.
        Permanent: anything else it said; it only speaks when it did not obey.
    """
    said = " ".join(text.split())
    if not said and "\n" in text:
        return "done"
    if "Permission denied" in said:
        raise Rejected(machine, f"HAProxy's socket: {said}", "`stats socket … level admin` in haproxy.cfg there")
    if not said:
        raise Transient(machine, "HAProxy's socket closed without an answer; it is unknown whether it was done")
    raise Permanent(machine, f"HAProxy's socket: {said}", "compare the inventory with haproxy.cfg there")
