"""Every recording of DRBD is understood as what it was, and a mutilated one as nothing at all."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.drbd import read_proc_drbd, read_status_json
from activities.errors import NotUnderstood, SystemTrouble
from procedure.facts import DrbdFact
from tests.activities.recorded import RECORDINGS, recorded

HERE = "pacemaker-drbd"
STATES = sorted("/".join(path.parts[-3:-1]) for path in (RECORDINGS / HERE).glob("*/*/proc_drbd.out"))

EXPECTED = """
01-healthy-store1-primary/acd-store1          | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
01-healthy-store1-primary/acd-store2          | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
02-store1-standby/acd-store1                  | down
02-store1-standby/acd-store2                  | WFConnection Primary/Unknown UpToDate/DUnknown oos 4 KiB
02a-store1-going-standby/acd-store1           | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
02a-store1-going-standby/acd-store2           | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
03-store1-unstandby-secondary/acd-store1      | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
03-store1-unstandby-secondary/acd-store2      | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
04-store1-off/acd-store2                      | WFConnection Primary/Unknown UpToDate/DUnknown oos 0 KiB
05-store1-resyncing/acd-store1                | SyncTarget Secondary/Primary Inconsistent/UpToDate oos 48604 KiB 15.4%
05-store1-resyncing/acd-store2                | SyncSource Primary/Secondary UpToDate/Inconsistent oos 48796 KiB 15.4%
06-store1-back-resynced/acd-store1            | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
06-store1-back-resynced/acd-store2            | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
07-primary-power-cut/acd-store1               | WFConnection Primary/Unknown UpToDate/DUnknown oos 40 KiB
08-old-primary-back/acd-store1                | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
08-old-primary-back/acd-store2                | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
11a-splitbrain-just-rejoined/acd-store1       | StandAlone Primary/Unknown UpToDate/DUnknown oos 36 KiB
11a-splitbrain-just-rejoined/acd-store2       | StandAlone Primary/Unknown UpToDate/DUnknown oos 40 KiB
12-splitbrain-repaired/acd-store1             | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
12-splitbrain-repaired/acd-store2             | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
12a-splitbrain-repair-reconnecting/acd-store1 | WFConnection Secondary/Unknown UpToDate/DUnknown oos 40 KiB
12a-splitbrain-repair-reconnecting/acd-store2 | WFConnection Primary/Unknown UpToDate/DUnknown oos 44 KiB
13-vip-failed-and-recovered/acd-store1        | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
13-vip-failed-and-recovered/acd-store2        | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
13a-vip-lost/acd-store1                       | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
13a-vip-lost/acd-store2                       | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
20-maintenance-mode/acd-store1                | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
20-maintenance-mode/acd-store2                | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
21-disconnected-by-hand/acd-store1            | StandAlone Primary/Unknown UpToDate/DUnknown oos 0 KiB
21-disconnected-by-hand/acd-store2            | WFConnection Secondary/Unknown UpToDate/DUnknown oos 0 KiB
23-full-resync-slow/acd-store1                | SyncSource Primary/Secondary UpToDate/Inconsistent oos 125912 KiB 6.3%
23-full-resync-slow/acd-store2                | SyncTarget Secondary/Primary Inconsistent/UpToDate oos 125912 KiB 6.3%
24-resync-paused/acd-store1                   | PausedSyncS Primary/Secondary UpToDate/Inconsistent oos 122072 KiB
24-resync-paused/acd-store2                   | PausedSyncT Secondary/Primary Inconsistent/UpToDate oos 122072 KiB
27-secondary-unconfigured/acd-store1          | WFConnection Primary/Unknown UpToDate/DUnknown oos 0 KiB
27-secondary-unconfigured/acd-store2          | down
30-vip-disabled/acd-store1                    | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
30-vip-disabled/acd-store2                    | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
31-fs-unmanaged/acd-store1                    | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
31-fs-unmanaged/acd-store2                    | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
33-both-standby/acd-store1                    | down
33-both-standby/acd-store2                    | down
35-after-pcs-resource-move/acd-store1         | Connected Secondary/Primary UpToDate/UpToDate oos 0 KiB
35-after-pcs-resource-move/acd-store2         | Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB
"""


def table() -> dict[str, str]:
    rows = (line.split("|") for line in EXPECTED.strip().splitlines())
    return {state.strip(): expected.strip() for state, expected in rows}


def in_words(fact: DrbdFact | None) -> str:
    if fact is None or not fact.configured:
        return "DRBD 9" if fact is None else "down"
    percent = "" if fact.synced_percent is None else f" {fact.synced_percent}%"
    return (
        f"{fact.connection} {fact.role}/{fact.peer_role} {fact.disk}/{fact.peer_disk}"
        f" oos {fact.out_of_sync_kib} KiB{percent}"
    )


def read(text: str, minor: int = 0) -> DrbdFact | None:
    return read_proc_drbd("m", text, minor)


def told(state: str) -> str:
    return in_words(read(recorded(HERE, *state.split("/"), "proc_drbd.out")))


def test_the_table_holds_every_recorded_state() -> None:
    assert sorted(table()) == STATES
    assert len({state.split("/")[0] for state in STATES}) == 23


@pytest.mark.parametrize("state", STATES)
def test_a_recorded_device_is_understood(state: str) -> None:
    assert told(state) == table()[state]


@pytest.mark.parametrize("state", [state for state in STATES if not re.match(r"\d+a-|05-|23-", state)])
def test_drbdadm_agrees_where_it_can_be_believed(state: str) -> None:
    place = state.split("/")
    fact = read(recorded(HERE, *place, "proc_drbd.out"))
    assert fact is not None
    role = recorded(HERE, *place, "drbdadm_role.out").strip()
    assert role == (f"{fact.role}/{fact.peer_role}" if fact.configured else "")
    assert recorded(HERE, *place, "drbdadm_cstate.out").strip() == fact.connection


HEALTHY = recorded(HERE, "01-healthy-store1-primary", "acd-store1", "proc_drbd.out")
SYNCING = recorded(HERE, "05-store1-resyncing", "acd-store1", "proc_drbd.out")
DOWN = recorded(HERE, "02-store1-standby", "acd-store1", "proc_drbd.out")


def test_several_minors_are_told_apart() -> None:
    second = "\n".join(SYNCING.splitlines()[2:]).replace(" 0: ", " 1: ", 1) + "\n"
    both = HEALTHY + "\n" + second
    assert in_words(read(both, 0)).startswith("Connected")
    assert in_words(read(both, 1)).startswith("SyncTarget")
    assert in_words(read(both, 2)) == "down"


def test_unconfigured_is_down() -> None:
    assert in_words(read(DOWN + " 0: cs:Unconfigured\n")) == "down"


def test_drbd_9_is_read_elsewhere() -> None:
    assert read("version: 9.1.7 (api:2/proto:86-121)\nGIT-hash: bbe21ee7\nTransports (api:18): tcp (9.1.7)\n") is None


@pytest.mark.parametrize(
    "change",
    [
        ("Connected", "Conected"),
        ("Primary", "Leader"),
        ("ds:UpToDate", "ds:Fine"),
        (" oos:0", ""),
        ("C r-----", "C s-----"),
        ("version", "vision"),
        (" 0: cs", " zero: cs"),
        ("    ns:", "    more:\n    ns:"),
        ("ro:Primary/Secondary ", ""),
    ],
)
def test_what_is_not_known_is_not_understood(change: tuple[str, str]) -> None:
    assert change[0] in HEALTHY
    with pytest.raises(NotUnderstood):
        read(HEALTHY.replace(*change))


def test_a_device_cut_off_is_not_understood() -> None:
    """Only the end of the head can't be told from a device that is down: a whole answer looks the same."""
    for end in range(len(HEALTHY)):
        if end != len(DOWN):
            with pytest.raises(NotUnderstood):
                read(HEALTHY[:end])


