"""Comparing runs through the graph: the series of several runs in one answer."""

from __future__ import annotations

from typing import Any

import pytest

from domain import ids
from domain.errors import BadUserInput, DomainError
from schema.build import build
from tests.support.product import Product

SCHEMA = build()
COMPARE = """
query ($runs: [ID!]!, $keys: [String!]!, $points: Int! = 1000, $axis: SeriesAxis! = STEP,
       $from: FloatValue, $to: FloatValue) {
  runsSeries(runIds: $runs, keys: $keys, points: $points, axis: $axis, from: $from, to: $to) {
    runId series { key steps values count downsampled }
  }
}
"""


async def _compare(product: Product, runs: list[str], keys: list[str], **given: Any) -> list[dict[str, Any]]:
    result = await SCHEMA.execute(
        COMPARE, variable_values={"runs": runs, "keys": keys, **given}, context_value=await product.context()
    )
    if result.errors:
        cause = result.errors[0].original_error
        assert isinstance(cause, DomainError), result.errors
        raise cause
    assert result.data is not None
    answer: list[dict[str, Any]] = result.data["runsSeries"]
    return answer


async def _run(product: Product, **columns: list[float]) -> str:
    run = str((await product.rest("POST", "/api/training/runs", json={"name": "one"})).json()["id"])
    if columns:
        series = {key: {"values": values} for key, values in columns.items()}
        answer = await product.rest("POST", f"/api/training/runs/{run}/metrics", json={"series": series})
        assert answer.status_code == 200, answer.text
    return run


def _values(one: dict[str, Any]) -> dict[str, list[float]]:
    return {series["key"]: series["values"] for series in one["series"]}


async def test_series_of_several_runs_in_the_order_of_the_ids(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await _run(product, loss=[3, 2, 1], acc=[0.1])
    second = await _run(product, loss=[9, 8], other=[1])
    empty = await _run(product)
    asked: list[list[str]] = []
    real = product.services.metrics._store.series

    async def counted(scope: Any, run_ids: list[str], request: Any) -> Any:
        asked.append(run_ids)
        return await real(scope, run_ids, request)

    monkeypatch.setattr(product.services.metrics._store, "series", counted)
    bare = str(ids.to_uuid(second))
    found = await _compare(product, [empty, bare, ids.new("run"), first, second], ["loss", "acc"])
    assert [one["runId"] for one in found] == [empty, second, first]
    assert [_values(one) for one in found] == [{}, {"loss": [9, 8]}, {"acc": [0.1], "loss": [3, 2, 1]}]
    assert asked == [[empty, second, first]]
    zoomed = await _compare(product, [first, second], ["loss"], **{"from": 1, "to": 1})
    assert [_values(one) for one in zoomed] == [{"loss": [2]}, {"loss": [8]}]
    (drawn,) = await _compare(product, [first], ["loss"], points=1)
    assert [(series["count"], series["downsampled"]) for series in drawn["series"]] == [(3, True)]
    assert await _compare(product, [], ["loss"]) == []
    assert await _compare(product, [first], []) == [{"runId": first, "series": []}]
    assert await _compare(product, [ids.new("run")], ["loss"]) == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"runs": [ids.new("run")] * 51}, "run_ids"),
        ({"runs": [ids.new("run"), ids.new("mdl")]}, "run_ids[1]"),
        ({"keys": ["k"] * 51}, "keys"),
        ({"keys": ["ok", "\n"]}, "keys[1]"),
        ({"points": 0}, "points"),
        ({"from": "NaN"}, "from"),
    ],
)
async def test_bad_input_is_named(product: Product, given: dict[str, Any], field: str) -> None:
    wanted: dict[str, Any] = {"runs": [], "keys": [], **given}
    with pytest.raises(BadUserInput) as refused:
        await _compare(product, wanted.pop("runs"), wanted.pop("keys"), **wanted)
    assert refused.value.field == field


async def test_fifty_runs_and_fifty_keys_are_within_the_limits_of_one_operation(product: Product) -> None:
    runs = [await _run(product, **{f"key{place}": [1.0] for place in range(50)})] * 50
    keys = [f"key{place}" for place in range(50)]
    (found,) = (await product.graphql(COMPARE, runs=runs, keys=keys))["runsSeries"]
    assert len(found["series"]) == 50
