"""A whole maintenance: a VM-Host is vacated, work is done on it, and it comes back. Then the other one, if wanted.

Failover and failback are runs of their own, with their own plan, gates and report. What lies between them is here: the
gate that stays open for as long as the work lasts, and the silence of the machines that are off meanwhile.
"""

from __future__ import annotations

from typing import Literal

from inventory.models import ManualMonitoring
from inventory.values import show_duration
from procedure import failback, failover, timing
from procedure.as_found import AsFound
from procedure.commands import SilenceMonitoring
from procedure.draft import Draft, Over
from procedure.plan import ChildRun, Plan, Stage
from procedure.situation import Situation

STAGES_OF_A_HOST = 3
EXTENDED_AFTER = 0.3
"""Of the time that a silence lasts: two that fail leave time for another one, and they are still few in a week."""


def plan(situation: Situation, reference: str, *, both: bool = False) -> Plan:
    """The maintenance of a VM-Host, or of both, one after the other.

    Args:
        situation: the cluster, and which host is first.
        reference: names the maintenance in silences.
        both: whether the other host follows.
    """
    hosts = (situation.vacated, situation.surviving) if both else (situation.vacated,)
    first_stages = {host: 1 + STAGES_OF_A_HOST * number for number, host in enumerate(hosts)}
    stages = tuple(stage for host, first in first_stages.items() for stage in stages_of(host, first))
    draft = Draft(situation, AsFound.normal(situation.inventory), reference, stages)
    returned: Over = ()
    for host, first in first_stages.items():
        returned = maintain(draft, host, first, after=returned)
    # Each run measures its own outage.
    return draft.plan("maintenance").model_copy(update={"outage_from": len(stages) + 1})


def stages_of(host: str, first: int) -> tuple[Stage, ...]:
    """What a person reads about one host."""
    return (
        Stage(number=first, label="the failover", title=f"Failover: {host} is vacated"),
        Stage(
            number=first + 1,
            label="the work between them",
            title=f"Maintenance of {host}",
            note="Its machines are off on purpose, and stay silenced for as long as it takes.",
        ),
        Stage(number=first + 2, label="the failback", title=f"Failback: {host} returns"),
    )


def maintain(draft: Draft, host: str, first: int, *, after: Over) -> Over:
    """Failover, the work of people, failback."""
    vacated = run(draft, first, "failover", host, after=after)
    silenced = keep_silent(draft, first + 1, host, after=vacated)
    finished = approve_return(draft, first + 1, host, after=vacated)
    returned = run(draft, first + 2, "failback", host, after=silenced + finished)
    extend_silence(draft, host, after=silenced, until=returned)
    return returned


def run(draft: Draft, stage: int, direction: Literal["failover", "failback"], host: str, *, after: Over) -> Over:
    """An ordinary run, as if a person had started it."""
    drawn_up = failover.plan if direction == "failover" else failback.plan
    on_paper = drawn_up(Situation(draft.inventory, host), draft.as_found, draft.reference)
    action = ChildRun(direction=direction, host=host, expected_outage=timing.expected_outage(on_paper))
    title = f"{direction.capitalize()}: {host} {'is vacated' if direction == 'failover' else 'returns'}"
    expected = timing.expected_duration(on_paper)
    return draft.run(stage, f"{direction}-{host}", action, after=after, title=title, expected=expected)


def keep_silent(draft: Draft, stage: int, host: str, *, after: Over) -> Over:
    """The machines of the host raise no alarm while they are off, whatever the failover left behind."""
    monitoring = draft.inventory.monitoring
    if isinstance(monitoring, ManualMonitoring):
        draft.note(stage, f"Nobody but a person can extend the downtime of the machines of {host}.")
        return ()
    title = f"Silence all machines of {host} for {show_duration(monitoring.maintenance)}, since they stay off"
    return draft.do(stage, f"keep-silent-{host}", silence(draft, host), after=after, title=title)


def extend_silence(draft: Draft, host: str, *, after: Over, until: Over) -> None:
    """As long as the gate is open, which may be weeks."""
    monitoring = draft.inventory.monitoring
    if not isinstance(monitoring, ManualMonitoring):
        every = EXTENDED_AFTER * monitoring.maintenance
        draft.keep_up(silence(draft, host), every=every, after=after, until=until)


def silence(draft: Draft, host: str) -> SilenceMonitoring:
    """Of all machines of a host, for as long as they are off."""
    machines = tuple(machine.name for machine in draft.inventory.machines if machine.host == host)
    comment = f"Maintenance {draft.reference}: {host} is vacated, its machines are off on purpose"
    return SilenceMonitoring(machines=machines, comment=comment, for_maintenance=True)


def approve_return(draft: Draft, stage: int, host: str, *, after: Over) -> Over:
    """Open for as long as the work lasts. Whoever approves has booted the host, and has seen that nothing else runs."""
    question = f"Is the maintenance of {host} finished, so that it returns?"
    if isinstance(draft.inventory.monitoring, ManualMonitoring):
        question += " Until then, extend the downtime of its machines at the monitoring server by hand."
    vouched = (f"{host} has booted.", "Its machines are still off: none of them has started by itself.")
    return draft.gate(stage, "maintenance_finished", question, after=after, vouched=vouched)
