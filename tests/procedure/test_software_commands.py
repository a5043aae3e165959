"""Software: what is sent to stop and start it, and how its states are read."""

from __future__ import annotations

import pytest

from inventory.models import Component, Inventory
from procedure.commands import ShutDownMachine, StartComponent, StartDaemon, StopComponent, StopDaemon
from procedure.facts import ComponentFact, Facts
from procedure.situation import Situation
from procedure.subjects import ComponentOn, DaemonOn
from procedure.verdicts import Answer
from tests.procedure.altered import seen
from tests.procedure.asking import texts
from tests.procedure.paper_cluster import PaperCluster


def state(facts: Facts, word: str) -> Facts:
    fact = ComponentFact.model_validate({"state": word})
    return seen(facts, ComponentOn(machine="acd-jb1", component="Wildfly"), fact)


@pytest.mark.parametrize(
    ("word", "stop", "start"),
    [
        ("running", Answer.FAIL, Answer.PASS),
        ("stopped", Answer.PASS, Answer.FAIL),
        ("failed", Answer.PASS, Answer.FAIL),
        ("starting", Answer.FAIL, Answer.FAIL),
        ("stopping", Answer.FAIL, Answer.FAIL),
        ("missing", Answer.FAIL, Answer.FAIL),
        ("by_hand", Answer.NOT_APPLICABLE, Answer.NOT_APPLICABLE),
    ],
)
def test_states_of_a_service(word: str, stop: Answer, start: Answer, situation: Situation, facts: Facts) -> None:
    found = state(facts, word)

    assert StopComponent(machine="acd-jb1", component="Wildfly").wanted(situation, found).answer is stop
    assert StartComponent(machine="acd-jb1", component="Wildfly").wanted(situation, found).answer is start


@pytest.mark.parametrize(("word", "settled"), [("missing", True), ("failed", False), ("starting", False)])
def test_only_a_service_that_is_missing_will_never_run(
    word: str, settled: bool, situation: Situation, facts: Facts
) -> None:
    verdict = StartComponent(machine="acd-jb1", component="Wildfly").wanted(situation, state(facts, word))

    assert verdict.settled is settled, "systemd may start again what has failed"


def test_a_missing_service_is_refused_before_anything_is_sent(situation: Situation, facts: Facts) -> None:
    verdicts = StopComponent(machine="acd-jb1", component="Wildfly").conditions(situation, state(facts, "missing"))

    assert [v.answer for v in verdicts] == [Answer.FAIL, Answer.NOT_APPLICABLE]


def test_without_systemctl_the_service_command_is_used(inventory: Inventory) -> None:
    old = tuple(c.model_copy(update={"manager": "sysv"}) if c.name == "Wildfly" else c for c in inventory.components)
    situation = Situation(inventory.model_copy(update={"components": old}), "vm-host-1")

    assert texts(StopComponent(machine="acd-jb1", component="Wildfly"), situation) == [
        "ssh acd-jb1 sudo -n service wildfly stop"
    ]


@pytest.mark.parametrize("machine", ["acd-jb1", "acd-dbs1", "acd-lb1", "acd-store1"])
def test_a_machine_is_shut_down_by_a_command_that_needs_no_systemd(machine: str, situation: Situation) -> None:
    assert texts(ShutDownMachine(machine=machine), situation) == [f"ssh {machine} sudo -n shutdown -h now"]


def test_order_within_a_machine_is_a_condition_both_ways(inventory: Inventory) -> None:
    later = Component(
        name="Watcher", role=inventory.machine("acd-jb1").role, service="watcher", start_after=("Wildfly",)
    )
    situation = Situation(inventory.model_copy(update={"components": (*inventory.components, later)}), "vm-host-1")
    cluster = PaperCluster(situation.inventory)
    stop, start = (
        StopComponent(machine="acd-jb1", component="Wildfly"),
        StartComponent(machine="acd-jb1", component="Watcher"),
    )

    assert not all(v.allows for v in stop.conditions(situation, cluster.facts(stop.observes(situation))))
    cluster.running -= {("acd-jb1", "Watcher")}
    assert all(v.allows for v in stop.conditions(situation, cluster.facts(stop.observes(situation))))
    cluster.running -= {("acd-jb1", "Wildfly")}
    assert not all(v.allows for v in start.conditions(situation, cluster.facts(start.observes(situation))))


def test_a_windows_service_is_controlled_by_what_the_plan_shows(situation: Situation) -> None:
    stop = StopComponent(machine="acd-tel1", component="Platform UDP Listener")
    start = StartComponent(machine="acd-tel2", component="8-Server")

    assert texts(stop, situation) == ["winrm acd-tel1 sc.exe stop 'jtel Platform UDP Listener'"]
    assert texts(start, situation) == ["winrm acd-tel2 sc.exe start robot5"]


def test_the_daemon_is_moved_where_its_machine_is_reached(inventory: Inventory) -> None:
    linux = tuple(m.model_copy(update={"os": "linux"}) if m.name == "acd-tel2" else m for m in inventory.machines)
    situation = Situation(inventory.model_copy(update={"machines": linux}), "vm-host-1")

    script = r"'C:\failover\AcdGroupDistribute.cmd'"
    assert texts(StopDaemon(machine="acd-tel1"), situation) == [f"winrm acd-tel1 {script} stop"]
    assert texts(StartDaemon(machine="acd-tel2"), situation) == [f"ssh acd-tel2 {script} start"]


@pytest.mark.parametrize(("off", "asked"), [(True, False), (False, True)])
def test_a_machine_that_is_off_is_not_asked_for_the_daemon(
    off: bool, asked: bool, situation: Situation, cluster: PaperCluster
) -> None:
    """It runs nothing, and a call to nobody takes seconds to fail, while nobody telephones."""
    cluster.daemon.clear()
    if off:
        cluster.off.add("acd-tel1")
    command = StartDaemon(machine="acd-tel2")
    facts = cluster.first_look(command, situation)

    assert (facts.observation(DaemonOn(machine="acd-tel1")) is not None) is asked
    assert [v.answer for v in command.conditions(situation, facts)] == [Answer.PASS]
