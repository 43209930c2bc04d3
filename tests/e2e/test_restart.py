"""Restarts: what watches comes back without gap or duplicate, what is in flight finishes, what ran runs again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.models import linear
from tests.support.registry import files_under, weights_file
from tests.support.servers import Server, alive, server, until
from tests.support.watching import LOGS, METRICS, RESTART, RUN, Watch

POINTS = 10
BATCHES_EACH = 20


class Writer:
    """Logs metrics, lines and a tag until told to stop, repeating each batch until it is acknowledged."""

    def __init__(self, served: Server, run: str) -> None:
        self._server = served
        self._run = run
        self.batches = 0
        self.stop = False

    async def work(self) -> None:
        async with self._server.http(timeout=10) as http:
            while not self.stop:
                steps = list(range(self.batches * POINTS, (self.batches + 1) * POINTS))
                values = {"steps": steps, "values": [step * 0.5 for step in steps]}
                await self._send(http, "metrics", {"series": {"loss": values}})
                await self._send(http, "logs", {"message": f"line {self.batches}"})
                await self._send(http, "tags", {"batch": str(self.batches)})
                self.batches += 1

    async def _send(self, http: httpx.AsyncClient, what: str, body: dict[str, Any]) -> None:
        path, headers = f"/api/training/runs/{self._run}/{what}", {"Idempotency-Key": f"{what}-{self.batches}"}
        while True:
            try:
                answer = await http.post(path, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 200:
                return
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.05)


async def test_subscriptions_go_on_across_a_restart(folder: Path, database_url: str) -> None:
    async with server(folder, environment={"AXONML_DATABASE_URL": database_url}) as served:
        run = await served.run()
        writer = Writer(served, run)
        watches = [Watch(served, document, run) for document in (METRICS, LOGS, RUN)]
        metrics, logs, tags = watches
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.follow())
            group.create_task(writer.work())
            for restart in (1, 2):
                goal = writer.batches + BATCHES_EACH
                await until(lambda goal=goal: writer.batches >= goal, "nothing was written")  # type: ignore[misc] # bound now
                await until(lambda: all(watch.messages for watch in watches), "nothing was received")
                assert await served.terminate() == 0
                # Who comes back while the server is still stopping is told so once more.
                for watch in watches:
                    assert set(watch.closed) == {RESTART}
                    assert len(watch.closed) >= restart
                await served.start()
            goal = writer.batches + BATCHES_EACH
            await until(lambda: writer.batches >= goal, "nothing was written")
            writer.stop = True
            await asyncio.sleep(0)
            await _finish(served, run, writer)
        steps = writer.batches * POINTS
        assert metrics.points("loss") == [(step, step * 0.5) for step in range(steps)]
        assert logs.lines == [f"line {number}" for number in range(writer.batches)]
        seen = [int(each["batch"]) for each in tags.tags if "batch" in each]
        assert seen == sorted(seen)
        assert seen[-1] == writer.batches - 1
        assert [watch.status for watch in watches] == ["COMPLETED"] * 3
        assert all(watch.connections >= 3 for watch in watches)


async def _finish(served: Server, run: str, writer: Writer) -> None:
    """Ends the run after the writer's last batch."""
    last = -1

    async def quiet() -> bool:
        nonlocal last
        before, last = last, writer.batches
        shown = await served.rest("GET", f"/api/training/runs/{run}")
        return before == last and shown["tags"].get("batch") == str(last - 1)

    await until(quiet, "the writer did not stop")
    await served.rest("POST", f"/api/training/runs/{run}/finish", json={"status": "completed"})


async def _held(parts: list[bytes], gate: asyncio.Event, begun: asyncio.Event) -> AsyncIterator[bytes]:
    """A body whose last part waits for the gate."""
    for part in parts[:-1]:
        yield part
    begun.set()
    await gate.wait()
    yield parts[-1]


