"""Gates that take only signed approvals, with real keys: who may send a signal is not yet who may approve."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client

from inventory.approval import Approval, GatePolicy
from inventory.models import Inventory
from procedure.reports import RunOutcome
from procedure.signing import Signed
from tests.ssh_keys import Keys, needs_ssh_keygen
from tests.workflows.driving import Run, own, running, step_of
from tests.workflows.paper_world import PaperWorld
from workflows.status import Wait

pytestmark = needs_ssh_keygen

POLICY = GatePolicy(approvers=("ada", "bob"), signed=True)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.allow("ada")
    made.allow("bob")
    return made


def world_with(reference: Inventory, keys: Keys, **policy: object) -> PaperWorld:
    gate = POLICY.model_copy(update=policy)
    return PaperWorld(own(reference, approval=Approval(allowed_signers=str(keys.signers), before_start=gate)))


async def signed(run: Run, wait: Wait, by: str, **other: str) -> Signed:
    status = await run.status()
    said = Signed(
        cluster=status.cluster,
        workflow_id=status.workflow_id,
        run_id=status.run_id,
        gate=wait.gate,
        code=wait.code,
        by=by,
    )
    return said.model_copy(update=other)


async def test_only_signed_approvals_open_the_gate(client: Client, reference: Inventory, keys: Keys) -> None:
    world = world_with(reference, keys)
    async with running(client, world) as run:
        wait = await run.at_gate("before_start")
        details = await run.details()
        cluster = world.inventory.cluster
        assert f"python -m starters.approve --cluster {cluster} --gate before_start --sign KEY" in details
        said = {"gate": "before_start", "seen": wait.code, "by": "ada"}
        unsigned = await run.decide("approve", **said)
        assert "takes only signed approvals: python -m starters.approve" in unsigned.text

        # Signed for another run, by another key, for another code.
        for text, by in (
            ((await signed(run, wait, "ada", run_id="0199")).text, "ada"),
            ((await signed(run, wait, "ada")).text, "bob"),
            ((await signed(run, wait, "ada", code="00000000")).text, "ada"),
        ):
            answer = await run.decide("approve", **said, signature=keys.sign(by, text))
            assert not answer.accepted
            assert "the signature of ada does not count" in answer.text
        assert (await run.status()).waits

        good = keys.sign("ada", (await signed(run, wait, "ada")).text)
        answer = await run.decide("approve", **said, signature=good)
        assert answer.accepted
        assert answer.text.startswith("approved")
        await run.approve("before_power_off", "functionality")
        report = await run.result()
    assert report.outcome is RunOutcome.COMPLETED
    assert step_of(report, "0-gate-before-start").decided_by == "ada"
    assert world.violations == []


async def test_what_became_of_a_signed_signal_stands_among_the_decisions(
    client: Client, reference: Inventory, keys: Keys
) -> None:
    async with running(client, world_with(reference, keys, needed=2)) as run:
        wait = await run.at_gate("before_start")
        for by, signer in (("ada", "bob"), ("ada", "ada"), ("bob", "bob")):
            signature = keys.sign(signer, (await signed(run, wait, by)).text)
            await run.say("approve", {"gate": "before_start", "seen": wait.code, "by": by, "signature": signature})
        status = await run.until(lambda s: not any(w.gate == "before_start" for w in s.waits))
        assert [d.accepted for d in status.decisions] == [False, True, True]
        assert "is not listed for ada" in status.decisions[0].answer
        assert status.decisions[1].answer.startswith("Approvals, 1 of 2: ada (signed)")
        await run.at_gate("before_power_off")
        await run.say("abort", {"by": "ada", "reason": "enough"})
        await run.result()


async def test_a_file_of_signers_that_is_missing_is_told_and_the_gate_waits(
    client: Client, reference: Inventory, keys: Keys
) -> None:
    async with running(client, world_with(reference, keys)) as run:
        wait = await run.at_gate("before_start")
        signature = keys.sign("ada", (await signed(run, wait, "ada")).text)
        said = {"gate": "before_start", "seen": wait.code, "by": "ada", "signature": signature}
        moved = keys.signers.rename(keys.folder / "elsewhere")
        answer = await run.decide("approve", **said)
        assert "can't be read: No such file or directory; mend this on the worker's machine" in answer.text
        moved.rename(keys.signers)
        assert (await run.decide("approve", **said)).accepted
        await run.at_gate("before_power_off")
        await run.say("abort", {"by": "ada", "reason": "enough"})
        assert (await run.result()).outcome is RunOutcome.ABORTED
