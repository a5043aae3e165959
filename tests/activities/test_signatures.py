"""Signatures of approvals, by real keys: good ones count, and nothing else does."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import signatures
from activities.signatures import SignatureActivities, verify
from inventory.approval import Approval
from inventory.digest import digest
from inventory.loading import load
from inventory.models import Inventory
from procedure.signing import SignatureOrder, Signed
from tests.ssh_keys import Keys, needs_ssh_keygen

pytestmark = needs_ssh_keygen

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"
WHAT = Signed(
    cluster="reference",
    workflow_id="cluster-reference",
    run_id="0199-run",
    gate="before_start",
    code="1a2b3c4d",
    by="ada",
    comment='ready,\n"quoted" ümläut',
)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.allow("ada")
    return made


async def test_a_good_signature_counts_and_names_its_key(keys: Keys) -> None:
    verdict = await verify(keys.signers, "ada", WHAT.text, keys.sign("ada", WHAT.text))
    assert verdict.good, verdict.reason
    assert verdict.key == keys.fingerprint("ada")
    assert verdict.key.startswith("SHA256:")


async def test_a_key_that_only_an_agent_holds_signs_too(keys: Keys) -> None:
    with keys.agent("ada") as agent:
        signed = keys.sign("ada", WHAT.text, agent=agent)
    assert (await verify(keys.signers, "ada", WHAT.text, signed)).good


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": "other"},
        {"workflow_id": "maintenance-reference"},
        {"run_id": "0199-other"},
        {"gate": "functionality"},
        {"code": "1a2b3c4e"},
        {"by": "bob"},
        {"comment": ""},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_signature_counts_for_nothing_else(keys: Keys, changes: dict[str, str]) -> None:
    keys.allow("bob", key_of="ada")
    signature, other = keys.sign("ada", WHAT.text), WHAT.model_copy(update=changes)
    verdict = await verify(keys.signers, other.by, other.text, signature)
    assert not verdict.good
    assert "incorrect signature" in verdict.reason


def test_no_text_reads_like_another() -> None:
    forged = WHAT.model_copy(update={"gate": 'before_start"\ncode: "ffffffff', "code": ""})
    assert len(forged.text.splitlines()) == len(WHAT.text.splitlines()) == 9
    assert forged.text.isascii()


async def test_a_key_that_is_not_listed_for_the_name_does_not_count(keys: Keys) -> None:
    keys.allow("bob")
    for by, signer in (("ada", "bob"), ("bob", "ada"), ("eve", "ada"), ("ada", "mallory")):
        verdict = await verify(keys.signers, by, WHAT.text, keys.sign(signer, WHAT.text))
        assert not verdict.good
        assert f"the key that signed is not listed for {by} in {keys.signers}" in verdict.reason


@pytest.mark.parametrize("what", ["flipped", "cut", "nothing", "another thing", "of git"])
async def test_what_was_tampered_with_does_not_count(keys: Keys, what: str) -> None:
    signature = keys.sign("ada", WHAT.text)
    middle = len(signature) // 2
    forged = {
        "flipped": signature[:middle] + ("A" if signature[middle] != "A" else "B") + signature[middle + 1 :],
        "cut": signature[:middle],
        "nothing": "",
        "another thing": "-----BEGIN SSH SIGNATURE-----\nzzzz\n-----END SSH SIGNATURE-----",
        "of git": keys.sign("ada", WHAT.text, namespace="git"),
    }[what]
    verdict = await verify(keys.signers, "ada", WHAT.text, forged)
    assert not verdict.good
    assert verdict.reason


async def test_a_key_counts_only_as_the_file_says(keys: Keys) -> None:
    signature = keys.sign("ada", WHAT.text)
    for options, says in (
        ('valid-before="20200101"', "key has expired"),
        ('namespaces="git"', "not permitted for use in signature namespace"),
    ):
        keys.allow("ada", options=options)
        verdict = await verify(keys.signers, "ada", WHAT.text, signature)
        assert not verdict.good
        assert says in verdict.reason
    keys.allow("ada", options='namespaces="controlled-failover",valid-after="20200101"')
    assert (await verify(keys.signers, "ada", WHAT.text, signature)).good


async def test_a_file_that_is_missing_or_that_others_may_write_proves_nothing(keys: Keys) -> None:
    signature = keys.sign("ada", WHAT.text)
    keys.signers.chmod(0o666)
    told = (await verify(keys.signers, "ada", WHAT.text, signature)).reason
    assert told == (
        f"others may write to {keys.signers}, so it proves nothing; "
        "mend this on the worker's machine, then approve again"
    )
    keys.signers.unlink()
    told = (await verify(keys.signers, "ada", WHAT.text, signature)).reason
    assert told.startswith(f"the file of allowed signers {keys.signers} can't be read: No such file or directory")


async def test_without_ssh_keygen_or_when_it_hangs_nothing_counts(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = keys.sign("ada", WHAT.text)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    told = (await verify(keys.signers, "ada", WHAT.text, signature)).reason
    assert told.startswith("ssh-keygen can't be started (No such file or directory): install OpenSSH's client")

    hanging = folder / "ssh-keygen"
    hanging.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    hanging.chmod(hanging.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(signatures, "PATIENCE", timedelta(milliseconds=300))
    told = (await verify(keys.signers, "ada", WHAT.text, signature)).reason
    assert told.startswith("ssh-keygen did not answer within 0.3 s")


def inventory_with(keys: Keys) -> Inventory:
    return load(REFERENCE).model_copy(update={"approval": Approval(allowed_signers=str(keys.signers))})


async def test_a_worker_with_another_inventory_verifies_nothing(keys: Keys) -> None:
    inventory = inventory_with(keys)
    order = SignatureOrder(
        cluster="reference",
        inventory_digest=digest(inventory),
        by="ada",
        text=WHAT.text,
        signature=keys.sign("ada", WHAT.text),
    )
    hand = SignatureActivities(inventory).verify_signature
    assert (await ActivityEnvironment().run(hand, order)).good
    other = order.model_copy(update={"inventory_digest": "0" * 16})
    assert "another inventory" in (await ActivityEnvironment().run(hand, other)).reason
