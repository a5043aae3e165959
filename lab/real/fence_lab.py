#!/usr/bin/python3
"""Fence agent of the real lab: asks the power controller of the lab to cut a host off, and believes only its answer.

Options on standard input as `name=value`, as Pacemaker gives them: action, plug (or port), ip, ipport.
"""

from __future__ import annotations

import socket
import sys

_PARAMETER = (
    '<parameter name="{}" required="{}"><content type="string"/><shortdesc lang="en">{}</shortdesc></parameter>'
)
_PATIENCE = 15
"""Seconds for the controller, which shares a busy machine with all hosts. Below the 20 of Pacemaker for a monitor."""
_ACTIONS = ("on", "off", "reboot", "status", "monitor", "list", "metadata")
_METADATA = f"""<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Power controller of the real lab">
<longdesc>Cuts hosts of the real lab off.</longdesc>
<parameters>
{_PARAMETER.format("ip", 1, "Controller")}
{_PARAMETER.format("ipport", 0, "Its port")}
{_PARAMETER.format("plug", 1, "Host")}
</parameters>
<actions>{"".join(f'<action name="{name}"/>' for name in _ACTIONS)}</actions>
</resource-agent>
"""


def main() -> int:
    """Do one action."""
    given = dict(line.strip().split("=", 1) for line in sys.stdin if "=" in line)
    action = given.get("action", "reboot")
    plug = given.get("plug") or given.get("port", "")
    if action == "metadata":
        print(_METADATA)
        return 0
    if action in ("monitor", "list"):
        return _succeeded(_ask(given, "ping") == "pong")
    if action == "status":
        return {"on": 0, "off": 2}.get(_ask(given, f"status {plug}"), 1)
    cut = action == "on" or _ask(given, f"cut {plug}") == "off"
    return _succeeded(cut and (action == "off" or _ask(given, f"on {plug}") == "on"))


def _succeeded(so: bool) -> int:
    return 0 if so else 1


def _ask(given: dict[str, str], order: str) -> str:
    with socket.create_connection((given["ip"], int(given.get("ipport", 6230))), timeout=_PATIENCE) as controller:
        controller.sendall(f"{order}\n".encode())
        return controller.makefile().readline().strip()


if __name__ == "__main__":
    sys.exit(main())
