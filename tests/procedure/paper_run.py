"""Carries out a plan on the paper cluster, one step after another in any order the graph allows."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from inventory.models import Role
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.plan import OperatorTask, Plan, Step
from procedure.situation import Situation
from procedure.verdicts import Answer
from tests.procedure.paper_cluster import PaperCluster

Choose = Callable[[list[Step]], Step]


class PaperRun:
    """The engine in ten lines, with the auditors beside it. Gates open, persons confirm."""

    def __init__(self, situation: Situation, cluster: PaperCluster) -> None:
        self.situation = situation
        self.cluster = cluster
        self.order: list[str] = []
        self.outcomes: dict[str, str] = {}

    def run(self, plan: Plan, choose: Choose) -> None:
        left = list(plan.steps)
        while left:
            ready = [step for step in left if set(step.after) <= set(self.order)]
            step = choose(ready)
            left.remove(step)
            self.outcomes[step.id] = self.perform(step)
            self.order.append(step.id)

    def perform(self, step: Step) -> str:
        command = step.action
        if isinstance(command, OperatorTask):
            self.confirm(step, command)
        if not isinstance(command, Command):
            return "done"
        wanted = command.wanted(self.situation, self.facts(command))
        if wanted.answer is Answer.PASS:
            return "unchanged"
        if wanted.answer is Answer.NOT_APPLICABLE:
            return "not applicable"
        assert command.mutates, f"{step.id}: waits for ever: {wanted.text}"
        facts = self.facts(command)
        refused = [v.text for v in command.conditions(self.situation, facts) if not v.allows]
        assert not refused, f"{step.id} refused: {refused}"
        for instruction in command.instructions(self.situation, facts):
            self.cluster.carry_out(instruction)
            self.audit(step.id)
        after = command.wanted(self.situation, self.facts(command))
        assert after.answer is Answer.PASS, f"{step.id}: {after.text}"
        awaited = self.cluster.facts(command.awaits(self.situation, self.facts(command)))
        assert command.wanted(self.situation, awaited) == after, f"{step.id}: awaits too little"
        return "done"

    def confirm(self, step: Step, task: OperatorTask) -> None:
        """A person does what the title says, and only that."""
        if task.check is not None:
            self.cluster.power_on(task.target)
            assert task.check.wanted(self.situation, self.facts(task.check)).answer is Answer.PASS
        elif words := re.fullmatch(r"(Start|Stop) (.+) on (.+) by hand", step.title):
            self.cluster.by_hand(words[3], words[2], start=words[1] == "Start")
        self.audit(step.id)

    def facts(self, command: Command) -> Facts:
        return self.cluster.first_look(command, self.situation)

    def audit(self, step: str) -> None:
        """The invariants on the model's own truth, without any code of the procedure."""
        cluster, inventory = self.cluster, self.situation.inventory
        assert len(cluster.daemon) <= 1, f"{step}: the daemon runs on {cluster.daemon}"
        for pair in cluster.pairs:
            primary = cluster.primary[pair.address]
            assert primary not in cluster.off, f"{step}: {primary} is primary and off"
        for balancer in inventory.pairs.load_balancer.machines:
            for backend in inventory.haproxy.backends:
                servers = {(balancer, backend.name, s) for s in backend.servers}
                assert not servers <= cluster.maint, f"{step}: all of {backend.name} in MAINT"
        for machine in cluster.off:
            assert machine != cluster.writer(), f"{step}: {machine} takes writes and is off"
            assert machine not in {m for m, _ in cluster.running}
        writer = cluster.writer()
        assert writer is None or not cluster.lag.get(writer), f"{step}: {writer} takes writes and lags"
        self._audit_order(step)

    def _audit_order(self, step: str) -> None:
        roles = [
            {Role.TELEPHONY, Role.WEB, Role.CHAT, Role.API},
            {Role.DATABASE_REPLICA},
            {Role.DATABASE_MASTER},
            {Role.LOAD_BALANCER},
            {Role.STORAGE},
        ]
        off = [[m.name in self.cluster.off for m in self.situation.vacated_side(*group)] for group in roles]
        for earlier, later in pairwise(off):
            assert not any(later) or all(earlier), f"{step}: the order of power-off is broken"
