"""Bad signals: what is said to a run that waits, and what it answers. Nothing of it may change anything.

`bad_signals.txt` shows all answers for people to read. After a change of wording:

    python -m tests.workflows.bad_signals        writes it anew; read the difference before committing
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from inventory.approval import Approval
from procedure.plan import Gate, OperatorTask, Step
from procedure.reports import StepProblem
from workflows.ledger import Ledger

GOLDEN = Path(__file__).with_name("bad_signals.txt")
NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
CODE = "4f2a91"
GATE = Gate(name="before_power_off", question="Shut down all machines of vm-host-1?", deadline=timedelta(hours=12))
TASK = OperatorTask(target="acd-tel1", instructions="Close the window.", expected=timedelta(minutes=1))
PROBLEM = StepProblem(kind="failed", machine="acd-jb1", expected="stopped", seen="running", next_step="look")
STUCK, BY_HAND, AT_GATE = "3-stop-wildfly-acd-jb1", "3-stop-8-server-acd-tel1", "9-gate-before-power-off"
BY = {"by": "ada"}

BAD: tuple[tuple[str, object], ...] = (
    ("aprove", {"gate": "before_power_off", "seen": CODE, **BY}),
    ("approve", None),
    ("approve", "yes"),
    ("approve", []),
    ("approve", {}),
    ("approve", {"gate": "before_power_off", **BY}),
    ("approve", {"gate": "before_power_off", "seen": "4f2a90", **BY}),
    ("approve", {"gate": "before_start", "seen": CODE, **BY}),
    ("approve", {"gate": "before_power_off", "seen": CODE, "by": " "}),
    ("approve", {"gate": "before_power_off", "seen": CODE, "by": "mallory"}),
    ("approve", {"gate": "before_power_off", "seen": CODE, **BY, "force": True}),
    ("reject", {"gate": "before_power_off", "seen": CODE, **BY}),
    ("reject", {"gate": "before_power_off", "seen": "old", **BY, "comment": "not tonight"}),
    ("retry", {"step": "3-stop-wildfly-acd-jb9", **BY}),
    ("retry", {"step": BY_HAND, **BY}),
    ("retry", {"step": STUCK}),
    ("retry", {"step": STUCK, **BY, "force": True, "reason": "enough"}),
    ("retry", {"step": STUCK, **BY, "force": "perhaps"}),
    ("skip", {"step": STUCK, **BY}),
    ("skip", {"step": AT_GATE, **BY, "reason": "no time"}),
    ("skip", {"step": "4-drain-sessions", **BY, "reason": "no time"}),
    ("confirm", {"step": STUCK, **BY}),
    ("confirm", {"step": ["3-stop"], **BY}),
    ("abort", {}),
    ("abort", {**BY, "reason": ""}),
    ("abort", {"by": "mallory", "reason": "why not"}),
    ("abort", {**BY, "reason": "enough", "roll_back": "perhaps"}),
    ("pause", {**BY}),
    ("resume", {**BY}),
    ("extend", {"step": STUCK, "minutes": 30, **BY, "reason": "the last callers"}),
    ("extend", {"step": "4-drain-sessions", "minutes": 30, **BY, "reason": "the last callers"}),
    ("extend", {"step": "4-drain-sessions", "minutes": 0, **BY, "reason": "the last callers"}),
    ("extend", {"step": "4-drain-sessions", "minutes": "30m", **BY, "reason": "the last callers"}),
    ("extend", {"step": "4-drain-sessions", "minutes": 30, **BY}),
)


def ledger() -> Ledger:
    """A run that waits at a gate, with a problem and for a person; only two may decide."""
    book = Ledger(Approval(approvers=("ada", "bob")))
    stuck = Step(id=STUCK, stage=3, title="Stop Wildfly on acd-jb1", action=TASK)
    by_hand = Step(id=BY_HAND, stage=3, title="Stop 8-Server on acd-tel1 by hand", action=TASK)
    later = Step(id="4-drain-sessions", stage=4, title="Wait until no session is left", action=TASK)
    gate = Step(id=AT_GATE, stage=9, title=GATE.question, action=GATE)
    book.plan((stuck, by_hand, later, gate))
    book.wait_with_problem(stuck, PROBLEM, False, NOW)
    book.wait_for_task(by_hand, TASK, NOW)
    book.wait_at_gate(gate, GATE, CODE, NOW)
    return book


def golden() -> str:
    """All answers, for people to read."""
    parts = [
        f"{len(BAD)} bad signals to a run that waits, and its answers. Written by tests/workflows/bad_signals.py.\n"
    ]
    for signal, said in BAD:
        parts.append(f"--- {signal} {json.dumps(said)}\n{ledger().hear(signal, said, NOW).text}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    GOLDEN.write_text(golden(), encoding="utf-8")
