"""Every recording of MariaDB is understood as what it was, and a mutilated one as nothing at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.errors import NotUnderstood, SystemTrouble
from activities.mysql_answers import (
    Ignored,
    Row,
    has_process,
    has_roles,
    host_of,
    read_grants,
    read_position,
    read_read_only,
    read_replicas,
    read_sessions,
    read_version,
    role_grants,
    without_data,
)
from procedure.facts import ReplicaChannel
from tests.activities.recorded import RECORDINGS, recorded

HERE = "mariadb"
STATES = sorted("/".join(path.parts[-3:-1]) for path in (RECORDINGS / HERE).glob("*/*/select_version.tsv"))

# state and server | IO, SQL, lag (- is NULL), + all replayed, - not, ? not told, GTID | errors | sessions, ignored rows
EXPECTED = """
00-not-configured/db1             | none                     |      | 0 of 1
00-not-configured/db2             | none                     |      | 0 of 1
01-configured-not-started/db1     | No No - ?                |      | 0 of 1
01-configured-not-started/db2     | No No - ?                |      | 0 of 1
02-healthy/db1                    | Yes Yes 0 + 1-2-4        |      | 0 of 4
02-healthy/db2                    | Yes Yes 0 + 1-2-4        |      | 0 of 4
03-healthy-with-app-sessions/db1  | Yes Yes 0 + 1-2-4        |      | 2 of 6
03-healthy-with-app-sessions/db2  | Yes Yes 0 + 1-2-4        |      | 0 of 4
04-db1-slave-stopped/db1          | No No - + 1-1-5          |      | 0 of 2
04-db1-slave-stopped/db2          | Yes Yes 0 + 1-1-5        |      | 0 of 4
05-db1-io-stopped/db1             | No Yes - + 1-1-5         |      | 0 of 3
05-db1-io-stopped/db2             | Yes Yes 0 + 1-1-5        |      | 0 of 4
07-db2-down/db1                   | Connecting Yes - + 1-1-5 | 2003 | 0 of 3
08-db2-back/db1                   | Yes Yes 0 + 1-1-6        |      | 0 of 4
08-db2-back/db2                   | Yes Yes 0 + 1-1-6        |      | 0 of 4
10-db1-io-error-access-denied/db1 | Connecting Yes - + 1-1-7 | 1045 | 0 of 4
10-db1-io-error-access-denied/db2 | Yes Yes 0 + 1-1-7        |      | 0 of 3
11-db2-sql-error-1062/db1         | Yes Yes 0 + 1-1-8        |      | 0 of 4
11-db2-sql-error-1062/db2         | Yes No - - 1-1-7         | 1062 | 0 of 3
"""


def table() -> dict[str, tuple[str, str, str]]:
    rows = (tuple(column.strip() for column in line.split("|")) for line in EXPECTED.strip().splitlines())
    return {state: (channels, errors, sessions) for state, channels, errors, sessions in rows}


def rows_of(state: str, name: str) -> list[Row]:
    """A recording of `mysql --batch`: a line of columns, then the rows; NULL is written as such."""
    lines = recorded(HERE, *state.split("/"), f"{name}.tsv").splitlines()
    header = lines[0].split("\t") if lines else []
    return [
        {column: None if value == "NULL" else value for column, value in zip(header, line.split("\t"), strict=True)}
        for line in lines[1:]
    ]


def vertical_rows_of(state: str, name: str) -> list[Row]:
    """The same answer as `\\G` prints it."""
    found: list[dict[str, object]] = []
    for line in recorded(HERE, *state.split("/"), f"{name}.vertical.txt").splitlines():
        if line.startswith("****"):
            found.append({})
        else:
            column, _, value = line.partition(": ") if ": " in line else (line.rstrip(":"), "", "")
            found[-1][column.strip()] = None if value == "NULL" else value
    return list(found)


def told(channels: tuple[ReplicaChannel, ...]) -> str:
    return " / ".join(_channel(channel) for channel in channels) or "none"


def _channel(channel: ReplicaChannel) -> str:
    lag = "-" if channel.lag_seconds is None else channel.lag_seconds
    caught_up = {None: "?", True: "+", False: "-"}[channel.caught_up]
    return f"{channel.io} {channel.sql} {lag} {caught_up} {channel.gtid}".strip()


def own(rows: list[Row]) -> Ignored:
    """The recording's own connection asked as root."""
    ids = [int(str(row["Id"])) for row in rows if row["User"] == "root"]
    return Ignored(own_user="root", own_ids=frozenset(ids))


Read = Callable[[str, str], list[Row]]


