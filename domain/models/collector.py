"""Removing files that nothing refers to any more, some time after the last reference went."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from domain.models.ports import BlobStore, ModelRepository
from domain.storage import UNLIMITED, Place, Storage

SHORT_OF_SPACE_EVERY: Final = timedelta(seconds=5)


class BlobCollector:
    """Removes files that no version of any workspace has, some time after the last one went.

    The time is there for whoever uploads the same bytes again or still reads them; nothing depends on it. On a disk
    that is short of space it is waived.

    It acts for the server itself, never for a caller, and sees digests only.
    """

    def __init__(
        self,
        *,
        models: ModelRepository,
        blobs: BlobStore,
        grace: timedelta,
        every: timedelta,
        storage: Storage = UNLIMITED,
    ) -> None:
        self._models = models
        self._blobs = blobs
        self._grace = grace
        self._every = every
        self._storage = storage

    async def collect(self) -> int:
        """One pass; how many files were removed."""
        removed = 0
        grace = timedelta(0) if self._storage.low(Place.FILES) else self._grace
        for sha256 in await self._models.unreferenced(await self._blobs.expired(grace)):

            async def remove(digest: str = sha256) -> None:
                await self._blobs.remove(digest)

            removed += await self._models.collect(sha256, remove)
        return removed

    async def run(self) -> None:
        """Passes for ever, the first one at once."""
        while True:
            await self.collect()
            if self._storage.low(Place.FILES):
                await asyncio.sleep(SHORT_OF_SPACE_EVERY.total_seconds())
            else:
                await self._storage.until_low(Place.FILES, self._every)
