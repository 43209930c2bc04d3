"""Metrics and logs over HTTP: every form of ingest, compressed bodies, exports, refusals that name their field."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import zstandard

from server.settings import MetricsSettings, Settings
from tests.support.product import Product, RefusedError, running

NDJSON = "application/x-ndjson"
_WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def _run(product: Product, **given: Any) -> str:
    made = await product.rest("POST", "/api/training/runs", json={"name": "rest", **given})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def _log(product: Product, run: str, document: Any, **options: Any) -> httpx.Response:
    return await product.rest("POST", f"/api/training/runs/{run}/metrics", json=document, **options)


def _error(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["field"]


async def test_every_form_of_ingest_and_every_form_of_reading(product: Product) -> None:
    run = await _run(product)
    path = f"/api/training/runs/{run}/metrics"
    forms = [
        {"epoch": 5, "step": 1250, "loss": 0.25, "lr": None},
        [{"step": 1251, "loss": "NaN"}, {"loss": 0.125}],
        {"metrics": [{"key": "acc", "value": 1, "step": 2, "timestamp": 1000}]},
        {"series": {"acc": {"steps": [1, "9007199254740993"], "values": [2, "Infinity"], "timestamps": [1, 2]}}},
    ]
    accepted = 0
    for form in forms:
        answer = await _log(product, run, form)
        assert answer.status_code == 200, answer.text
        accepted += answer.json()["accepted"]
        assert answer.json()["stop_requested"] is False
    lines = "\n".join(json.dumps(form) for form in forms[:2]) + "\n\n"
    answer = await product.rest("POST", path, content=lines, headers={"Content-Type": NDJSON})
    assert answer.json()["accepted"] == 4
    assert accepted == 7

    read = (await product.rest("GET", path)).json()
    assert read["cursor"] == answer.json()["cursor"]
    assert list(read["series"]) == ["acc", "epoch", "loss"]
    acc = read["series"]["acc"]
    assert (acc["steps"], acc["values"]) == ([1, 2, "9007199254740993"], [2.0, 1.0, "Infinity"])
    assert (acc["timestamps"][1], acc["count"], acc["downsampled"]) == (1000, 3, False)
    assert "min" not in acc
    assert read["series"]["loss"]["values"] == [0.25, "NaN", 0.125, 0.125]

    some = await product.rest("GET", path, params={"keys": "acc", "points": 1, "from": 1, "to": "2"})
    assert some.json()["series"]["acc"]["values"] == [1.0]
    assert (some.json()["series"]["acc"]["min"], some.json()["series"]["acc"]["max"]) == ([1.0], [2.0])

    rows = (await product.rest("GET", path, params={"format": "rows", "keys": ["acc", "epoch"]})).json()
    assert rows[0] == {"acc": 2.0, "step": 1, "timestamp": 1}
    assert [row["step"] for row in rows] == [1, 2, 1250, "9007199254740993"]
    bucket = await product.rest("GET", path, params={"format": "rows", "keys": "acc", "points": 1, "from": 1, "to": 2})
    assert bucket.json() == [{"acc": 1.0, "step": 2, "timestamp": 1000}]  # of a bucket the last

    exported = await product.rest("GET", path, params={"format": "csv"})
    assert exported.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(exported.text)))
    assert len(table) == 11
    assert [row["value"] for row in table if row["key"] == "loss"] == ["0.25", "NaN", "0.125", "0.25", "NaN", "0.125"]
    streamed = await product.rest("GET", path, params={"format": "ndjson", "keys": "acc"})
    assert [json.loads(line) for line in streamed.text.splitlines()] == [
        {"key": "acc", "step": 2, "timestamp": 1000, "value": 1.0},
        {"key": "acc", "step": 1, "timestamp": 1, "value": 2.0},
        {"key": "acc", "step": "9007199254740993", "timestamp": 2, "value": "Infinity"},
    ]
    shown = (await product.rest("GET", f"/api/training/runs/{run}")).json()
    assert shown["metrics"] == {"acc": "Infinity", "epoch": 5.0, "loss": 0.125}


async def test_an_idempotency_key_is_the_batch_id(product: Product) -> None:
    run = await _run(product)
    headers = {"Idempotency-Key": "batch-1"}
    first = await _log(product, run, {"loss": 1}, headers=headers)
    again = await _log(product, run, [{"loss": 1.0}], headers=headers)
    assert first.json() == again.json()
    assert _error(await _log(product, run, {"loss": 2}, headers=headers))[:2] == (409, "CONFLICT")
    for bad in ("x" * 200, "a b"):
        refused = await _log(product, run, {"loss": 2}, headers={"Idempotency-Key": bad})
        assert _error(refused) == (400, "BAD_USER_INPUT", "Idempotency-Key")


async def test_refusals_name_status_code_and_field(product: Product) -> None:
    run = await _run(product)
    for document, field in (
        ([{"loss": 1}] * 3 + [{"loss": True}], "[3].loss"),
        ({"loss": {"a": 1}}, "loss"),
        ({"metrics": [{"key": "a", "value": 1, "x": 1}]}, "metrics[0].x"),
        ({}, None),
        (5, None),
    ):
        assert _error(await _log(product, run, document)) == (422, "BAD_USER_INPUT", field)
    path = f"/api/training/runs/{run}/metrics"
    for body in (b"", b"{", b'{"loss": NaN}', b"[" * 100_000, b"\xff"):
        answer = await product.rest("POST", path, content=body, headers={"Content-Type": "application/json"})
        assert _error(answer) == (400, "BAD_USER_INPUT", None)
    answer = await product.rest("POST", path, content=b"{}", headers={"Content-Type": "text/html"})
    assert _error(answer) == (415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type")
    answer = await _log(product, run, {"series": {"a": {"values": [0] * 100_001}}})
    assert _error(answer) == (422, "BAD_USER_INPUT", "points")
    assert "at most 100000 points" in answer.text
    assert _error(await _log(product, "run_" + "0" * 32, {"a": 1}))[:2] == (404, "NOT_FOUND")
    assert _error(await _log(product, "mdl_" + "0" * 32, {"a": 1})) == (400, "BAD_USER_INPUT", "id")
    for params, field in (
        ({"points": 0}, "points"),
        ({"from": "x"}, "from"),
        ({"to": "nan"}, "to"),
        ({"axis": "epoch"}, "axis"),
        ({"format": "xml"}, "format"),
        ({"nope": 1}, "nope"),
    ):
        assert _error(await product.rest("GET", path, params=params)) == (400, "BAD_USER_INPUT", field)
    assert (await product.rest("GET", path)).json()["series"] == {}
    await product.rest("POST", f"/api/training/runs/{run}/finish", json={"status": "completed"})
    assert _error(await _log(product, run, {"a": 1}))[:2] == (409, "CONFLICT")


async def test_compressed_bodies_are_taken_within_bounds(product: Product) -> None:
    run = await _run(product)
    path = f"/api/training/runs/{run}/metrics"
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = json.dumps([{"loss": place} for place in range(5_000)]).encode()
    packed = gzip.compress(body[:20_000]) + gzip.compress(body[20_000:])
    answer = await product.rest("POST", path, content=packed, headers=headers)
    assert answer.json()["accepted"] == 5_000, answer.text
    bomb = gzip.compress(b" " * 80_000_000 + b"{}")
    answer = await product.rest("POST", path, content=bomb, headers=headers)
    assert _error(answer) == (413, "PAYLOAD_TOO_LARGE", "Content-Encoding")
    assert "at most 67108864 bytes, and beyond 1048576 bytes at most 200 times what was sent" in answer.text
    for broken in (packed[:-4], b"not gzip", gzip.compress(b"")):
        assert _error(await product.rest("POST", path, content=broken, headers=headers))[:2] == (400, "BAD_USER_INPUT")
    for encoding in ("br", "gzip, gzip", "zstd, gzip"):
        refused = await product.rest("POST", path, content=body, headers={**headers, "Content-Encoding": encoding})
        assert _error(refused) == (415, "UNSUPPORTED_MEDIA_TYPE", "Content-Encoding")


async def test_zstd_bodies_are_taken_within_the_same_bounds(product: Product) -> None:
    run = await _run(product)
    path = f"/api/training/runs/{run}/metrics"
    headers = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
    body = json.dumps([{"loss": place} for place in range(5_000)]).encode()
    pack = zstandard.ZstdCompressor(write_checksum=True).compress
    packed = pack(body[:20_000]) + pack(body[20_000:])
    answer = await product.rest("POST", path, content=packed, headers=headers)
    assert answer.json()["accepted"] == 5_000, answer.text
    streamed = zstandard.ZstdCompressor().compressobj()  # without its length in the head, as a client streams it
    parts = streamed.compress(body) + streamed.flush()
    assert (await product.rest("POST", path, content=parts, headers=headers)).json()["accepted"] == 5_000
    repetitive = pack(b" " * 900_000 + b'{"loss": 1}')
    assert (await product.rest("POST", path, content=repetitive, headers=headers)).json()["accepted"] == 1
    damaged = packed[:-1] + bytes((packed[-1] ^ 1,))  # its checksum no longer holds
    for broken in (packed[:-4], packed[:-1], damaged, b"not zstd", pack(b""), packed + b"more"):
        assert _error(await product.rest("POST", path, content=broken, headers=headers))[:2] == (400, "BAD_USER_INPUT")
    long_window = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    wide = zstandard.ZstdCompressor(compression_params=long_window).compressobj()
    asks = wide.compress(body) + wide.flush()
    assert _error(await product.rest("POST", path, content=asks, headers=headers))[:2] == (400, "BAD_USER_INPUT")


async def test_a_full_queue_answers_429_and_overloaded_with_a_time_to_come_back(database_url: str) -> None:
    settings = Settings(metrics=MetricsSettings(queue_batches=1))
    async with running(database_url, settings=settings) as product, asyncio.timeout(60):
        run = await _run(product)
        holder = await asyncpg.connect(database_url)
        try:
            async with holder.transaction():
                await holder.execute("SELECT 1 FROM run_heads FOR UPDATE")
                waiting = asyncio.create_task(_log(product, run, {"loss": 1}))
                while not await holder.fetchval(_WAITS):  # noqa: ASYNC110 - the database says when
                    await asyncio.sleep(0.01)
                refused = await _log(product, run, {"loss": 2})
                assert _error(refused)[:2] == (429, "OVERLOADED")
                assert 1 <= int(refused.headers["retry-after"]) <= 30
                mutation = "mutation ($input: MetricsLogInput!) { metricsLog(input: $input) { accepted } }"
                given = {"runId": run, "points": [{"key": "loss", "value": 3}]}
                with pytest.raises(RefusedError) as overloaded:
                    await product.graphql(mutation, input=given)
                assert overloaded.value.code == "OVERLOADED"
                assert 1 <= overloaded.value.errors[0]["extensions"]["retryAfter"] <= 30
        finally:
            await holder.close()
        assert (await waiting).json()["accepted"] == 1
        read = await product.rest("GET", f"/api/training/runs/{run}/metrics")
        assert read.json()["series"]["loss"]["values"] == [1.0]


async def test_logs_are_appended_paged_and_downloaded(product: Product) -> None:
    run = await _run(product)
    path = f"/api/training/runs/{run}/logs"
    one = await product.rest("POST", path, json={"message": "hello\nworld", "level": "warning"})
    assert (one.status_code, one.json()["accepted"]) == (200, 2)
    two = await product.rest(
        "POST",
        path.removesuffix("s"),
        json={"lines": [{"message": "a", "timestamp": "2026-01-01T00:00:00Z"}, {"message": "b", "level": "error"}]},
        headers={"Idempotency-Key": "l1"},
    )
    assert two.json()["accepted"] == 2
    text = await product.rest("POST", path, content="plain\r\ntext ☃\n", headers={"Content-Type": "text/plain"})
    assert text.json()["accepted"] == 2
    page = (await product.rest("GET", path, params={"limit": 4})).json()
    assert [line["message"] for line in page["items"]] == ["hello", "world", "a", "b"]
    assert (page["total"], page["items"][0]["level"], page["items"][0]["seq"]) == (6, "warning", 1)
    rest = (await product.rest("GET", path, params={"cursor": page["next_cursor"]})).json()
    assert ([line["message"] for line in rest["items"]], rest["next_cursor"]) == (["plain", "text ☃"], None)
    assert (await product.rest("GET", path, params={"cursor": two.json()["cursor"], "level": "error"})).json()[
        "items"
    ] == []
    whole = await product.rest("GET", path, params={"format": "text", "level": "error"})
    assert whole.headers["content-type"].startswith("text/plain")
    assert whole.text.endswith("Z ERROR    b\n")


async def test_the_end_of_a_log_is_answered_as_a_page_and_as_text(product: Product) -> None:
    run = await _run(product)
    path = f"/api/training/runs/{run}/logs"
    lines = [{"message": str(n), "level": ("info", "error")[n % 2]} for n in range(10)]
    assert (await product.rest("POST", path, json={"lines": lines})).json()["accepted"] == 10

    async def read(**params: Any) -> tuple[str, dict[str, Any]]:
        page = (await product.rest("GET", path, params=params)).json()
        return "".join(line["message"] for line in page["items"]), page

    newest, page = await read(tail=3)
    assert (newest, page["next_cursor"], page["total"]) == ("789", None, 10)
    earlier, page = await read(before=page["previous_cursor"], limit=4)
    assert earlier == "3456"
    assert (await read(cursor=page["next_cursor"]))[0] == "789"
    earlier, page = await read(before=page["previous_cursor"])
    assert (earlier, page["previous_cursor"]) == ("012", None)
    assert (await read(tail=2, level="error"))[0] == "79"
    text = await product.rest("GET", path, params={"tail": 2, "format": "text", "level": "error"})
    assert text.headers["content-type"].startswith("text/plain")
    assert [line[25:] for line in text.text.splitlines()] == ["ERROR    7", "ERROR    9"]
    place = page["next_cursor"]
    for params, field in (
        ({"tail": 2, "limit": 2}, "tail"),
        ({"tail": 2, "cursor": place}, "tail"),
        ({"tail": 2, "before": place}, "tail"),
        ({"tail": 0}, "tail"),
        ({"tail": 1_001}, "tail"),
        ({"before": place, "cursor": place}, "before"),
        ({"before": "forged"}, "before"),
        ({"before": place, "format": "text"}, "format"),
        ({"limit": 3, "format": "text"}, "format"),
    ):
        assert _error(await product.rest("GET", path, params=params))[1:] == ("BAD_USER_INPUT", field)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "message"),
        ({"lines": []}, "lines"),
        ({"lines": [{"message": "a", "level": "loud"}]}, "lines[0].level"),
        ({"lines": [{"message": "a", "timestamp": "yesterday"}]}, "lines[0].timestamp"),
        ({"lines": [{"message": "a\u0000"}]}, "lines[0].message"),
        ({"message": "a", "extra": 1}, "extra"),
        ([], None),
    ],
)
async def test_refused_log_bodies(product: Product, document: Any, field: str | None) -> None:
    run = await _run(product)
    answer = await product.rest("POST", f"/api/training/runs/{run}/logs", json=document)
    assert _error(answer) == (422, "BAD_USER_INPUT", field)
    cursor = await product.rest("GET", f"/api/training/runs/{run}/logs", params={"cursor": "forged"})
    assert _error(cursor) == (400, "BAD_USER_INPUT", "cursor")


async def test_an_export_of_large_batches_is_whole_and_in_order(product: Product) -> None:
    made = await product.rest("POST", "/api/training/runs", json={"name": "large"})
    path = f"/api/training/runs/{made.json()['id']}/metrics"
    steps = list(range(25_000))
    body = {"series": {key: {"steps": steps, "values": steps} for key in ("a", "b")}}
    assert (await product.rest("POST", path, json=body)).json()["accepted"] == 50_000
    exported = (await product.rest("GET", path, params={"format": "csv"})).text.splitlines()[1:]
    assert [line.split(",")[:2] for line in exported] == [[key, str(step)] for key in ("a", "b") for step in steps]
    lines = (await product.rest("GET", path, params={"format": "ndjson", "keys": "b"})).text.splitlines()
    assert [json.loads(line)["step"] for line in lines] == steps


async def test_lines_are_taken_while_they_arrive_however_they_are_cut(product: Product) -> None:
    path = f"/api/training/runs/{await _run(product)}/metrics"
    lines = [{"step": step, "loss": step / 3, "é": 1} for step in range(3_000)]
    body = "\n".join(["", *(json.dumps(line, ensure_ascii=False) for line in lines), " "]).encode()
    encoded = {"identity": body, "gzip": gzip.compress(body), "zstd": zstandard.ZstdCompressor().compress(body)}

    async def cut(text: bytes, size: int) -> AsyncIterator[bytes]:
        for place in range(0, len(text), size):
            yield text[place : place + size]

    for encoding, text in encoded.items():
        for size in (977, 70_001):
            headers = {"Content-Type": NDJSON, "Content-Encoding": encoding}
            answer = await product.rest("POST", path, content=cut(text, size), headers=headers)
            assert (answer.status_code, answer.json()["accepted"]) == (200, 6_000)
    stored = (await product.rest("GET", path, params={"format": "ndjson", "keys": "loss"})).text.splitlines()
    assert len(stored) == 18_000
    assert [json.loads(line)["value"] for line in stored[:3_000]] == [step / 3 for step in range(3_000)]


_REFUSED_LINES: dict[str, tuple[bytes, str, int, str]] = {
    "not JSON": (b'{"a": 1}\n\n{"a": }\n' + b'{"a": 1}\n' * 20_000, "identity", 400, "line 3 is not valid JSON"),
    "no number": (b'{"a": 1}\n{"a": "x"}\n' + b'{"a": 1}\n' * 20_000, "identity", 422, "line 2: expected a number"),
    "no number after a blank": (b'{"a": 1}\n\n[{"a": 1}, {"a": "x"}]', "identity", 422, "line 3: expected a number"),
    "too many": (b'{"a": 1}\n' * 100_001, "identity", 422, "line 100001: a batch has at most 100000 points"),
    "blank": (b"\n \n", "identity", 422, "expected at least one line"),
    "empty": (b"", "identity", 400, "the body is empty"),
    "a bomb": (gzip.compress(b" " * 80_000_000), "gzip", 413, "inflates beyond"),
    "cut off": (gzip.compress(b'{"a": 1}\n' * 9)[:-4], "gzip", 400, "cut off"),
}


@pytest.mark.parametrize("case", _REFUSED_LINES)
async def test_lines_that_are_refused_are_answered_and_nothing_of_them_is_kept(product: Product, case: str) -> None:
    body, encoding, status, said = _REFUSED_LINES[case]
    path = f"/api/training/runs/{await _run(product)}/metrics"
    headers = {"Content-Type": NDJSON, "Content-Encoding": encoding}
    answer = await product.rest("POST", path, content=body, headers=headers)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert (await product.rest("GET", path)).json()["series"] == {}
