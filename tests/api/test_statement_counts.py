"""One SQL statement per level: the number of statements does not depend on the number of parents."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from safetensors.numpy import save

from persistence.client import PooledConnection
from tests.support.models import linear, scaled_identity
from tests.support.product import Product

DEEP = """
query Deep($first: Int!) {
  experiments(first: $first) {
    totalCount
    nodes {
      owner { name }
      runs(first: 2) {
        totalCount
        nodes {
          owner { email }
          experiment { name }
          parent { name }
          children(first: 2) { totalCount nodes { name } }
          metrics(first: 2) { key last }
          metricKeys(first: 2) { nodes { key } }
          series(keys: ["loss"], points: 3) { key steps values }
          logs(first: 2) { totalCount nodes { message } }
          modelVersions(first: 2) {
            totalCount
            nodes {
              createdBy { name }
              aliases
              file { tensors(first: 2) { totalCount nodes { name } } }
              run { name }
              model {
                owner { name }
                latestVersion { version }
                aliases { name version { version } }
                versions(first: 2) {
                  totalCount
                  nodes {
                    endpoints(first: 2) {
                      totalCount
                      nodes { name owner { name } traffic { weight version { version model { name } } } }
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}
"""


# Whether the session lives is asked once in a while, and the bus and the audit log do their work when they like.
NOT_OF_THE_QUERY = ("sessions", "pg_notify", "set_config", "audit")


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts the statements that reach PostgreSQL, by their text."""
    seen: Counter[str] = Counter()
    execute = PooledConnection._execute  # type: ignore[attr-defined]  # asyncpg's own; its stubs leave it out

    async def counting(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        if not any(word in query for word in NOT_OF_THE_QUERY):
            seen[" ".join(query.split())] += 1
        return await execute(self, query, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PooledConnection, "_execute", counting)
        yield seen


async def grown(product: Product, number: int) -> None:
    """An experiment with two nested runs, a metric, a log line, a model version and an endpoint."""
    made = await product.graphql(
        """mutation ($name: String!) { runCreate(input: {name: $name, experiment: $name}) { id } }""",
        name=f"e{number}",
    )
    run = made["runCreate"]["id"]
    await product.graphql(
        """mutation ($run: ID!, $name: String!) {
          runCreate(input: {name: "child", experiment: $name, parentId: $run}) { id }
          metricsLog(input: {
            runId: $run, points: [{key: "loss", value: 1, step: 1}, {key: "lr", value: 2, step: 1}]
          }) { cursor }
          logsAppend(input: {runId: $run, lines: [{message: "hello"}]}) { cursor }
          modelCreate(input: {name: $name}) { id }
        }""",
        run=run,
        name=f"e{number}",
    )
    uploaded = await product.rest(
        "POST",
        f"/api/models/e{number}/versions",
        files={"file": ("m.safetensors", save(scaled_identity(2.0)))},
        data={"architecture": json.dumps(linear()), "run_id": run},
    )
    assert uploaded.status_code == 201, uploaded.text
    await product.graphql(
        """mutation ($name: String!, $version: ID!) {
          modelAliasSet(input: {versionId: $version, alias: "champion"}) { id }
          endpointCreate(input: {name: $name, versionId: $version}) { id }
        }""",
        name=f"e{number}",
        version=uploaded.json()["id"],
    )


async def test_lengths_are_counted_only_when_selected(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    await grown(product, 0)
    everything = """{
      experiments { %s nodes { runs { %s nodes { name } } } }
      models { %s nodes { versions { %s nodes { version } } } }
      endpoints { %s nodes { name } }
      viewer { runs { %s nodes { name } } models { %s nodes { name } } endpoints { %s nodes { name } } }
    }"""
    with counted(monkeypatch) as seen:
        await product.graphql(everything.replace("%s", ""))
    assert seen
    assert not [text for text in seen if "count(*)" in text]
    with counted(monkeypatch) as seen:
        answer = await product.graphql(everything.replace("%s", "totalCountAtLeast"))
    assert [text for text in seen if "count(*)" in text]
    assert answer["experiments"]["totalCountAtLeast"] == 1
    assert answer["models"]["totalCountAtLeast"] == 1
    assert answer["models"]["nodes"][0]["versions"]["totalCountAtLeast"] == 1
    assert answer["endpoints"]["totalCountAtLeast"] == 1
    assert {name: of["totalCountAtLeast"] for name, of in answer["viewer"].items()} == {
        "runs": 2,
        "models": 1,
        "endpoints": 1,
    }


async def test_five_levels_deep_the_count_stays(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    have = 0
    counts: dict[int, int] = {}
    for parents in (1, 10, 100):
        for batch in range(have, parents, 8):
            await asyncio.gather(*(grown(product, number) for number in range(batch, min(batch + 8, parents))))
        have = parents
        await product.graphql(DEEP, first=parents)  # what the first request of a process learns is not counted
        with counted(monkeypatch) as seen:
            answer = await product.graphql(DEEP, first=parents)
        assert len(answer["experiments"]["nodes"]) == parents
        for experiment in answer["experiments"]["nodes"]:
            (run,) = [run for run in experiment["runs"]["nodes"] if run["modelVersions"]["totalCount"]]
            assert [metric["key"] for metric in run["metrics"]] == ["loss", "lr"]
            assert run["children"]["totalCount"] == 1
            assert run["modelVersions"]["nodes"][0]["aliases"] == ["champion"]
            assert run["modelVersions"]["nodes"][0]["file"]["tensors"]["totalCount"] == 2
            version = run["modelVersions"]["nodes"][0]["model"]["versions"]["nodes"][0]
            assert version["endpoints"]["nodes"][0]["traffic"][0]["version"]["version"] == 1
        counts[parents] = sum(seen.values())
        repeated = {text: times for text, times in seen.items() if times > 3}
        assert not repeated, repeated
    assert counts[1] == counts[10] == counts[100], counts
    assert counts[100] < 50, counts
