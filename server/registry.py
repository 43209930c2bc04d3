"""The registry put together: its use-cases, and what it does in the background for the whole server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from domain.clock import Clock
from domain.metrics.ports import MetricStore
from domain.models import BlobCollector, BlobStore, ModelFiles, Models, Quotas, UploadCollector, Uploads
from domain.models.carried import CarriedMetrics
from domain.storage import Storage
from persistence.database import Database
from persistence.models import PostgresFiles, PostgresModels, PostgresUploads
from server.settings import StorageSettings

COLLECT_EVERY: Final = timedelta(hours=1)
COLLECT_GRACE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Registry:
    """The use-cases, the rows that endpoints read too, and the background work by its name."""

    models: Models
    uploads: Uploads
    files: ModelFiles
    rows: PostgresModels
    background: dict[str, Callable[[], Awaitable[None]]]

    @classmethod
    def of(
        cls,
        given: StorageSettings,
        database: Database,
        metrics: MetricStore,
        *,
        blobs: BlobStore,
        clock: Clock,
        storage: Storage,
    ) -> Registry:
        """The registry on a database and a store of files."""
        quotas = Quotas(
            given.max_upload_bytes, given.max_version_files, given.max_model_versions, given.max_workspace_bytes
        )
        idle = timedelta(hours=given.upload_idle_hours)
        carried = CarriedMetrics(metrics)
        rows, upload_rows = PostgresModels(database, quotas), PostgresUploads(database, quotas)
        models = Models(models=rows, blobs=blobs, carried=carried, clock=clock, quotas=quotas, storage=storage)
        collector = BlobCollector(models=rows, blobs=blobs, grace=COLLECT_GRACE, every=COLLECT_EVERY, storage=storage)
        given_up = UploadCollector(
            uploads=upload_rows, blobs=blobs, clock=clock, idle=idle, every=min(COLLECT_EVERY, idle)
        )
        return cls(
            models=models,
            uploads=Uploads(
                models=models,
                uploads=upload_rows,
                blobs=blobs,
                carried=carried,
                clock=clock,
                quotas=quotas,
                storage=storage,
                idle=idle,
            ),
            files=ModelFiles(
                models=models, files=PostgresFiles(database, quotas), blobs=blobs, clock=clock, storage=storage
            ),
            rows=rows,
            background={"file collector": collector.run, "uploads given up": given_up.run},
        )
