"""Comparing positions: what of a source's transactions a replica lacks, however they are counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.errors import NotUnderstood
from activities.mysql_answers import Reached, read_log_end, read_reached
from activities.mysql_positions import (
    LogPosition,
    lacking_gtid_sets,
    lacking_gtids,
    lacking_log,
    read_gtid_sets,
    read_gtids,
)
from tests.activities.test_recordings_mysql import rows_of

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"


# the source's log | the replica's own log | replayed | lacking: how it begins
@pytest.mark.parametrize(
    ("written", "logged", "replayed", "lacking"),
    [
        ("", "", "", ""),
        ("0-1-7", "", "0-1-7", ""),
        ("0-1-7", "", "0-1-9", ""),
        ("0-1-7", "", "0-1-6", "0-1-7 (it is at 0: 6)"),
        ("0-1-7", "", "", "0-1-7 (it is at 0: nothing)"),
        # Each domain for itself, numbers as numbers.
        ("0-1-7,1-1-9", "", "0-1-7,1-1-10", ""),
        ("0-1-7,1-1-10", "", "0-1-70,1-1-9", "1-1-10 (it is at 1: 9)"),
        ("0-1-7,2-3-1", "", "0-1-7", "2-3-1 (it is at 2: nothing)"),
        # The replica's own transactions have come back to it from the source.
        ("0-1-100,0-2-50", "0-1-100,0-2-50", "", ""),
        ("0-1-100,0-2-50", "0-1-100", "0-2-50", ""),
        # It has written more than the source, and yet lacks what the source wrote.
        ("0-1-100,0-2-200", "0-1-300,0-2-150", "0-2-150", "0-2-200 (it is at 0: 150)"),
        # Restored from a backup: the source holds transactions of its own that it does not know.
        ("0-1-100", "0-1-90", "0-1-90", "0-1-100 (it is at 0: 90)"),
        # Its log was begun anew, and it replays on.
        ("0-1-100,0-2-120", "0-1-5", "0-2-120", ""),
        # A server that is long gone has written before the replica was made.
        ("0-9-20,0-2-120", "", "0-2-120", ""),
    ],
)
def test_what_is_lacking_of_mariadbs_gtids(written: str, logged: str, replayed: str, lacking: str) -> None:
    assert lacking_gtids(read_gtids("m", written), read_gtids("m", logged), read_gtids("m", replayed)) == lacking


@pytest.mark.parametrize(
    ("written", "executed", "lacking"),
    [
        ("", "", ""),
        ("", f"{A}:1-5", ""),
        (f"{A}:1-5", f"{A}:1-5", ""),
        (f"{A}:1-5", f"{A.upper()}:1-9,\n{B}:1", ""),
        (f"{A}:1-5", "", f"{A}:1-5"),
        (f"{A}:1-5", f"{B}:1-5", f"{A}:1-5"),
        (f"{A}:1-9", f"{A}:1-3:5:7-8", f"{A}:4:6:9"),
        (f"{A}:1-3:5-9", f"{A}:2-6", f"{A}:1:7-9"),
        (f"{A}:1-5,\n{B}:7", f"{A}:1-4", f"{A}:5, {B}:7"),
        # Overlapping and out of order, as nobody writes it.
        (f"{A}:5-9:1-6:10", f"{A}:1-10", ""),
        # With tags, since MySQL 8.3.
        (f"{A}:1-5:backup:1-2", f"{A}:1-5", f"{A}:backup:1-2"),
        (f"{A}:1-5:backup:1-2:other:9", f"{A}:1-5:backup:1-2", f"{A}:other:9"),
        (f"{A}:1-5:backup:1-2", f"{A}:1-9:backup:1-2", ""),
    ],
)
def test_what_is_lacking_of_mysqls_sets(written: str, executed: str, lacking: str) -> None:
    assert lacking_gtid_sets(read_gtid_sets("m", written), read_gtid_sets("m", executed)) == lacking


NUMBERS = st.sets(st.integers(1, 40))


@given(NUMBERS, NUMBERS)
def test_sets_are_subtracted_as_sets(written: set[int], executed: set[int]) -> None:
    def told(numbers: set[int]) -> str:
        return f"{A}:{':'.join(map(str, sorted(numbers)))}" if numbers else ""

    lacking = read_gtid_sets(
        "m", lacking_gtid_sets(read_gtid_sets("m", told(written)), read_gtid_sets("m", told(executed)))
    )
    assert {n for first, last in lacking.get(A, ()) for n in range(first, last + 1)} == written - executed


@pytest.mark.parametrize(
    ("written", "replayed", "since", "lacking"),
    [
        ("bin.000007:300", "bin.000007:300", "bin.000007:300", ""),
        ("bin.000007:300", "bin.000007:299", "bin.000007:300", "bin.000007:300 (it is at bin.000007:299)"),
        # Another file: the number counts, not the text, nor the offset.
        ("bin.000007:300", "bin.000006:9000", "bin.000007:300", "bin.000007:300 (it is at bin.000006:9000)"),
        ("bin.999999:300", "bin.1000000:4", "bin.1000000:9", ""),
        ("bin.1000000:4", "bin.999999:9000", "bin.1000000:4", "bin.1000000:4 (it is at bin.999999:9000)"),
        # The source writes on meanwhile, and goes on to the next file.
        ("bin.000007:300", "bin.000007:350", "bin.000007:400", ""),
        ("bin.000007:300", "bin.000008:4", "bin.000008:40", ""),
        # More than the source ever wrote: this is not its log any more.
        ("bin.000001:300", "bin.000007:300", "bin.000001:400", "bin.000001:300 (it is at bin.000007:300, which is of"),
        ("bin.000007:300", "log.000007:300", "bin.000007:300", "bin.000007:300 (it is at log.000007:300, which is of"),
        ("bin.000007:300", ":4", "bin.000007:300", "bin.000007:300 (it is at nothing)"),
    ],
)
def test_what_is_lacking_of_a_log(written: str, replayed: str, since: str, lacking: str) -> None:
    found = lacking_log("m", *(place(text) for text in (written, replayed, since)))
    assert found.startswith(lacking)
    assert bool(found) is bool(lacking)


def place(text: str) -> LogPosition:
    file, _, offset = text.rpartition(":")
    return LogPosition(file, int(offset))


@pytest.mark.parametrize("text", [None, 7, "0-1", "0-1-7-9", "0-1-x", f"{A}:1-5", "-1-1-1"])
def test_what_is_no_gtid_of_mariadb_is_not_understood(text: object) -> None:
    with pytest.raises(NotUnderstood):
        read_gtids("m", text)


@pytest.mark.parametrize("text", [None, 7, "0-1-7", A, f"{A}:", f"{A}:1-", f"{A}:1-2-3", f"{A}:1:a b:2", f"{A[:-1]}:1"])
def test_what_is_no_set_of_gtids_is_not_understood(text: object) -> None:
    with pytest.raises(NotUnderstood):
        read_gtid_sets("m", text)


@pytest.mark.parametrize("file", ["bin", "bin.7", ".000007", "bin.00000x"])
def test_a_log_without_a_number_is_not_understood(file: str) -> None:
    with pytest.raises(NotUnderstood):
        lacking_log("m", LogPosition(file, 4), LogPosition(file, 4), LogPosition(file, 4))


# The recordings are of two servers that replicate from each other: one that has replayed all of the other's log, and
# one that has stopped before its end.
@pytest.mark.parametrize(
    ("state", "replica", "source", "lacking"),
    [
        ("02-healthy", "db1", "db2", ""),
        ("03-healthy-with-app-sessions", "db2", "db1", ""),
        ("08-db2-back", "db1", "db2", ""),
        ("08-db2-back", "db2", "db1", ""),
        ("11-db2-sql-error-1062", "db2", "db1", "bin.000001:"),
    ],
)
def test_recorded_positions(state: str, replica: str, source: str, lacking: str) -> None:
    (row,) = rows_of(f"{state}/{replica}", "show_all_slaves_status")
    reached = read_reached("m", row)
    (end,) = rows_of(f"{state}/{source}", "show_master_status")
    written = read_log_end("m", end)
    assert reached.by_gtid
    assert lacking_log("m", written, reached.log, written).startswith(lacking)
    assert bool(lacking_log("m", written, reached.log, written)) is bool(lacking)


MYSQL: dict[str, object] = {"Relay_Source_Log_File": "binlog.000003", "Exec_Source_Log_Pos": 157}


@pytest.mark.parametrize(("auto", "by_gtid"), [(1, True), (0, False)])
def test_mysql_counts_by_gtid_if_it_places_itself(auto: int, by_gtid: bool) -> None:
    assert read_reached("m", MYSQL | {"Auto_Position": auto}) == Reached(by_gtid, LogPosition("binlog.000003", 157))


def test_a_replica_that_does_not_say_how_it_counts_is_not_understood() -> None:
    with pytest.raises(NotUnderstood):
        read_reached("m", MYSQL)
    with pytest.raises(NotUnderstood):
        read_reached("m", MYSQL | {"Using_Gtid": "Perhaps"})
