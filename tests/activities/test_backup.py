from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from activities.backup import Backups
from activities.errors import NotUnderstood, Rejected
from activities.ssh import Ssh
from procedure.facts import BackupFact
from procedure.subjects import BackupAt
from tests.activities.ssh_server import MACHINE, SshServer, answering

PATH = "/srv/backup/run 1.sql"
STAT = f"stat --format=%F:%s:%Y -- '{PATH}'"
STAT_PART = f"stat --format=%F:%s:%Y -- '{PATH}.part'"
TAIL = f"tail --bytes=200 -- '{PATH}'"
SUM = f"sha256sum -- '{PATH}'"
MISSING = (1, "", f"stat: cannot statx '{PATH}': No such file or directory\n")
FILE = (0, "regular file:123456:1790000000\n", "")
DIGEST = "ab" * 32


@pytest.fixture
async def backups(ssh_server: SshServer) -> AsyncIterator[Backups]:
    inventory = ssh_server.inventory()
    ssh = Ssh(inventory)
    yield Backups(inventory, ssh)
    await ssh.close()


async def _seen(backups: Backups) -> BackupFact:
    fact, _ = await backups.backup(BackupAt(machine=MACHINE, path=PATH))
    assert isinstance(fact, BackupFact)
    return fact


@pytest.mark.parametrize("end", ["-- Dump completed on 2026-11-22 10:00:00\n", "-- Dump completed\n\n"])
async def test_a_whole_dump(backups: Backups, ssh_server: SshServer, end: str) -> None:
    answers = {STAT: FILE, TAIL: (0, f"INSERT INTO x;\n{end}", ""), SUM: (0, f"{DIGEST}  {PATH}\n", "")}
    ssh_server.answer = answering(answers)
    assert await _seen(backups) == BackupFact(exists=True, complete=True, bytes=123456, sha256=DIGEST)
    assert all(command.line.startswith("env LC_ALL=C sudo -n ") for command in ssh_server.commands)


async def test_a_large_dump_is_summed_once(backups: Backups, ssh_server: SshServer) -> None:
    answers = {STAT: FILE, TAIL: (0, "-- Dump completed\n", ""), SUM: (0, f"{DIGEST}  {PATH}\n", "")}
    ssh_server.answer = answering(answers)
    assert await _seen(backups) == await _seen(backups)
    assert [command.words[0] for command in ssh_server.commands].count("sha256sum") == 1
    ssh_server.answer = answering(answers | {STAT: (0, "regular file:9:1790000001\n", "")})
    assert (await _seen(backups)).bytes == 9
    assert [command.words[0] for command in ssh_server.commands].count("sha256sum") == 2


@pytest.mark.parametrize("end", ["", "INSERT INTO x VALUES ('-- Dump completed');\n", "-- Dump completed\nINSERT", "x"])
async def test_a_dump_that_does_not_say_so_is_not_whole(backups: Backups, ssh_server: SshServer, end: str) -> None:
    ssh_server.answer = answering({STAT: FILE, TAIL: (0, end, "")})
    assert await _seen(backups) == BackupFact(exists=True, bytes=123456)


async def test_what_will_be_deleted_is_not_read(backups: Backups, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({STAT: FILE})
    fact, _ = await backups.backup(BackupAt(machine=MACHINE, path=PATH, whole=False))
    assert fact == BackupFact(exists=True, bytes=123456)
    assert [command.words[0] for command in ssh_server.commands] == ["stat"]


async def test_a_dump_that_is_being_made(backups: Backups, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({STAT: MISSING, STAT_PART: (0, "regular file:77:1790000000\n", "")})
    assert await _seen(backups) == BackupFact(exists=True, unfinished=True, bytes=77)


async def test_an_empty_file_is_no_dump(backups: Backups, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({STAT: (0, "regular empty file:0:1790000000\n", ""), TAIL: (0, "", "")})
    assert await _seen(backups) == BackupFact(exists=True)


async def test_no_dump(backups: Backups, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({STAT: MISSING, STAT_PART: MISSING})
    assert await _seen(backups) == BackupFact(exists=False)


async def test_what_can_not_be_read_is_not_taken_for_missing(backups: Backups, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({STAT: (1, "", f"stat: cannot statx '{PATH}': Permission denied")})
    with pytest.raises(NotUnderstood, match="Permission denied"):
        await _seen(backups)
    ssh_server.answer = answering({STAT: (1, "", "sudo: a password is required")})
    with pytest.raises(Rejected, match="sudo refused"):
        await _seen(backups)


async def test_a_directory_is_no_dump(backups: Backups, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({STAT: (0, "directory:4096:1790000000\n", "")})
    with pytest.raises(NotUnderstood, match="is no file"):
        await _seen(backups)


@pytest.mark.parametrize("printed", ["", "sha256sum: I/O error", f"{DIGEST[:-1]}  x"])
async def test_a_sum_that_is_none(backups: Backups, ssh_server: SshServer, printed: str) -> None:
    ssh_server.answer = answering({STAT: FILE, TAIL: (0, "-- Dump completed\n", ""), SUM: (0, printed, "")})
    with pytest.raises(NotUnderstood):
        await _seen(backups)
