"""What is said to somebody who says something wrong: always an answer with what would be right, and nothing happens."""

from __future__ import annotations

import pytest

from tests.workflows.bad_signals import BAD, GOLDEN, NOW, golden, ledger
from workflows.messages import SIGNAL_MODELS


@pytest.mark.parametrize(("signal", "said"), BAD)
def test_a_bad_signal_is_answered_and_changes_nothing(signal: str, said: object) -> None:
    book = ledger()
    before = [wait.model_dump() for wait in book.open_waits]

    answer = book.hear(signal, said, NOW)

    assert not answer.accepted
    assert [wait.model_dump() for wait in book.open_waits] == before
    assert book.abort is None
    assert book.decisions[-1].answer == answer.text


def test_every_signal_is_among_them() -> None:
    assert {signal for signal, _ in BAD} >= set(SIGNAL_MODELS)


def test_the_answers_are_those_that_were_read_by_people() -> None:
    assert golden() == GOLDEN.read_text(encoding="utf-8"), (
        "changed? python -m tests.workflows.bad_signals, and read the difference"
    )
