"""Exports over HTTP: which form is answered, that all hold the same points, and what a broken-off one looks like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from domain.errors import NotFound
from domain.metrics import Column
from persistence.metrics import PostgresMetrics
from tests.support.product import Product

ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"


async def _logged(product: Product) -> str:
    """The path of the metrics of a run with several keys, repeated steps and numbers that are none."""
    made = await product.rest("POST", "/api/training/runs", json={"name": "export"})
    path = f"/api/training/runs/{made.json()['id']}/metrics"
    for document in (
        {"series": {"loss": {"steps": [1, 1, "9007199254740993"], "values": [0.5, "NaN", "-Infinity"]}}},
        [{"step": step, "=acc": step / 3, "loss": "Infinity"} for step in range(-3, 3)],
        {"metrics": [{"key": "loss", "value": 1, "step": "-9223372036854775808", "timestamp": -1}]},
    ):
        assert (await product.rest("POST", path, json=document)).status_code == 200
    return path


def _points(stream: bytes) -> list[dict[str, Any]]:
    """The rows of an Arrow stream, each number written as NDJSON has it."""
    table = pa.ipc.open_stream(stream).read_all()
    table = table.set_column(2, "timestamp", table["timestamp"].cast(pa.int64()))
    return [{**row, "step": int(row["step"]), "value": repr(row["value"])} for row in table.to_pylist()]


async def test_arrow_holds_what_ndjson_holds(product: Product) -> None:
    path = await _logged(product)
    for params in ({}, {"keys": "=acc"}):
        arrow = await product.rest("GET", path, params={"format": "arrow", **params})
        lines = await product.rest("GET", path, params={"format": "ndjson", **params})
        assert arrow.headers["content-type"] == ARROW
        assert arrow.headers["content-disposition"].endswith('-metrics.arrows"')
        expected = [json.loads(line) for line in lines.text.splitlines()]
        assert len(expected) == (6 if params else 16)
        assert _points(arrow.content) == [
            {**point, "step": int(point["step"]), "value": repr(float(point["value"]))} for point in expected
        ]
    table = await product.rest("GET", path, params={"format": "csv"})
    assert "\r\n'=acc,-3," in table.text


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (ARROW, ARROW),
        (f"text/html, {ARROW};q=0.5, */*", ARROW),
        (f"{ARROW};q=0, text/csv", "text/csv; charset=utf-8"),
        (NDJSON, NDJSON),
        (f"application/json, {ARROW}", "application/json"),
        ("*/*", "application/json"),
    ],
)
async def test_accept_chooses_the_form_unless_one_is_named(product: Product, accept: str, answered: str) -> None:
    path = await _logged(product)
    answer = await product.rest("GET", path, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, answered)
    named = await product.rest("GET", path, headers={"Accept": accept}, params={"format": "rows"})
    assert isinstance(named.json(), list)


def _endless(ended: asyncio.Event, *, after: int | None = None) -> Any:
    """`points` of a store that goes on until its reader leaves, or breaks off after so many pieces."""
    steps = np.arange(100_000)
    column = Column("loss", steps, steps.astype(float), steps)

    async def points(*_: object) -> AsyncIterator[list[Column]]:
        try:
            given = 0
            while given != after:
                given += 1
                yield [column]
            raise NotFound("the run is purged")
        finally:
            ended.set()

    return points


@pytest.mark.parametrize("form", ["arrow", "csv", "ndjson"])
async def test_an_export_ends_when_its_reader_leaves(
    product: Product, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await _logged(product)
    ended = asyncio.Event()
    monkeypatch.setattr(PostgresMetrics, "points", staticmethod(_endless(ended)))
    async with asyncio.timeout(60):
        url = f"{product.url}{path}?format={form}"
        async with product.http.stream("GET", url, headers=product.headers) as response:
            assert response.status_code == 200
            await anext(response.aiter_raw())
            assert not ended.is_set()
        await ended.wait()
        while product.connections.open_count:  # noqa: ASYNC110 - the registry has no event for it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", ["arrow", "csv", "ndjson"])
async def test_an_export_that_cannot_go_on_is_torn(
    product: Product, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await _logged(product)
    monkeypatch.setattr(PostgresMetrics, "points", staticmethod(_endless(asyncio.Event(), after=3)))
    async with asyncio.timeout(60):
        url = f"{product.url}{path}?format={form}"
        async with product.http.stream("GET", url, headers=product.headers) as response:
            assert response.status_code == 200
            parts = response.aiter_raw()
            taken = await anext(parts)
            with pytest.raises(httpx.TransportError):
                taken += b"".join([part async for part in parts])
    assert taken
    assert not taken.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")