def test_the_table_holds_every_recorded_state() -> None:
    assert sorted(table()) == STATES


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("read", [rows_of, vertical_rows_of])
def test_a_recorded_replica_is_understood(state: str, read: Read) -> None:
    channels = read_replicas("m", read(state, "show_all_slaves_status"))
    assert told(channels) == table()[state][0]
    errors = " ".join((channel.io_error or channel.sql_error).partition(":")[0] for channel in channels)
    assert errors == table()[state][1]
    assert all(channel.source_host == "127.0.0.1" and channel.source_port in (23306, 23307) for channel in channels)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("read", [rows_of, vertical_rows_of])
def test_show_slave_status_tells_the_same(state: str, read: Read) -> None:
    some = read_replicas("m", read(state, "show_slave_status"))
    every = read_replicas("m", read(state, "show_all_slaves_status"))
    # Only SHOW ALL SLAVES STATUS has Gtid_Slave_Pos; the other has Gtid_IO_Pos, what was received.
    assert [c.model_copy(update={"gtid": ""}) for c in some] == [c.model_copy(update={"gtid": ""}) for c in every]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("read", [rows_of, vertical_rows_of])
def test_a_recorded_process_list_is_understood(state: str, read: Read) -> None:
    rows = read(state, "show_full_processlist")
    fact = read_sessions("m", rows, ignored=own(rows), complete=True)
    assert f"{fact.count} of {fact.count + fact.ignored}" == table()[state][2]
    assert len(rows) == fact.count + fact.ignored
    assert "SLEEP(4)" not in fact.model_dump_json()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("read", [rows_of, vertical_rows_of])
def test_recorded_version_position_and_read_only(state: str, read: Read) -> None:
    version = read_version("m", next(iter(read(state, "select_version")[0].values())))
    assert (version.number, version.mariadb) == ((10, 11, 19), True)
    assert read_read_only("m", read(state, "show_global_variables_like_read_only")) is False
    assert read_position("m", read(state, "show_master_status")).startswith("bin.00000")


def test_those_who_are_left_are_named() -> None:
    state = "03-healthy-with-app-sessions/db1"
    rows = rows_of(state, "show_full_processlist")
    fact = read_sessions("m", rows, ignored=own(rows), complete=True)
    left = [f"{s.id} {s.user} {s.address} {s.database} {s.command} {s.seconds} {s.state}" for s in fact.sessions]
    assert left == [
        "132 app 127.0.0.1:35638 shop Query 1 User sleep",
        "133 app 127.0.0.1:35654 shop Query 1 User sleep",
    ]


def test_an_error_of_replication_keeps_no_data_of_callers() -> None:
    (channel,) = read_replicas("m", rows_of("11-db2-sql-error-1062/db2", "show_all_slaves_status"))
    assert channel.sql_error.startswith(
        "1062: Could not execute Write_rows_v1 event on table shop.t; Duplicate entry '…'"
    )
    error = (
        "Error 'Duplicate entry '+49 89 1234' for key 'PRIMARY'' on query. Default database: 'acd'. Query: 'INSERT x'"
    )
    assert "1234" not in without_data(error)
    assert "INSERT" not in without_data(error)


def process(**changes: object) -> Row:
    row = {"Id": 7, "User": "app", "Host": "10.0.0.5:3555", "db": None, "Command": "Sleep", "Time": 3, "State": ""}
    return {**row, "Info": None, **changes}


IGNORED = Ignored(
    users=frozenset({"haproxy_check"}),
    addresses=frozenset({"10.0.0.9", "2001:db8::1", "localhost"}),
    own_user="failover",
    own_ids=frozenset({50}),
)


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        (process(), True),
        (process(Command="Query"), True),
        (process(Command="Binlog Dump"), False),
        (process(Command="Binlog Dump GTID"), False),
        (process(Command="Binlog Dump Something"), True),
        (process(User="system user", Command="Connect", Host=""), False),
        (process(User="system user", Command="Query", Host=""), False),
        (process(User="event_scheduler", Command="Daemon", Host="localhost"), False),
        (process(User="unauthenticated user", Command="Connect", Time=None, State="login"), False),
        (process(User="haproxy_check"), False),
        (process(User="repl"), True),
        (process(Host="10.0.0.9:1"), False),
        (process(Host="10.0.0.90:1"), True),
        (process(Host="2001:db8::1:4711"), False),
        (process(Host="[2001:db8::1]:4711"), False),
        (process(Host="localhost"), False),
        (process(User="failover", Id=50), False),
        (process(User="failover", Id=51), True),
        (process(User="app", Id=50), True),
        (process(Time=-1), True),
    ],
)
def test_what_is_a_session_and_what_is_none(row: Row, counts: bool) -> None:
    fact = read_sessions("m", [row], ignored=IGNORED, complete=True)
    assert (fact.count, fact.ignored) == ((1, 0) if counts else (0, 1))


