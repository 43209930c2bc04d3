"""kill -9 while metrics are sealed: at the last statement of it, and again and again under load."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from persistence.postgres import BundledPostgres
from tests.e2e.test_kill import Script, check_exact, progress
from tests.support.servers import SECRET, Server, server, until

QUICKLY = {
    "AXONML_METRICS__SEAL_AFTER_SECONDS": "0.3",
    "AXONML_METRICS__SEAL_ENDED_AFTER_SECONDS": "0.3",
    "AXONML_METRICS__SEAL_EVERY_SECONDS": "0.02",
}
_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE OF h%'
"""
_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_STATE = """
    SELECT sealed_seq, (SELECT count(*) FROM metric_chunks) AS chunks,
           (SELECT count(*) FROM metric_batches WHERE payload IS NULL) AS emptied
    FROM run_heads
"""


async def _log(served: Server, run: str, batch: str, steps: range) -> dict[str, object]:
    async with served.http() as http:
        series = {"loss": {"steps": list(steps), "values": [step * 0.5 for step in steps]}}
        answer = await http.post(
            f"/api/training/runs/{run}/metrics", json={"series": series}, headers={"Idempotency-Key": batch}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def _steps(served: Server, run: str) -> list[int]:
    async with served.http() as http:
        exported = await http.get(f"/api/training/runs/{run}/metrics", params={"format": "csv"})
        lines = exported.text.splitlines()
        place = lines[0].split(",").index("step")
        return [int(line.split(",")[place]) for line in lines[1:]]


async def test_a_server_killed_at_the_last_statement_of_sealing_has_done_nothing(
    folder: Path, database_url: str
) -> None:
    settings = {**QUICKLY, "AXONML_METRICS__SEAL_AFTER_SECONDS": "1.5", "JWT_SECRET": SECRET}
    async with server(folder, environment={**settings, "AXONML_DATABASE_URL": database_url}) as served:
        connection, blocker = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
        try:
            run = await served.run()
            first = await _log(served, run, "first", range(25_000))
            async with blocker.transaction():
                assert await blocker.fetchval("SELECT sealed_seq FROM run_heads FOR UPDATE") == 0

                async def seals() -> bool:
                    return bool(await connection.fetchval(_WAITING))

                await until(seals, "nothing was sealed")
                await served.kill()
                assert tuple(await connection.fetchrow(_STATE) or ()) == (0, 0, 0)

            await blocker.close()

            async def given_up() -> bool:
                return not await connection.fetchval(_OTHERS)

            await until(given_up, "the dead server's connections stayed")
            assert tuple(await connection.fetchrow(_STATE) or ()) == (0, 0, 0)
            await served.start()

            async def sealed() -> bool:
                return bool(await connection.fetchval("SELECT sealed_seq = 1 FROM run_heads"))

            await until(sealed, "the next server did not seal")
            assert tuple(await connection.fetchrow(_STATE) or ()) == (1, 1, 1)
            assert await _steps(served, run) == list(range(25_000))
            assert await _log(served, run, "first", range(25_000)) == first
            assert await _steps(served, run) == list(range(25_000))
        finally:
            await blocker.close()
            await connection.close()


async def test_kills_under_load_while_sealing_lose_and_repeat_nothing(folder: Path) -> None:
    async with server(folder, environment=QUICKLY) as served:
        bundled = BundledPostgres(served.data / "postgres")
        dsn = await bundled.start()  # it runs already: this finds it
        scripts = [Script(served, await served.run(f"script {number}"), points=1_000) for number in range(3)]
        tasks = [asyncio.create_task(script.work()) for script in scripts]

        async def sealed() -> int:
            connection = await asyncpg.connect(dsn)
            try:
                return int(await connection.fetchval("SELECT min(sealed_seq) FROM run_heads"))
            finally:
                await connection.close()

        try:
            for _ in range(3):
                goal = await sealed() + 20

                async def reached(goal: int = goal) -> bool:
                    return await sealed() >= goal

                await until(reached, "sealing did not go on")
                await served.kill()
                await served.start()
            served.postmaster().kill()
            await progress(scripts, 15)
        finally:
            for script in scripts:
                script.stop = True
            await asyncio.wait(tasks)
        for task in tasks:
            task.result()
        for script in scripts:
            assert set(script.statuses) <= {200, 503}, script.refusals
            await check_exact(script)
        assert await sealed() >= 60
