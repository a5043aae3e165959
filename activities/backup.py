"""Backup: the dump of the database on its machine. Whole only when it says so itself, in its last line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from activities.completed import Completed
from activities.errors import NotUnderstood
from activities.hands import Act, Observe, Observed
from activities.shell import Shell, answer
from inventory.models import Inventory
from procedure.facts import BackupFact
from procedure.subjects import BackupAt

TAIL = 200
"""Bytes read of the end; the last line of mysqldump has about 40."""
_COMPLETED = re.compile(r"^-- Dump completed\b[^\n]*\s*\Z", re.MULTILINE)
"""mysqldump(1) writes it, with or without a date, unless comments are switched off."""
_MISSING = "No such file or directory"


@dataclass(frozen=True)
class _File:
    machine: str
    path: str
    size: int
    changed: int
    """Seconds since 1970."""


class Backups:
    """Observes dumps."""

    def __init__(self, inventory: Inventory, ssh: Shell) -> None:
        self._inventory = inventory
        self._ssh = ssh
        self._digests: dict[_File, str] = {}

    def observers(self) -> dict[type[Any], Observe]:
        """`BackupAt`."""
        return {BackupAt: self.backup}

    def actors(self) -> dict[type[Any], Act]:
        """None of its own: the dump is made over SSH."""
        return {}

    async def close(self) -> None:
        """Nothing is its own."""

    async def backup(self, subject: BackupAt) -> Observed:
        """A dump, or what is there of it so far (PATH.part).

        Raises:
            SystemTrouble: it can't be told.
        """
        looks = "stat, tail, sha256sum" if subject.whole else "stat"
        source = f"ssh {subject.machine}: {looks} of {subject.path}"
        file = await self._file(subject.machine, subject.path)
        if file is None:
            return await self._unfinished(subject), source
        if not subject.whole or not await self._is_complete(file):
            return BackupFact(exists=True, bytes=file.size), source
        return BackupFact(exists=True, complete=True, bytes=file.size, sha256=await self._digest(file)), source

    async def _unfinished(self, subject: BackupAt) -> BackupFact:
        part = await self._file(subject.machine, f"{subject.path}.part")
        if part is None:
            return BackupFact(exists=False)
        return BackupFact(exists=True, unfinished=True, bytes=part.size)

    async def _file(self, machine: str, path: str) -> _File | None:
        completed = await self._ssh.run(machine, ["stat", "--format=%F:%s:%Y", "--", path], sudo=True)
        if completed.exit_status == 1 and _MISSING in completed.stderr:
            return None
        found = re.fullmatch(r"regular(?: empty)? file:(\d+):(\d+)\s*", answer(completed, 0))
        if found is None:
            raise NotUnderstood(machine, f"{path} is no file: {completed.words}", "name another directory for backups")
        return _File(machine, path, int(found[1]), int(found[2]))

    async def _is_complete(self, file: _File) -> bool:
        completed = await self._ssh.run(file.machine, ["tail", f"--bytes={TAIL}", "--", file.path], sudo=True)
        return _COMPLETED.search(answer(completed, 0)) is not None

    async def _digest(self, file: _File) -> str:
        # Reading a large dump takes minutes, and it is looked at more than once.
        if file not in self._digests:
            words = ["sha256sum", "--", file.path]
            completed = await self._ssh.run(file.machine, words, sudo=True, timeout=self._inventory.timings.backup)
            self._digests[file] = _read_digest(completed)
        return self._digests[file]


def _read_digest(completed: Completed) -> str:
    # A backslash stands before the digest of a file whose name needed escaping.
    found = re.match(r"\\?([0-9a-f]{64}) ", answer(completed, 0))
    if found is None:
        raise NotUnderstood(completed.machine, f"`{completed.command}`: {completed.words}")
    return found[1]
