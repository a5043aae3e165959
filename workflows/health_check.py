"""The health check alone. It changes nothing and may run at any time."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from inventory.digest import digest
    from inventory.models import Inventory, Role
    from procedure import health_check
    from procedure.situation import Situation
    from workflows.executor import Executor
    from workflows.ledger import Ledger
    from workflows.messages import HealthRequest
    from workflows.status import HealthReport


@workflow.defn(name="HealthCheck", failure_exception_types=[ValidationError])
class HealthCheckRun:
    """Observes the whole cluster and judges it."""

    @workflow.run
    async def run(self, request: HealthRequest) -> HealthReport:
        """Observe and judge."""
        began = workflow.now()
        inventory = request.inventory
        vacated = request.vacate or _active_host(inventory)
        hosts = [host.name for host in inventory.vm_hosts]
        if vacated not in hosts:
            raise ApplicationError(
                f"VM-Host {vacated!r} is not in the inventory of {inventory.cluster}; allowed: {', '.join(hosts)}",
                type="bad request",
                non_retryable=True,
            )
        situation = Situation(inventory, vacated)
        executor = Executor(situation, Ledger(inventory.approval), digest(inventory), lambda: None)
        facts = await executor.observe(health_check.rounds(situation))
        verdicts = health_check.judge(situation, facts)
        return HealthReport(
            cluster=inventory.cluster,
            began=began,
            ended=workflow.now(),
            vacated=vacated,
            healthy=all(verdict.allows for verdict in verdicts),
            verdicts=verdicts,
        )


def _active_host(inventory: Inventory) -> str:
    """The VM-Host whose storage is active: the one a maintenance usually begins with."""
    active = [machine.host for machine in inventory.with_role(Role.STORAGE) if machine.normal == "active"]
    return active[0] if active else inventory.vm_hosts[0].name
