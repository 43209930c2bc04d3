"""SIGTERM while eight clients log at full speed: what was acknowledged is stored once, and the stop is bounded."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.servers import Server, server, until
from tests.support.watching import METRICS, RESTART, Watch

CLIENTS = 8
POINTS = 20
BOUND = 40


@dataclass
class Sender:
    """Sends one batch after the other and ends with the first that is not acknowledged."""

    served: Server
    run: str
    acknowledged: int = 0
    last_words: list[str] = field(default_factory=list)

    async def work(self) -> None:
        async with self.served.http() as http:
            while not self.last_words:
                first = self.acknowledged * POINTS
                steps = list(range(first, first + POINTS))
                body = {"series": {"loss": {"steps": steps, "values": steps}}}
                headers = {"Idempotency-Key": f"batch-{self.acknowledged}"}
                try:
                    answer = await http.post(f"/api/training/runs/{self.run}/metrics", json=body, headers=headers)
                except httpx.TransportError as gone:
                    self.last_words.append(type(gone).__name__)
                    return
                if answer.status_code == 200:
                    self.acknowledged += 1
                else:
                    self.last_words.append(answer.json()["error"]["code"])

    async def check(self) -> int:
        """How many batches are stored: every acknowledged one, and at most the one that was not answered."""
        async with self.served.http() as http:
            exported = await http.get(f"/api/training/runs/{self.run}/metrics", params={"format": "ndjson"})
        steps = [json.loads(line)["step"] for line in exported.text.splitlines()]
        stored, rest = divmod(len(steps), POINTS)
        assert (steps, rest) == (list(range(stored * POINTS)), 0)
        assert stored - self.acknowledged in (0, 1)
        return stored


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stop_under_load_loses_nothing_and_tells_everybody(
    folder: Path, database_url: str, workers: int
) -> None:
    settings = {"AXONML_DATABASE_URL": database_url, "AXONML_SERVER__WORKERS": str(workers)}
    async with server(folder, environment=settings) as served:
        await until(lambda: "is running" in served.printed, "not every worker came to serve")
        senders = [Sender(served, await served.run(f"run {number}")) for number in range(CLIENTS)]
        watches = [Watch(served, METRICS, sender.run) for sender in senders[:3]]
        following = [asyncio.create_task(watch.follow()) for watch in watches]
        await until(lambda: all(watch.messages for watch in watches), "a subscription did not begin")
        sending = [asyncio.create_task(sender.work()) for sender in senders]
        await until(lambda: all(sender.acknowledged >= 5 for sender in senders), "nothing was stored")

        served.process_signal(signal.SIGTERM)
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*sending)
            assert await served.ended() == 0
        assert {word for sender in senders for word in sender.last_words} <= {
            "UNAVAILABLE",
            "ConnectError",
            "ReadError",
            "RemoteProtocolError",
            "WriteError",
        }
        assert "took too long" not in served.logged
        assert "Traceback" not in served.logged
        await until(lambda: all(watch.closed for watch in watches), "a subscriber was not told")
        assert {watch.closed[0] for watch in watches} == {RESTART}

        await served.start()
        stored = {sender.run: await sender.check() for sender in senders}
        for sender in senders:
            await served.rest("POST", f"/api/training/runs/{sender.run}/finish", json={"status": "completed"})
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*following)
        for watch in watches:
            assert watch.points("loss") == [(step, float(step)) for step in range(stored[watch.run] * POINTS)]
