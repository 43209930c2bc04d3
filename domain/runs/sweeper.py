"""Finishes what interrupted purges left behind, in the background of the process."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from domain.runs.use_cases import Runs


class PurgeSweeper:
    """Looks at once, then now and then. `run` is to be kept by the process's supervisor."""

    def __init__(self, *, runs: Runs, every: timedelta) -> None:
        self._runs = runs
        self._every = every

    async def run(self) -> None:
        """Sweeps for ever; raises what the database raises, and is then started again."""
        while True:
            await self._runs.sweep_purged()
            await asyncio.sleep(self._every.total_seconds())
