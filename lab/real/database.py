"""The first start of the database servers: accounts, the application's schema, replication. Later ones need nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql

from inventory.models import Inventory
from lab.real import grants
from lab.real.furnish import SCHEMA
from lab.real.host import Host
from lab.real.site import RealSite

_SOCKET = "run/mysqld/mysqld.sock"
_ANSWER_SECONDS = 10


class Local:
    """A session of root on a server, through its socket: works for whoever is root on this machine."""

    def __init__(self, host: Host) -> None:
        """Connect.

        Raises:
            pymysql.Error: it does not answer (yet).
        """
        socket: Path = host.root / _SOCKET
        self._session = pymysql.connect(
            unix_socket=str(socket),
            user="root",
            autocommit=True,
            connect_timeout=_ANSWER_SECONDS,
            read_timeout=_ANSWER_SECONDS,
            cursorclass=pymysql.cursors.DictCursor,
        )

    def rows(self, statement: str, *given: object) -> list[dict[str, Any]]:
        """Run a statement.

        Raises:
            pymysql.Error: it is refused, or the server is gone.
        """
        with self._session.cursor() as cursor:
            cursor.execute(statement, given or None)
            return list(cursor.fetchall())

    def close(self) -> None:
        """End the session."""
        self._session.close()


def begin(host: Host, site: RealSite) -> None:
    """Make accounts and schema on a new server: on each for itself, so nothing of it is replicated.

    Raises:
        pymysql.Error: a statement is refused.
    """
    session = Local(host)
    session.rows("SET SESSION sql_log_bin = 0")
    for statement, given in _statements(site, host.name):
        session.rows(statement, *given)
    session.close()


def _statements(site: RealSite, name: str) -> list[tuple[str, tuple[str, ...]]]:
    return [
        *((statement, ()) for statement in grants.statements(site, name)),
        ("CREATE USER haproxy_check@'%'", ()),
        ("CREATE USER repl@'%%' IDENTIFIED BY %s", (site.internal["repl"],)),
        ("GRANT REPLICATION SLAVE ON *.* TO repl@'%'", ()),
        ("CREATE USER app@'%%' IDENTIFIED BY %s", (site.internal["app"],)),
        (f"CREATE DATABASE {SCHEMA}", ()),
        (f"GRANT ALL ON {SCHEMA}.* TO app@'%'", ()),
        (
            f"CREATE TABLE {SCHEMA}.calls (id BIGINT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP(3) DEFAULT NOW(3),"
            " who VARCHAR(40), server INT)",
            (),
        ),
    ]


def replicate(hosts: dict[str, Host], site: RealSite) -> None:
    """Let every replica of the inventory replicate from its source.

    Raises:
        pymysql.Error: a statement is refused.
    """
    inventory: Inventory = site.inventory
    for link in inventory.database.replication:
        session, source = Local(hosts[link.replica]), inventory.machine(link.source)
        options = "MASTER_USE_GTID = slave_pos"
        if site.options.replication == "positions":
            origin = Local(hosts[link.source])
            (status,) = origin.rows("SHOW MASTER STATUS")
            origin.close()
            options = f"MASTER_LOG_FILE = '{status['File']}', MASTER_LOG_POS = {int(status['Position'])}"
        session.rows(
            "CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USER = 'repl', MASTER_PASSWORD = %s,"
            f" MASTER_CONNECT_RETRY = 2, {options}",
            source.address,
            inventory.database.port,
            site.internal["repl"],
        )
        session.rows("START SLAVE")
        session.close()
