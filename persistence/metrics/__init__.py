"""Where metrics are kept: the store, its SQL and its byte format."""

from __future__ import annotations

from persistence.metrics.store import PostgresMetrics
from persistence.metrics.writer import QueueBounds

__all__ = ["PostgresMetrics", "QueueBounds"]
