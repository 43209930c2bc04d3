"""`GET /metrics` and `GET /api/admin/stats`: what Prometheus and programs read of the instance."""

from __future__ import annotations

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from server.rest.structs.system import ServerStats
from tests.support.product import Product


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


async def test_prometheus_scrapes_by_key(product: Product) -> None:
    body = {"name": "scrape", "scopes": ["stats:read"]}
    key = (await product.rest("POST", "/api/auth/keys", json=body)).json()["secret"]
    run = (await product.rest("POST", "/api/training/runs", json={"name": "r"})).json()["id"]
    for step in range(2):
        await product.rest("POST", f"/api/training/runs/{run}/metrics", json={"loss": 0.5, "step": step})
    await product.http.get("/nowhere", headers={"Authorization": f"Bearer {key}"})
    answer = await product.http.get("/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == httpx.codes.OK
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.text)
    assert of(found, "axonml_points") == 2
    assert of(found, "axonml_ingest_points_total", worker="0") == 2
    assert of(found, "axonml_ingest_commit_seconds_count", worker="0") == 2
    assert of(found, "axonml_ingest_commit_seconds_bucket", worker="0", le="+Inf") == 2
    labels = {"worker": "0", "method": "POST", "route": "/api/training/runs/{id}/metrics", "status": "200"}
    assert of(found, "axonml_http_request_seconds_count", **labels) == 2
    labels = {"worker": "0", "method": "GET", "route": "unmatched", "status": "404"}
    assert of(found, "axonml_http_request_seconds_count", **labels) == 1
    assert of(found, "axonml_sealing_lag_seconds") == 0
    assert of(found, "axonml_process_resident_memory_bytes", worker="0") > 2**20
    assert of(found, "axonml_storage_free_bytes", worker="0", place="files") > 0
    assert of(found, "axonml_storage_refused_total", worker="0", place="files") == 0
    assert run not in answer.text


async def test_strangers_and_other_keys_are_refused(product: Product) -> None:
    for path in ("/metrics", "/api/admin/stats"):
        stranger = await product.http.get(path)
        assert (stranger.status_code, stranger.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
        refused = await product.http.get(path, headers={"Authorization": f"Bearer {product.key}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_programs_read_the_counts(product: Product) -> None:
    await product.rest("POST", "/api/training/runs", json={"name": "r"})
    answer = await product.rest("GET", "/api/admin/stats")
    assert answer.status_code == httpx.codes.OK
    found = msgspec.json.decode(answer.content, type=ServerStats)
    assert (found.users, found.runs, found.runs_active, found.metric_points, found.version) == (1, 1, 1, 0, "test")
    assert found.uptime_seconds > 0
