"""Batches that are younger than those behind them, because the clock was put back: all are sealed, none is lost."""

from __future__ import annotations

from domain.metrics import Metrics, decode
from persistence.database import Database
from persistence.lease import SEALING, Lease
from persistence.metrics.sealer import Sealer, SealRules
from tests.support.tracking import Tracking, written

BATCHES = 20
POINTS = 500


async def test_sealing_goes_on_when_the_clock_was_put_back(database: Database, database_url: str) -> None:
    tracking = Tracking(database)
    scope = await tracking.scope()
    run = await tracking.runs.create(scope)
    async with written(database) as store:
        metrics = Metrics(store=store, clock=tracking.clock, bus=tracking.bus, hub=tracking.hub)
        for number in range(BATCHES):
            if number == BATCHES // 2:
                tracking.clock.forward(hours=-5)
            steps = list(range(number * POINTS, (number + 1) * POINTS))
            await metrics.log(scope, run.id, decode({"series": {"loss": {"steps": steps, "values": steps}}}))

        async def exported() -> list[int]:
            pieces = await metrics.points(scope, run.id)
            return [step async for columns in pieces for column in columns for step in column.steps.tolist()]

        sealer = Sealer(
            database=database,
            lease=Lease(database_url, SEALING, name="test-sealer"),
            clock=tracking.clock,
            rules=SealRules(batches=5, points=1, points_per_key=1),
        )
        # What came after the step back looks old by now; what came before it looks as if it were still to come.
        tracking.clock.forward(hours=1)
        while await sealer.sweep():
            pass
        assert await exported() == list(range(BATCHES * POINTS))
        tracking.clock.forward(days=1)
        while await sealer.sweep():
            pass
        assert await database.fetchval("SELECT sealed_seq FROM run_heads") == BATCHES
        assert await exported() == list(range(BATCHES * POINTS))