def test_a_fact_lists_fifty_and_counts_all() -> None:
    fact = read_sessions("m", [process(Id=number) for number in range(400)], ignored=IGNORED, complete=True)
    assert (fact.count, len(fact.sessions)) == (400, 50)


@pytest.mark.parametrize("column", ["Id", "User", "Host", "db", "Command", "Time", "State"])
def test_a_process_list_without_a_column(column: str) -> None:
    row = {name: value for name, value in process().items() if name != column}
    with pytest.raises(NotUnderstood, match=column):
        read_sessions("m", [row], ignored=IGNORED, complete=True)


@pytest.mark.parametrize("change", [{"Id": "x"}, {"Id": None}, {"Id": -1}, {"Time": "soon"}, {"User": 5}, {"Id": True}])
def test_a_process_list_with_other_values(change: dict[str, object]) -> None:
    with pytest.raises(NotUnderstood):
        read_sessions("m", [process(**change)], ignored=IGNORED, complete=True)


HEALTHY = rows_of("02-healthy/db1", "show_all_slaves_status")[0]

IN_NEW_WORDS = {
    "Master_Host": "Source_Host",
    "Master_Port": "Source_Port",
    "Slave_IO_Running": "Replica_IO_Running",
    "Slave_SQL_Running": "Replica_SQL_Running",
    "Seconds_Behind_Master": "Seconds_Behind_Source",
    "Master_Log_File": "Source_Log_File",
    "Read_Master_Log_Pos": "Read_Source_Log_Pos",
    "Relay_Master_Log_File": "Relay_Source_Log_File",
    "Exec_Master_Log_Pos": "Exec_Source_Log_Pos",
    "Connection_name": "Channel_Name",
    "Gtid_Slave_Pos": "Executed_Gtid_Set",
}


def test_mysql_8_tells_the_same_in_new_words() -> None:
    """After the manual of MySQL 8.0, not recorded."""
    renamed = {IN_NEW_WORDS.get(column, column): value for column, value in HEALTHY.items()}
    assert read_replicas("m", [renamed]) == read_replicas("m", [HEALTHY])


def test_numbers_may_come_as_numbers() -> None:
    typed = {**HEALTHY, "Master_Port": 23307, "Read_Master_Log_Pos": 1120, "Exec_Master_Log_Pos": 1120}
    assert read_replicas("m", [typed]) == read_replicas("m", [HEALTHY])


def test_several_sources_are_told_apart() -> None:
    other = {**HEALTHY, "Connection_name": "second", "Master_Host": "10.0.0.8"}
    assert [channel.name for channel in read_replicas("m", [HEALTHY, other])] == ["", "second"]


@pytest.mark.parametrize("column", sorted(set(IN_NEW_WORDS) - {"Connection_name", "Gtid_Slave_Pos"}))
def test_a_replica_without_a_column(column: str) -> None:
    with pytest.raises(NotUnderstood, match=column):
        read_replicas("m", [{name: value for name, value in HEALTHY.items() if name != column}])


@pytest.mark.parametrize(
    "change",
    [
        {"Slave_IO_Running": "Perhaps"},
        {"Slave_IO_Running": None},
        {"Slave_IO_Running": "yes"},
        {"Slave_SQL_Running": "Connecting"},
        {"Seconds_Behind_Master": "long"},
        {"Seconds_Behind_Master": -3},
        {"Master_Host": ""},
        {"Master_Port": None},
        {"Exec_Master_Log_Pos": "x"},
        {"Last_IO_Errno": None},
        {"Last_IO_Error": 5},
    ],
)
def test_a_replica_with_other_values(change: dict[str, object]) -> None:
    with pytest.raises(NotUnderstood):
        read_replicas("m", [{**HEALTHY, **change}])


def test_what_was_received_and_not_replayed() -> None:
    (channel,) = read_replicas("m", [{**HEALTHY, "Exec_Master_Log_Pos": "900"}])
    assert channel.caught_up is False
    (channel,) = read_replicas("m", [{**HEALTHY, "Master_Log_File": "bin.000002"}])
    assert channel.caught_up is False


