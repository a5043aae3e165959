"""Real SSH keys, a real file of allowed signers, real signatures by ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from procedure.signing import NAMESPACE

PRESENT = shutil.which("ssh-keygen") is not None
needs_ssh_keygen = pytest.mark.skipif(not PRESENT, reason="ssh-keygen is not installed here (openssh-client)")


@dataclass
class Keys:
    """Keys of people, in a folder of the test's own."""

    folder: Path
    listed: dict[str, str] = field(default_factory=dict)

    def of(self, who: str, *, passphrase: str = "") -> Path:
        """Somebody's private key."""
        key = self.folder / who
        if not key.with_suffix(".pub").exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", who, "-f", str(key)]
            subprocess.run(words, check=True)
        return key

    def allow(self, who: str, *, options: str = "", key_of: str = "") -> None:
        """List somebody's key, maybe only with options."""
        public = self.of(key_of or who).with_suffix(".pub").read_text(encoding="ascii").strip()
        self.listed[who] = " ".join(filter(None, [who, options, public]))
        self.signers.write_text("\n".join(self.listed.values()) + "\n", encoding="ascii")
        self.signers.chmod(0o644)

    @property
    def signers(self) -> Path:
        return self.folder / "allowed_signers"

    def fingerprint(self, who: str) -> str:
        """As ssh-keygen shows it."""
        words = ["ssh-keygen", "-l", "-f", f"{self.of(who)}.pub"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1]

    def sign(self, who: str, text: str, *, namespace: str = NAMESPACE, agent: str = "") -> str:
        """Sign with the private key, or with the public one and the agent that has the other half."""
        key = f"{self.of(who)}.pub" if agent else str(self.of(who))
        words = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", key]
        environment = {**os.environ, "SSH_AUTH_SOCK": agent}
        signed = subprocess.run(words, input=text, capture_output=True, text=True, check=True, env=environment)
        return signed.stdout

    @contextmanager
    def agent(self, who: str) -> Iterator[str]:
        """An agent that holds somebody's key; its file is gone. Yields the address of the agent."""
        key, socket = self.of(who), str(self.folder / "agent.sock")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
        environment = {**os.environ, "SSH_AUTH_SOCK": socket}
        try:
            while subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=False).returncode != 0:
                assert agent.poll() is None, "the agent has ended"
            key.unlink()
            yield socket
        finally:
            agent.terminate()
            agent.wait()
