"""What waits for a person: which one is meant, what to type, and what a typed line means."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from starters.exit_codes import ExitCode
from starters.running import Stopped
from workflows.messages import SIGNAL_MODELS, Decide
from workflows.status import Status, StepState, Wait

Kind = Literal["gate", "problem", "operator task"]
SignalName = Literal["approve", "reject", "retry", "skip", "abort", "confirm", "pause", "resume", "extend"]
Payload = dict[str, str | bool | int]
_WORDS: dict[Kind, str] = {
    "gate": "approve {gate} [COMMENT] | reject {gate} WHY",
    "problem": "retry | skip WHY | abort WHY",
    "operator task": "confirm [COMMENT] | skip WHY | abort WHY",
}


def pick(status: Status, kinds: tuple[Kind, ...], name: str | None) -> Wait:
    """The wait that is meant: the named one, or the only one.

    Args:
        status: of the run.
        kinds: what would do.
        name: of a step or a gate; None: the only one there is.

    Raises:
        Stopped: there is none, or more than one and none was named.
    """
    fitting = [wait for wait in status.waits if wait.kind in kinds]
    if name is not None:
        fitting = [wait for wait in fitting if name in (wait.step, wait.gate)]
    if len(fitting) == 1:
        return fitting[0]
    raise Stopped(ExitCode.REFUSED, _not_one(status, kinds, name, fitting))


def _not_one(status: Status, kinds: tuple[Kind, ...], name: str | None, fitting: list[Wait]) -> str:
    what = " or ".join(kinds)
    if len(fitting) > 1:
        listed = "".join(f"\n  {option(wait)}   {wait.title}" for wait in fitting)
        return f"More than one {what} waits. Say which one:{listed}"
    which = f"No {what} called {name!r} waits" if name else f"No {what} waits"
    others = "".join(f"\n  {wait.kind}: {wait.title} ({wait.gate or wait.step})" for wait in status.waits)
    return f"{which} now. The run: {status.phase or 'nothing is known'}." + (
        f"\nWhat waits:{others}" if others else "\nNothing waits for a person."
    )


def extendable(status: Status, name: str | None) -> str:
    """The step that is meant to wait for longer: the named one, or the only one that waits for sessions to end.

    Raises:
        Stopped: there is none, or more than one and none was named.
    """
    waiting = [wait.step for wait in status.waits if wait.can_extend]
    running = [record.id for record in status.steps if record.state is StepState.RUNNING and record.progress]
    fitting = [step for step in (*waiting, *running) if name in (None, step)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = "".join(f"\n  --step {step}" for step in fitting)
        raise Stopped(ExitCode.REFUSED, f"More than one step waits for sessions to end. Say which one:{listed}")
    named = f"No step called {name!r} waits" if name else "No step waits"
    raise Stopped(ExitCode.REFUSED, f"{named} for sessions to end now. The run: {status.phase or 'nothing is known'}.")


def option(wait: Wait) -> str:
    """How this very wait is named on the command line."""
    return f"--gate {wait.gate}" if wait.kind == "gate" else f"--step {wait.step}"


def commands(wait: Wait, cluster: str) -> list[str]:
    """What to type in another terminal."""
    to = f"--cluster {cluster} {option(wait)}"
    skip = f'python -m starters.skip {to} --reason "WHY"'
    abort = f'python -m starters.abort --cluster {cluster} --reason "WHY"'
    back = [f"{abort} --roll-back"] if wait.can_roll_back else []
    if wait.kind == "gate":
        return [
            wait.rules.command or f"python -m starters.approve {to}",
            f'python -m starters.reject {to} --comment "WHY"',
            *back,
        ]
    if wait.kind == "operator task":
        return [f"python -m starters.confirm {to}", skip, abort, *back]
    force = [f'python -m starters.retry {to} --force --reason "WHY"'] if wait.can_force else []
    extend = [f'python -m starters.extend {to} --minutes 30 --reason "WHY"'] if wait.can_extend else []
    return [f"python -m starters.retry {to}", *extend, *force, skip, abort, *back]


def words(wait: Wait) -> str:
    """What can be typed while the run is watched."""
    extend = " | extend MINUTES WHY" if wait.can_extend else ""
    return _WORDS[wait.kind].format(gate=wait.gate) + extend + (" | force WHY" if wait.can_force else "")


def wish_of(line: str, wait: Wait, by: str) -> Decide:
    """What a typed line means for a wait.

    Raises:
        Stopped: it means nothing here; with what would.
    """
    word, _, rest = line.strip().partition(" ")
    if word.lower() not in _allowed(wait):
        raise Stopped(ExitCode.USAGE, f"{word!r} means nothing here; allowed: {words(wait)}")
    rest = rest.strip()
    if wait.kind == "gate":
        # A bare word could have been meant for another gate than the one that is open by now.
        named, _, rest = rest.partition(" ")
        if not named or named not in (wait.gate, wait.code):
            raise Stopped(ExitCode.USAGE, f"name the gate that is meant; allowed: {words(wait)}. Nothing was sent.")
    return wish(*_payload(word.lower(), rest.strip(), wait, by))


def _allowed(wait: Wait) -> set[str]:
    return {part.split()[0] for part in words(wait).split(" | ")}


def _payload(word: str, rest: str, wait: Wait, by: str) -> tuple[SignalName, Payload]:
    gate: Payload = {"gate": wait.gate, "seen": wait.code, "by": by, "comment": rest}
    step: Payload = {"step": wait.step, "by": by}
    minutes, _, why = rest.partition(" ")
    meanings: dict[str, tuple[SignalName, Payload]] = {
        "approve": ("approve", gate),
        "reject": ("reject", gate),
        "retry": ("retry", {**step, "reason": rest}),
        "force": ("retry", {**step, "reason": rest, "force": True}),
        "skip": ("skip", {**step, "reason": rest}),
        "confirm": ("confirm", {**step, "comment": rest}),
        "extend": ("extend", {**step, "minutes": _number(minutes), "reason": why}),
        "abort": ("abort", {"by": by, "reason": rest}),
    }
    return meanings[word]


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def wish(signal: SignalName, payload: Payload) -> Decide:
    """A wish that the run will understand.

    Raises:
        Stopped: a field is missing or too long.
    """
    try:
        SIGNAL_MODELS[signal].model_validate(payload)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise Stopped(ExitCode.USAGE, f"{signal}: {wrong}. Nothing was sent.") from None
    return Decide(signal=signal, payload=payload)
