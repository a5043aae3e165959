"""Write the golden plans anew, after a change that was meant: python -m tests.procedure.update_golden, then review."""

from __future__ import annotations

from pathlib import Path

from inventory.loading import load
from inventory.models import Inventory
from procedure import maintenance, rendering
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


if __name__ == "__main__":
    reference = load(REFERENCE)
    GOLDEN_MAINTENANCE.write_text(maintenance_text(reference), encoding="utf-8")
    by_hand = moved_by_hand(reference)
    for name in (vm_host.name for vm_host in reference.vm_hosts):
        for back in (False, True):
            golden(name, returns=back).write_text(text(reference, name, returns=back), encoding="utf-8")
            golden_variant(name, returns=back).write_text(text(by_hand, name, returns=back), encoding="utf-8")
