"""The product's accounts of a database, exactly as deploy/privileges.md says: what is missing there is missing here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from inventory.models import Role
from lab.real import network
from lab.real.site import RealSite

DOCUMENT = Path(__file__).parents[2] / "deploy" / "privileges.md"
_BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^(?P<statement>(?:CREATE|GRANT) [^;]+);(?: *-- (?P<where>.+))?$", re.MULTILINE)
# The hosts have MariaDB 10.11.
_OTHER_SERVERS = ("MariaDB before", "MySQL", "before")
_MASTERS = "both masters"


def statements(site: RealSite, name: str, text: str | None = None) -> Iterator[str]:
    """What makes both accounts on a database machine.

    Args:
        site: whose accounts.
        name: the machine.
        text: the document; None: the delivered one.
    """
    master = site.inventory.machine(name).role is Role.DATABASE_MASTER
    for block in _BLOCK.findall(DOCUMENT.read_text(encoding="utf-8") if text is None else text):
        for line in _LINE.finditer(block):
            where = line["where"] or ""
            if not where.startswith(_OTHER_SERVERS) and (master or _MASTERS not in where):
                yield from _filled_in(line["statement"], site)


def _filled_in(statement: str, site: RealSite) -> Iterator[str]:
    database, balancers = site.inventory.database, site.inventory.pairs.load_balancer.machines
    own = "failover_backup" not in statement
    password = site.common.passwords[database.password] if own else site.internal["failover_backup"]
    filled = statement.replace("'failover'", f"'{database.user}'").replace("WORKER", network.CONTROLLER)
    # Generated, of letters, digits, `-` and `_`: nothing in it ends a text of SQL.
    filled = filled.replace("'…'", f"'{password}'")
    for name in balancers if "BALANCER" in filled else balancers[:1]:
        yield filled.replace("BALANCER", site.inventory.machine(name).address)
