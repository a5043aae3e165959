"""A query of a probe: one new connection, one query, one row."""

from __future__ import annotations

import ssl
from typing import Final

import aiomysql
import pymysql
from pymysql.constants import CLIENT

from activities.errors import Rejected
from activities.secrets import resolve
from activities.web import tls_context
from inventory.models import Inventory

SERVICE: Final = "database"
DENIED: Final = (1044, 1045, 1698)
"""Error numbers of the server for credentials it does not accept."""
NO_ROW: Final = "the query returned no row"


class SqlQueries:
    """Runs the queries of SQL probes with the account of `database`."""

    def __init__(self, inventory: Inventory) -> None:
        self._database = inventory.database
        self._patience = inventory.timings.connect

    async def why_no_row(self, address: str, port: int, query: str) -> str:
        """Run a query; why there was no row, empty if there was one.

        Raises:
            Rejected: the account is not accepted, or the server has no TLS although the inventory asks for it.
        """
        try:
            connection = await self._connect(address, port)
        except (pymysql.MySQLError, OSError) as error:
            return _why(address, error)
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(query)
                return "" if await cursor.fetchone() else NO_ROW
        except (pymysql.MySQLError, OSError, EOFError) as error:
            return _why(address, error)
        finally:
            # Without the farewell, which would wait for a server that hangs.
            connection.close()

    async def _connect(self, address: str, port: int) -> aiomysql.Connection:
        tls = self._database.tls
        connection = _Connection(
            host=address,
            port=port,
            user=self._database.user,
            password=resolve(self._database.password, SERVICE).get_secret_value(),
            connect_timeout=self._patience.total_seconds(),
            ssl=tls_context(SERVICE, tls) if tls else None,
        )
        # What `aiomysql.connect` does with its own class.
        await connection._connect()
        return connection


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # aiomysql ships no type information
    """Never without TLS where it was asked for: aiomysql goes on in clear when the server has none."""

    async def _request_authentication(self) -> None:
        context: ssl.SSLContext | None = self._ssl_context
        if context and not self.server_capabilities & CLIENT.SSL:
            raise Rejected(
                SERVICE, f"{self.host} offers no TLS", "switch TLS on there, or take `tls` out of the inventory"
            )
        await super()._request_authentication()


def _why(address: str, error: Exception) -> str:
    number = error.args[0] if error.args else None
    if number in DENIED:
        raise Rejected(SERVICE, f"{address}: {error.args[-1]}", "check `database` in the inventory") from None
    words = str(error.args[-1]) if error.args else ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
