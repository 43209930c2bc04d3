"""One batch sent twice at once through two workers: it is stored once, and every answer agrees about that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.test_workers import served_by_two, through, workers

ROUNDS = 15


async def _send(http: httpx.AsyncClient, run: str, batch: str, loss: float) -> httpx.Response:
    body = {"series": {"loss": {"values": [loss] * 3}}}  # without steps: a repetition must not count on
    return await http.post(f"/api/training/runs/{run}/metrics", json=body, headers={"Idempotency-Key": batch})


async def test_the_same_batch_through_two_workers_at_once(folder: Path, database_url: str) -> None:
    async with served_by_two(folder, database_url) as served:
        one, two = workers(served)
        run = await served.run()
        async with through(one, served) as first, through(two, served) as second:
            cursors: list[str] = []
            for number in range(ROUNDS):
                here, there = await asyncio.gather(
                    _send(first, run, f"same-{number}", number),
                    _send(second, run, f"same-{number}", number),
                )
                assert (here.status_code, there.status_code) == (200, 200), (here.text, there.text)
                assert here.json() == there.json()
                cursors.append(here.json()["cursor"])
            assert len(set(cursors)) == ROUNDS
            kept = [await _differ(first, second, run, number) for number in range(ROUNDS)]
        values = [float(number) for number in range(ROUNDS) for _ in range(3)] + [
            each for each in kept for _ in range(3)
        ]
        found = await served.rest("GET", f"/api/training/runs/{run}/metrics", params={"points": "1000"})
        assert found["series"]["loss"]["values"] == values
        assert found["series"]["loss"]["steps"] == list(range(len(values)))


async def _differ(first: httpx.AsyncClient, second: httpx.AsyncClient, run: str, number: int) -> float:
    """The same id with other content through the other worker: one of them wins, for good. The value that was kept."""
    losses: dict[httpx.AsyncClient, float] = {first: 1000.0 + number, second: 2000.0 + number}
    batch = f"differs-{number}"
    answers: dict[httpx.AsyncClient, httpx.Response] = dict(
        zip(
            losses, await asyncio.gather(*(_send(http, run, batch, loss) for http, loss in losses.items())), strict=True
        )
    )
    won = [http for http, answer in answers.items() if answer.status_code == 200]
    (lost,) = [http for http, answer in answers.items() if answer.status_code == 409]
    error: dict[str, Any] = answers[lost].json()["error"]
    assert (error["code"], error["field"]) == ("CONFLICT", "Idempotency-Key")
    (winner,) = won
    for http in losses:  # whoever asks again, through whichever worker, hears the same
        again = await _send(http, run, batch, losses[winner])
        assert again.json() == answers[winner].json()
        assert (await _send(http, run, batch, losses[lost])).status_code == 409
    return losses[winner]
