"""The metric store on PostgreSQL: an append log of batches per run, sealed chunks, and summaries kept with them."""

from __future__ import annotations

from datetime import datetime

from domain.access import Scope
from domain.metrics import Appended, Draft
from persistence.database import Database
from persistence.metrics.reading import MetricReads
from persistence.metrics.writer import MetricWriter, QueueBounds


class PostgresMetrics(MetricReads):
    """`MetricStore` on the process's pool. Nothing is stored unless its `writer` is run."""

    def __init__(self, database: Database, bounds: QueueBounds | None = None) -> None:
        super().__init__(database)
        self.writer = MetricWriter(database, bounds)

    async def append(self, scope: Scope, run_id: str, batch_id: str, draft: Draft, now: datetime) -> Appended:
        """Stored with whatever else waits. Raises Overloaded when too much does."""
        return await self.writer.append(scope, run_id, batch_id, draft, now)
