"""Metrics of runs: points and batches, how they are read from clients, summarised, drawn and followed live."""

from __future__ import annotations

from domain.metrics.batch import (
    MAX_KEYS,
    MAX_POINTS,
    SERVER_NAMED,
    Batch,
    Column,
    Draft,
    DraftColumn,
    Floats,
    Ints,
    batch_id,
)
from domain.metrics.cursor import read_cursor, write_cursor
from domain.metrics.draft import DraftBuilder
from domain.metrics.follow import MetricDelta
from domain.metrics.ingest import DraftLines, decode, decode_lines
from domain.metrics.keys import metric_key
from domain.metrics.ports import Appended, MetricKey, MetricsSince, MetricStore, RunSeries
from domain.metrics.requests import (
    ComparisonRequest,
    KeysRequest,
    MetricStream,
    SeriesAxis,
    SeriesRequest,
    SummariesRequest,
)
from domain.metrics.series import MetricSeries, collapsed, draw, joined
from domain.metrics.service import Metrics, MetricsLogged, MetricsRead
from domain.metrics.summaries import MetricSummary

__all__ = [
    "MAX_KEYS",
    "MAX_POINTS",
    "SERVER_NAMED",
    "Appended",
    "Batch",
    "Column",
    "ComparisonRequest",
    "Draft",
    "DraftBuilder",
    "DraftColumn",
    "DraftLines",
    "Floats",
    "Ints",
    "KeysRequest",
    "MetricDelta",
    "MetricKey",
    "MetricSeries",
    "MetricStore",
    "MetricStream",
    "MetricSummary",
    "Metrics",
    "MetricsLogged",
    "MetricsRead",
    "MetricsSince",
    "RunSeries",
    "SeriesAxis",
    "SeriesRequest",
    "SummariesRequest",
    "batch_id",
    "collapsed",
    "decode",
    "decode_lines",
    "draw",
    "joined",
    "metric_key",
    "read_cursor",
    "write_cursor",
]
