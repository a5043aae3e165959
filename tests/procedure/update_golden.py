"""Write the golden plans anew, after a change that was meant: python -m tests.procedure.update_golden, then review."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from inventory.loading import load
from inventory.models import Inventory
from procedure import failover, maintenance, rendering, rollback
from procedure.as_found import AsFound
from procedure.reports import Outcome
from procedure.rollback import Begun, Undo
from procedure.situation import Situation
from starters.plan import REFERENCE as ON_PAPER
from starters.plan import text
from tests.procedure.conftest import REFERENCE
from tests.procedure.variants import moved_by_hand

GOLDEN = Path(__file__).parent / "golden"


def golden(host: str, *, returns: bool = False) -> Path:
    """Where the plan of the reference cluster that vacates a host, or brings it back, is kept."""
    return GOLDEN / f"reference-{'return' if returns else 'vacate'}-{host}.txt"


def golden_variant(host: str, *, returns: bool = False) -> Path:
    """Where the plan of the cluster that is moved by hand is kept."""
    return GOLDEN / f"moved-by-hand-{'return' if returns else 'vacate'}-{host}.txt"


GOLDEN_MAINTENANCE = GOLDEN / "reference-maintenance-of-both.txt"


def maintenance_text(inventory: Inventory) -> str:
    """The plan of a maintenance of both hosts."""
    situation = Situation(inventory, inventory.vm_hosts[0].name)
    return rendering.as_text(maintenance.plan(situation, ON_PAPER, both=True), situation)


def golden_rollback(host: str) -> Path:
    """Where the roll-back of a failover that came as far as the power-off gate is kept."""
    return GOLDEN / f"reference-roll-back-{host}.txt"


def rollback_text(inventory: Inventory, host: str) -> str:
    """The roll-back of a failover in which everything up to the power-off gate was done."""
    situation, found = Situation(inventory, host), AsFound.normal(inventory)
    run = failover.plan(situation, found, ON_PAPER)
    before = takewhile(lambda step: not rollback.ends_the_way_back(step), run.in_order())
    begun = tuple(Begun(step=step.id, outcome=Outcome.DONE, attempts=1) for step in before)
    return rendering.as_text(rollback.plan(situation, found, Undo(run=run, begun=begun)), situation)


if __name__ == "__main__":
    reference = load(REFERENCE)
    GOLDEN_MAINTENANCE.write_text(maintenance_text(reference), encoding="utf-8")
    by_hand = moved_by_hand(reference)
    for name in (vm_host.name for vm_host in reference.vm_hosts):
        golden_rollback(name).write_text(rollback_text(reference, name), encoding="utf-8")
        for back in (False, True):
            golden(name, returns=back).write_text(text(reference, name, returns=back), encoding="utf-8")
            golden_variant(name, returns=back).write_text(text(by_hand, name, returns=back), encoding="utf-8")
