"""Approving on the command line: what is shown, what is signed, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from inventory.approval import Approval, GatePolicy
from inventory.loading import load
from starters.exit_codes import ExitCode
from tests.ssh_keys import Keys, needs_ssh_keygen
from tests.starters.conftest import REFERENCE, Shell
from tests.workflows.driving import Run, own, running
from tests.workflows.paper_world import PaperWorld
from tests.workflows.test_bound_approvals import power


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.allow("ada")
    return made


@asynccontextmanager
async def run_with(temporal: WorkflowEnvironment, shell: Shell, approval: Approval) -> AsyncIterator[tuple[Run, Shell]]:
    """A real run over the cluster on paper, and a shell for its cluster."""
    world = PaperWorld(own(load(REFERENCE), approval=approval))
    async with running(temporal.client, world) as run:
        await run.at_gate("before_start")
        yield run, replace(shell, cluster=world.inventory.cluster)
        await run.say("abort", {"by": "ada", "reason": "the test is over"})
        await run.result()


@needs_ssh_keygen
async def test_a_signed_approval_opens_a_gate_that_wants_one(
    temporal: WorkflowEnvironment, shell: Shell, keys: Keys
) -> None:
    approval = Approval(allowed_signers=str(keys.signers), before_start=GatePolicy(signed=True))
    async with run_with(temporal, shell, approval) as (run, ours):
        status = await ours.about("status")
        command = f"python -m starters.approve --cluster {ours.cluster} --gate before_start --sign KEY"
        assert command in status.out

        unsigned = await ours.about("approve", "--yes", "--by", "ada")
        assert unsigned.code == ExitCode.USAGE
        assert f"takes only signed approvals: {command}\nNothing was sent." in unsigned.err

        nowhere = await ours.about("approve", "--yes", "--by", "ada", "--sign", str(keys.folder / "nowhere"))
        assert nowhere.code == ExitCode.USAGE
        assert "There is no key file" in nowhere.err

        stranger = await ours.about("approve", "--yes", "--by", "ada", "--sign", str(keys.of("mallory")))
        assert stranger.code == ExitCode.REFUSED
        assert "the key that signed is not listed for ada" in stranger.err

        signed = await ours.about("approve", "--yes", "--by", "ada", "--sign", str(keys.of("ada")), "--comment", " go ")
        assert (signed.code, signed.err) == (ExitCode.OK, "")
        assert "Seen, and what the approval is bound to" in signed.out
        assert "storage pair: primary acd-store1" in signed.out
        assert "Accepted: approved: " in signed.out
        assert signed.out.endswith("Looked once more: nothing that matters has changed. The gate is open.\n")
        await run.at_gate("before_power_off")


@needs_ssh_keygen
async def test_a_key_in_the_agent_signs(temporal: WorkflowEnvironment, shell: Shell, keys: Keys) -> None:
    approval = Approval(allowed_signers=str(keys.signers), before_start=GatePolicy(signed=True))
    async with run_with(temporal, shell, approval) as (run, ours):
        with keys.agent("ada") as agent, pytest.MonkeyPatch.context() as environment:
            environment.setenv("SSH_AUTH_SOCK", agent)
            signed = await ours.about("approve", "--yes", "--by", "ada", "--sign", f"{keys.of('ada')}.pub")
        assert signed.code == ExitCode.OK, signed.err
        await run.at_gate("before_power_off")


async def test_an_approval_that_is_void_says_what_has_changed(temporal: WorkflowEnvironment, shell: Shell) -> None:
    async with run_with(temporal, shell, Approval()) as (run, ours):
        run.world.seen = power("acd-jb2", "off")
        void = await ours.about("approve", "--yes", "--by", "ada")
        assert void.code == ExitCode.REFUSED
        assert "The approval is void and gate before_start did not open" in void.err
        assert "  acd-jb2: power was on, is off\n" in void.err
        status = await ours.about("status")
        assert "Shown anew: approvals are void, since this has changed:" in status.out
        again = await ours.about("approve", "--yes", "--by", "ada")
        assert again.code == ExitCode.OK, again.err
        assert "acd-jb2: power off" in again.out


async def test_the_first_of_two_approvals_says_who_is_missing(temporal: WorkflowEnvironment, shell: Shell) -> None:
    policy = GatePolicy(approvers=("ada", "bob", "eve"), needed=2)
    async with run_with(temporal, shell, Approval(before_start=policy)) as (run, ours):
        first = await ours.about("approve", "--yes", "--by", "ada")
        assert first.code == ExitCode.OK, first.err
        assert "Accepted: Approvals, 1 of 2: ada (counts until " in first.out
        assert "missing 1 of: bob, eve" in first.out
        again = await ours.about("approve", "--yes", "--by", "ada")
        assert again.code == ExitCode.REFUSED
        assert "ada has already approved; missing 1 of: bob, eve" in again.err
        second = await ours.about("approve", "--yes", "--by", "eve")
        assert second.code == ExitCode.OK, second.err
        assert "approved by ada and eve" in second.out
        await run.at_gate("before_power_off")


async def test_a_run_that_could_never_pass_is_not_started(shell: Shell) -> None:
    text = shell.inventory.read_text()
    never = "    approvers: [ann]\n    not_requester: true\n"
    deadline = "    deadline: 12h                            # default\n"
    assert deadline in text
    shell.inventory.write_text(text.replace(deadline, deadline + never, 1))
    refused = await shell.start("gate")
    assert refused.code == ExitCode.USAGE
    assert "At gate before_start 1 approval is needed, and of its approvers only nobody did not request" in refused.err
    assert "Nothing was started." in refused.err
