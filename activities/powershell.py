"""The few PowerShell scripts that are sent to Windows machines. Pure text; PowerShell 3 (Server 2012) is enough.

Nothing in them or in what they print depends on the language of the machine: states and errors are numbers, names are
compared with -eq, where no character is a wildcard, and the answer is one line of JSON. Services are stopped and
started by sc.exe, which returns at once and answers with the number of the system error; Stop-Service can't be told
not to wait before PowerShell 5, and Start-Service never.
"""

from __future__ import annotations

import base64
from typing import Literal

_PROLOGUE = """\
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false
"""

_FIND = """\
$wanted = {name}
$all = @(Get-Service -ErrorAction SilentlyContinue -ErrorVariable hidden)
$found = @($all | Where-Object {{ $_.Name -eq $wanted }})
if (-not $found) {{ $found = @($all | Where-Object {{ $_.DisplayName -eq $wanted }}) }}
"""

_ACT = """\
$exit = $null
if ($found.Count -eq 1) {{ sc.exe {action} $found[0].Name | Out-Null; $exit = $LASTEXITCODE }}
"""

_TELL = """\
$services = @($found | ForEach-Object { @{ name = $_.Name; status = [int]$_.Status } })
@{ services = $services; seen = $all.Count; hidden = $hidden.Count; exit = $exit } | ConvertTo-Json -Compress -Depth 3
"""


def quoted(text: str) -> str:
    """As a literal string of PowerShell.

    Between single quotes only quotes themselves are special, and PowerShell takes typographic ones for quotes as well.
    """
    return "'" + "".join(2 * character if character in "'‘’‚‛" else character for character in text) + "'"


def state_of(service: str) -> str:
    """Prints the services with that key name, or else with that display name, and the number of their state."""
    return _PROLOGUE + _FIND.format(name=quoted(service)) + "$exit = $null\n" + _TELL


def act_on(service: str, action: Literal["start", "stop"]) -> str:
    """Asks the service manager to start or stop it; prints the number of the system error (0: none)."""
    return _PROLOGUE + _FIND.format(name=quoted(service)) + _ACT.format(action=action) + _TELL


def words(script: str) -> list[str]:
    """The command that runs a script, without a prompt and without a user's profile."""
    encoded = base64.b64encode(script.encode("utf-16-le")).decode("ascii")
    return ["powershell.exe", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]
