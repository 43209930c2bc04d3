"""Two servers seal one database: the lease is taken away under load, and its holder is frozen in the midst of sealing.

Both may then believe that it is theirs. Every acknowledged point stays there, once.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import psutil

from tests.e2e.test_kill import Script, check_exact, progress
from tests.e2e.test_kill_sealing import QUICKLY
from tests.e2e.test_two_servers import pair
from tests.support.servers import Server, until

_HOLDER = """
    SELECT a.pid, a.application_name FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
    WHERE starts_with(a.application_name, 'seals ') AND a.datname = current_database()
      AND l.locktype = 'advisory' AND l.granted
"""


async def _holder(connection: asyncpg.Connection[asyncpg.Record], places: tuple[Server, ...]) -> tuple[int, Server]:
    """The backend that holds the lease, and the server that it belongs to."""
    found: list[asyncpg.Record] = []

    async def held() -> bool:
        found[:] = await connection.fetch(_HOLDER)
        return bool(found)

    await until(held, "nobody seals")
    ((backend, name),) = found
    (server,) = [place for place in places if (place.data / "host").read_text().strip() in name]
    return backend, server


async def test_a_lost_lease_and_a_frozen_holder_lose_and_repeat_nothing(folder: Path, database_url: str) -> None:
    async with pair(folder, database_url, admin=True, **QUICKLY) as places:
        connection = await asyncpg.connect(database_url)
        scripts = [Script(place, await place.run(f"run {number}"), points=500) for number in (0, 1) for place in places]
        tasks = [asyncio.create_task(script.work()) for script in scripts]

        async def sealed() -> int:
            return int(await connection.fetchval("SELECT sum(sealed_seq) FROM run_heads"))

        async def seals_on(batches: int) -> None:
            goal = await sealed() + batches

            async def reached() -> bool:
                return await sealed() >= goal

            await until(reached, "sealing did not go on")

        try:
            await progress(scripts, 5)
            backend, _ = await _holder(connection, places)
            await connection.fetchval("SELECT pg_terminate_backend($1)", backend)
            await seals_on(20)

            # It does not notice that the lease has gone, and goes on with what it had read.
            backend, holder = await _holder(connection, places)
            process = psutil.Process(holder.pid)
            process.suspend()
            try:
                await connection.fetchval("SELECT pg_terminate_backend($1)", backend)
                _, other = await _holder(connection, places)
                assert other is not holder
            finally:
                process.resume()
            await seals_on(40)
            await progress(scripts, 10)
        finally:
            for script in scripts:
                script.stop = True
            await asyncio.wait(tasks)
            await connection.close()
        for script, task in zip(scripts, tasks, strict=True):
            task.result()
            assert set(script.statuses) <= {200, 503, 504}, script.refusals
            await check_exact(script)
        assert not [place for place in places if "Traceback" in place.logged]
