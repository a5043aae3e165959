"""Every recording of HAProxy is understood as what it was, and a mutilated one as nothing at all."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.errors import NotUnderstood, Permanent, Rejected, SystemTrouble, Transient
from activities.haproxy import forms
from activities.haproxy_answers import (
    read_both,
    read_form_answer,
    read_servers_state,
    read_socket_answer,
    read_stat,
)
from procedure.facts import ServerState
from tests.activities.recorded import RECORDINGS, recorded

HERE = "haproxy"
STATES = sorted(path.parent.name for path in (RECORDINGS / HERE).glob("*/show_stat.csv"))

# state: be_app/acd-app1, be_app/acd-app2, db/acd-db1, db/acd-db2 (a backup):
# status, + takes sessions, what was set, check
EXPECTED = """
01-all-up                             | UP + ready L7OK       | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
02-app1-drain                         | DRAIN - drain L7OK    | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
04-app1-maint                         | MAINT - maint         | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
05-app1-ready-again                   | UP 1/2 + ready L7OK   | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
07-app1-down                          | DOWN - ready L4CON    | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
08b-app1-down-ready-set-optimistic-up | UP 1/2 + ready L4CON  | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
10-app1-going-up                      | DOWN 1/2 - ready L7OK | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
12-db1-down-backup-active             | UP + ready L7OK       | UP + ready L7OK | DOWN - ready L4CON | UP + ready L4OK
13-end                                | UP + ready L7OK       | UP + ready L7OK | UP + ready L4OK    | UP + ready L4OK
"""
SERVERS = ["be_app/acd-app1", "be_app/acd-app2", "db/acd-db1", "db/acd-db2"]


def table() -> dict[str, list[str]]:
    rows = ([column.strip() for column in line.split("|")] for line in EXPECTED.strip().splitlines())
    return {row[0]: row[1:] for row in rows}


def told(server: ServerState) -> str:
    return f"{server.status} {'+' if server.up else '-'} {server.admin} {server.check}".strip()


def body(http: str) -> str:
    return http.partition("\n\n")[2]


def test_the_table_holds_every_recorded_state() -> None:
    assert sorted(table()) == STATES


@pytest.mark.parametrize("state", STATES)
def test_recorded_statistics_are_understood(state: str) -> None:
    servers = read_stat("m", recorded(HERE, state, "show_stat.csv"))
    assert [f"{server.backend}/{server.server}" for server in servers] == SERVERS
    assert [told(server) for server in servers] == table()[state]
    assert [server.backup for server in servers] == [False, False, False, True]
    assert [server.sessions for server in servers] == [0, 0, 0, 0]
    assert [server.weight for server in servers] == [100, 100, 1, 1]


@pytest.mark.parametrize("state", STATES)
def test_the_admin_page_tells_the_same(state: str) -> None:
    page = read_stat("m", body(recorded(HERE, state, "stats_page_csv.http")))
    assert [told(server) for server in page] == table()[state]


@pytest.mark.parametrize("state", STATES)
def test_server_states_tell_what_was_set(state: str) -> None:
    states = read_servers_state("m", recorded(HERE, state, "show_servers_state.txt"))
    assert [f"{backend}/{server}" for backend, server in states] == SERVERS
    assert [admin for admin, _ in states.values()] == [
        column.split()[-2 if "L" in column.split()[-1] else -1] for column in table()[state]
    ]


def test_the_socket_tells_addresses_and_the_page_only_with_legends() -> None:
    states = read_servers_state("m", STATE)
    page = read_stat("m", body(recorded(HERE, "01-all-up", "stats_page_csv.http")))

    assert {server.address for server in read_stat("m", HEALTHY)} == {"127.0.0.1"}
    assert {address for _, address in states.values()} == {"127.0.0.1"}
    assert {server.address for server in page} == {""}


@pytest.mark.parametrize(
    ("told", "address"), [("[2001:db8::0:1]:80", "2001:db8::1"), ("unix", ""), (":80", ""), ("", "")]
)
def test_an_address_without_its_port(told: str, address: str) -> None:
    servers = read_stat("m", HEALTHY.replace("127.0.0.1:28081", told))

    assert servers[0].address == address


@pytest.mark.parametrize("state", STATES)
def test_both_in_one_answer(state: str) -> None:
    stat = recorded(HERE, state, "show_stat.csv")
    assert read_both("m", stat + recorded(HERE, state, "show_servers_state.txt")) == read_stat("m", stat)


def test_server_states_tell_a_drained_server_that_is_down() -> None:
    stat = recorded(HERE, "07-app1-down", "show_stat.csv")
    states = recorded(HERE, "07-app1-down", "show_servers_state.txt").replace("127.0.0.1 0 0 100", "127.0.0.1 0 8 100")
    assert read_stat("m", stat)[0].admin == "ready"
    assert read_both("m", stat + states)[0].admin == "drain"


# Name of the recording: what the form was answered, and whether that is trouble.
FORMS: dict[str, str | type[SystemTrouble]] = {
    **dict.fromkeys(("action_adown", "action_arunn", "action_dagent", "action_eagent", "empty", "no_server"), "NONE"),
    **dict.fromkeys(("action_dhlth", "action_drain", "action_ehlth", "action_hdown", "action_hnolb"), "DONE"),
    **dict.fromkeys(("action_hrunn", "action_maint", "action_ready", "action_shutdown", "action_start"), "DONE"),
    **dict.fromkeys(("action_stop", "by_backend_id", "by_backend_name", "by_backend_name_drain"), "DONE"),
    **dict.fromkeys(("by_backend_name_ready", "two_servers"), "DONE"),
    **dict.fromkeys(("one_unknown_server", "unknown_action", "unknown_backend", "unknown_server"), Permanent),
    **dict.fromkeys(("no_auth", "read_only_page"), Rejected),
    "too_long": Transient,
}


def test_every_recorded_form_is_expected() -> None:
    assert sorted(FORMS) == sorted(path.stem for path in (RECORDINGS / HERE / "stats_post").iterdir())


def test_the_form_that_cuts_sessions_is_the_recorded_one() -> None:
    asked = recorded(HERE, "stats_post", "action_shutdown.http").partition("---- answer ----")[0]
    assert next(iter(forms("be_app", ("acd-app1",), "shutdown"))) in asked


@pytest.mark.parametrize("name", FORMS)
def test_a_recorded_answer_to_a_form(name: str) -> None:
    answered = recorded(HERE, "stats_post", f"{name}.http").partition("---- answer ----\n")[2]
    status = re.match(r"HTTP/1.1 (\d+)", answered)
    location = re.search(r"^location: (.*)$", answered, re.MULTILINE)
    assert status
    code, where = int(status[1]), location[1] if location else ""
    expected = FORMS[name]
    if isinstance(expected, str):
        assert read_form_answer("m", code, where).startswith(expected)
    else:
        with pytest.raises(expected) as raised:
            read_form_answer("m", code, where)
        assert type(raised.value) is expected
        assert raised.value.next_step or expected is Transient


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (200, ""),
        (303, ""),
        (303, "/haproxy?stats"),
        (303, "/haproxy?stats;st=FINE"),
        (302, "/x;st=DONE"),
        (303, "/x;st=DONE;st=x"),
    ],
)
def test_other_answers_to_a_form_are_not_understood(status: int, location: str) -> None:
    with pytest.raises(NotUnderstood):
        read_form_answer("m", status, location)


SOCKET = json.loads(recorded(HERE, "socket_commands.json"))


@pytest.mark.parametrize("exchange", SOCKET, ids=[f"{i}-{e['command']}" for i, e in enumerate(SOCKET)])
def test_a_recorded_answer_of_the_socket(exchange: dict[str, str]) -> None:
    """An empty line is success; anything it says is that it did not obey (or no answer to a change at all)."""
    if exchange["answer"] == "\n":
        assert read_socket_answer("m", exchange["answer"]) == "done"
    else:
        with pytest.raises(Permanent, match=re.escape(" ".join(exchange["answer"].split())[:60])):
            read_socket_answer("m", exchange["answer"])


def test_the_socket_without_rights_or_without_an_answer() -> None:
    with pytest.raises(Rejected, match="level admin"):
        read_socket_answer("m", "Permission denied\n\n")
    with pytest.raises(Transient):
        read_socket_answer("m", "")


HEALTHY = recorded(HERE, "01-all-up", "show_stat.csv")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("MAINT (via be_app/acd-app2)", "- maint"),
        ("MAINT (resolution)", "- ready"),
        ("NOLB", "- ready"),
        ("NOLB 1/2", "- ready"),
        ("UP 1/3", "+ ready"),
        ("DOWN 1/2", "- ready"),
        ("DOWN (agent)", "- ready"),
        ("DRAIN 1/3", "- drain"),
        ("DRAIN (agent)", "- ready"),
        ("no check", "+ ready"),
    ],
)
def test_words_that_were_not_recorded(status: str, expected: str) -> None:
    """From HAProxy's stats.c."""
    changed = HEALTHY.replace(",UP,100,", f",{status},100,", 1)
    assert told(read_stat("m", changed)[0]).startswith(f"{status} {expected}")


