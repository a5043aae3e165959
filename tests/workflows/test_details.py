"""Current details: small enough for the Web UI in every state, and what they say to send is understood."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from inventory.approval import Approval
from procedure.plan import Gate, Step
from procedure.reports import Outcome, RunOutcome, StepProblem
from tests.workflows.driving import PATIENCE, running
from tests.workflows.paper_world import PaperWorld, failure
from workflows import names
from workflows.details import render
from workflows.ledger import Ledger
from workflows.status import RunReport, StageView

MOST = 4000  # bytes; the text travels in an address
TEXTS = ("short", "very long " * 400, "ümläut ⚑ " * 300, "`code`\n\n#### ⚑ Gate: send `abort`: `{}`\n" * 50)
NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
GATE = Gate(
    name="before_start",
    question="Vacate vm-host-1?",
    deadline=timedelta(hours=1),
    vouched=tuple(f"No machine of host {n} starts by itself " + "x" * 90 for n in range(40)),
    checklist=tuple(f"Try number {n} " + "y" * 300 for n in range(40)),
)
SIGNAL = re.compile(r"`(\w+)`[^`{]*?`+(?:json)?\s*(\{.*?\})\s*`+")
"""A signal's name with the next JSON behind it, in line or in a block of its own."""
HEADING = re.compile(r"^#### \W ", re.MULTILINE)


def pasted(details: str) -> list[tuple[str, dict[str, object]]]:
    """The signals a person finds there, with the name filled in."""
    found = [(signal, json.loads(payload)) for signal, payload in SIGNAL.findall(details)]
    return [(signal, {k: "ada" if v == "YOUR NAME" else v for k, v in payload.items()}) for signal, payload in found]


def status_with(ledger: Ledger, **changes: object) -> RunReport:
    stage = StageView(number=1, label="step 1", title="Stage " + "z" * 30, state="running")
    stages = tuple(stage.model_copy(update={"number": number}) for number in range(15))
    report = RunReport(
        cluster="a-cluster-with-a-long-name-" + "c" * 80,
        vacated="vm-host-1",
        surviving="vm-host-2",
        began=NOW,
        phase="03 Stop software – waits for: " + "a title; " * 60,
        stages=stages,
        steps=tuple(ledger.records.values()),
        waits=tuple(ledger.waits.values()),
        decisions=tuple(ledger.decisions),
        notes=("a note " * 100,) * 20,
    )
    return report.model_copy(update=changes)


def ledger_with(count: int, text: str) -> Ledger:
    """Many steps that wait, at their longest."""
    ledger = Ledger(Approval())
    gate = Step(id="0-gate-before-start", stage=0, title="Vacate vm-host-1?", action=GATE)
    steps = [gate.model_copy(update={"id": f"3-stop-wildfly-acd-jb{n}", "stage": 3}) for n in range(count)]
    ledger.plan([gate, *steps])
    ledger.wait_at_gate(gate, GATE, "abc123", NOW)
    trouble = StepProblem(kind="failed", machine="acd-jb", expected=text, seen=text, next_step=text)
    for step in steps:
        ledger.wait_with_problem(step, trouble, True, NOW)
    for n in range(30):
        ledger.hear("aprove\n#### x" * 20, {"by": "m" * 90, "n": n}, NOW)
    return ledger


@pytest.mark.parametrize("count", [0, 1, 2, 5, 10, 25, 100])
@pytest.mark.parametrize("text", TEXTS, ids=["short", "long", "many bytes", "forged"])
def test_small_in_every_state_and_all_waits_as_long_as_they_fit(count: int, text: str) -> None:
    ledger = ledger_with(count, text)
    details = render(status_with(ledger))

    assert len(details.encode()) < MOST
    assert len(HEADING.findall(details)) == (1 if "things wait" in details else count + 1)
    offered = pasted(details)
    about = {payload.get("step") or payload.get("gate") for _, payload in offered}
    if count <= 10:
        assert {"before_start", *(f"3-stop-wildfly-acd-jb{n}" for n in range(count))} <= about
    else:
        assert "more, in the query `status`" in details or len(about) > count
        assert len(about) > 10
    for signal, payload in offered[:1]:
        assert ledger.judge(signal, payload).accepted, payload


@pytest.mark.parametrize("outcome", list(RunOutcome))
def test_small_at_the_end(outcome: RunOutcome) -> None:
    ledger = ledger_with(60, "very long " * 300)
    for step in list(ledger.waits):
        ledger.waits.pop(step)
        ledger.end(step, Outcome.UNKNOWN, NOW)
    report = status_with(ledger, outcome=outcome, outcome_reason="why " * 400, next_steps=("do this " * 200,) * 60)
    details = render(report)
    assert len(details.encode()) < MOST
    assert f"Ended: {outcome.value}" in details
    assert "do this" in details or outcome is RunOutcome.COMPLETED


async def test_what_the_details_say_to_send_is_accepted(client: Client, world: PaperWorld) -> None:
    """Pasted from the page as it is, with nothing but the name filled in."""
    jammed = [f"3-stop-wildfly-acd-jb{n}" for n in range(1, 7)]
    for step in jammed:
        world.trouble(step, failure("failed", "still running " * 30))
    sent: set[str] = set()

    async with running(client, world) as run:
        while True:
            status = await run.until(lambda s: s.outcome or [w for w in s.waits if w.step not in sent])
            if status.outcome:
                break
            wait = next(w for w in status.waits if w.step not in sent)
            details = await run.details()
            assert len(details.encode()) < MOST
            await follows(run.handle, wait.title)
            key = ("gate", wait.gate) if wait.gate else ("step", wait.step)
            signal, payload = next((s, p) for s, p in pasted(details) if p.get(key[0]) == key[1])
            assert signal == ("approve" if wait.gate else "retry")
            answer = await run.decide(signal, **payload)
            assert answer.accepted, answer.text
            sent.add(wait.step)
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert set(jammed) <= sent


async def follows(handle: WorkflowHandle[Any, RunReport], title: str) -> None:
    """Search attributes name a stage that is busy, and what waits; they arrive a moment later."""
    async with asyncio.timeout(PATIENCE):
        found = (await handle.describe()).typed_search_attributes
        while title[:20] not in str(found.get(names.WAITING)):
            await asyncio.sleep(0.02)
            found = (await handle.describe()).typed_search_attributes
    assert str(found.get(names.STAGE))[:2].isdigit()
