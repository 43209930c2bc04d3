"""Metrics of runs: points and batches, how they are read from clients, summarised, drawn and followed live."""

from __future__ import annotations

from domain.metrics.keys import metric_key
from domain.metrics.requests import KeysRequest, SeriesAxis, SeriesRequest, SummariesRequest

__all__ = [
    "KeysRequest",
    "SeriesAxis",
    "SeriesRequest",
    "SummariesRequest",
    "metric_key",
]
