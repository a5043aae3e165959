"""The backup, and the silence of the monitoring."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inventory.models import Inventory, NagiosMonitoring
from procedure.commands import (
    ClearMove,
    LiftSilence,
    MovePair,
    RejoinNode,
    SetMaintenance,
    SilenceMonitoring,
    TakeBackup,
)
from procedure.facts import BackupFact, Facts, LocationConstraint, Silence, SilencesFact
from procedure.instructions import RunOn
from procedure.situation import Situation
from procedure.subjects import BackupAt, Silences
from procedure.verdicts import Answer
from tests.procedure.altered import cluster_with, seen, unseen
from tests.procedure.asking import PAPER, texts
from tests.procedure.paper_cluster import NOW

BACKUP = TakeBackup(machine="acd-dbm1", path="/srv/backup/x.sql")


@pytest.mark.parametrize(
    ("fact", "answer", "settled"),
    [
        (BackupFact(exists=True, complete=True, bytes=5000, sha256="a"), Answer.PASS, False),
        (BackupFact(exists=True, complete=True, bytes=10), Answer.FAIL, True),
        (BackupFact(exists=True, complete=False, bytes=5000), Answer.FAIL, True),
        (BackupFact(exists=True, unfinished=True, bytes=5000), Answer.FAIL, False),
        (BackupFact(exists=False), Answer.FAIL, True),
        (None, Answer.UNKNOWN, False),
    ],
)
def test_only_a_whole_backup_counts(
    fact: BackupFact | None, answer: Answer, settled: bool, situation: Situation
) -> None:
    subject = BackupAt(machine="acd-dbm1", path="/srv/backup/x.sql")
    facts = unseen(PAPER, subject) if fact is None else seen(PAPER, subject, fact)

    verdict = BACKUP.wanted(situation, facts)
    assert (verdict.answer, verdict.settled) == (answer, settled)


def test_a_backup_may_wait_dump_and_be_summed_up_in_its_time(situation: Situation) -> None:
    sent = [i.timeout for i in BACKUP.instructions(situation, PAPER) if isinstance(i, RunOn)]
    summing = situation.inventory.timings.backup
    assert BACKUP.at_most(situation.inventory) >= sum((limit for limit in sent if limit), summing)


def test_a_backup_that_is_deleted_is_not_read_first(situation: Situation) -> None:
    (removal,) = BACKUP.compensation()
    (subject,) = removal.observes(situation)
    assert isinstance(subject, BackupAt)
    assert not subject.whole
    gone = seen(PAPER, subject, BackupFact(exists=False))
    assert removal.wanted(situation, gone).answer is Answer.PASS


def test_a_dump_takes_its_place_only_when_it_is_whole(situation: Situation) -> None:
    wait, dump, move = texts(BACKUP, situation)

    assert wait == ("ssh acd-dbm1 sudo -n flock --wait 3600 --conflict-exit-code 75 /srv/backup/x.sql.lock true"), (
        "a dump whose worker died goes on, and must be over before the next begins"
    )
    assert "flock --nonblock --conflict-exit-code 75 /srv/backup/x.sql.lock mysqldump --defaults-file=" in dump
    assert dump.endswith("--result-file=/srv/backup/x.sql.part")
    assert move == "ssh acd-dbm1 sudo -n mv -- /srv/backup/x.sql.part /srv/backup/x.sql"


@pytest.mark.parametrize(
    ("left", "answer"), [(timedelta(minutes=61), Answer.PASS), (timedelta(minutes=59), Answer.FAIL)]
)
def test_a_silence_is_renewed_when_half_of_it_is_over(left: timedelta, answer: Answer, situation: Situation) -> None:
    silence = Silence(id="a", machines=("acd-jb1",), until=NOW + left)
    facts = seen(PAPER, Silences(), SilencesFact(silences=(silence,)))
    for only_extend in (False, True):
        command = SilenceMonitoring(machines=("acd-jb1",), comment="x", only_extend=only_extend)
        assert command.wanted(situation, facts).answer is answer


def test_downtimes_of_nagios_take_as_long_as_its_status_files(inventory: Inventory) -> None:
    nagios = NagiosMonitoring(address="10.77.0.5", connection="linux")
    watched = inventory.model_copy(update={"monitoring": nagios})
    for command in (SilenceMonitoring(machines=("acd-jb1",), comment="x"), LiftSilence(machines=("acd-jb1",))):
        assert command.at_most(inventory) == command.deadline(inventory) == inventory.timings.command
        assert command.at_most(watched) == 6 * inventory.timings.command
        assert command.expected(inventory) < command.expected(watched) < inventory.timings.command


def test_a_machine_that_nagios_does_not_know_is_not_silenced(situation: Situation) -> None:
    silence = Silence(id="a", machines=("acd-jb1",), until=NOW + timedelta(hours=2))
    facts = seen(PAPER, Silences(), SilencesFact(silences=(silence,), unknown=("acd-jb2",)))
    found = SilenceMonitoring(machines=("acd-jb1", "acd-jb2"), comment="x").wanted(situation, facts)
    assert (found.answer, found.reason) == (Answer.FAIL, "not: acd-jb2")
    assert LiftSilence(machines=("acd-jb2",)).wanted(situation, facts).answer is Answer.PASS


def test_what_a_move_leaves_is_cleared_and_a_standby_is_ended(inventory: Inventory, facts: Facts) -> None:
    moved, *_ = MovePair(pair="storage", to="acd-store2", leaver="acd-store1", method="move").compensation()
    stood_by, back, rejoined = MovePair(pair="storage", to="acd-store2", leaver="acd-store1").compensation()
    situation = Situation(inventory, "vm-host-1")
    bound = LocationConstraint(id="cli-prefer-fs_r0", resource="fs_r0", node="acd-store2", score="INFINITY")
    own = LocationConstraint(id="location-vip", resource="vip", node="acd-store2", score="50")
    seen_bound = cluster_with(facts, "acd-store2", constraints=(bound, own))

    assert isinstance(moved, ClearMove)
    assert isinstance(stood_by, RejoinNode)
    assert back == MovePair(pair="storage", to="acd-store1", leaver="acd-store2", back=True)
    assert rejoined == RejoinNode(pair="storage", machine="acd-store2")
    assert moved.wanted(situation, seen_bound).reason == "cli-prefer-fs_r0"
    assert [i.text for i in moved.instructions(situation, seen_bound)] == [
        "ssh acd-store2 sudo -n pcs resource clear fs_r0"
    ]
    assert moved.wanted(situation, cluster_with(facts, "acd-store2", constraints=(own,))).answer is Answer.PASS


def test_a_site_that_sets_haproxy_by_its_socket_sees_the_lines_of_the_socket(inventory: Inventory) -> None:
    by_socket = inventory.haproxy.model_copy(update={"change_by": "socket"})
    situation = Situation(inventory.model_copy(update={"haproxy": by_socket}), "vm-host-1")
    command = SetMaintenance(balancer="acd-lb2", machines=("acd-chat1",))

    assert [i.text for i in command.instructions(situation, PAPER)] == [
        "ssh acd-lb2 sudo -n socat - UNIX-CONNECT:/run/haproxy/admin.sock <<< 'set server chat/acd-chat1 state maint'"
    ]
