"""What came of a demonstration, as the lab knows it: its auditors, its callers, its truth before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.comparing import differences
from lab.demo_runs import QUERY, Runs, status_of
from lab.ratio import Ratio
from lab.remote import RemoteLab

MOST_DIFFERENCES = 10


@dataclass(frozen=True)
class Verdict:
    """Whether all is as it should be, in words."""

    good: bool
    lines: tuple[str, ...]

    @classmethod
    async def of(
        cls, runs: Runs, lab: RemoteLab, vacated: str, before: dict[str, Any], *, back: bool, real: bool
    ) -> Verdict:
        """Ask the lab.

        Args:
            runs: of the demonstration.
            lab: where they took place.
            vacated: the VM-Host that went.
            before: the truth at the beginning.
            back: whether it has returned.
            real: whether its hosts are real.
        """
        violations = await lab.tell("end", {"vacated": None if back else vacated})
        violations = violations or await lab.ask("violations")
        changed = list(differences(before, await lab.ask("truth"))) if back else []
        ended = await status_of(runs.maintenance if back else runs.latest)
        headline = "Real hosts (see lab/real/README.md)" if real else "The lab (a simulation; see lab/README.md)"
        lines = (
            f"\n{headline}\n" + "-" * len(headline),
            *_callers(await lab.ask("callers")),
            *_auditors(violations),
            *(_truth(changed) if back else ()),
            *await _times(runs, ended),
        )
        return cls(not violations and not changed and ended["outcome"] == "completed", lines)


def _callers(counted: dict[str, Any]) -> list[str]:
    return [
        f"{who.capitalize():<9} {tally['served']} of {tally['attempted']} served, {tally['lost']} lost in the middle, "
        f"{tally['refused']} refused; out of service for {tally['outage_seconds']:.1f} s"
        for who, tally in counted.items()
    ]


def _auditors(violations: list[dict[str, Any]]) -> list[str]:
    if not violations:
        return ["Auditors  silent: no invariant was broken at any moment"]
    return [f"Auditors  VIOLATION of invariant {found['invariant']}: {found['what']}" for found in violations]


def _truth(changed: list[str]) -> list[str]:
    if not changed:
        return ["Truth     the cluster is as it was at the beginning"]
    more = len(changed) - MOST_DIFFERENCES
    lines = [f"Truth     NOT as at the beginning: {each}" for each in changed[:MOST_DIFFERENCES]]
    return lines + ([f"Truth     … and {more} more"] if more > 0 else [])


async def _times(runs: Runs, ended: dict[str, Any]) -> list[str]:
    """How long each run took, against its own critical path."""
    views = ended["runs"] or [ended]
    lines = []
    for view in views:
        handle = runs.run(view["run_id"])
        ratio = Ratio.of(await handle.query("plan", rpc_timeout=QUERY), await status_of(handle))
        lines.append(f"{view['direction'].capitalize():<9} {ratio.text}")
    return lines