def test_a_device_shown_twice_is_not_understood() -> None:
    with pytest.raises(NotUnderstood):
        read(HEALTHY + HEALTHY[len(DOWN) :])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_mutilated_answers_raise_nothing_but_trouble(seed: int) -> None:
    chance = random.Random(seed)
    start = chance.randrange(len(SYNCING))
    rest = SYNCING[start + chance.randrange(10) :]
    with suppress(SystemTrouble):
        read(SYNCING[:start] + chance.choice(["", "x", "\n", "0", "\0", "٣"]) + rest)


def _part(changes: dict[str, object], name: str) -> dict[str, object]:
    part = changes.pop(name, {})
    assert isinstance(part, dict)
    return part


def nine(**changes: object) -> str:
    """`drbdsetup status r0 --json` of DRBD 9 (written after drbd-utils' documentation, not recorded)."""
    device = {"volume": 0, "minor": 0, "disk-state": "UpToDate"}
    volume: dict[str, object] = {
        "volume": 0,
        "replication-state": "Established",
        "peer-disk-state": "UpToDate",
        "out-of-sync": 0,
    }
    volume |= {"percent-in-sync": 100.00} | _part(changes, "volume")
    peer: dict[str, object] = {
        "name": "acd-store2",
        "connection-state": "Connected",
        "peer-role": "Secondary",
        "peer_devices": [volume],
    }
    peer |= _part(changes, "peer")
    resource = {"name": "r0", "role": "Primary", "suspended": False, "devices": [device], "connections": [peer]}
    return json.dumps([resource | changes])


AWAY = {"peer-disk-state": "DUnknown", "replication-state": "Off"}
SYNC = {
    "replication-state": "SyncSource",
    "peer-disk-state": "Inconsistent",
    "out-of-sync": 48,
    "percent-in-sync": 15.4,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (nine(), "Connected Primary/Secondary UpToDate/UpToDate oos 0 KiB"),
        (nine(volume=SYNC), "SyncSource Primary/Secondary UpToDate/Inconsistent oos 48 KiB 15.4%"),
        (
            nine(peer={"connection-state": "Connecting", "peer-role": "Unknown"}, volume=AWAY),
            "WFConnection Primary/Unknown UpToDate/DUnknown oos 0 KiB",
        ),
        (
            nine(peer={"connection-state": "StandAlone", "peer-role": "Unknown"}, volume=AWAY),
            "StandAlone Primary/Unknown UpToDate/DUnknown oos 0 KiB",
        ),
    ],
)
def test_drbd_9_is_told_in_the_words_of_8_4(text: str, expected: str) -> None:
    assert in_words(read_status_json("m", text, 0)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        nine()[:-9],
        nine(role="Leader"),
        nine(suspended=True),
        nine(devices=[]),
        nine(connections=[]),
        nine(connections=[{}, {}]),
        nine(volume={"out-of-sync": "0"}),
        nine(volume={"replication-state": "Off"}),
        nine(volume={"replication-state": "Resting"}),
        nine(peer={"connection-state": "Met"}),
        nine(peer={"connection-state": ["Met"]}),
        "[" * 100_000,
    ],
)
def test_json_that_is_not_known_is_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read_status_json("m", text, 0)