async def _deploy(served: Server, name: str, **config: int) -> None:
    await served.rest("POST", "/api/models", json={"name": "m"})
    files, data = {"file": ("w.safetensors", weights_file(3))}, {"architecture": json.dumps(linear())}
    await served.rest("POST", "/api/models/m/versions", files=files, data=data)
    body = {"endpoint": name, "config": config}
    deployed = await served.rest("POST", "/api/models/m/versions/1/deploy", params={"wait": "60"}, json=body)
    assert deployed["status"] == "running", deployed


async def _running(served: Server, name: str) -> None:
    async def running() -> bool:
        shown = await served.rest("GET", f"/api/inference/endpoints/{name}")
        assert shown["status"] != "failed", shown
        return bool(shown["status"] == "running")

    async def predicts() -> bool:
        """What ran before the stop is shown as running until the new server takes it up."""
        async with served.http() as http:
            answer = await http.post(f"/api/inference/predict/{name}", json={"inputs": [[1, 2, 3, 4]]})
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200 and answer.json()["outputs"] == [[3, 6, 9, 12]]

    await until(running, f"{name} does not run")
    await until(predicts, f"{name} does not predict")


async def _all_end(processes: list[psutil.Process], what: str) -> None:
    await until(lambda: not any(map(alive, processes)), what, 20)


async def test_what_is_in_flight_finishes_and_what_ran_runs_again(folder: Path) -> None:
    async with server(folder) as served:
        await _deploy(served, "e", queue_delay_us=900_000)
        await _stop_with_work_in_flight(served)
        await served.start()
        await _running(served, "e")
        versions = await served.rest("GET", "/api/models/m/versions")
        assert [version["version"] for version in versions["items"]] == [2, 1]

        # Killed: PostgreSQL waits for the next server; everything else ends by itself, and runs again afterwards.
        database = served.postmaster()
        others = served.children("serving.forkserver")
        assert len(others) >= 2, "a forkserver and a replica"
        await served.kill()
        await _all_end(others, "the replicas of a killed server go on")
        assert database.is_running()
        await served.start()
        await _running(served, "e")

        family = served.family()
        assert await served.terminate() == 0
        assert not [process for process in family if alive(process)]


async def _stop_with_work_in_flight(served: Server) -> None:
    """SIGTERM while two uploads and two predictions are under way, at different points: all of them finish."""
    gate = asyncio.Event()
    begun = [asyncio.Event() for _ in range(2)]
    rows = json.dumps({"inputs": [[1, 2, 3, 4]] * 3}).encode()
    data = weights_file(5)
    async with served.http() as http:

        def post(path: str, parts: list[bytes], number: int, kind: str) -> Coroutine[Any, Any, httpx.Response]:
            return http.post(path, content=_held(parts, gate, begun[number]), headers={"Content-Type": kind})

        async with asyncio.TaskGroup() as group:
            upload = group.create_task(
                post("/api/models/m/versions", [data[:40], data[40:]], 0, "application/octet-stream")
            )
            late = group.create_task(post("/api/inference/predict/e", [rows[:9], rows[9:]], 1, "application/json"))
            # This one waits in the replica's queue for others to come.
            queued = group.create_task(http.post("/api/inference/predict/e", content=rows, headers=JSON))
            for event in begun:
                await event.wait()
            assert served.process is not None
            await until(lambda: any(files_under(served.data / "blobs")), "the upload did not begin")
            family = served.family()
            served.process.terminate()
            await until(lambda: '"stopping"' in served.logged, "the signal was not taken")
            gate.set()
        assert upload.result().status_code == 201, upload.result().text
        assert upload.result().json()["version"] == 2
        for answer in (late.result(), queued.result()):
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"] == [[3, 6, 9, 12]] * 3
    assert await served.ended() == 0
    assert "took too long" not in served.logged
    assert "did not stop" not in served.logged
    assert not [process for process in family if alive(process)], "nothing outlives a graceful stop"


JSON = {"Content-Type": "application/json"}
