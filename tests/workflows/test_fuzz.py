"""Whatever is sent, whenever: no run breaks, no gate opens without its code."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.service import RPCError

from inventory.models import Inventory
from procedure.facts import Session
from procedure.reports import RunOutcome
from tests.workflows.driving import GATES, own, running
from tests.workflows.paper_world import PaperWorld, failure
from tests.workflows.test_roll_back import truth
from workflows.messages import SIGNAL_MODELS
from workflows.status import StepState

JAMMED = "3-stop-wildfly-acd-jb1"
DRAIN = "4-drain-sessions"
STUCK = Session(id=77, user="app", address="10.77.0.81:40000", command="Sleep")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
plausible = st.fixed_dictionaries(
    {"by": st.sampled_from(["eve", ""])},
    optional={
        "gate": st.sampled_from([*GATES, "", "no such"]),
        "seen": st.sampled_from(["guess", "", "abc123"]),
        "step": st.sampled_from(["0-gate-before-start", DRAIN, "9-gate-before-power-off", "no-such"]),
        "reason": st.just("because"),
        "comment": st.text(max_size=5),
        "force": st.booleans(),
        "signature": st.sampled_from(["", "-----BEGIN SSH SIGNATURE-----", "x"]),
        "minutes": st.sampled_from([1, 480, 0, "30", 1e9]),
    },
)
bytes_of_any_kind = st.builds(
    lambda data, kind: RawValue(Payload(metadata={"encoding": kind}, data=data)),
    st.binary(max_size=30),
    st.sampled_from([b"json/plain", b"json/protobuf", b"binary/plain", b"binary/null", b"unknown", b"\xff"]),
)
values = st.lists(anything | plausible | bytes_of_any_kind, max_size=2)
# Without abort: it is a valid wish of everybody who can spell it.
signals = st.sampled_from([*(name for name in SIGNAL_MODELS if name != "abort"), "aprove", "x" * 300, "✋"])
moments = st.sampled_from(["health", *GATES, JAMMED, DRAIN, "away"])


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a run takes seconds: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=st.lists(st.tuples(moments, signals, values), min_size=5, max_size=30))
async def test_no_sequence_of_signals_breaks_a_run(
    client: Client, reference: Inventory, sent: list[tuple[str, str, list[Any]]]
) -> None:
    timings = reference.timings.model_copy(update={"drain": timedelta(seconds=1), "attempts": 2})
    world = PaperWorld(own(reference).model_copy(update={"timings": timings}))
    world.trouble(JAMMED, failure("failed"))
    world.cluster.stuck.append(STUCK)
    held = world.hold("0-observe-acd-jb1")
    async with running(client, world) as run:
        mended = 0

        async def send(moment: str) -> None:
            """Say it all, and go on if that has paused the run."""
            nonlocal mended
            for _, signal, said in (s for s in sent if s[0] == moment):
                await run.say(signal, *said)
            if (await run.status()).paused:
                assert (await run.decide("resume", by="ada")).accepted
                mended += 1

        async def see_the_drain_through() -> None:
            """Whatever it was told: nobody is cut without a gate, and with nobody left it comes to its end."""
            nonlocal mended
            await send(DRAIN)
            assert world.cluster.stuck == [STUCK]
            world.cluster.stuck.clear()
            while True:
                status = await run.until(lambda s: s.waits)
                wait = next((w for w in status.waits if w.step.startswith(DRAIN)), None)
                if wait is None:
                    return
                wish = {"gate": wait.gate, "seen": wait.code, "comment": "no"} if wait.gate else {"step": wait.step}
                answer = await run.decide("reject" if wait.gate else "retry", by="ada", **wish)
                mended += 1
                assert answer.accepted

        await held.reached.wait()
        await send("health")
        held.go.set()
        for gate in GATES:
            wait = await run.at_gate(gate)
            before = list(world.done())
            await send(gate)
            status = await run.until(lambda s, gate=gate: s.waits)  # type: ignore[misc]  # a lambda's default has no type
            assert gate in [w.gate for w in status.waits]
            assert world.done() == before
            if gate == GATES[0]:
                await send("away")
            await run.say("approve", {"gate": gate, "seen": wait.code, "by": "ada"})
            if gate == GATES[0]:
                await run.waiting(JAMMED)
                await send(JAMMED)
                await run.say("retry", {"step": JAMMED, "by": "ada"})
                await run.waiting(DRAIN)
                await see_the_drain_through()
        report = await run.result()
        described = await run.handle.describe()

    assert described.status is WorkflowExecutionStatus.COMPLETED
    skipped = any(d.signal == "skip" and d.accepted for d in report.decisions)
    assert report.outcome is (RunOutcome.COMPLETED_WITH_SKIPS if skipped else RunOutcome.COMPLETED)
    assert "end_sessions" not in [order.command.kind for order in world.orders]
    assert world.violations == []
    assert len(report.decisions) == len(sent) + len(GATES) + 1 + mended
    assert [d.about for d in report.decisions if d.accepted and d.signal == "approve"] == list(GATES)


aborts = st.fixed_dictionaries({"by": st.just("eve"), "reason": st.just("enough"), "roll_back": st.booleans()})
wishes = st.tuples(signals, values) | st.tuples(st.just("abort"), st.lists(aborts, min_size=1, max_size=1))


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sent=st.lists(wishes, min_size=5, max_size=40),
    jammed=st.lists(st.sampled_from([JAMMED, "5-move-storage", "22-undo-move-load-balancer-2", "9-shut-down-acd-jb1"])),
)
async def test_no_abort_at_any_moment_breaks_a_run(
    client: Client, reference: Inventory, sent: list[tuple[str, list[Any]]], jammed: list[str]
) -> None:
    """With roll-back or without: it ends, no machine that is on stays silenced, and *rolled back* means as found."""
    world = PaperWorld(own(reference))
    before = truth(world)
    for step in jammed:
        world.trouble(step, failure("failed"))
    left = list(reversed(sent))
    async with running(client, world) as run:
        while (status := await run.until(lambda s: s.waits or s.paused or s.outcome)).outcome is None:
            said = [left.pop() for _ in range(min(2, len(left)))]
            said += [("resume", [{"by": "ada"}])] if status.paused else []
            for wait in status.waits:
                what = {"gate": wait.gate, "seen": wait.code} if wait.gate else {"step": wait.step}
                said.append(("approve" if wait.gate else "retry", [{"by": "ada", **what}]))
            for signal, payload in said:
                with suppress(RPCError):  # the run may end meanwhile
                    await run.say(signal, *payload)
        report = await run.result()
        described = await run.handle.describe()

    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert world.violations == []
    assert not any(record.state in (StepState.RUNNING, StepState.WAITING) for record in report.steps)
    if report.outcome is RunOutcome.ROLLED_BACK:
        assert truth(world) == before
    if report.outcome is RunOutcome.FAILED:
        assert "It was rolled back, but not with" in report.outcome_reason
    assert world.cluster.silenced() == world.cluster.off