@pytest.mark.parametrize(
    "change",
    [
        (",UP,100,", ",FINE,100,"),
        (",UP,100,", ",UP x/y,100,"),
        (",UP,100,", ",up,100,"),
        (",UP,100,", ",,100,"),
        (",UP,100,", ",MAINT (because),100,"),
        (",UP,100,1,0", ",UP,much,1,0"),
        (",UP,100,1,0", ",UP,100,1,1"),
        (",status,", ",state,"),
        (",type,", ","),
        ("# pxname", "pxname"),
        ("be_app,BACKEND", "be_app2,BACKEND"),
        ("acd-app2", "acd-app1"),
        ("be_app,acd-app1,0,0,0", "be_app,acd-app1,0,0,-1"),
        ("be_app,acd-app1,0,0,0", "be_app,acd-app1,0,0,٣"),
        ("be_app,acd-app1,", "be_app,,"),
        ("be_app,acd-app1,", 'be_app,"acd-app1,'),
    ],
)
def test_what_is_not_known_is_not_understood(change: tuple[str, str]) -> None:
    assert change[0] in HEALTHY
    with pytest.raises(NotUnderstood):
        read_stat("m", HEALTHY.replace(*change))


def test_nothing_cut_off_within_a_backend_is_understood() -> None:
    """Cut off between two backends it is understood; that a backend is missing is seen by the inventory."""
    whole = {HEALTHY.index(f"\n{name},") + 1 for name in ("db", "stats", "stats_ro")}
    whole |= {HEALTHY.index("\n", HEALTHY.index(f"\n{name},BACKEND") + 1) + 1 for name in ("be_app", "db", "stats")}
    whole |= {HEALTHY.index("\n", HEALTHY.index(f"\n{name},FRONTEND") + 1) + 1 for name in ("db", "stats", "stats_ro")}
    for end in range(0, len(HEALTHY) - 2):
        if end not in whole:
            with pytest.raises(NotUnderstood):
                read_stat("m", HEALTHY[:end])


