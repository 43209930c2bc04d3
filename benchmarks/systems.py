"""The same acts in each system's own API: make a run, log points, search, read a series.

Each function renders the whole request, so that nothing is computed while the clock runs. MLflow is asked in the forms
its own client and its own pages use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlencode

import orjson

from benchmarks.client import RequestFailed, request, send_all
from benchmarks.points import Point
from benchmarks.servers import NONE, Server, axonml, mlflow

SEARCH_PAGE: Final = 100
SHOWN: Final = 8
_WARM_ROUNDS: Final = 4
_WARM_CONNECTIONS: Final = 8  # 16 batches at once exhaust the connection pool of one MLflow worker


class Api(Protocol):
    """One system's requests, to one running server."""

    port: int

    def create(self, name: str, params: Mapping[str, str] = NONE) -> bytes:
        """Make a run of that name; with its params, where the API takes them here."""

    def run_of(self, reply: bytes) -> str:
        """The id in the answer to `create`."""

    def log(self, run: str, points: Sequence[Point], params: Mapping[str, str] = NONE) -> bytes:
        """Log points, one object each; with the run's params, where the API takes them here."""

    def log_one(self, run: str, point: Point) -> bytes:
        """Log one point in the form meant for that."""

    def finish(self, run: str) -> bytes:
        """End a run."""

    def search(self, key: str, below: float, shown: Sequence[str]) -> bytes:
        """The first page of runs whose last value of `key` is below a bound, ordered by it."""

    def found(self, reply: bytes) -> int:
        """The number of runs on that page."""

    def drawn(self, run: str, key: str, points: int) -> bytes:
        """A series as its chart asks for it: reduced to about `points` points."""

    def every_point(self, run: str, key: str) -> bytes:
        """Every point of a series."""


@dataclass(slots=True)
class AxonML:
    """AxonML: REST to write and to read series, GraphQL to search."""

    port: int
    key: str

    def _request(self, method: str, path: str, body: bytes | None = None, media: str = "application/json") -> bytes:
        return request(method, path, body, key=self.key, media=media)

    def create(self, name: str, params: Mapping[str, str] = NONE) -> bytes:
        body: dict[str, object] = {"name": name, **({"params": dict(params)} if params else {})}
        return self._request("POST", "/api/training/runs", orjson.dumps(body))

    def run_of(self, reply: bytes) -> str:
        return str(orjson.loads(reply)["id"])

    def log(self, run: str, points: Sequence[Point], params: Mapping[str, str] = NONE) -> bytes:  # noqa: ARG002 - see create
        return self._log(run, b'{"metrics":[%s]}' % _entries(points))

    def log_one(self, run: str, point: Point) -> bytes:
        row = f'{{"step":{point.step},"timestamp":{point.timestamp},"{point.key}":{point.value!r}}}'
        return self._log(run, row.encode())

    def log_columns(self, run: str, points: Sequence[Point]) -> bytes:
        """Log points by key: one array of steps, of values and of timestamps each."""
        by_key: dict[str, list[Point]] = {}
        for point in points:
            by_key.setdefault(point.key, []).append(point)
        series = ",".join(
            f'"{key}":{{"steps":[{",".join(point.step for point in column)}],'
            f'"values":[{",".join(repr(point.value) for point in column)}],'
            f'"timestamps":[{",".join(point.timestamp for point in column)}]}}'
            for key, column in by_key.items()
        )
        return self._log(run, f'{{"series":{{{series}}}}}'.encode())

    def _log(self, run: str, body: bytes) -> bytes:
        return self._request("POST", f"/api/training/runs/{run}/metrics", body)

    def finish(self, run: str) -> bytes:
        return self._request("POST", f"/api/training/runs/{run}/finish", b'{"status":"completed"}')

    def search(self, key: str, below: float, shown: Sequence[str]) -> bytes:
        query = """
            query ($filter: String!, $orderBy: [RunOrder!], $first: Int!, $keys: [String!]) {
              runs(filter: $filter, orderBy: $orderBy, first: $first) {
                nodes { id name status metrics(keys: $keys) { key last } }
              }
            }"""
        variables = {
            "filter": f"metrics.{key} < {below}",
            "orderBy": [{"field": f"metrics.{key}", "direction": "ASC"}],
            "first": SEARCH_PAGE,
            "keys": list(shown),
        }
        return self._request("POST", "/graphql", orjson.dumps({"query": query, "variables": variables}))

    def found(self, reply: bytes) -> int:
        return len(orjson.loads(reply)["data"]["runs"]["nodes"])

    def drawn(self, run: str, key: str, points: int) -> bytes:
        return self._request("GET", f"/api/training/runs/{run}/metrics?keys={quote(key, safe='')}&points={points}")

    def every_point(self, run: str, key: str) -> bytes:
        return self._request("GET", f"/api/training/runs/{run}/metrics?keys={quote(key, safe='')}&format=ndjson")


