"""The health check: never start from an unknown state (the procedure, stage 0 and section 3).

`rounds` says what is observed, all of it at the same time; `judge` says what it means. Only when every answer is
*pass*, *warn* or *not applicable* may a run begin.
"""

from __future__ import annotations

from datetime import timedelta

from inventory.models import Inventory, Machine, Role
from procedure.plan import Observe, Step
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    DrbdOn,
    PowerOf,
    ProbeOf,
    ReplicationOn,
    SessionsOn,
    Silences,
    Subject,
)

USUAL_ROUND = timedelta(seconds=5)
"""A few commands over one connection to each machine, all machines at the same time."""


def rounds(situation: Situation) -> tuple[Step, ...]:
    """What is observed: one step for each machine, one for monitoring, one for the probes; none waits for another."""
    inventory = situation.inventory
    machines = tuple(_round(m.name, subjects_of(inventory, m)) for m in inventory.machines)
    probes = tuple(ProbeOf(name=probe.name) for probe in inventory.probes)
    return (*machines, _round("monitoring", (Silences(),)), *((_round("probes", probes),) if probes else ()))


def _round(target: str, subjects: tuple[Subject, ...]) -> Step:
    action = Observe(target=target, subjects=subjects)
    return Step(
        id=f"0-observe-{target.lower().replace('_', '-')}",
        stage=0,
        title=f"Observe {target}",
        action=action,
        expected=USUAL_ROUND,
    )


def subjects_of(inventory: Inventory, machine: Machine) -> tuple[Subject, ...]:
    """All that is observed of one machine."""
    name = machine.name
    subjects: list[Subject] = [PowerOf(machine=name), AutostartOf(machine=name)]
    subjects += [ComponentOn(machine=name, component=c.name) for c in inventory.components_on(machine)]
    pair = inventory.pair_of(name)
    if pair is not None:
        subjects += [ClusterOn(machine=name), *([DrbdOn(machine=name)] if pair.drbd else [])]
    if machine.role is Role.LOAD_BALANCER:
        subjects.append(BalancerOn(machine=name))
    if machine.role in (Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
        subjects.append(ReplicationOn(machine=name))
    if machine.role is Role.DATABASE_MASTER:
        subjects.append(SessionsOn(machine=name))
    if machine.role is Role.TELEPHONY:
        subjects.append(DaemonOn(machine=name))
    return tuple(subjects)
