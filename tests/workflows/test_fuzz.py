"""Whatever is sent, whenever: no run breaks, no gate opens without its code."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue

from inventory.models import Inventory
from procedure.reports import RunOutcome
from tests.workflows.driving import GATES, own, running
from tests.workflows.paper_world import PaperWorld, failure
from workflows.messages import SIGNAL_MODELS

JAMMED = "3-stop-wildfly-acd-jb1"

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
        "step": st.sampled_from(["0-gate-before-start", "4-drain-sessions", "9-gate-before-power-off", "no-such"]),
        "reason": st.just("because"),
        "comment": st.text(max_size=5),
        "force": st.booleans(),
        "signature": st.sampled_from(["", "-----BEGIN SSH SIGNATURE-----", "x"]),
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
moments = st.sampled_from(["health", *GATES, JAMMED, "away"])


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
    world = PaperWorld(own(reference))
    world.trouble(JAMMED, failure("failed"))
    held = world.hold("0-observe-acd-jb1")
    async with running(client, world) as run:
        resumed = 0

        async def send(moment: str) -> None:
            """Say it all, and go on if that has paused the run."""
            nonlocal resumed
            for _, signal, said in (s for s in sent if s[0] == moment):
                await run.say(signal, *said)
            if (await run.status()).paused:
                assert (await run.decide("resume", by="ada")).accepted
                resumed += 1

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
        report = await run.result()
        described = await run.handle.describe()

    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert report.outcome is RunOutcome.COMPLETED
    assert world.violations == []
    assert len(report.decisions) == len(sent) + len(GATES) + 1 + resumed
    assert [d.about for d in report.decisions if d.accepted and d.signal == "approve"] == list(GATES)
