"""Steps and clocks that go backwards: nothing is lost, put out of order or refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server import compose
from server.settings import MetricsSettings, Settings
from tests.support.product import PASSWORD, Product, running
from tests.support.tracking import SetClock

NOW = datetime.now(UTC)
NEVER = Settings(metrics=MetricsSettings(seal_every_seconds=3600))


async def _log(product: Product, run: str, body: Any, **headers: str) -> dict[str, Any]:
    answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def _run(product: Product) -> str:
    return str((await product.rest("POST", "/api/training/runs", json={"name": "run"})).json()["id"])


async def _exported(product: Product, run: str) -> list[tuple[int, str]]:
    answer = await product.rest("GET", f"/api/training/runs/{run}/metrics", params={"format": "csv"})
    rows = [line.split(",") for line in answer.text.splitlines()[1:]]
    return [(int(step), value) for _, step, _, value in rows]


async def test_steps_and_timestamps_out_of_order(product: Product) -> None:
    run = await _run(product)
    later, earlier = int(NOW.timestamp() * 1000), int((NOW - timedelta(days=400)).timestamp() * 1000)
    sent = [(5, 0.5, later), (3, 0.3, earlier), (9, 0.9, earlier - 1), (-7, 0.7, later), (3, 0.33, 0), (9, 0.99, later)]
    for step, value, timestamp in sent:
        await _log(product, run, {"step": step, "loss": value, "timestamp": timestamp})
    await _log(product, run, {"loss": 1.0})  # without a step: behind the highest so far
    assert await _exported(product, run) == [*((step, str(value)) for step, value, _ in sent), (10, "1.0")]
    shown = (await product.rest("GET", f"/api/training/runs/{run}/metrics")).json()["series"]["loss"]
    assert shown["steps"] == [-7, 3, 5, 9, 10]
    assert shown["values"] == [0.7, 0.33, 0.5, 0.99, 1.0], "of equal steps the one accepted last"
    assert shown["timestamps"][:4] == [later, 0, later, later]
    query = "query ($run: ID!) { run(id: $run) { metrics { last lastStep count min max } } }"
    (summary,) = (await product.graphql(query, run=run))["run"]["metrics"]
    assert summary == {"last": 1.0, "lastStep": 10, "count": 7, "min": 0.3, "max": 1.0}


async def test_a_server_whose_clock_goes_back(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetClock(NOW)
    monkeypatch.setattr(compose, "SystemClock", lambda: clock)
    async with running(database_url, settings=NEVER) as product:
        # An access token is not valid before the time at which it was issued; a key is.
        key = {"Authorization": f"Bearer {product.key}"}
        run = await _run(product)
        stream = await product.services.metrics.follow(await product.scope(), run, points=10_000)
        seen: list[int] = []
        cursors: list[str] = []
        for number in range(30):
            clock.forward(seconds=-45 if number % 2 else 30)
            batch = {"Idempotency-Key": f"batch-{number}", **key}
            body = {"series": {"loss": {"steps": [number], "values": [number]}}}
            first = await _log(product, run, body, **batch)
            clock.forward(minutes=-1)
            assert await _log(product, run, body, **batch) == first, "repeated while time went back"
            cursors.append(first["cursor"])
            if number == 15:
                seen += [step for series in (await anext(stream)).series for step in series.steps.tolist()]
        assert len(set(cursors)) == 30
        clock.forward(hours=-1)
        end = {"status": "completed"}
        finished = await product.rest("POST", f"/api/training/runs/{run}/finish", json=end, headers=key)
        assert finished.status_code == 200, finished.text
        clock.at = NOW
        login = {"email": "ada@example.com", "password": PASSWORD}
        clock.forward(days=-2)
        assert (await product.http.post("/api/auth/login", json=login)).status_code == 200, "nobody is locked out"
        clock.at = NOW
        async for delta in stream:
            seen += [step for series in delta.series for step in series.steps.tolist()]
        assert seen == list(range(30))
        assert await _exported(product, run) == [(step, f"{step}.0") for step in range(30)]
