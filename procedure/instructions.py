"""Instructions: the exact thing that is sent to a system. A plan prints them and a worker carries them out."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode

from pydantic import Field

from inventory.values import show_duration
from procedure.values import Value


class RunOn(Value):
    """A command on a Linux machine or a hypervisor, over SSH, as a list of words."""

    kind: Literal["run"] = "run"
    machine: str
    """A machine, or a VM-Host whose power provider is `command`."""
    argv: tuple[str, ...]
    sudo: bool = True
    timeout: timedelta | None = None
    """None: the inventory's time-out for commands."""
    detached: bool = False
    """The connection may break before it answers (shutdown)."""

    @property
    def text(self) -> str:
        """As a person would type it."""
        return f"ssh {self.machine} " + shlex.join((("sudo", "-n", *self.argv)) if self.sudo else self.argv)


class WindowsServiceAction(Value):
    """Stop or start a Windows service, found by key name or display name.

    sc.exe takes the key name only. Where the inventory gives the display name, the key name is looked up on the machine
    just before; the evidence of the step names it.
    """

    kind: Literal["windows_service"] = "windows_service"
    machine: str
    service: str
    action: Literal["start", "stop"]

    @property
    def text(self) -> str:
        """As a person would type it."""
        return f"winrm {self.machine} sc.exe {self.action} {shlex.quote(self.service)}"


class WindowsCommand(Value):
    """A command on a Windows machine, as a list of words."""

    kind: Literal["windows_command"] = "windows_command"
    machine: str
    argv: tuple[str, ...]

    @property
    def text(self) -> str:
        """As a person would type it."""
        return f"winrm {self.machine} " + " ".join(shlex.quote(word) for word in self.argv)


class WindowsShutdown(Value):
    """Orderly shutdown of a Windows machine."""

    kind: Literal["windows_shutdown"] = "windows_shutdown"
    machine: str

    @property
    def text(self) -> str:
        """As a person would type it."""
        return f"winrm {self.machine} shutdown /s /t 0"


class SetServers(Value):
    """Set servers of one backend of one HAProxy, by its admin page or its runtime socket."""

    kind: Literal["set_servers"] = "set_servers"
    balancer: str
    backend: str
    servers: tuple[str, ...]
    state: Literal["maint", "ready", "drain"]
    page: str = ""
    """Address of the admin page that takes the form; empty: the runtime socket takes a line for each server."""
    socket: str = ""

    @property
    def text(self) -> str:
        """The form, or the lines."""
        if self.page:
            fields = [*(("s", server) for server in self.servers), ("action", self.state), ("b", self.backend)]
            return f"POST {self.page} {urlencode(fields)}"
        lines = "; ".join(f"set server {self.backend}/{server} state {self.state}" for server in self.servers)
        return f"ssh {self.balancer} sudo -n socat - UNIX-CONNECT:{self.socket} <<< '{lines}'"


class EndServerSessions(Value):
    """Cut all sessions with servers of one backend of one HAProxy, by its admin page or its runtime socket."""

    kind: Literal["end_server_sessions"] = "end_server_sessions"
    balancer: str
    backend: str
    servers: tuple[str, ...]
    page: str = ""
    """Address of the admin page that takes the form; empty: the runtime socket takes a line for each server."""
    socket: str = ""

    @property
    def text(self) -> str:
        """The form, or the lines."""
        if self.page:
            fields = [*(("s", server) for server in self.servers), ("action", "shutdown"), ("b", self.backend)]
            return f"POST {self.page} {urlencode(fields)}"
        lines = "; ".join(f"shutdown sessions server {self.backend}/{server}" for server in self.servers)
        return f"ssh {self.balancer} sudo -n socat - UNIX-CONNECT:{self.socket} <<< '{lines}'"


class EndConnections(Value):
    """Cut every connection of a database server that counts as a session at that moment, and no other."""

    kind: Literal["end_connections"] = "end_connections"
    machine: str

    @property
    def text(self) -> str:
        """As a person would say it."""
        return f"mysql {self.machine}: KILL CONNECTION for each session of SHOW PROCESSLIST"


class CreateSilence(Value):
    """Silence machines at the monitoring server from now on."""

    kind: Literal["create_silence"] = "create_silence"
    machines: tuple[str, ...]
    duration: timedelta
    comment: str

    @property
    def text(self) -> str:
        """As a person would say it."""
        return f"monitoring: silence {', '.join(self.machines)} for {show_duration(self.duration)}"


class LiftSilence(Value):
    """End the product's own silences of machines."""

    kind: Literal["lift_silence"] = "lift_silence"
    machines: tuple[str, ...]

    @property
    def text(self) -> str:
        """As a person would say it."""
        return f"monitoring: lift the silence of {', '.join(self.machines)}"


Instruction = Annotated[
    RunOn
    | WindowsServiceAction
    | WindowsCommand
    | WindowsShutdown
    | SetServers
    | EndServerSessions
    | EndConnections
    | CreateSilence
    | LiftSilence,
    Field(discriminator="kind"),
]
