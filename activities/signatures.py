"""Verifies who has approved: SSH signatures, by ssh-keygen against the file of allowed signers.

The proof doesn't depend on who may send a signal to Temporal. The key never leaves the approver's machine.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio import activity

from activities.errors import shortened
from inventory.digest import digest
from inventory.models import Inventory
from procedure.signing import NAMESPACE, VERIFY_SIGNATURE, SignatureOrder, SignatureVerdict

PATIENCE: Final = timedelta(seconds=10)
"""For ssh-keygen, which takes some milliseconds."""
_MINE: Final = "mend this on the worker's machine, then approve again"
_NOT_LISTED: Final = "ssh-keygen says: Could not verify signature."
"""All it says then."""
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class SignatureActivities:
    """Verifies signatures for one cluster."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._digest = digest(inventory)

    def all(self) -> list[Callable[..., Awaitable[Any]]]:
        """For `temporalio.worker.Worker(activities=...)`."""
        return [self.verify_signature]

    @activity.defn(name=VERIFY_SIGNATURE)
    async def verify_signature(self, order: SignatureOrder) -> SignatureVerdict:
        """Whether it is a signature of that text by a key of that name. What can't be verified is not good."""
        signers = self._inventory.approval.allowed_signers
        if signers is None or (order.cluster, order.inventory_digest) != (self._inventory.cluster, self._digest):
            return _bad("this worker has another inventory than the run: restart it with that one, then approve again")
        return await verify(Path(signers), order.by, order.text, order.signature)


async def verify(signers: Path, by: str, text: str, signature: str) -> SignatureVerdict:
    """Verify a signature.

    Args:
        signers: file of allowed signers, as ssh-keygen(1) describes it.
        by: whose key must have signed.
        text: the very text.
        signature: as `ssh-keygen -Y sign` made it.
    """
    trouble = trouble_with(signers)
    if trouble:
        return _bad(f"{trouble}; {_MINE}")
    with tempfile.NamedTemporaryFile("w", suffix=".sig", encoding="ascii", errors="replace") as file:
        file.write(signature + "\n")
        file.flush()
        said = await _keygen(("-f", str(signers), "-I", by, "-n", NAMESPACE, "-s", file.name), text)
    if said.reason != _NOT_LISTED:
        return said
    return _bad(f"the key that signed is not listed for {by} in {signers}, or what it signed is something else")


def trouble_with(signers: Path) -> str:
    """Why a file of allowed signers proves nothing; empty: it does."""
    try:
        with signers.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        return f"the file of allowed signers {signers} can't be read: {error.strerror}"
    return f"others may write to {signers}, so it proves nothing" if mode & _OTHERS else ""


async def _keygen(arguments: tuple[str, ...], text: str) -> SignatureVerdict:
    try:
        process = await asyncio.create_subprocess_exec(
            "ssh-keygen",
            "-Y",
            "verify",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except OSError as error:
        return _bad(f"ssh-keygen can't be started ({error.strerror}): install OpenSSH's client; {_MINE}")
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            said, _ = await process.communicate(text.encode())
    except TimeoutError:
        return _bad(f"ssh-keygen did not answer within {PATIENCE.total_seconds():g} s; {_MINE}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _verdict(process.returncode, said.decode("utf-8", "replace"))


def _verdict(code: int | None, said: str) -> SignatureVerdict:
    if code == 0:
        return SignatureVerdict(good=True, key=said.rsplit(maxsplit=1)[-1] if said.split() else "")
    words = shortened("; ".join(line.strip() for line in said.splitlines() if line.strip()), 300)
    return _bad(f"ssh-keygen says: {words or f'nothing, and ended with {code}'}")


def _bad(reason: str) -> SignatureVerdict:
    return SignatureVerdict(good=False, reason=reason)
