"""What can be done about several conditions at once ends with one word to the run."""

from __future__ import annotations

import pytest

from procedure.facts import Facts, Observation
from procedure.invariants import not_seen
from procedure.subjects import PowerOf
from procedure.verdicts import failed, steps_of, told_together, unknown, with_retry
from tests.procedure.paper_cluster import NOW


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((), ""),
        (("Look there, then retry.",), "Look there, then retry."),
        (("Look there.", "Mend it."), "Look there. Mend it."),
        (("Look there, then retry.", "Mend it. Then retry."), "Look there. Mend it. Then retry."),
        (("Look there; then retry.", "Look there, then retry."), "Look there. Then retry."),
        (("Look there, then retry.", "Mend it."), "Look there. Mend it. Then retry."),
        (
            ("Look there, then retry.", "Stop it, then retry; or retry with force."),
            "Look there. Stop it, then retry; or retry with force.",
        ),
        (("Abort: the plan does not fit.", "look there, then try again"), "Look there. Abort: the plan does not fit."),
        (("Wait, or abort", "Mend it, then retry."), "Wait, or abort. Mend it. Then retry."),
        (("Move it back and retry; or abort.", "acd-jb1 waits"), "acd-jb1 waits. Move it back and retry; or abort."),
    ],
)
def test_several_steps_end_with_one_retry(steps: tuple[str, ...], told: str) -> None:
    assert steps_of(failed("it is so", "it is not", step) for step in steps) == told


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("check the key", "Check the key. Then retry."),
        ("look at the system yourself, then retry", "Look at the system yourself, then retry."),
        ("look at it, then retry, or skip", "Look at it, then retry, or skip."),
        ("", "See that it can be observed. Then retry."),
    ],
)
def test_what_is_not_seen_says_it_once(step: str, told: str) -> None:
    subject = PowerOf(machine="acd-jb1")
    seen = Observation(subject=subject, at=NOW, source="a test", problem="gone", next_step=step)
    assert not_seen("it is on", [subject], Facts(observations=(seen,))).next_step == told


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("", ""),
        ("mend it", "Mend it. Then retry."),
        ("Mend it, then try again.", "Mend it, then try again."),
        ("Abort: the plan does not fit.", "Abort: the plan does not fit."),
        ("Mend it, or it does not try again.", "Mend it, or it does not try again. Then retry."),
        ("`pcs status` on acd-lb1", "`pcs status` on acd-lb1. Then retry."),
        ("Look there; retry waits for the rest.", "Look there; retry waits for the rest."),
    ],
)
def test_a_word_to_the_run_is_there_once(step: str, told: str) -> None:
    assert with_retry(step) == told


def test_what_has_one_cause_is_told_once_and_another_answer_or_step_apart() -> None:
    against = (
        *(failed(f"acd-jb{i} runs", "no answer", "Look there.") for i in range(5)),
        unknown("acd-jb6 runs", "no answer", "Look there."),
        failed("acd-jb7 runs", "no answer", "Start it."),
    )
    assert told_together(against) == (
        "acd-jb0 runs, acd-jb1 runs, acd-jb2 runs and 2 more: no answer",
        "acd-jb6 runs: no answer",
        "acd-jb7 runs: no answer",
    )
