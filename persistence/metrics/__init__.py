"""Where metrics are kept: the store, its SQL and its byte format."""

from __future__ import annotations

from persistence.metrics.store import PostgresMetrics

__all__ = ["PostgresMetrics"]