@pytest.mark.parametrize(
    ("version", "statement", "position"),
    [
        ("10.11.19-MariaDB-0+deb12u1-log", "SHOW ALL SLAVES STATUS", "SHOW MASTER STATUS"),
        ("11.4.2-MariaDB", "SHOW ALL SLAVES STATUS", "SHOW MASTER STATUS"),
        ("5.7.44-log", "SHOW SLAVE STATUS", "SHOW MASTER STATUS"),
        ("8.0.21", "SHOW SLAVE STATUS", "SHOW MASTER STATUS"),
        ("8.0.22", "SHOW REPLICA STATUS", "SHOW MASTER STATUS"),
        ("8.0.36-28", "SHOW REPLICA STATUS", "SHOW MASTER STATUS"),
        ("8.4.0", "SHOW REPLICA STATUS", "SHOW BINARY LOG STATUS"),
    ],
)
def test_the_version_decides_what_is_asked(version: str, statement: str, position: str) -> None:
    read = read_version("m", version)
    assert (read.replica_status, read.own_position) == (statement, position)


@pytest.mark.parametrize("text", ["", "MariaDB", None, 8, "8.0", "x8.0.1"])
def test_no_version(text: object) -> None:
    with pytest.raises(NotUnderstood):
        read_version("m", text)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"Variable_name": "read_only", "Value": "NO_LOCK"}],
        [{"Variable_name": "innodb_read_only", "Value": "OFF"}],
        [{"Value": "OFF"}],
    ],
)
def test_read_only_that_is_not_told(rows: list[Row]) -> None:
    with pytest.raises(NotUnderstood):
        read_read_only("m", rows)


@pytest.mark.parametrize(
    ("grant", "process", "roles"),
    [
        (
            "GRANT PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO `failover`@`%` IDENTIFIED BY PASSWORD '*AB'",
            True,
            False,
        ),
        ("GRANT ALL PRIVILEGES ON *.* TO 'root'@'localhost' WITH GRANT OPTION", True, False),
        ("GRANT SELECT, PROCESS ON *.* TO `failover`@`10.0.0.%`", True, False),
        ("GRANT USAGE ON *.* TO `failover`@`%`", False, False),
        ("GRANT REPLICATION CLIENT ON *.* TO `failover`@`%`", False, False),
        ("GRANT ALL PRIVILEGES ON `acd`.* TO `PROCESS`@`%`", False, False),
        ("GRANT PROCESS_ADMIN ON *.* TO `failover`@`%`", False, False),
        ("GRANT PROXY ON ''@'%' TO 'root'@'localhost'", False, False),
        ("GRANT `monitor`@`%` TO `failover`@`%`", False, True),
        ("GRANT `monitor` TO `failover`@`%`", False, True),
    ],
)
def test_who_sees_the_whole_process_list(grant: str, process: bool, roles: bool) -> None:
    grants = read_grants("m", [{"Grants for failover@%": grant}])
    assert (has_process(grants), has_roles(grants)) == (process, roles)


@pytest.mark.parametrize("rows", [[], [{"a": "x", "b": "y"}], [{"a": 5}]])
def test_grants_of_another_form(rows: list[Row]) -> None:
    with pytest.raises(NotUnderstood):
        read_grants("m", rows)


@pytest.mark.parametrize(
    ("version", "active", "statement"),
    [
        ("10.11.19-MariaDB", "monitor", "SHOW GRANTS FOR CURRENT_ROLE"),
        ("10.11.19-MariaDB", None, ""),
        ("8.0.36", "`monitor`@`%`,`other`@`%`", "SHOW GRANTS FOR CURRENT_USER() USING `monitor`@`%`,`other`@`%`"),
        ("8.0.36", "NONE", ""),
        ("8.0.36", "`a`@`%`; DROP TABLE x", ""),
    ],
)
def test_the_active_roles_are_asked_for_what_they_grant(version: str, active: object, statement: str) -> None:
    assert role_grants(read_version("m", version), active) == statement


def test_addresses_are_told_without_their_port() -> None:
    assert host_of("10.0.0.1:99") == "10.0.0.1"
    assert host_of("::1:99") == "::1"
    assert host_of("localhost") == "localhost"
    assert host_of("") == ""


VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=8), st.booleans(), st.binary(max_size=4), st.floats())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), value=VALUES)
def test_mutilated_rows_raise_nothing_but_trouble(seed: int, value: object) -> None:
    chance = random.Random(seed)
    for row in (dict(HEALTHY), dict(process())):
        name = chance.choice(sorted(row))
        if chance.random() < 0.5:
            row[name] = value
        else:
            del row[name]
        with suppress(SystemTrouble):
            read_replicas("m", [row])
        with suppress(SystemTrouble):
            read_sessions("m", [row], ignored=IGNORED, complete=True)
        with suppress(SystemTrouble):
            read_grants("m", [row])
