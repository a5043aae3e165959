"""The health check alone. It changes nothing and may run at any time."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from inventory.digest import digest
    from inventory.models import Inventory, Role
    from procedure.drawing_up import Intent, judge, rounds
    from procedure.facts import Facts
    from procedure.situation import Situation
    from procedure.verdicts import Verdict
    from workflows.executor import Executor
    from workflows.ledger import Ledger
    from workflows.messages import HealthRequest
    from workflows.requests import known_host, understood
    from workflows.status import HealthReport


@workflow.defn(name="HealthCheck")
class HealthCheckRun:
    """Observes the whole cluster and judges it."""

    @workflow.run
    async def run(self, *values: object) -> HealthReport:
        """Observe and judge. Takes one `HealthRequest`."""
        request = understood(HealthRequest, values)
        began, inventory = workflow.now(), request.inventory
        intent = Intent(direction="failback" if request.returning else "failover")
        vacated = known_host(inventory, request.returning or request.vacate or _active_host(inventory))
        situation = Situation(inventory, vacated)
        executor = Executor(situation, Ledger(inventory.approval), digest(inventory), lambda: None)

        async def judged(facts: Facts) -> tuple[Verdict, ...]:
            return judge(situation, intent, facts)

        verdicts = await executor.check_health(rounds(situation, intent), judged)
        return HealthReport(
            cluster=inventory.cluster,
            began=began,
            ended=workflow.now(),
            direction=intent.direction,
            vacated=vacated,
            healthy=all(verdict.allows for verdict in verdicts),
            verdicts=verdicts,
        )


def _active_host(inventory: Inventory) -> str:
    """The VM-Host whose storage is active: the one a maintenance usually begins with."""
    active = [machine.host for machine in inventory.with_role(Role.STORAGE) if machine.normal == "active"]
    return active[0] if active else inventory.vm_hosts[0].name