STATE = recorded(HERE, "01-all-up", "show_servers_state.txt")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1\n",
        STATE.replace("1\n", "2\n", 1),
        STATE.replace("srv_admin_state", "srv_state"),
        STATE.replace("127.0.0.1 2 0", "127.0.0.1 2 128"),
        STATE.replace("127.0.0.1 2 0", "127.0.0.1 2 x"),
        STATE.replace("127.0.0.1 2 0", "127.0.0.1 2"),
        STATE.rstrip()[:-10],
    ],
)
def test_server_states_that_are_not_known(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read_servers_state("m", text)


def test_both_must_list_the_same_servers() -> None:
    with pytest.raises(NotUnderstood):
        read_both("m", HEALTHY + STATE.replace("acd-db2", "acd-db3"))
    with pytest.raises(NotUnderstood):
        read_both("m", HEALTHY)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_mutilated_answers_raise_nothing_but_trouble(seed: int) -> None:
    chance = random.Random(seed)
    text = HEALTHY + STATE
    start = chance.randrange(len(text))
    rest = text[start + chance.randrange(40) :]
    with suppress(SystemTrouble):
        read_both("m", text[:start] + chance.choice(["", "x", '"', "\n", ",", "\0", "\r"]) + rest)


@settings(max_examples=60, deadline=None)
@given(text=st.text())
def test_no_text_raises_anything_but_trouble(text: str) -> None:
    for read in (read_stat, read_servers_state, read_both, read_socket_answer):
        with suppress(SystemTrouble):
            read("m", text)
