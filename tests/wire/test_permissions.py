"""Every operation as everybody: held against the table of permissions, which must name all that is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server.rest.operations import SERVED
from tests.support.clusters import Cluster
from tests.support.workspaces import peopled
from tests.wire.calls import GIVEN, REQUESTS, ROOTS, Things, document, is_missing
from tests.wire.permissions import GRAPH, REST, Row

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALLOWED, MISSING, FORBIDDEN, UNAUTHENTICATED = "allowed", "NOT_FOUND", "FORBIDDEN", "UNAUTHENTICATED"
SIGN_IN = "sign in first"
STREAM = "GET /api/training/runs/{id}/stream"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def things(postgres_cluster: Cluster) -> AsyncIterator[Things]:
    url = postgres_cluster.create()
    async with peopled(url) as world:
        yield await Things.of(world)
    postgres_cluster.drop(url)


async def test_the_table_names_what_is_served() -> None:
    assert set(GRAPH) == {f"{kind}.{name}" for kind, root in ROOTS.items() for name in root.fields}
    assert set(REST) == {f"{operation.method.upper()} {operation.path}" for operation in SERVED}


@pytest.mark.parametrize("kind", list(ROOTS))
async def test_root_fields_are_open_to_those_the_table_names(things: Things, kind: str) -> None:
    wrong = []
    for operation, row in GRAPH.items():
        if operation.startswith(f"{kind}."):
            wrong += await _mismatches(things, operation, row)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("area", ["auth", "training", "models", "inference", ""])
async def test_rest_operations_are_open_to_those_the_table_names(things: Things, area: str) -> None:
    wrong = []
    for operation, row in REST.items():
        if _area(operation) == area:
            wrong += await _mismatches(things, operation, row)
    assert not wrong, "\n".join(wrong)


def _area(operation: str) -> str:
    return next((area for area in ("auth", "training", "models", "inference") if f" /api/{area}" in operation), "")


async def _mismatches(things: Things, operation: str, row: Row) -> list[str]:
    """Every caller whose answer is not the one that the row promises."""
    world = things.world
    wrong = []
    for caller, known in world.callers.items():
        new = row.own and caller != "anonymous"
        headers = await world.somebody(caller) if new else known
        found = await _outcome(replace(things, headers=headers), operation)
        if found != (expected := _expected(row, caller)):
            wrong.append(f"{operation} as {caller}: {found}, not {expected}")
    for scope, headers in world.keys.items():
        found = await _outcome(replace(things, headers=headers), operation)
        if found != (expected := (row.answer or ALLOWED) if scope in row.scopes else FORBIDDEN):
            wrong.append(f"{operation} with {scope}: {found}, not {expected}")
    return wrong


def _expected(row: Row, caller: str) -> str:
    if caller in row.roles:
        return row.answer or ALLOWED
    if caller == "anonymous":
        return f"{UNAUTHENTICATED} ({SIGN_IN})"
    return MISSING if caller == "outsider" and row.of_object else FORBIDDEN


async def _outcome(things: Things, operation: str) -> str:
    if operation.startswith("Subscription."):
        return await _followed(things, operation)
    if "." in operation.partition(" ")[0]:
        text, variables = document(operation, await GIVEN[operation.partition(".")[2]](things))
        answer = await things.world.product.http.post(
            "/graphql", json={"query": text, "variables": variables}, headers=things.headers
        )
        return _of_graphql(answer.json())
    if operation == STREAM:
        return await _watched(things)
    method, _, path = operation.partition(" ")
    given = await REQUESTS[operation](things)
    path = path.format(**given.pop("path", {}))
    headers = {**things.headers, **given.pop("headers", {})}
    return _of_rest(await things.world.product.http.request(method, path, headers=headers, **given))


def _told(code: str, message: str) -> str:
    """An error's code; what the gate says for want of credentials is told from what an operation says."""
    return f"{code} ({SIGN_IN})" if message.startswith(SIGN_IN) else code


def _of_graphql(answer: dict[str, Any]) -> str:
    if errors := answer.get("errors"):
        return _told(errors[0]["extensions"]["code"], errors[0]["message"])
    return MISSING if is_missing(answer["data"]) else ALLOWED


def _of_rest(answer: httpx.Response) -> str:
    if answer.status_code < 400:
        return ALLOWED
    error = answer.json()["error"]
    return _told(error["code"], error["message"])


async def _followed(things: Things, operation: str) -> str:
    """What a subscription's first message says."""
    text, variables = document(operation, await GIVEN[operation.partition(".")[2]](things))
    opening = things.world.product.http.stream(
        "POST",
        "/graphql",
        json={"query": text, "variables": variables},
        headers={**things.headers, "Accept": "text/event-stream"},
    )
    change = None
    if operation.endswith("runsUpdated"):
        while things.world.product.services.runs._feeds._feeds:  # noqa: ASYNC110 - whoever was there before leaves
            await asyncio.sleep(0)
        change = asyncio.create_task(_change_when_followed(things))
    try:
        async with asyncio.timeout(20), opening as stream:
            if not stream.headers["content-type"].startswith("text/event-stream"):
                await stream.aread()
                return _of_graphql(stream.json())
            async for line in stream.aiter_lines():
                if line.startswith("data:") and line != "data:":
                    return _of_graphql(json.loads(line.removeprefix("data:")))
        raise AssertionError("the stream said nothing")
    finally:
        if change is not None:
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)


async def _change_when_followed(things: Things) -> None:
    """Makes a run in the list that is followed, as soon as it is."""
    runs = things.world.product.services.runs
    feeds = runs._feeds._feeds
    while not feeds or not all(feed._watch for feed in feeds.values()):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)
    await runs.create(things.world.scope, experiment=things.experiment)


async def _watched(things: Things) -> str:
    """What the stream of a run's values answers to the handshake, or sends first."""
    path = f"/api/training/runs/{things.ended}/stream"
    url = things.world.product.url.replace("http", "ws", 1) + path
    try:
        async with connect(url, additional_headers=things.headers) as socket:
            assert json.loads(await socket.recv())["type"] == "metrics"
            return ALLOWED
    except InvalidStatus as refused:
        error = json.loads(refused.response.body)["error"]
        return _told(error["code"], error["message"])
