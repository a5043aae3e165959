"""A Windows machine behind the lab's WinRM server, with services a test can set."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inventory.models import Inventory
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint
from lab.winrm import Account, CommandResult, WinRmServer, WinRmSettings
from tests.activities.cluster import machine, reference

MACHINE = "acd-tel1"
PASSWORD = "Pa55-wörd; with $pace"
ADDRESS = "127.77.2.11"


@dataclass
class WindowsWithServices:
    """Answers the product's scripts about services, and other commands as told."""

    services: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Key name to display name and state."""
    exits: int = 0
    hidden: int = 0
    prints: str | None = None
    """Answers every script with this text instead."""
    hangs: bool = False
    result: CommandResult = field(default_factory=lambda: CommandResult(stdout=b"done\r\n"))
    ran: list[tuple[str, list[str]]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, command: str, arguments: list[str], stdin: bytes) -> CommandResult:
        self.ran.append((command, arguments))
        self.started.set()
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        if command != "powershell":
            return self.result
        text = self.prints if self.prints is not None else json.dumps(self._services(arguments[0]))
        return CommandResult(stdout=text.encode() + b"\r\n")

    def _services(self, script: str) -> dict[str, Any]:
        literal = re.search(r"^\$wanted = '(.*)'$", script, re.MULTILINE)
        assert literal
        wanted = literal.group(1).replace("''", "'").lower()
        keys = [key for key in self.services if key.lower() == wanted]
        found = keys or [key for key, (display, _) in self.services.items() if display.lower() == wanted]
        acted = "sc.exe" in script and len(found) == 1
        return {
            "services": [{"name": key, "status": self.services[key][1]} for key in found],
            "seen": len(self.services),
            "hidden": self.hidden,
            "exit": self.exits if acted else None,
        }


@dataclass
class WindowsSite:
    """One Windows machine, and the inventory that leads to it."""

    directory: Path
    authority: CertificateAuthority
    machine: WindowsWithServices
    https: bool = True
    transport: Literal["ntlm", "basic"] = "ntlm"
    user: str = "failover"

    def server(self, address: str = ADDRESS, *, port: int = 0, password: str = PASSWORD) -> WinRmServer:
        certificate = self.authority.issue(address) if self.https else None
        settings = WinRmSettings(computer_name="ACD-TEL1", certificate=certificate)
        return WinRmServer(Endpoint(ADDRESS, port), self.machine, [Account(self.user, password)], settings)

    def inventory(self, port: int, password: str = PASSWORD, ca: Path | None = None, **timings: str) -> Inventory:
        secret = self.directory / "password"
        secret.write_text(password)
        secret.chmod(0o600)

        def change(raw: dict[str, Any]) -> None:
            raw["timings"].update(timings)
            raw["connections"]["windows"] = {
                "kind": "winrm",
                "transport": self.transport,
                "user": self.user,
                "password": f"file:{secret}",
                "https": self.https,
                "ca": str(ca or self.authority.ca_file),
            }
            machine(raw, MACHINE).update(address=ADDRESS, port=port)

        return reference(change)
