"""Removing files that nothing refers to any more, some time after the last reference went."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from domain.models.ports import BlobStore, ModelRepository


class BlobCollector:
    """Removes files that no version of any workspace has, some time after the last one went.

    It acts for the server itself, never for a caller, and sees digests only.
    """

    def __init__(self, *, models: ModelRepository, blobs: BlobStore, grace: timedelta, every: timedelta) -> None:
        self._models = models
        self._blobs = blobs
        self._grace = grace
        self._every = every

    async def collect(self) -> int:
        """One pass; how many files were removed."""
        removed = 0
        for sha256 in await self._models.unreferenced(await self._blobs.expired(self._grace)):

            async def remove(digest: str = sha256) -> None:
                await self._blobs.remove(digest)

            removed += await self._models.collect(sha256, remove)
        return removed

    async def run(self) -> None:
        """Passes for ever, the first one at once."""
        while True:
            await self.collect()
            await asyncio.sleep(self._every.total_seconds())
