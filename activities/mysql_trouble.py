"""What can go wrong with a database connection, in the words of this product: every exception of aiomysql."""

from __future__ import annotations

import ssl
import struct
from typing import Final

import pymysql.err

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient

# Error numbers of the servers (MariaDB and MySQL share them) and, from 2000 on, of the client.
DENIED: Final = frozenset(
    {
        *(1044, 1045, 1698),  # database, user or password, socket authentication
        *(1129, 1130),  # host blocked after many errors, host not allowed
        *(1251, 1275, 1524, 2049, 2054, 2058, 2059, 2061),  # authentication method not known on one side
        *(1820, 1862, 3118, 4151),  # password expired, account locked
        *(2026, 3159),  # TLS failed, TLS required
    }
)
PRIVILEGE: Final = frozenset({1095, 1142, 1143, 1227, 1370})
"""A privilege is missing for what was asked."""
PASSING: Final = frozenset(
    {
        *(1040, 1203, 1226),  # too many connections
        *(1042, 1043, 1053, 1079, 1080, 1927, 4031),  # shutting down, connection killed
        *range(1152, 1162),
        1184,  # connection aborted, packets lost
        *(1205, 1213, 1317, 1969, 3024),  # lock wait, deadlock, interrupted, statement timed out
        *(2002, 2003, 2004, 2005, 2006, 2012, 2013, 2014, 2055),  # no connection, lost, out of sync
    }
)
PROTOCOL: Final = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, struct.error)
"""What aiomysql lets through when the other side does not speak the protocol; `struct.error` of a packet cut off."""
CAUGHT: Final = (pymysql.err.MySQLError, OSError, EOFError, *PROTOCOL)


def translated(machine: str, tried: str, error: Exception, grant: str = "") -> SystemTrouble:
    """The trouble that an exception of aiomysql or of the network means.

    Args:
        machine: who was asked.
        tried: what was tried.
        error: what came of it.
        grant: the privileges that what was tried needs.
    """
    refused = _of_tls(error)
    if refused is not None:
        return Rejected(machine, f"{tried}: TLS: {refused}", "check the certificate there and database.tls")
    number = _number(error)
    words = f"{tried}: {_words(error)}"
    if number in PRIVILEGE:
        return Rejected(machine, words, f"GRANT {grant or 'what is missing'} ON *.* TO the account of database.user")
    if number in DENIED:
        return Rejected(machine, words, "check user, password and host of the account, and database.tls")
    if number in PASSING or isinstance(error, OSError | EOFError | pymysql.err.InterfaceError):
        return Transient(machine, words, "check that the database server runs and can be reached")
    return NotUnderstood(machine, words, "check that database.port is that of MariaDB or MySQL")


def _number(error: BaseException) -> int:
    number = error.args[0] if isinstance(error, pymysql.err.MySQLError) and error.args else 0
    return number if isinstance(number, int) else 0


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, pymysql.err.MySQLError):
        because = error.__cause__
        return " ".join(str(part) for part in error.args) + (f" ({because})" if because and str(because) else "")
    if isinstance(error, OSError | EOFError):
        return str(error) or type(error).__name__
    # Not its text: that of an encoding error repeats what could not be encoded.
    return f"not the protocol of MariaDB or MySQL ({type(error).__name__})"


def _of_tls(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return str(error) or type(error).__name__
        error = error.__cause__
    return None