@dataclass(slots=True)
class MLflow:
    """MLflow's REST API 2.0, all runs in one experiment."""

    port: int
    experiment: str

    @classmethod
    async def on(cls, server: Server, name: str) -> MLflow:
        """The API with an experiment of that name, made if it is missing."""
        known = request("GET", "/api/2.0/mlflow/experiments/get-by-name?" + urlencode({"experiment_name": name}))
        try:
            found = (await send_all(server.port, [known]))[0]
            return cls(server.port, str(orjson.loads(found)["experiment"]["experiment_id"]))
        except* RequestFailed:
            pass
        create = request("POST", "/api/2.0/mlflow/experiments/create", orjson.dumps({"name": name}))
        (made,) = await send_all(server.port, [create])
        return cls(server.port, str(orjson.loads(made)["experiment_id"]))

    def create(self, name: str, params: Mapping[str, str] = NONE) -> bytes:  # noqa: ARG002 - see log
        body = {"experiment_id": self.experiment, "run_name": name, "start_time": 1_760_000_000_000}
        return request("POST", "/api/2.0/mlflow/runs/create", orjson.dumps(body))

    def run_of(self, reply: bytes) -> str:
        return str(orjson.loads(reply)["run"]["info"]["run_id"])

    def log(self, run: str, points: Sequence[Point], params: Mapping[str, str] = NONE) -> bytes:
        given = orjson.dumps([{"key": key, "value": value} for key, value in params.items()])
        body = b'{"run_id":"%s","metrics":[%s],"params":%s}' % (run.encode(), _entries(points), given)
        return request("POST", "/api/2.0/mlflow/runs/log-batch", body)

    def log_one(self, run: str, point: Point) -> bytes:
        body = f'{{"run_id":"{run}",{_fields(point)}}}'
        return request("POST", "/api/2.0/mlflow/runs/log-metric", body.encode())

    def finish(self, run: str) -> bytes:
        body = {"run_id": run, "status": "FINISHED", "end_time": 1_760_000_100_000}
        return request("POST", "/api/2.0/mlflow/runs/update", orjson.dumps(body))

    def search(self, key: str, below: float, shown: Sequence[str]) -> bytes:  # noqa: ARG002 - it always sends every metric
        body = {
            "experiment_ids": [self.experiment],
            "filter": f"metrics.{key} < {below}",
            "order_by": [f"metrics.{key} ASC"],
            "max_results": SEARCH_PAGE,
        }
        return request("POST", "/api/2.0/mlflow/runs/search", orjson.dumps(body))

    def found(self, reply: bytes) -> int:
        return len(orjson.loads(reply).get("runs", ()))

    def drawn(self, run: str, key: str, points: int) -> bytes:
        asked = urlencode({"run_ids": run, "metric_key": key, "max_results": points})
        return request("GET", f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{asked}")

    def every_point(self, run: str, key: str) -> bytes:
        asked = urlencode({"run_id": run, "metric_key": key, "max_results": 25_000})
        return request("GET", f"/api/2.0/mlflow/metrics/get-history?{asked}")


def _fields(point: Point) -> str:
    return f'"key":"{point.key}","value":{point.value!r},"timestamp":{point.timestamp},"step":{point.step}'


def _entries(points: Sequence[Point]) -> bytes:
    return ",".join(f"{{{_fields(point)}}}" for point in points).encode()


async def warm(api: Api) -> None:
    """Sends a little of everything over many connections, so that each worker process has done its first work."""
    point = Point("first", 1.0, "1", "1760000000000")
    for _ in range(_WARM_ROUNDS):
        made = await send_all(api.port, [api.create("first")] * _WARM_CONNECTIONS, connections=_WARM_CONNECTIONS)
        runs = [api.run_of(reply) for reply in made]
        for requests in (
            [api.log(run, [point]) for run in runs],
            [api.log_one(run, Point("other", 1.0, "1", "1760000000000")) for run in runs],
            [api.search("first", 0.0, ["first"]) for _ in runs],
            [api.drawn(run, "first", 10) for run in runs],
        ):
            await send_all(api.port, requests, connections=_WARM_CONNECTIONS)


@dataclass(frozen=True, slots=True)
class System:
    """A column of the table: how to start the server, and how to speak to it."""

    name: str
    title: str
    workers: int | None = None

    def start(self, place: Path, database: str) -> AbstractAsyncContextManager[Server]:
        """The server, running while the block does."""
        return axonml(place, database) if self.name == "axonml" else mlflow(place, database, self.workers)

    async def api(self, server: Server, experiment: str) -> AxonML | MLflow:
        """Its API, with what all runs of a measurement share."""
        if self.name == "axonml":
            return AxonML(server.port, server.key or "")
        return await MLflow.on(server, experiment)


OURS: Final = System("axonml", "AxonML")
MLFLOW: Final = System("mlflow", "MLflow")
MLFLOW_ONE: Final = System("mlflow-1", "MLflow, 1 worker", 1)
SYSTEMS: Final = (OURS, MLFLOW, MLFLOW_ONE)
