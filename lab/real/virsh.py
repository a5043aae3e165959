#!/usr/bin/python3 -IS
"""Stand-in for libvirt's `virsh` on a VM-Host of the real lab: no hypervisor runs there, the machines are namespaces.

It knows what the reference inventory uses, says it in libvirt's words, and asks the lab's power controller, which
really cuts and gives power. Snapshots are empty folders: SIMULATED, nothing is stored.

It is asked hundreds of times in a run, so it imports little.
"""

from __future__ import annotations

import os
import socket
import sys

CONTROLLER = ("10.77.0.250", 6230)
SNAPSHOTS = "/var/lib/lab-snapshots"


def main() -> int:
    """Answer one command line."""
    words = sys.argv[1:]
    if words[:1] == ["--connect"]:
        words = words[2:]
    if len(words) < 2:
        return _fail(f"command {' '.join(words)!r} is not known to this stand-in")
    command, vm, *rest = words
    if _ask(f"status {vm}") not in ("on", "off"):
        return _fail(f"failed to get domain '{vm}'")
    return COMMANDS.get(command, _unknown)(vm, rest)


def _unknown(vm: str, rest: list[str]) -> int:
    return _fail(f"unknown command: '{sys.argv[1:]}'")


def _start(vm: str, rest: list[str]) -> int:
    if _ask(f"status {vm}") == "on":
        return _fail("Domain is already active")
    return _say(f"Domain '{vm}' started") if _ask(f"on {vm}") == "on" else _fail(f"Failed to start domain '{vm}'")


def _destroy(vm: str, rest: list[str]) -> int:
    if _ask(f"status {vm}") == "off":
        return _fail("Requested operation is not valid: domain is not running")
    return _say(f"Domain '{vm}' destroyed") if _ask(f"cut {vm}") == "off" else _fail(f"Failed to destroy domain '{vm}'")


def _domstate(vm: str, rest: list[str]) -> int:
    return _say("running" if _ask(f"status {vm}") == "on" else "shut off")


def _dominfo(vm: str, rest: list[str]) -> int:
    state = "running" if _ask(f"status {vm}") == "on" else "shut off"
    return _say(f"Name:           {vm}\nState:          {state}\nAutostart:      disable")


def _snapshot_create(vm: str, rest: list[str]) -> int:
    try:
        os.makedirs(f"{SNAPSHOTS}/{vm}/{rest[0]}")
    except FileExistsError:
        return _fail(f"operation failed: domain snapshot {rest[0]} already exists")
    return _say(f"Domain snapshot {rest[0]} created")


def _snapshot_list(vm: str, rest: list[str]) -> int:
    folder = f"{SNAPSHOTS}/{vm}"
    print("".join(f"{name}\n" for name in sorted(os.listdir(folder) if os.path.isdir(folder) else ())))
    return 0


def _snapshot_delete(vm: str, rest: list[str]) -> int:
    try:
        os.rmdir(f"{SNAPSHOTS}/{vm}/{rest[0]}")
    except FileNotFoundError:
        return _fail(f"Domain snapshot not found: no domain snapshot with matching name '{rest[0]}'")
    return _say(f"Domain snapshot {rest[0]} deleted")


def _ask(order: str) -> str:
    with socket.create_connection(CONTROLLER, timeout=10) as controller:
        controller.sendall(f"{order}\n".encode())
        return controller.makefile().readline().strip()


def _say(text: str) -> int:
    print(f"{text}\n")
    return 0


def _fail(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 1


COMMANDS = {
    "start": _start,
    "destroy": _destroy,
    "domstate": _domstate,
    "dominfo": _dominfo,
    "snapshot-create-as": _snapshot_create,
    "snapshot-list": _snapshot_list,
    "snapshot-delete": _snapshot_delete,
}

if __name__ == "__main__":
    sys.exit(main())
