"""kill -9 of the server and of its database while clients log at full speed: nothing acknowledged is lost or twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.servers import Server, server, until

CLIENTS = 8
POINTS = 50


@dataclass
class Script:
    """A training script as it should be: one batch after the other, each repeated with its id until acknowledged."""

    server: Server
    run: str
    points: int = POINTS
    acknowledged: int = 0
    cursors: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unreachable: int = 0
    hints: list[str | None] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    stop: bool = False

    async def work(self) -> None:
        async with self.server.http(timeout=10) as http:
            while not self.stop:
                first = self.acknowledged * self.points
                steps = list(range(first, first + self.points))
                await self._send(
                    http, "metrics", {"series": {"loss": {"steps": steps, "values": [step * 0.5 for step in steps]}}}
                )
                await self._send(http, "logs", {"lines": [{"message": f"line {self.acknowledged}"}]})
                self.acknowledged += 1

    async def _send(self, http: httpx.AsyncClient, what: str, body: dict[str, object]) -> None:
        headers = {"Idempotency-Key": f"{what}-{self.acknowledged}"}
        while True:
            try:
                answer = await http.post(f"/api/training/runs/{self.run}/{what}", json=body, headers=headers)
            except httpx.TransportError:
                self.unreachable += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                return
            error = answer.json()["error"]
            self.refusals.append(error["code"])
            self.hints.append(answer.headers.get("retry-after"))
            await asyncio.sleep(0.05)


async def progress(scripts: list[Script], batches: int) -> None:
    """Waits until every script has had that many more batches acknowledged."""
    goals = [script.acknowledged + batches for script in scripts]
    await until(
        lambda: all(script.acknowledged >= goal for script, goal in zip(scripts, goals, strict=True)),
        "the scripts made no progress",
    )


async def check_exact(script: Script) -> None:
    """Every acknowledged point and line is there, and none twice."""
    async with script.server.http() as http:
        exported = await http.get(f"/api/training/runs/{script.run}/metrics", params={"format": "ndjson"})
        points = [json.loads(line) for line in exported.text.splitlines()]
        assert [(point["step"], point["value"]) for point in points] == [
            (step, step * 0.5) for step in range(script.acknowledged * script.points)
        ]
        lines: list[str] = []
        cursor = None
        while cursor is not None or not lines:
            params = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
            page = (await http.get(f"/api/training/runs/{script.run}/logs", params=params)).json()
            lines += [line["message"] for line in page["items"]]
            cursor = page["next_cursor"]
        assert lines == [f"line {number}" for number in range(script.acknowledged)]
        shown = (await http.get(f"/api/training/runs/{script.run}")).json()
        assert shown["metrics"] == {"loss": (script.acknowledged * script.points - 1) * 0.5}


async def test_a_killed_server_and_a_killed_database_lose_and_repeat_nothing(folder: Path) -> None:
    async with server(folder) as served:
        database = served.postmaster()
        scripts = [Script(served, await served.run(f"script {number}")) for number in range(CLIENTS)]
        tasks = [asyncio.create_task(script.work()) for script in scripts]
        try:
            await progress(scripts, 8)
            await served.kill()
            assert database.is_running(), "PostgreSQL must outlive a killed server"
            await served.start()
            assert served.postmaster().pid == database.pid, "the next server must adopt PostgreSQL"
            assert f"PostgreSQL adopted (process {database.pid})" in served.logged
            await progress(scripts, 8)

            for script in scripts:
                assert set(script.statuses) == {200}, script.refusals
                script.unreachable = 0
            database.kill()
            await until(lambda: any(script.statuses[503] for script in scripts), "nobody was told to wait")
            await progress(scripts, 8)
            assert served.postmaster().pid != database.pid
        finally:
            for script in scripts:
                script.stop = True
            await asyncio.wait(tasks)
        for script in scripts:
            assert script.unreachable == 0, "the server must stay up while its database is away"
            assert set(script.statuses) <= {200, 503}, script.refusals
            assert all(hint is not None and int(hint) >= 1 for hint in script.hints)
            assert set(script.refusals) <= {"UNAVAILABLE"}
            await check_exact(script)
        for task in tasks:
            task.result()
