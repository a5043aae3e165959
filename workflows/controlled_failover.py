"""A controlled failover: one VM-Host is vacated, the other goes on alone."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from procedure.drawing_up import Intent
    from workflows import names
    from workflows.controlled_run import ControlledRun
    from workflows.messages import FailoverRequest
    from workflows.requests import understood
    from workflows.status import RunReport


@workflow.defn(name=names.FAILOVER)
class ControlledFailover(ControlledRun):
    """Vacates one VM-Host of a redundant cluster."""

    @workflow.init
    def __init__(self, *values: object) -> None:
        super().__init__(understood(FailoverRequest, values), Intent(direction="failover"))

    @workflow.run
    async def run(self, *values: object) -> RunReport:
        """Run it. Takes one `FailoverRequest`; fails at once, with a readable message, where it makes no sense."""
        return await self.carry_out()
