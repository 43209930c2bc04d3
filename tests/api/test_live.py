"""The live fields of the graph: metrics and logs as a client's operations see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schema.build import build
from tests.support.product import Product, RefusedError

SCHEMA = build()
METRICS = """
subscription ($run: ID!, $after: String, $keys: [String!], $points: Int) {
  runMetrics(runId: $run, after: $after, keys: $keys, points: $points) {
    cursor status stopRequested reset series { key steps values timestamps min max count downsampled }
  }
}
"""
LOGS = """
subscription ($run: ID!, $after: String, $tail: Int) {
  runLogs(runId: $run, after: $after, tail: $tail) { cursor status lines { seq level timestamp message replaces } }
}
"""
LOG_POINTS = """
mutation ($input: MetricsLogInput!) { metricsLog(input: $input) { accepted cursor stopRequested } }
"""
LOG_LINES = """
mutation ($input: LogsAppendInput!) { logsAppend(input: $input) { accepted cursor stopRequested } }
"""


async def _stream(product: Product, text: str, field: str, **variables: Any) -> AsyncIterator[dict[str, Any]]:
    results = await SCHEMA.subscribe(text, variable_values=variables, context_value=await product.context())
    try:
        async for result in results:
            assert not result.errors, result.errors
            assert result.data is not None
            yield result.data[field]
    finally:
        await results.aclose()


async def _refused(product: Product, text: str, **variables: Any) -> Any:
    """The domain error that an operation's first message carries."""
    results = await SCHEMA.subscribe(text, variable_values=variables, context_value=await product.context())
    result = await anext(results)
    assert result.errors
    return result.errors[0].original_error


async def _run(product: Product) -> str:
    made = await product.graphql('mutation { runCreate(input: {name: "live"}) { id } }')
    return str(made["runCreate"]["id"])


async def _log(product: Product, run: str, **given: Any) -> dict[str, Any]:
    answer = await product.graphql(LOG_POINTS, input={"runId": run, **given})
    logged: dict[str, Any] = answer["metricsLog"]
    return logged


async def test_metrics_stream_from_catch_up_to_the_final_status(product: Product) -> None:
    run = await _run(product)
    points = [
        {"key": "loss", "value": 0.5, "step": 1, "timestamp": "2026-01-01T00:00:00.250Z"},
        {"key": "loss", "value": "NaN", "step": "9007199254740993"},
    ]
    first = await _log(product, run, points=points)
    assert (first["accepted"], first["stopRequested"]) == (2, False)
    stream = _stream(product, METRICS, "runMetrics", run=run)
    caught_up = await anext(stream)
    assert caught_up["cursor"] == first["cursor"]
    (loss,) = caught_up["series"]
    assert (loss["steps"], loss["values"]) == ([1, "9007199254740993"], [0.5, "NaN"])
    assert loss["timestamps"][0] == 1_767_225_600_250
    assert (loss["min"], loss["max"], loss["count"], loss["downsampled"]) == (None, None, 2, False)
    second = await _log(product, run, series=[{"key": "acc", "values": [0.1, 0.2], "steps": [5, 6]}])
    assert (await anext(stream))["series"][0]["values"] == [0.1, 0.2]
    await product.graphql("mutation ($run: ID!) { runStop(input: {id: $run}) { id } }", run=run)
    asked = await anext(stream)
    assert (asked["stopRequested"], asked["series"], asked["cursor"]) == (True, [], second["cursor"])
    await product.graphql("mutation ($run: ID!) { runFinish(input: {id: $run, status: STOPPED}) { id } }", run=run)
    assert (await anext(stream))["status"] == "STOPPED"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    resumed = [message async for message in _stream(product, METRICS, "runMetrics", run=run, after=first["cursor"])]
    assert [[series["key"] for series in message["series"]] for message in resumed] == [["acc"]]
    only = [message async for message in _stream(product, METRICS, "runMetrics", run=run, keys=["acc"], points=1)]
    assert only[0]["reset"]
    assert only[0]["series"][0]["downsampled"]
    assert (only[0]["series"][0]["min"], only[0]["series"][0]["max"]) == ([0.1], [0.2])


async def test_logs_stream_to_the_end(product: Product) -> None:
    run = await _run(product)
    stream = _stream(product, LOGS, "runLogs", run=run)
    assert (await anext(stream))["lines"] == []
    lines = [
        {"message": "epoch 1\n 10%\r100%", "timestamp": "2026-01-01T00:00:00Z"},
        {"message": "oops", "level": "ERROR"},
    ]
    answer = await product.graphql(LOG_LINES, input={"runId": run, "lines": lines, "batchId": "b"})
    again = await product.graphql(LOG_LINES, input={"runId": run, "lines": lines, "batchId": "b"})
    assert answer["logsAppend"]["accepted"] == 3
    assert again == answer
    message = await anext(stream)
    assert [(line["seq"], line["level"], line["message"]) for line in message["lines"]] == [
        (1, "INFO", "epoch 1"),
        (2, "INFO", "100%"),
        (3, "ERROR", "oops"),
    ]
    assert message["lines"][0]["timestamp"] == "2026-01-01T00:00:00.000Z"
    assert message["cursor"] == answer["logsAppend"]["cursor"]
    await product.graphql("mutation ($run: ID!) { runFinish(input: {id: $run}) { id } }", run=run)
    assert [message["status"] async for message in stream] == ["COMPLETED"]
    page = await product.graphql(
        "query ($run: ID!, $after: String) { run(id: $run) { logs(first: 1, after: $after, level: ERROR)"
        " { totalCount nodes { message } pageInfo { hasNextPage } } } }",
        run=run,
        after=message["cursor"],
    )
    assert page["run"]["logs"] == {"totalCount": 1, "nodes": [], "pageInfo": {"hasNextPage": False}}


