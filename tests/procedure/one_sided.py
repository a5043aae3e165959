"""A cluster on paper of which one side was vacated: where a failback begins."""

from __future__ import annotations

from typing import NamedTuple

from inventory.models import Inventory
from procedure import failback, failover, health_check, one_sided_check
from procedure.as_found import AsFound
from procedure.commands.base import Command
from procedure.facts import Facts
from procedure.plan import Observe, Plan, Step
from procedure.situation import Situation
from procedure.subjects import Subject
from tests.procedure.paper_cluster import PaperCluster
from tests.procedure.paper_run import Choose, PaperRun


class OneSided(NamedTuple):
    """The situation, the cluster as the failover left it, and how that had found it."""

    situation: Situation
    cluster: PaperCluster
    found: AsFound

    def facts(self) -> Facts:
        """What the health check of one side would see."""
        return self.cluster.facts(observed(one_sided_check.rounds(self.situation)))

    def plan(self) -> Plan:
        """The way back, after a health check that found nothing."""
        against = [v.text for v in one_sided_check.judge(self.situation, self.facts()) if not v.allows]
        assert not against, against
        return failback.plan(self.situation, self.found, "back", earlier="there")


def observed(rounds: tuple[Step, ...]) -> list[Subject]:
    """All subjects of some rounds."""
    return [s for step in rounds if isinstance(step.action, Observe) for s in step.action.subjects]


def vacate(cluster: PaperCluster, host: str, choose: Choose = lambda ready: ready[0]) -> OneSided:
    """Carry out a failover on paper."""
    situation = Situation(cluster.inventory, host)
    facts = cluster.facts(observed(health_check.rounds(situation)))
    found = AsFound.from_facts(situation, facts)
    PaperRun(situation, cluster).run(failover.plan(situation, found, "there"), choose)
    return OneSided(situation, cluster, found)


def vacated(inventory: Inventory, host: str = "vm-host-1") -> OneSided:
    """The cluster of an inventory, after its failover."""
    return vacate(PaperCluster(inventory), host)


def facts_for(command: Command, one_side: OneSided) -> Facts:
    """What a command sees first."""
    return one_side.cluster.first_look(command, one_side.situation)


def start(one_side: OneSided, *machines: str) -> None:
    """Switch machines on, named without the `acd-`."""
    for machine in machines:
        one_side.cluster.power_on(f"acd-{machine}")


def back_again(one_side: OneSided) -> None:
    """All machines are on, and no node is in standby."""
    for machine in tuple(one_side.cluster.off):
        one_side.cluster.power_on(machine)
    one_side.cluster.standby.clear()
    one_side.cluster.running.clear()
