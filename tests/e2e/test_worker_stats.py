"""The figures of several web workers: summed in the graph, told apart for Prometheus, whichever worker is asked."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.test_workers import restarted, served_by_two, through, workers
from tests.support.servers import until

QUERY = "{ stats { ingest { points } sealing { mine holder } processes { worker pid memoryBytes } } }"


async def test_every_worker_counts(folder: Path, database_url: str) -> None:
    async with served_by_two(folder, database_url) as served:
        run = await served.run()
        key = {"name": "scrape", "scopes": ["stats:read"]}
        signed = {"Authorization": f"Bearer {served.token}"}
        async with served.http() as http:
            secret = (await http.post("/api/auth/keys", json=key, headers=signed)).json()["secret"]
        scrapes = {"Authorization": f"Bearer {secret}"}
        for chosen in workers(served):
            async with through(chosen, served) as client:
                logged = await client.post(f"/api/training/runs/{run}/metrics", json={"loss": 0.5})
                assert logged.status_code == 200, logged.text

        async def asked() -> dict[str, Any]:
            async with served.http(headers=scrapes) as http:
                document = (await http.post("/graphql", json={"query": QUERY})).json()
            found: dict[str, Any] = document["data"]["stats"]
            return found

        # A reading of a moment ago may be older than the points.
        async def complete() -> bool:
            return bool((await asked())["ingest"]["points"] == 2 and (await asked())["sealing"]["mine"])

        await until(complete, "a worker is missing")
        processes = (await asked())["processes"]
        assert [each["worker"] for each in processes] == [0, 1, 2]
        assert {each["pid"] for each in processes[1:]} == {worker.pid for worker in workers(served)}
        async with served.http(headers=scrapes) as http:
            text = (await http.get("/metrics")).text
        points = {
            sample.labels["worker"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "axonml_ingest_points_total"
        }
        assert points == {"0": 0, "1": 1, "2": 1}

        dead = next(worker for worker in workers(served) if worker.pid == processes[2]["pid"])
        dead.send_signal(signal.SIGKILL)
        await restarted(served, dead)

        async def replaced() -> bool:
            stats = await asked()
            now = {each["worker"]: each["pid"] for each in stats["processes"]}
            return now.keys() == {0, 1, 2} and now[2] != dead.pid and stats["ingest"]["points"] == 1

        await until(replaced, "the new worker does not count, or not from 0")