async def test_logs_are_read_and_followed_from_the_end(product: Product) -> None:
    run = await _run(product)
    await product.graphql(LOG_LINES, input={"runId": run, "lines": [{"message": "\n".join("abcdef")}]})
    text = """query ($run: ID!, $last: Int, $before: String, $first: Int, $after: String) { run(id: $run) {
      logs(last: $last, before: $before, first: $first, after: $after) {
        nodes { message } pageInfo { startCursor hasNextPage hasPreviousPage } } } }"""

    async def page(**variables: Any) -> tuple[str, bool, bool, str]:
        logs = (await product.graphql(text, run=run, **variables))["run"]["logs"]
        info = logs["pageInfo"]
        shown = "".join(line["message"] for line in logs["nodes"])
        return shown, info["hasPreviousPage"], info["hasNextPage"], info["startCursor"]

    *newest, cursor = await page(last=4)
    assert newest == ["cdef", True, False]
    assert (await page(last=1, before=cursor))[:3] == ("b", True, True)
    assert (await page(before=cursor))[:3] == ("ab", False, True)
    for wrong, field in (
        ({"last": 1, "first": 1}, "last"),
        ({"last": 1, "after": cursor}, "last"),
        ({"before": cursor, "first": 1}, "before"),
        ({"last": 1_001}, "last"),
        ({"last": 1, "before": "forged"}, "before"),
    ):
        with pytest.raises(RefusedError) as refused:
            await page(**wrong)
        assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", field)

    stream = _stream(product, LOGS, "runLogs", run=run, tail=2)
    assert [line["message"] for line in (await anext(stream))["lines"]] == ["e", "f"]
    told = []
    for message in ("1%\r", "2%\r", "done"):
        await product.graphql(LOG_LINES, input={"runId": run, "lines": [{"message": message}]})
        told += (await anext(stream))["lines"]
    assert [(line["seq"], line["message"], line["replaces"]) for line in told] == [
        (7, "1%", None),
        (8, "2%", 7),
        (9, "done", 7),
    ]
    assert (await page(last=2))[0] == "fdone"
    await product.graphql("mutation ($run: ID!) { runFinish(input: {id: $run}) { id } }", run=run)
    assert [message["status"] async for message in stream] == ["COMPLETED"]


async def test_refusals_of_streams(product: Product) -> None:
    run, other = await _run(product), await _run(product)
    foreign = (await _log(product, other, points=[{"key": "a", "value": 1}]))["cursor"]
    for text, variables, code, field in (
        (METRICS, {"run": "run_" + "0" * 32}, "NOT_FOUND", "run_id"),
        (METRICS, {"run": "mdl_" + "0" * 32}, "BAD_USER_INPUT", "run_id"),
        (METRICS, {"run": run, "after": foreign}, "BAD_USER_INPUT", "after"),
        (METRICS, {"run": run, "after": "forged"}, "BAD_USER_INPUT", "after"),
        (METRICS, {"run": run, "points": 0}, "BAD_USER_INPUT", "points"),
        (METRICS, {"run": run, "keys": [""]}, "BAD_USER_INPUT", "keys[0]"),
        (LOGS, {"run": "run_" + "0" * 32}, "NOT_FOUND", "run_id"),
        (LOGS, {"run": run, "after": foreign}, "BAD_USER_INPUT", "after"),
        (LOGS, {"run": run, "after": foreign, "tail": 1}, "BAD_USER_INPUT", "tail"),
        (LOGS, {"run": run, "tail": -1}, "BAD_USER_INPUT", "tail"),
        (LOGS, {"run": run, "tail": 1_001}, "BAD_USER_INPUT", "tail"),
        (LOGS, {"run": "run_" + "0" * 32, "tail": 1}, "NOT_FOUND", "run_id"),
    ):
        problem = await _refused(product, text, **variables)
        assert (problem.code, problem.field) == (code, field)


async def test_refusals_of_writes(product: Product) -> None:
    run = await _run(product)
    for given, field in (
        ({}, "points"),
        ({"points": []}, "points"),
        ({"points": [{"key": " a", "value": 1}]}, "points[0].key"),
        ({"series": [{"key": "a", "values": [1], "steps": [1, 2]}]}, "series[0].steps"),
        ({"points": [{"key": "a", "value": 1}], "batchId": ""}, "batchId"),
    ):
        with pytest.raises(RefusedError) as refused:
            await _log(product, run, **given)
        assert (refused.value.code, refused.value.field) == ("BAD_USER_INPUT", field)
    with pytest.raises(RefusedError) as empty:
        await product.graphql(LOG_LINES, input={"runId": run, "lines": []})
    assert empty.value.field == "lines"
    await product.graphql("mutation ($run: ID!) { runFinish(input: {id: $run}) { id } }", run=run)
    with pytest.raises(RefusedError) as ended:
        await _log(product, run, points=[{"key": "a", "value": 1}])
    assert ended.value.code == "CONFLICT"


async def test_a_reader_that_leaves_is_forgotten(product: Product) -> None:
    run = await _run(product)
    stream = _stream(product, METRICS, "runMetrics", run=run)
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hub: Any = product.services.run_stream._hub
    assert hub.watching == 0
