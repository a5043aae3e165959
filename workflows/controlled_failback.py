"""A controlled failback: the VM-Host that was vacated comes back, and the cluster is as it was found before."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from procedure.as_found import AsFound
    from procedure.drawing_up import Intent
    from workflows import names
    from workflows.controlled_run import ControlledRun
    from workflows.messages import FailbackRequest
    from workflows.requests import understood
    from workflows.status import RunReport


@workflow.defn(name=names.FAILBACK)
class ControlledFailback(ControlledRun):
    """Brings one VM-Host back into a cluster that runs on the other alone."""

    @workflow.init
    def __init__(self, *values: object) -> None:
        request = understood(FailbackRequest, values)
        super().__init__(request, Intent(direction="failback", as_found=_restored(request), earlier=_earlier(request)))

    @workflow.run
    async def run(self, *values: object) -> RunReport:
        """Run it. Takes one `FailbackRequest`; fails at once, with a readable message, where it makes no sense."""
        return await self.carry_out()


def _restored(request: FailbackRequest) -> AsFound:
    return request.of.as_found if request.of else AsFound.normal(request.inventory)


def _earlier(request: FailbackRequest) -> str:
    return request.of.reference if request.of else ""
