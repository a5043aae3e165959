"""What an approval at a gate is bound to. A machine that is expected to be off is asked nothing but its power."""

from __future__ import annotations

from collections.abc import Iterable

from inventory.models import Machine
from procedure.health_check import subjects_of
from procedure.material import is_material
from procedure.situation import Situation
from procedure.subjects import AutostartOf, ComponentOn, PowerOf, Subject


def everything(situation: Situation) -> tuple[Subject, ...]:
    """All that a decision depends on while both sides are on, software included."""
    return _of(situation, situation.inventory.machines)


def without_software(situation: Situation) -> tuple[Subject, ...]:
    """The same while the software is stopped: power, pairs, DRBD, load balancers, databases, the daemon."""
    watched = everything(situation)
    return tuple(subject for subject in watched if not isinstance(subject, ComponentOn | AutostartOf))


def one_side(situation: Situation) -> tuple[Subject, ...]:
    """The surviving side with its software, and whether the vacated one is off."""
    surviving = _of(situation, situation.surviving_side())
    staying = tuple(subject for subject in surviving if not isinstance(subject, AutostartOf))
    return (*staying, *(PowerOf(machine=machine.name) for machine in situation.vacated_side()))


def _of(situation: Situation, machines: Iterable[Machine]) -> tuple[Subject, ...]:
    seen = (subject for machine in machines for subject in subjects_of(situation.inventory, machine))
    return tuple(subject for subject in seen if is_material(subject))
