"""What a careless change would be: a run begins something that its history does not know."""

from __future__ import annotations

from temporalio import workflow


@workflow.defn(name="ControlledFailover")
class AnotherOrder:
    @workflow.run
    async def run(self, *values: object) -> None:
        await workflow.sleep(1)
