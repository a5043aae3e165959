"""The connection of commands: one attempt, quickly, since a person waits. And where the Web UI is."""

from __future__ import annotations

import os
from datetime import timedelta

from temporalio.client import Client

from procedure.notices import address_of_run
from workflows import connection
from workflows.connection import load_profile

WITHIN = timedelta(seconds=5)
"""For the server to answer."""
WEB_UI_VARIABLE = "FAILOVER_WEB_UI"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_DEVELOPMENT_UI = 1000  # a development server puts its Web UI that much above its own port: 7233, 8233


async def connected() -> Client:
    """A client, or an exception that the runner explains.

    Raises:
        BadProfile: the settings of the connection make no sense.
        ServerAway: nobody answers.
        ServerRefuses: a server answers and refuses.
    """
    return await connection.connect(load_profile(), connection.identity("starter"), within=WITHIN)


def web_ui(client: Client, workflow_id: str, run_id: str) -> str:
    """Address of a run in the Web UI; empty if nobody can know it."""
    base = os.environ.get(WEB_UI_VARIABLE) or _local_web_ui(client.service_client.config.target_host)
    return address_of_run(base, client.namespace, workflow_id, run_id)


def _local_web_ui(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"http://localhost:{int(port) + _DEVELOPMENT_UI}" if host in _LOCAL and port.isdigit() else ""
