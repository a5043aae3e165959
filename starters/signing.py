"""Signing an approval with an SSH key: a file, or one that an agent or a token holds. No passphrase is seen here."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from pathlib import Path

from procedure.signing import NAMESPACE, Signed
from starters.exit_codes import ExitCode
from starters.running import Stopped

USUAL = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
"""Names of keys that ssh itself looks for."""
_HOW = "name one: --sign KEY, a private key, or a public one whose private half is in your SSH agent"


def key_file(given: str) -> Path:
    """The key to sign with.

    Args:
        given: on the command line; empty: the one that ssh would use.

    Raises:
        Stopped: there is none.
    """
    if given:
        key = Path(given).expanduser()
        if not key.is_file():
            raise Stopped(ExitCode.USAGE, f"There is no key file {key}; {_HOW}. Nothing was sent.")
        return key
    folder = Path("~/.ssh").expanduser()
    for name in USUAL:
        for key in (folder / name, folder / f"{name}.pub"):
            if key.is_file():
                return key
    raise Stopped(ExitCode.USAGE, f"There is no SSH key in {folder}; {_HOW}. Nothing was sent.")


async def sign(signed: Signed, key: Path) -> str:
    """The signature.

    Raises:
        Stopped: the key can't sign; ssh-keygen has told why.
    """
    try:
        # Its words and its questions go to the person: a passphrase is asked for on the terminal and never seen here.
        process = await asyncio.create_subprocess_exec(
            "ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), stdin=PIPE, stdout=PIPE
        )
    except OSError as error:
        text = f"ssh-keygen can't be started ({error.strerror}): install OpenSSH's client. Nothing was sent."
        raise Stopped(ExitCode.USAGE, text) from error
    signature, _ = await process.communicate(signed.text.encode())
    if process.returncode != 0 or not signature:
        raise Stopped(ExitCode.REFUSED, f"Not signed: ssh-keygen could not sign with {key}. Nothing was sent.")
    return signature.decode("ascii", "replace")
