"""`GET /metrics` and `GET /api/admin/stats`: what Prometheus and programs read of the instance."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from server.rest.structs.system import ServerStats
from tests.support.product import Product
from tests.support.servers import until

Key = dict[str, Any]
Revoke = Callable[[Product, Key, str], Awaitable[None]]


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


async def scraping_key(product: Product) -> Key:
    body = {"name": "scrape", "scopes": ["stats:read"]}
    made: Key = (await product.rest("POST", "/api/auth/keys", json=body)).json()
    return made


async def scrape(product: Product, key: Key) -> httpx.Response:
    return await product.http.get("/metrics", headers={"Authorization": f"Bearer {key['secret']}"})


@asynccontextmanager
async def outage(url: str) -> AsyncIterator[None]:
    """The database drops every connection of the server, and takes no other, until the block ends."""
    link = await asyncpg.connect(url)
    name = await link.fetchval("SELECT quote_ident(current_database())")
    try:
        await link.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        await link.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        yield
    finally:
        await link.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        await link.close()


async def test_a_key_that_scraped_reads_on_through_an_outage_and_no_other_does(
    product: Product, database_url: str
) -> None:
    key, unused = await scraping_key(product), await scraping_key(product)
    assert (await scrape(product, key)).status_code == httpx.codes.OK
    async with outage(database_url):

        async def told() -> bool:
            answer = await scrape(product, key)
            assert answer.status_code == httpx.codes.OK, answer.text
            return of(samples(answer.text), "axonml_database_up") == 0

        await until(told, "the figures of before are shown on")  # for two seconds they are
        assert (await scrape(product, unused)).status_code == httpx.codes.SERVICE_UNAVAILABLE
        bearer = {"Authorization": f"Bearer {key['secret']}"}
        stats = await product.http.get("/api/admin/stats", headers=bearer)
        assert stats.status_code == httpx.codes.SERVICE_UNAVAILABLE


async def revoked_here(product: Product, key: Key, _: str) -> None:
    assert (
        await product.rest("DELETE", f"/api/auth/keys/{key['api_key']['id']}")
    ).status_code == httpx.codes.NO_CONTENT


async def revoked_elsewhere(product: Product, key: Key, url: str) -> None:
    """By somebody who tells this process nothing; it has noticed when it closes what the key holds open."""
    async with connect(product.socket_url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        payload = {"Authorization": f"Bearer {key['secret']}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        link = await asyncpg.connect(url)
        await link.execute("UPDATE api_keys SET revoked_at = now() WHERE name = 'scrape'")
        await link.close()
        await socket.wait_closed()
        assert socket.close_code == 4403


@pytest.mark.parametrize("revoke", [revoked_here, revoked_elsewhere])
async def test_a_key_revoked_before_an_outage_reads_nothing_during_it(
    product: Product, database_url: str, revoke: Revoke
) -> None:
    key = await scraping_key(product)
    assert (await scrape(product, key)).status_code == httpx.codes.OK
    await revoke(product, key, database_url)
    async with outage(database_url):

        async def refused() -> bool:
            return (await scrape(product, key)).status_code == httpx.codes.SERVICE_UNAVAILABLE

        await until(refused, "the revoked key reads on")  # what is known of any key is good for half a second
