"""What an approver signs, and the order to verify it: a proof of who approved what, of no use anywhere else."""

from __future__ import annotations

import json
from typing import Final

from procedure.orders import RunOrder
from procedure.values import Value

VERIFY_SIGNATURE: Final = "verify_signature"
"""Name of the activity: `SignatureOrder` in, `SignatureVerdict` out."""
NAMESPACE: Final = "controlled-failover"
"""Of the SSH signature: a key that signs elsewhere, commits for example, does not sign approvals by that."""
LONGEST_SIGNATURE: Final = 8192
"""Characters: an RSA key of 16384 bits with a certificate is about as long."""
BEGINS: Final = "-----BEGIN SSH SIGNATURE-----"


class Signed(Value):
    """What an approval says: which one of which run it is, and what was seen."""

    cluster: str
    workflow_id: str
    run_id: str
    gate: str
    code: str
    """Shown at the gate; it stands for plan and facts, and differs whenever the gate is shown anew."""
    by: str
    comment: str = ""

    @property
    def text(self) -> str:
        """The very text that is signed, one line for each field."""
        fields = {"decision": "approve", **self.model_dump()}
        lines = (f"{name}: {json.dumps(value, ensure_ascii=True)}" for name, value in fields.items())
        return "\n".join(["controlled-failover approval, version 1", *lines, ""])


class SignatureOrder(RunOrder):
    """Verify one signature. Nothing of the cluster is looked at or touched."""

    by: str
    """Whose key must have signed."""
    text: str
    signature: str


class SignatureVerdict(Value):
    """Whether a signature is good, and whose."""

    good: bool
    key: str = ""
    """Fingerprint of the key that signed."""
    reason: str = ""
    """Why it is not good, or could not be verified."""
