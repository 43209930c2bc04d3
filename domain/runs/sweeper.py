"""Finishes what bulk purges, and interrupted ones, left behind, in the background of the process."""

from __future__ import annotations

from datetime import timedelta

from domain.runs.use_cases import Runs


class PurgeSweeper:
    """Looks at once, then whenever runs were purged in bulk, and now and then.

    `run` is to be kept by the process's supervisor.
    """

    def __init__(self, *, runs: Runs, every: timedelta) -> None:
        self._runs = runs
        self._every = every

    async def run(self) -> None:
        """Sweeps for ever; raises what the database raises, and is then started again."""
        while True:
            await self._runs.sweep_purged()
            await self._runs.until_purged(self._every)
