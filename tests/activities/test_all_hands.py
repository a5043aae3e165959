"""Whatever can be observed or instructed has a hand for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from activities.all_hands import all_hands
from activities.hands import Hands
from procedure.instructions import Instruction
from procedure.subjects import Subject
from tests.activities.cluster import reference


def members(union: object) -> set[type[Any]]:
    """The classes of an annotated union."""
    return set(get_args(get_args(union)[0]))


def names(classes: Iterable[type[Any]]) -> list[str]:
    return sorted(one.__name__ for one in classes)


async def test_all_subjects_and_instructions_have_a_hand() -> None:
    hands = all_hands(reference(lambda _: None))
    assert isinstance(hands, Hands)
    assert names(members(Subject) - set(hands._observers)) == []
    assert names(members(Instruction) - set(hands._actors)) == []
    await hands.close()


async def test_no_two_systems_claim_the_same() -> None:
    hands = all_hands(reference(lambda _: None))
    observed = [subject for system in hands._systems for subject in system.observers()]
    acted = [instruction for system in hands._systems for instruction in system.actors()]
    assert len(observed) == len(set(observed))
    assert len(acted) == len(set(acted))
    await hands.close()
