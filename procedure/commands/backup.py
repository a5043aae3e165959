"""The database backup and the snapshots of critical machines: the procedure, stages 1 and 14."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Literal

from inventory.models import Inventory, Role
from procedure import who
from procedure.commands.base import Command
from procedure.commands.machines import hypervisor_command
from procedure.conditions import cluster_is_able, machine_answers, node_can_take_over
from procedure.facts import BackupFact, Facts, SnapshotFact
from procedure.instructions import Instruction, RunOn
from procedure.invariants import (
    behind_the_balancers,
    drbd_in_sync,
    not_seen,
    one_primary,
    replication_runs,
    takes_all_writes,
)
from procedure.situation import Situation
from procedure.subjects import BackupAt, ClusterOn, DrbdOn, PowerOf, ReplicationOn, SnapshotOf, Subject
from procedure.verdicts import Verdict, failed, not_applicable, passed

LOCK_IS_HELD = 75
"""Exit status of `flock` while another dump writes the same file: EX_TEMPFAIL of sysexits.h, try again later."""
USUAL_SNAPSHOT = timedelta(seconds=30)
"""Without memory; with it, a hypervisor takes as long as it takes to write the memory to disk."""
USUAL_REMOVAL = timedelta(seconds=2)


class TakeBackup(Command):
    """Dump the database on its active master."""

    kind: Literal["take_backup"] = "take_backup"
    machine: str
    path: str
    """Where the dump is written on that machine."""

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Back up the database of {self.machine} to {self.path}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The file, and which master takes the writes."""
        return (BackupAt(machine=self.machine, path=self.path), *behind_the_balancers(situation.inventory))

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """The dump."""
        return (BackupAt(machine=self.machine, path=self.path),)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """The master still takes the writes: a dump of the other may lack what was written last."""
        return (takes_all_writes(situation.inventory, self.machine, facts),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """A whole dump, no shorter than the inventory says. Only one that is being made can still become so."""
        condition = f"a whole database backup is at {self.machine}:{self.path}"
        subject = BackupAt(machine=self.machine, path=self.path)
        fact = facts.fact(subject, BackupFact)
        if fact is None:
            return not_seen(condition, [subject], facts)
        step = f"Look at the free space and the rights in {situation.inventory.backup.directory}; then retry."
        if fact.unfinished:
            return failed(condition, f"it is not finished, {fact.bytes} bytes so far", step)
        if not fact.exists:
            return failed(condition, "it is not there", step, settled=True)
        if not fact.complete:
            return failed(condition, f"{fact.bytes} bytes, but its end says nothing of completion", step, settled=True)
        least = situation.inventory.backup.minimum_bytes
        if fact.bytes < least:
            return failed(condition, f"{fact.bytes} bytes are fewer than the {least} expected", step, settled=True)
        return passed(condition, f"{fact.bytes} bytes, SHA-256 {fact.sha256}")

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """Wait for a dump that goes on after its worker died; dump beside the place, alone; move it when it is whole.

        Waiting and dumping are two commands, so that one that is left waiting does nothing when its turn comes.
        """
        backup, part, patience = situation.inventory.backup, f"{self.path}.part", situation.inventory.timings.backup
        refusal, file = ("--conflict-exit-code", str(LOCK_IS_HELD)), f"{self.path}.lock"
        wait = ("flock", "--wait", str(math.ceil(patience.total_seconds())), *refusal, file, "true")
        lock = ("flock", "--nonblock", *refusal, file)
        dump = ("mysqldump", f"--defaults-file={backup.defaults_file}", "--all-databases", "--single-transaction")
        what = ("--routines", "--events", f"--result-file={part}")
        return (
            RunOn(machine=self.machine, argv=wait, timeout=patience + situation.inventory.timings.command),
            RunOn(machine=self.machine, argv=(*lock, *dump, *what), timeout=patience),
            RunOn(machine=self.machine, argv=("mv", "--", part, self.path)),
        )

    def compensation(self) -> tuple[Command, ...]:
        """Delete it."""
        return (RemoveBackup(machine=self.machine, path=self.path),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a backup."""
        return inventory.timings.backup

    def at_most(self, inventory: Inventory) -> timedelta:
        """Waiting for an earlier dump, dumping and summing up may each take as long as a backup; then it is awaited."""
        return 3 * (inventory.timings.backup + inventory.timings.command) + self.deadline(inventory)

    def expected(self, inventory: Inventory) -> timedelta:
        """As the inventory says."""
        return inventory.backup.expected


class RemoveBackup(Command):
    """Delete a dump."""

    kind: Literal["remove_backup"] = "remove_backup"
    machine: str
    path: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Delete the database backup {self.path} on {self.machine}"

    @property
    def _subject(self) -> BackupAt:
        return BackupAt(machine=self.machine, path=self.path, whole=False)

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """Whether the file is there."""
        return (self._subject,)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It is gone."""
        condition = f"no backup is at {self.machine}:{self.path}"
        fact = facts.fact(self._subject, BackupFact)
        if fact is None:
            return not_seen(condition, [self._subject], facts)
        return failed(condition, "it is there", "Delete it by hand.") if fact.exists else passed(condition)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """Delete the dump and what was made beside it."""
        files = (self.path, f"{self.path}.part", f"{self.path}.lock")
        return (RunOn(machine=self.machine, argv=("rm", "--force", "--", *files)),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a command."""
        return inventory.timings.command

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_REMOVAL


class TakeSnapshot(Command):
    """Make a snapshot of a machine on its hypervisor."""

    kind: Literal["take_snapshot"] = "take_snapshot"
    machine: str
    name: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Take the snapshot {self.name} of {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The snapshot, that the machine is on, and all that tells whether the cluster could do without it."""
        inventory, pair = situation.inventory, situation.inventory.pair_of(self.machine)
        subjects: list[Subject] = [SnapshotOf(machine=self.machine, name=self.name), PowerOf(machine=self.machine)]
        if pair is not None:
            subjects += [ClusterOn(machine=m) for m in pair.machines]
            subjects += [DrbdOn(machine=m) for m in pair.machines if pair.drbd]
        return (*subjects, *(ReplicationOn(machine=m) for m in self._masters(inventory)))

    def awaits(self, situation: Situation, facts: Facts) -> tuple[Subject, ...]:
        """The snapshot."""
        return (SnapshotOf(machine=self.machine, name=self.name),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It is there; not applicable where the provider can't."""
        return _snapshot(self.machine, self.name, facts, there=True)

    def conditions(self, situation: Situation, facts: Facts) -> tuple[Verdict, ...]:
        """The machine is on, and its pair is whole: many hypervisors stop a machine while a snapshot is made."""
        return (
            machine_answers(self.machine, facts),
            *self._pair_is_whole(situation.inventory, facts),
            *(
                replication_runs(master, self._other_masters(situation.inventory, master), facts, situation.inventory)
                for master in self._masters(situation.inventory)
            ),
        )

    def _pair_is_whole(self, inventory: Inventory, facts: Facts) -> tuple[Verdict, ...]:
        name = next((n for n in who.PAIR_NAMES if self.machine in who.pair(inventory, n).machines), None)
        if name is None:
            return ()
        other = who.partner(who.pair(inventory, name), self.machine)
        return (
            cluster_is_able(inventory, name, other, facts),
            node_can_take_over(inventory, self.machine, other, facts),
            node_can_take_over(inventory, other, other, facts),
            one_primary(inventory, name, facts),
            drbd_in_sync(inventory, name, other, facts),
        )

    def _masters(self, inventory: Inventory) -> tuple[str, ...]:
        masters = tuple(m.name for m in inventory.with_role(Role.DATABASE_MASTER))
        return masters if self.machine in masters else ()

    def _other_masters(self, inventory: Inventory, master: str) -> tuple[str, ...]:
        return tuple(s for s in who.sources_of(inventory, master) if s in self._masters(inventory))

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """The hypervisor's command."""
        words = hypervisor_command(situation.inventory, self.machine, "snapshot", self.name)
        return (RunOn(machine=situation.inventory.machine(self.machine).host, argv=words),) if words else ()

    def compensation(self) -> tuple[Command, ...]:
        """Delete it."""
        return (DeleteSnapshot(machine=self.machine, name=self.name),)

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a shutdown: both write memory and disks."""
        return inventory.timings.shutdown

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_SNAPSHOT


class DeleteSnapshot(Command):
    """Delete a snapshot of a machine."""

    kind: Literal["delete_snapshot"] = "delete_snapshot"
    machine: str
    name: str

    @property
    def target(self) -> str:
        """The machine."""
        return self.machine

    @property
    def title(self) -> str:
        """One line for a person."""
        return f"Delete the snapshot {self.name} of {self.machine}"

    def observes(self, situation: Situation) -> tuple[Subject, ...]:
        """The snapshot."""
        return (SnapshotOf(machine=self.machine, name=self.name),)

    def wanted(self, situation: Situation, facts: Facts) -> Verdict:
        """It is gone."""
        return _snapshot(self.machine, self.name, facts, there=False)

    def instructions(self, situation: Situation, facts: Facts) -> tuple[Instruction, ...]:
        """The hypervisor's command."""
        words = hypervisor_command(situation.inventory, self.machine, "delete_snapshot", self.name)
        return (RunOn(machine=situation.inventory.machine(self.machine).host, argv=words),) if words else ()

    def deadline(self, inventory: Inventory) -> timedelta:
        """The inventory's time for a shutdown: merging a snapshot writes its disk."""
        return inventory.timings.shutdown

    def expected(self, inventory: Inventory) -> timedelta:
        """What it usually takes."""
        return USUAL_SNAPSHOT


def _snapshot(machine: str, name: str, facts: Facts, *, there: bool) -> Verdict:
    condition = f"{machine} has {'the' if there else 'no'} snapshot {name}"
    subject = SnapshotOf(machine=machine, name=name)
    fact = facts.fact(subject, SnapshotFact)
    if fact is None:
        return not_seen(condition, [subject], facts)
    if not fact.possible:
        return not_applicable(condition, "its VM-Host can't make snapshots")
    if fact.exists == there:
        return passed(condition)
    return failed(condition, "it is there" if fact.exists else "it is not there", "Look at its VM-Host; then retry.")
