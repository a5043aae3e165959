"""Machines that go off, and the replication of those that stay."""

from __future__ import annotations

from procedure.commands import CheckReplication, CutPower, ShutDownMachine
from procedure.facts import Facts, PowerFact, ReplayFact
from procedure.situation import Situation
from procedure.subjects import PowerOf, ReplayOn
from procedure.verdicts import Answer
from tests.procedure.altered import channel_with, seen, unseen
from tests.procedure.asking import texts

# --- machines ---------------------------------------------------------------------------------------------------------


def test_a_machine_of_the_surviving_side_is_never_powered_off(situation: Situation, facts: Facts) -> None:
    verdicts = ShutDownMachine(machine="acd-tel2").conditions(situation, facts)

    assert not all(v.allows for v in verdicts)


def test_a_machine_that_answers_no_more_is_not_asked_twice(situation: Situation, facts: Facts) -> None:
    command = ShutDownMachine(machine="acd-jb1")
    silent = seen(facts, PowerOf(machine="acd-jb1"), PowerFact(state="undecided", silent=(22,)))

    assert command.instructions(situation, silent) == ()
    assert all(v.allows for v in command.conditions(situation, silent))
    assert command.wanted(situation, silent).answer is Answer.FAIL, "silence on one port is no proof"


def test_force_is_there_only_where_the_vm_host_can(situation: Situation) -> None:
    assert ShutDownMachine(machine="acd-jb1").forced() is None
    forced = ShutDownMachine(machine="acd-jb1", can_be_forced=True).forced()
    assert isinstance(forced, CutPower)
    assert texts(forced, situation) == ["ssh vm-host-1 sudo -n virsh --connect qemu:///system destroy acd-jb1"]


def test_a_master_whose_database_has_ended_may_go_on_shutting_down(situation: Situation, facts: Facts) -> None:
    command = ShutDownMachine(machine="acd-dbm1")
    replayed = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None, caught_up=True)
    behind = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None, caught_up=None)

    answers = [
        next(v.answer for v in command.conditions(situation, f) if "has replayed" in v.condition)
        for f in (facts, replayed, behind)
    ]

    assert answers == [Answer.PASS, Answer.WARN, Answer.FAIL]


def test_a_replica_that_has_just_connected_lags_by_nothing_and_keeps_its_master_up(
    situation: Situation, facts: Facts
) -> None:
    command, position = ShutDownMachine(machine="acd-dbm1"), ReplayOn(machine="acd-dbm2", source="acd-dbm1")
    connected = seen(facts, position, ReplayFact(lacking="GTID 0-1-30 of acd-dbm1"))

    verdicts = [
        next(v for v in command.conditions(situation, f) if "has replayed" in v.condition)
        for f in (connected, unseen(facts, position))
    ]

    assert [v.answer for v in verdicts] == [Answer.FAIL, Answer.UNKNOWN]
    assert "GTID 0-1-30 of acd-dbm1" in verdicts[0].reason


def test_a_replica_that_is_cut_off_vouches_for_no_other_and_not_against_its_position(
    situation: Situation, facts: Facts
) -> None:
    command = ShutDownMachine(machine="acd-dbm1")
    of_master, of_replica = (ReplayOn(machine=name, source="acd-dbm1") for name in ("acd-dbm2", "acd-dbs2"))
    cut_off = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None, caught_up=True)
    silent = channel_with(cut_off, "acd-dbs2", io="Connecting", lag_seconds=None, caught_up=True)
    lacking = ReplayFact(lacking="0-1-30 (it is at 0: 12)")

    answers = [
        next(v.answer for v in command.conditions(situation, f) if "has replayed" in v.condition)
        for f in (
            unseen(unseen(silent, of_master), of_replica),
            seen(cut_off, of_replica, lacking),
            seen(cut_off, of_master, lacking),
            unseen(cut_off, of_replica),
            unseen(cut_off, of_master),
        )
    ]

    assert answers == [Answer.WARN, Answer.FAIL, Answer.FAIL, Answer.UNKNOWN, Answer.UNKNOWN]


# --- replication ------------------------------------------------------------------------------------------------------


def test_a_replica_must_read_connecting_to_what_is_off(situation: Situation, facts: Facts) -> None:
    check = CheckReplication(machine="acd-dbm2", away=("acd-dbm1",))
    gone = channel_with(facts, "acd-dbm2", io="Connecting", lag_seconds=None)

    assert check.wanted(situation, facts).answer is Answer.FAIL, "it has not noticed yet"
    assert check.wanted(situation, gone).answer is Answer.PASS
    stopped = channel_with(gone, "acd-dbm2", io="No", io_error="1236 purged")
    assert "1236 purged" in check.wanted(situation, stopped).reason


def test_a_replica_whose_source_stays_must_go_on(situation: Situation, facts: Facts) -> None:
    check = CheckReplication(machine="acd-dbs2")

    assert check.wanted(situation, facts).answer is Answer.PASS
    assert check.wanted(situation, channel_with(facts, "acd-dbs2", io="Connecting")).answer is Answer.FAIL
