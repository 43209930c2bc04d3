"""The figures in the text form of Prometheus.

Every process of the server is its own series (`worker`: 0 is the host), because a sum over processes would fall when
one of them is started again, and a rate over it would be wrong. Prometheus sums; the graph's `stats` does so, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from domain.figures import Distribution
from domain.stats import ServerStats, Stored

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Rows: TypeAlias = list[tuple[tuple[str, ...], float]]
_Distributions: TypeAlias = list[tuple[tuple[str, ...], Distribution]]


class _Families(Collector):
    def __init__(self, stats: ServerStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        yield from self._instance()
        yield from self._processes()
        yield from self._storage()
        yield from self._ingest()
        yield from self._live()
        yield from self._sealing()

    def _instance(self) -> Iterator[Metric]:
        stats, stored = self._stats, self._stats.stored
        yield _gauge("info", "Always 1; its label is the version of the server.", [((stats.version,), 1)], "version")
        yield _gauge(
            "database_up",
            "1 when the database answered; without it its counts are left out.",
            [((), isinstance(stored, Stored))],
        )
        if not isinstance(stored, Stored):
            return
        counts, state = stored.counts, stored.sealing
        for name, text, value in (
            ("users", "Accounts.", counts.users),
            ("runs", "Runs, archived ones included.", counts.runs),
            ("runs_active", "Runs that are running.", counts.runs_active),
            ("points", "Accepted metric points.", counts.points),
            ("models", "Models.", counts.models),
            ("model_versions", "Versions of models.", counts.model_versions),
            ("endpoints", "Endpoints.", counts.endpoints),
            ("endpoints_running", "Endpoints that are running.", counts.endpoints_running),
            ("database_bytes", "Size of the database.", counts.database_bytes),
            ("file_bytes", "Size of the stored files.", counts.file_bytes),
            ("sealing_unsealed_runs", "Runs with metrics that are not sealed.", state.unsealed_runs),
            ("sealing_unsealed_points", "Metric points that are not sealed.", state.unsealed_points),
            ("sealing_due_runs", "Runs that are due for sealing, without damaged ones.", state.due_runs),
            ("sealing_lag_seconds", "For how long the oldest metrics have been due.", stats.lag_seconds),
        ):
            yield _gauge(name, text, [((), value)])

    def _processes(self) -> Iterator[Metric]:
        every = [(str(each.worker), each) for each in self._stats.processes]
        yield _gauge(
            "process_resident_memory_bytes", "Resident memory.", [((w,), each.memory_bytes) for w, each in every]
        )
        yield _counter("process_cpu_seconds", "Processor time.", [((w,), each.cpu_seconds) for w, each in every])
        yield _gauge(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            [((w,), each.started_at.timestamp()) for w, each in every],
        )
        states = ("open", "idle", "waiting", "most")
        yield _gauge(
            "database_connections",
            "Connections to the database: open, idle, waited for, and the most there may be.",
            [((w, state), getattr(each.pool, state)) for w, each in every for state in states],
            "worker",
            "state",
        )
        yield _histogram(
            "http_request_seconds",
            "Time until the answer to a request began.",
            [
                ((w, request.method, request.route, str(request.status)), request.seconds)
                for w, each in every
                for request in each.requests
            ],
            "worker",
            "method",
            "route",
            "status",
        )

    def _ingest(self) -> Iterator[Metric]:
        every = [(str(each.worker), each.ingest) for each in self._stats.processes]
        for name, text, attribute in (
            ("ingest_batches", "Batches of metrics that were stored.", "batches"),
            ("ingest_points", "Metric points that were stored.", "points"),
            ("ingest_bytes", "Bytes of the stored batches.", "bytes"),
        ):
            yield _counter(name, text, [((w,), getattr(each, attribute)) for w, each in every])
        yield _counter(
            "ingest_refused",
            "Batches that were refused, by the code of the error.",
            [((w, code), count) for w, each in every for code, count in each.refused.copy().items()],
            "worker",
            "code",
        )
        yield _gauge("ingest_queue_batches", "Batches that wait.", [((w,), each.queued_batches) for w, each in every])
        yield _gauge("ingest_queue_points", "Points that wait.", [((w,), each.queued_points) for w, each in every])
        yield _histogram(
            "ingest_group_batches",
            "Batches that were committed together.",
            [((w,), each.group_batches) for w, each in every],
        )
        yield _histogram(
            "ingest_commit_seconds",
            "Time from the begin to the commit of a group.",
            [((w,), each.commit_seconds) for w, each in every],
        )

    def _storage(self) -> Iterator[Metric]:
        every = [
            ((str(each.worker), disk.place.value), disk) for each in self._stats.processes for disk in each.storage
        ]
        labels = ("worker", "place")
        yield _gauge(
            "storage_free_bytes",
            "Free on the disk; for the database, without what PostgreSQL's log may still take.",
            [(place, disk.space.free) for place, disk in every],
            *labels,
        )
        yield _gauge(
            "storage_watermark_bytes",
            "With less free, whatever would grow is refused.",
            [(place, disk.watermark) for place, disk in every],
            *labels,
        )
        yield _gauge("storage_low", "1 while that is so.", [(place, int(disk.low)) for place, disk in every], *labels)
        yield _counter(
            "storage_refused",
            "What was refused for want of space.",
            [(place, disk.refused) for place, disk in every],
            *labels,
        )

    def _live(self) -> Iterator[Metric]:
        every = [(str(each.worker), each.live) for each in self._stats.processes]
        yield _gauge(
            "live_connections", "Open WebSockets and streams.", [((w,), each.connections) for w, each in every]
        )
        yield _gauge("live_readers", "Live streams of runs.", [((w,), each.readers) for w, each in every])
        for name, text in (
            ("reads", "Reads that live streams asked for."),
            ("executions", "Reads that were run; the others shared an answer."),
            ("deltas", "Messages with metrics for live streams."),
            ("skipped", "Batches that came merged with a later one, because their reader was slow."),
            ("resets", "Messages that replaced what the reader held."),
            ("payloads", "Payloads that clients of subscriptions took."),
            ("encodings", "Payloads that were executed and encoded; the others were shared."),
        ):
            yield _counter(f"live_{name}", text, [((w,), getattr(each, name)) for w, each in every])

    def _sealing(self) -> Iterator[Metric]:
        sealing = self._stats.sealing
        since = sealing.last_sweep_at
        yield _gauge("sealing_lease_held", "1 while this server seals.", [((), int(sealing.holds_lease))])
        yield _gauge("sealing_damaged_runs", "Runs that cannot be sealed.", [((), sealing.damaged_runs)])
        yield _gauge(
            "sealing_last_sweep_time_seconds",
            "When the last sweep ended, in seconds since 1970; 0 before the first.",
            [((), 0 if since is None else since.timestamp())],
        )
        for name, text in (
            ("sweeps", "Sweeps over all runs."),
            ("batches", "Batches that were sealed."),
            ("points", "Points that were sealed."),
            ("chunks", "Chunks that were written."),
            ("failures", "What went wrong."),
        ):
            yield _counter(f"sealing_{name}", text, [((), getattr(sealing, name))])
        yield _histogram("sealing_step_seconds", "Time of a step with one run.", [((), sealing.step_seconds)])


def _labels(rows: _Rows | _Distributions, labels: tuple[str, ...]) -> tuple[str, ...]:
    """`worker` unless others are named; none for what concerns the whole instance."""
    return labels or (("worker",) if any(values for values, _ in rows) else ())


def _gauge(name: str, text: str, rows: _Rows, *labels: str) -> Metric:
    family = GaugeMetricFamily(f"axonml_{name}", text, labels=_labels(rows, labels))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, rows: _Rows, *labels: str) -> Metric:
    family = CounterMetricFamily(f"axonml_{name}", text, labels=_labels(rows, labels))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _histogram(name: str, text: str, rows: _Distributions, *labels: str) -> Metric:
    family = HistogramMetricFamily(f"axonml_{name}", text, labels=_labels(rows, labels))
    for values, value in rows:
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        family.add_metric(values, list(zip(bounds, accumulate(value.counts), strict=True)), value.sum)
    return family


def exposed(stats: ServerStats) -> bytes:
    """The whole page. May run in a thread beside the loop that goes on counting."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(stats))
    return generate_latest(registry)
