"""Every use-case on a real database, as the composition root builds them, but without any process beside it."""

from __future__ import annotations

from datetime import timedelta

from domain.audit import AuditLog
from domain.endpoints import EndpointOperator, Endpoints, PortRange, Predictor, Room
from domain.experiments import Experiments
from domain.figures import ProcessFigures
from domain.logs import Logs
from domain.metrics import Metrics
from domain.metrics.stream import RunStream
from domain.models import ModelFiles, Models, Quotas, Uploads
from domain.models.aliases import ModelAliases
from domain.models.carried import CarriedMetrics
from domain.models.comparison import VersionComparisons
from domain.models.tensors import Tensors
from domain.runs import Runs
from domain.stats import Stats
from domain.storage import UNLIMITED
from domain.system import System
from persistence.audit import PostgresAudit
from persistence.blobs import LocalBlobs
from persistence.endpoints import PostgresEndpoints
from persistence.experiments import PostgresExperiments
from persistence.logs import PostgresLogs
from persistence.metrics import PostgresMetrics
from persistence.metrics.sealer import SealRules
from persistence.models import PostgresFiles, PostgresModels, PostgresUploads
from persistence.models.aliases import PostgresAliases
from persistence.models.tensors import PostgresTensors
from persistence.runs import PostgresRuns
from persistence.stats import PostgresStats
from resolvers.context import Services
from server.host import LocalHost
from serving.pool import LocalServing
from tests.support.identity import Instance
from tests.support.tracking import BusHub, RecordingBus


async def _none() -> tuple[ProcessFigures, ...]:
    return ()


def services(of: Instance) -> Services:
    """All use-cases of an instance. No replica ever starts, and nothing runs in the background."""
    bus = RecordingBus()
    hub = BusHub(bus)
    backend = LocalServing(of.data_dir / "run")
    blobs = LocalBlobs(of.data_dir / "blobs")
    runs, experiments, models = PostgresRuns(of.database), PostgresExperiments(of.database), PostgresModels(of.database)
    endpoints = PostgresEndpoints(of.database)
    operator = EndpointOperator(hosting=endpoints, backend=backend, blobs=blobs, clock=of.clock, host="test")
    tracked = Runs(
        runs=runs,
        experiments=experiments,
        bus=bus,
        hub=hub,
        clock=of.clock,
        stalled_after=timedelta(minutes=5),
    )
    metric_rows, tensors = PostgresMetrics(of.database), PostgresTensors(of.database)
    metrics = Metrics(store=metric_rows, clock=of.clock, bus=bus, hub=hub)
    registry = Models(
        models=models, blobs=blobs, carried=CarriedMetrics(metric_rows), clock=of.clock, quotas=Quotas(2**30)
    )
    return Services(
        identity=of.identity,
        experiments=Experiments(experiments=experiments, clock=of.clock),
        runs=tracked,
        metrics=metrics,
        run_stream=RunStream(runs=tracked, metrics=metrics, hub=hub),
        logs=Logs(store=PostgresLogs(of.database), clock=of.clock, bus=bus, hub=hub),
        models=registry,
        uploads=Uploads(
            models=registry,
            uploads=PostgresUploads(of.database),
            blobs=blobs,
            carried=CarriedMetrics(metric_rows),
            clock=of.clock,
            quotas=Quotas(2**30),
            storage=UNLIMITED,
            idle=timedelta(hours=1),
        ),
        model_files=ModelFiles(models=registry, files=PostgresFiles(of.database), blobs=blobs, clock=of.clock),
        aliases=ModelAliases(aliases=PostgresAliases(of.database), models=registry, clock=of.clock),
        comparisons=VersionComparisons(models=registry, tensors=tensors, runs=tracked),
        tensors=Tensors(tensors),
        endpoints=Endpoints(
            endpoints=endpoints,
            models=models,
            operator=operator,
            predictor=Predictor(endpoints=endpoints, operator=operator, backend=backend),
            clock=of.clock,
            cores=1,
            room=Room(10, PortRange(8100, 8199, lambda _: True)),
        ),
        system=System(host=LocalHost({"data": of.data_dir}, cores=1), clock=of.clock),
        stats=Stats(store=PostgresStats(of.database, SealRules()), processes=_none, clock=of.clock, version="test"),
        audit=AuditLog(PostgresAudit(of.database)),
        version="test",
    )
