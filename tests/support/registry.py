"""What tests of the registry and of endpoints share: the use-cases on a real database and disk, and a backend that
computes in this process and can be told to fail or to wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from domain import architecture
from domain.access import Scope
from domain.architecture import Architecture
from domain.endpoints import EndpointOperator, Endpoints, Listeners, PortRange, Predictor, Room
from domain.models import (
    BlobCollector,
    ModelFiles,
    Models,
    ModelVersion,
    Quotas,
    UploadCollector,
    Uploads,
    VersionDraft,
)
from domain.models.carried import CarriedMetrics
from domain.serving import (
    InferenceError,
    NotServing,
    PredictionResult,
    ReplicaEvent,
    ReplicaFailed,
    ReplicaSet,
    ReplicaState,
    ReplicaStatus,
    SetStatus,
    Timings,
    WarmUp,
)
from domain.storage import UNLIMITED
from domain.tensors import Array
from persistence.blobs import LocalBlobs
from persistence.database import Database
from persistence.endpoints import PostgresEndpoints
from persistence.metrics import PostgresMetrics
from persistence.models import PostgresFiles, PostgresModels, PostgresUploads
from tests.support.models import linear, scaled_identity
from tests.support.tracking import SetClock, Tracking

WARM = WarmUp(1.0, 1.0, 1.0, 1, 1, 1, 1)


class InProcess:
    """Implements `ServingBackend` by reading the weights of a `scaled_identity` and multiplying."""

    def __init__(self) -> None:
        self.sets: dict[tuple[str, str], tuple[ReplicaSet, float]] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.deployed: list[ReplicaSet] = []
        self.submissions: list[int] = []
        self.gate: asyncio.Event | None = None
        self.refuse: str | None = None
        self.refused: set[str] = set()
        self.queue: asyncio.Queue[ReplicaEvent] = asyncio.Queue()

    async def deploy(self, spec: ReplicaSet) -> WarmUp:
        self.deployed.append(spec)
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse is not None and spec.version_id in (self.refused or {spec.version_id}):
            raise ReplicaFailed(self.refuse, stderr=("Traceback", "ValueError: broken"))
        data = Path(spec.weights_path).read_bytes()
        header = 8 + int.from_bytes(data[:8], "little")
        first = json.loads(data[8:header])["0.weight"]["data_offsets"][0]
        factor = float(np.frombuffer(data[header + first : header + first + 4], np.float32)[0])
        self.sets[spec.endpoint_id, spec.version_id] = (spec, factor)
        self.failed.pop((spec.endpoint_id, spec.version_id), None)
        return WARM

    async def retire(self, endpoint_id: str, version_id: str) -> None:
        self.sets.pop((endpoint_id, version_id), None)
        self.failed.pop((endpoint_id, version_id), None)

    async def predict(
        self,
        endpoint_id: str,
        version_id: str,
        inputs: Mapping[str, Array],
        *,
        deadline: float | None = None,
        outputs: Sequence[str] | None = None,
    ) -> PredictionResult:
        if (endpoint_id, version_id) in self.failed:
            raise ReplicaFailed("its replicas kept dying")
        if (endpoint_id, version_id) not in self.sets:
            raise NotServing("this version is not being served")
        rows = inputs["x"]
        self.submissions.append(len(rows))
        await asyncio.sleep(0)
        if (rows == 666).any():
            raise InferenceError("the model raised")
        factor = self.sets[endpoint_id, version_id][1]
        return PredictionResult({"y": rows * np.float32(factor)}, len(rows), Timings(0, 0, 0), len(rows), 0)

    def status(self, endpoint_id: str) -> tuple[SetStatus, ...]:
        up = [
            SetStatus(version, (ReplicaStatus(0, ReplicaState.READY, 1, 0, 0),), WARM)
            for endpoint, version in self.sets
            if endpoint == endpoint_id
        ]
        down = [
            SetStatus(version, (), WARM, failure)
            for (endpoint, version), failure in self.failed.items()
            if endpoint == endpoint_id
        ]
        return (*up, *down)

    def crash(self, endpoint_id: str, version_id: str) -> None:
        del self.sets[endpoint_id, version_id]
        self.failed[endpoint_id, version_id] = "kept dying"
        event = ReplicaEvent(endpoint_id, version_id, 0, ReplicaState.FAILED, "kept dying", ("out of memory",))
        self.queue.put_nowait(event)

    async def events(self) -> AsyncIterator[ReplicaEvent]:
        while True:
            yield await self.queue.get()

    async def stop(self) -> None:
        self.sets.clear()


class Registry:
    """One server's registry and endpoints. Several may share a database, each under its own host name."""

    def __init__(
        self,
        database: Database,
        root: Path,
        *,
        host: str = "here",
        cores: int = 2,
        most: int = 10,
        ports: tuple[int, int] = (8100, 8101),
        listeners: Listeners | None = None,
        upload_limit: int = 1 << 20,
        quotas: Quotas | None = None,
        idle: timedelta = timedelta(hours=1),
        backend: InProcess | None = None,
    ) -> None:
        self.database = database
        self.tracking = Tracking(database)
        self.clock = SetClock()
        self.root = root
        self.blobs = LocalBlobs(root)
        self.backend = backend or InProcess()
        self.quotas = quotas or Quotas(upload_limit)
        self.rows = PostgresModels(database, self.quotas)
        self.upload_rows = PostgresUploads(database, self.quotas)
        self.endpoint_rows = PostgresEndpoints(database)
        self.metrics = PostgresMetrics(database)
        self.models = Models(
            models=self.rows,
            blobs=self.blobs,
            carried=CarriedMetrics(self.metrics),
            clock=self.clock,
            quotas=self.quotas,
        )
        self.uploads = Uploads(
            models=self.models,
            uploads=self.upload_rows,
            blobs=self.blobs,
            carried=CarriedMetrics(self.metrics),
            clock=self.clock,
            quotas=self.quotas,
            storage=UNLIMITED,
            idle=idle,
        )
        self.given_up = UploadCollector(
            uploads=self.upload_rows, blobs=self.blobs, clock=self.clock, idle=idle, every=timedelta(hours=1)
        )
        self.files = ModelFiles(
            models=self.models, files=PostgresFiles(database, self.quotas), blobs=self.blobs, clock=self.clock
        )
        self.operator = EndpointOperator(
            hosting=self.endpoint_rows,
            backend=self.backend,
            blobs=self.blobs,
            clock=self.clock,
            host=host,
            listeners=listeners,
        )
        self.endpoints = Endpoints(
            endpoints=self.endpoint_rows,
            models=self.rows,
            operator=self.operator,
            predictor=Predictor(endpoints=self.endpoint_rows, operator=self.operator, backend=self.backend),
            clock=self.clock,
            cores=cores,
            room=Room(most, PortRange(*ports, lambda _: True)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Registry]:
        """With the operator at work."""
        task = asyncio.create_task(self.operator.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def collector(self, grace: timedelta = timedelta(0)) -> BlobCollector:
        return BlobCollector(models=self.rows, blobs=self.blobs, grace=grace, every=timedelta(hours=1))

    async def upload(self, scope: Scope, model: str, data: bytes, **said: Any) -> ModelVersion:
        token = said.pop("client_token", None)
        async with await self.models.receive(scope, model, announced=None) as incoming:
            await incoming.write(data)
            file = await incoming.finish()
            return await self.models.add_version(scope, model, file, VersionDraft(**said), client_token=token)

    async def version(self, scope: Scope, factor: float = 2.0, model: str = "m") -> ModelVersion:
        """A servable version that multiplies by `factor`; its model is made when missing."""
        if await self.models.find(scope, name=model) is None:
            await self.models.create(scope, name=model)
        return await self.upload(
            scope, model, weights_file(factor), architecture=json.dumps(linear()), file_name="w.safetensors"
        )


def weights_file(factor: float = 2.0) -> bytes:
    return save(scaled_identity(factor))


def graph() -> Architecture:
    return architecture.parse(linear())


def files_under(root: Path) -> list[str]:
    """The names of all files of a store."""
    return sorted(path.name for path in root.rglob("*") if path.is_file())
