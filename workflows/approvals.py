"""Approvals at one gate: who may give one, which of them still count, whether they are enough.

Pure: no clock, no Temporal. What was approved so far stands in the wait that people see, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta

from inventory.approval import Approval
from inventory.values import NAME
from procedure.signing import BEGINS
from workflows.messages import Approve
from workflows.status import Bound, Given, Rules, Wait


def code_at(gate: str, bound: Bound | None, number: int) -> str:
    """The code of a gate: short enough to be typed, and another one whenever plan or facts differ, or it opens again.

    Args:
        gate: its name.
        bound: what is shown there; None: in a run of an earlier version.
        number: by chance, a new one whenever the gate is shown anew.
    """
    if bound is None:
        return f"{number & 0xFFFFFF:06x}"
    parts = [gate, bound.plan, f"{number:x}", *(f"{one.source} {one.text}" for one in bound.statements)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def rules_at(approval: Approval, gate: str, requester: str, named: str) -> Rules:
    """What holds at a gate.

    Args:
        approval: of the inventory.
        gate: its name.
        requester: who requested the run; empty: nobody is named.
        named: how the run is named on the command line.
    """
    policy = approval.at(gate)
    command = f"python -m starters.approve {named} --gate {gate} --sign KEY".replace("  ", " ")
    return Rules(
        needed=policy.needed,
        approvers=approval.approvers_at(gate),
        barred=requester if policy.not_requester else "",
        valid_for=policy.valid_for,
        can_be_signed=approval.allowed_signers is not None,
        command=command if policy.signed else "",
    )


def why_it_would_never_open(approval: Approval, requester: str, *, maintenance: bool = False) -> str:
    """Why a run that somebody requested could not pass one of its gates; empty: it can.

    Args:
        approval: of the inventory.
        requester: who requested the run; empty: nobody is named.
        maintenance: whether it is a whole one, which has a gate that other runs have not.
    """
    for gate, policy in approval.gates:
        if not policy.enabled or not policy.not_requester or (gate == "maintenance_finished" and not maintenance):
            continue
        if not requester:
            return f"At gate {gate} whoever requests the run may not approve it, so say who requests it."
        names = approval.approvers_at(gate)
        others = [name for name in names if not _same(name, requester)]
        if names and len(others) < policy.needed:
            few = ", ".join(others) or "nobody"
            needed = "1 approval is" if policy.needed == 1 else f"{policy.needed} approvals are"
            return f"At gate {gate} {needed} needed, and of its approvers only {few} did not request the run."
    return ""


def objection(wait: Wait, wish: Approve) -> str:
    """Why an approval of somebody who may decide here does not count; empty: it does."""
    rules = wait.rules
    if rules.barred and _same(wish.by, rules.barred):
        return f"{wish.by} requested this run and may not approve it; {missing(wait)}"
    if any(_same(wish.by, given.by) for given in wait.approvals):
        return f"{wish.by} has already approved; {missing(wait)}"
    return _about_signature(wait, wish)


def _about_signature(wait: Wait, wish: Approve) -> str:
    if not wish.signature:
        return f"gate {wait.gate} takes only signed approvals: {wait.rules.command}" if wait.rules.command else ""
    if not wait.rules.can_be_signed:
        return "the inventory names no file of allowed signers, so nobody could verify it: approve without a signature"
    if not wish.signature.startswith(BEGINS):
        return f"this is no SSH signature: one begins with {BEGINS}"
    if not NAME.fullmatch(wish.by):
        return f"{wish.by!r} can't be a name among the allowed signers: letters, digits, dot, hyphen, underscore"
    return ""


def approved(wait: Wait, wish: Approve, now: datetime, key: str = "") -> Wait:
    """The wait with one approval more; the key is the one that signed it."""
    until = now + wait.rules.valid_for if wait.rules.needed > 1 and wait.rules.valid_for else None
    given = Given(by=wish.by, at=now, until=until, comment=wish.comment, key=key)
    return wait.model_copy(update={"approvals": (*wait.approvals, given)})


def is_enough(wait: Wait) -> bool:
    """Whether the gate opens."""
    return len(wait.approvals) >= wait.rules.needed


def expired(wait: Wait, now: datetime) -> tuple[Given, ...]:
    """Approvals that waited for another one for too long."""
    return tuple(given for given in wait.approvals if given.until is not None and given.until <= now)


def until_one_expires(wait: Wait, now: datetime) -> timedelta | None:
    """How long the oldest approval still counts; None: nothing expires."""
    ends = [given.until for given in wait.approvals if given.until is not None]
    return max(min(ends) - now, timedelta(milliseconds=1)) if ends else None


def names_of(wait: Wait) -> str:
    """Who has approved."""
    *others, last = [given.by for given in wait.approvals] or ["nobody"]
    return f"{', '.join(others)} and {last}" if others else last


def missing(wait: Wait) -> str:
    """How many approvals are missing, and whose they could be."""
    rules = wait.rules
    told = [given.by for given in wait.approvals] + ([rules.barred] if rules.barred else [])
    left = [name for name in rules.approvers if not any(_same(name, other) for other in told)]
    others = ", ".join(left) if rules.approvers else "anybody" + (f" but {', '.join(told)}" if told else "")
    return f"missing {max(rules.needed - len(wait.approvals), 0)} of: {others}"


def standing(wait: Wait) -> str:
    """How far a gate is, in one line; empty where one approval of anybody opens it."""
    rules = wait.rules
    if wait.kind != "gate" or not (rules.needed > 1 or rules.approvers or rules.barred or rules.command):
        return ""
    given = ", ".join(_given(one) for one in wait.approvals) or "none yet"
    signed = "; only signed ones count" if rules.command else ""
    return f"Approvals, {len(wait.approvals)} of {rules.needed}: {given}; {missing(wait)}{signed}"


def _given(one: Given) -> str:
    return (
        one.by + (" (signed)" if one.key else "") + (f" (counts until {one.until:%H:%M:%S} UTC)" if one.until else "")
    )


def _same(one: str, other: str) -> bool:
    """Whether two names are one person's: capitals make no difference to people."""
    return one.casefold() == other.casefold()
