"""What would be understood now, with the JSON to paste: shown wherever something waits for a person."""

from __future__ import annotations

from workflows.status import Hint

Payload = dict[str, str | bool | int]
_WHO: Payload = {"by": "YOUR NAME"}
_WHY: Payload = {**_WHO, "reason": "WHY"}
_ROLL_BACK = Hint(signal="abort", payload={**_WHY, "roll_back": True}, meaning="take back what was done, after a gate")


def at_gate(
    gate: str, code: str, command: str = "", *, ends_run: bool = True, can_roll_back: bool = False
) -> tuple[Hint, ...]:
    """At an open gate; where only signed approvals count, with the command that signs."""
    otherwise = "end the run here" if ends_run else "do not do it"
    seen: Payload = {"gate": gate, "seen": code, **_WHO}
    return (
        Hint(signal="approve", payload=seen, meaning="go on", command=command),
        Hint(signal="reject", payload={**seen, "comment": "WHY"}, meaning=otherwise),
        *((_ROLL_BACK,) if can_roll_back else ()),
    )


def at_task(step: str, aborts: tuple[Hint, ...]) -> tuple[Hint, ...]:
    """Where something only a person can do is due."""
    done = Hint(signal="confirm", payload={"step": step, **_WHO}, meaning="it was done")
    return (done, _skip(step), *aborts)


def at_problem(step: str, *, can_force: bool, can_extend: bool, aborts: tuple[Hint, ...]) -> tuple[Hint, ...]:
    """Where a step did not end well."""
    told = [Hint(signal="retry", payload={"step": step, **_WHO}, meaning="try again")]
    if can_extend:
        longer: Payload = {"step": step, "minutes": 30, **_WHY}
        told.append(Hint(signal="extend", payload=longer, meaning="wait for longer"))
    if can_force:
        by_force: Payload = {"step": step, **_WHO, "force": True, "reason": "WHY"}
        told.append(Hint(signal="retry", payload=by_force, meaning="by force"))
    return (*told, _skip(step), *aborts)


def aborts(*, can_roll_back: bool) -> tuple[Hint, ...]:
    """How to end the run."""
    here = Hint(signal="abort", payload=_WHY, meaning="end the run where it stands")
    return (here, _ROLL_BACK) if can_roll_back else (here,)


def _skip(step: str) -> Hint:
    return Hint(signal="skip", payload={"step": step, **_WHY}, meaning="go on without it")
