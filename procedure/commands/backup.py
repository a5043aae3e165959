"""The database backup and the snapshots of critical machines."""

from __future__ import annotations

from typing import Literal

from procedure.commands.base import Command


class TakeBackup(Command):
    """Dump the database on its active master."""

    kind: Literal["take_backup"] = "take_backup"
    machine: str
    path: str
    """Where the dump is written on that machine."""


class RemoveBackup(Command):
    """Delete a dump."""

    kind: Literal["remove_backup"] = "remove_backup"
    machine: str
    path: str


class TakeSnapshot(Command):
    """Make a snapshot of a machine on its hypervisor."""

    kind: Literal["take_snapshot"] = "take_snapshot"
    machine: str
    name: str


class DeleteSnapshot(Command):
    """Delete a snapshot of a machine."""

    kind: Literal["delete_snapshot"] = "delete_snapshot"
    machine: str
    name: str
