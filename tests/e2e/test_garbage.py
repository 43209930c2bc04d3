"""Rubbish on every input of the contract: refused with a code that says what was wrong, and nothing changed by it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from graphql import build_schema
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from domain.errors import HTTP_STATUS, INTERNAL
from tests.support.garbage import GraphGarbage, RestGarbage, Source
from tests.support.models import linear
from tests.support.registry import weights_file
from tests.support.servers import REPOSITORY, WAIT, Server, server

# How many values an input is tried with, of each sort of value; 0 tries all (minutes).
EACH = int(os.environ.get("PYTEST_GARBAGE_EACH", "2"))
SEED = int(os.environ.get("PYTEST_GARBAGE_SEED", "20261121"))
CODES = frozenset(HTTP_STATUS) - {INTERNAL}
# These rows change by being used: the time of the last use, wrong guesses, and what was answered to whom.
LEDGERS = frozenset(
    {"sessions", "api_keys", "users", "attempts", "client_tokens", "audit_events", "aerich", "serving_hosts"}
)


@dataclass
class World:
    """A server with one of everything, a connection to its database, and what went wrong so far."""

    server: Server
    http: httpx.AsyncClient
    database: asyncpg.Connection[asyncpg.Record]
    ids: dict[str, str]
    digest_sql: str
    before: str = ""
    sent: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    async def digest(self) -> str:
        """What the database holds, apart from the ledgers."""
        return str(await self.database.fetchval(self.digest_sql))

    async def check(self, about: str, status: int, codes: list[tuple[str, str | None, str]]) -> None:
        """A refusal has a known code and words, is no defect, and changed nothing."""
        self.sent += 1
        after = await self.digest()
        if codes:
            self.refused += 1
            if after != self.before:
                self.faults.append(f"CHANGED by a refusal: {about} -> {codes}")
        self.before = after
        if status >= 500 and not (status in (503, 504) and codes):
            self.faults.append(f"{status}: {about} -> {codes}")
        if status >= 400 and not codes:
            self.faults.append(f"{status} without an error: {about}")
        for code, _, message in codes:
            if code not in CODES or not message:
                self.faults.append(f"{code} {message!r}: {about}")
        if codes and {code for code, _, _ in codes} == {"BAD_USER_INPUT"} and not any(map(_names, codes)):
            self.faults.append(f"names nothing, {codes}: {about}")


# Refusals of a whole body or document, which say where in it by line, column or token instead of naming a field.
PLACES = (
    "body",
    "Syntax Error",
    "Argument",
    "argument",
    "Expected value",
    "Variable",
    "cannot represent",
    "row",
    "enum",
    "line",
    "list of objects",
    "at least one point",
)


def _names(told: tuple[str, str | None, str]) -> bool:
    return told[1] is not None or any(sign in told[2] for sign in PLACES)


@pytest.fixture
async def world(folder: Path, database_url: str) -> AsyncIterator[World]:
    settings = {
        "AXONML_DATABASE_URL": database_url,
        "AXONML_INFERENCE__MAX_ENDPOINTS": "1",
        "AXONML_WEBAUTHN__ORIGINS": "http://localhost:3000",
    }
    async with server(folder, environment=settings) as served:
        ids = await _one_of_everything(served)
        connection = await asyncpg.connect(database_url)
        try:
            rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            tables = [row["tablename"] for row in rows if row["tablename"] not in LEDGERS]
            assert len(tables) >= 15
            parts = [
                f"(SELECT md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) FROM {table} t)"
                for table in tables
            ]
            headers = {"Authorization": f"Bearer {served.token}"}
            async with served.http(headers=headers) as http:
                made = World(served, http, connection, ids, f"SELECT {' || '.join(parts)}")
                made.before = await made.digest()
                yield made
        finally:
            await connection.close()


async def _one_of_everything(served: Server) -> dict[str, str]:
    run = await served.rest("POST", "/api/training/runs", json={"name": "r", "experiment": "e", "params": {"lr": 1}})
    await served.rest("POST", f"/api/training/runs/{run['id']}/metrics", json={"step": 1, "loss": 0.5})
    await served.rest("POST", f"/api/training/runs/{run['id']}/logs", json={"message": "hello"})
    model = await served.rest("POST", "/api/models", json={"name": "m"})
    version = await served.rest(
        "POST",
        f"/api/models/{model['id']}/versions",
        files={"file": ("w.safetensors", weights_file())},
        data={"architecture": json.dumps(linear())},
    )
    deploy = f"/api/models/{model['id']}/versions/1/deploy"
    live = await served.rest("POST", deploy, params={"wait": "60"}, json={"endpoint": "live"})
    assert live["status"] == "running", live
    body = {"name": "idle", "model_version_id": version["id"]}
    idle = await served.rest("POST", "/api/inference/endpoints", json=body)
    return {
        "run": run["id"],
        "exp": run["experiment_id"],
        "usr": run["user_id"],
        "mdl": model["id"],
        "ver": version["id"],
        "end": idle["id"],
    }


def _paths(ids: dict[str, str]) -> dict[str, dict[str, str]]:
    return {
        "/api/training/runs/{id}": {"id": ids["run"], "kind": "run"},
        "/api/experiments/{id}": {"id": ids["exp"], "kind": "exp"},
        "/api/models/{id}": {"id": ids["mdl"], "v": "1", "kind": "mdl"},
        "/api/inference/endpoints/{id}": {"id": ids["end"], "kind": "end"},
        "/api/inference/predict/{name}": {"name": "live"},
    }


def _bodies(ids: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        ("post", "/api/auth/keys"): {"name": "k", "scopes": ["runs:read"]},
        ("post", "/api/auth/login"): {"email": "nobody@example.com", "password": "not the right password"},
        ("post", "/api/auth/mfa/webauthn/authenticate/finish"): {"ceremony_id": "0" * 32, "credential": {}},
        ("post", "/api/auth/mfa/webauthn/register/finish"): {"ceremony_id": "0" * 32, "name": "k", "credential": {}},
        ("post", "/api/auth/setup"): {"token": "x", "email": "a@b.example", "password": "not the right password"},
        ("post", "/api/experiments"): {"name": "another"},
        ("post", "/api/inference/endpoints"): {"name": "other", "model_version_id": ids["ver"]},
        ("post", "/api/inference/predict/{name}"): {"inputs": [[1, 2, 3, 4]]},
        ("post", "/api/models"): {"name": "another"},
        ("post", "/api/models/{id}/versions/{v}/deploy"): {"endpoint": "idle"},
        ("post", "/api/training/runs/{id}/metrics"): {"loss": 1.0},
        ("post", "/api/training/runs/{id}/logs"): {"message": "x"},
    }


async def _resume(world: World) -> None:
    """Ended by a request that was in order after all: the next ones shall find a run that takes writes."""
    for step in ("restore", "resume"):
        answer = await world.http.post(f"/api/training/runs/{world.ids['run']}/{step}")
        assert answer.status_code in (200, 409), answer.text
    world.before = await world.digest()


async def test_rest(world: World) -> None:
    document = json.loads((REPOSITORY / "schema" / "openapi.json").read_text())
    source = Source(SEED, EACH, world.ids)
    for sent in RestGarbage(document, _paths(world.ids), _bodies(world.ids), source).requests():
        answer = await world.http.request(sent.method, sent.path, content=sent.content, headers=sent.headers)
        codes = []
        if answer.status_code >= 400:
            try:
                error = answer.json()["error"]
                codes = [(error["code"], error["field"], error["message"])]
            except (ValueError, KeyError, TypeError):
                world.faults.append(f"{answer.status_code} {answer.text[:200]!r}: {sent.about}")
        await world.check(sent.about, answer.status_code, codes)
        if sent.method != "get" and answer.is_success and "/runs/{id}" in sent.about:
            await _resume(world)
    _report(world)
    assert world.refused > 300


def _graph(world: World) -> GraphGarbage:
    ids = world.ids
    known = {
        "run": {"id": ids["run"], "runId": ids["run"], "kind": "run", "parentId": ids["run"]},
        "metrics": {"id": ids["run"], "runId": ids["run"], "kind": "run"},
        "logs": {"id": ids["run"], "runId": ids["run"], "kind": "run"},
        "params": {"id": ids["run"], "runId": ids["run"], "kind": "run"},
        "tags": {"id": ids["run"], "runId": ids["run"], "kind": "run"},
        "experiment": {"id": ids["exp"], "kind": "exp"},
        "modelVersion": {"id": ids["ver"], "versionId": ids["ver"], "kind": "ver"},
        "model": {"id": ids["mdl"], "kind": "mdl"},
        "endpoint": {"id": ids["end"], "versionId": ids["ver"], "kind": "end"},
        "": {"id": ids["usr"], "kind": "usr", "endpoint": "live"},
    }
    schema = build_schema((REPOSITORY / "schema" / "schema.graphql").read_text())
    return GraphGarbage(schema, known, Source(SEED, EACH, ids))


def _told(errors: list[dict[str, Any]]) -> list[tuple[str, str | None, str]]:
    return [
        (str(extensions.get("code")), extensions.get("field"), str(error["message"]))
        for error in errors
        for extensions in [error.get("extensions", {})]
    ]


async def test_graphql(world: World) -> None:
    graph = _graph(world)
    for asked in (*graph.requests("query"), *graph.nested(), *graph.requests("mutation")):
        headers = {"Content-Type": "application/json"}
        answer = await world.http.post("/graphql", content=asked.content, headers=headers)
        try:
            document = answer.json()
        except ValueError:
            world.faults.append(f"{answer.status_code} {answer.text[:200]!r}: {asked.about}")
            continue
        await world.check(asked.about, answer.status_code, _told(document.get("errors", [])))
        if asked.kind == "mutation" and "errors" not in document and asked.field in RUN_ENDS:
            await _resume(world)
    assert world.refused > 300
    await _subscribe(world)
    _report(world)


NUDGE = 1.0
RUN_ENDS = frozenset({"runFinish", "runStop", "runUpdate"})


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


async def _first(world: World, socket: ClientConnection, operation: str) -> dict[str, Any]:
    """The first message of an operation; what earlier ones still had under way is passed over.

    Who follows runs in order hears nothing until one changes, so one is changed now and then.
    """
    async with asyncio.timeout(WAIT):
        while True:
            try:
                async with asyncio.timeout(NUDGE):
                    frame = await socket.recv()
            except TimeoutError:
                changed = {"notes": f"changed for {operation}"}
                (await world.http.patch(f"/api/training/runs/{world.ids['run']}", json=changed)).raise_for_status()
                world.before = await world.digest()
                continue
            message: dict[str, Any] = json.loads(frame)
            if message["id"] == operation:
                return message


async def _subscribe(world: World) -> None:
    refused = world.refused
    protocol = [Subprotocol("graphql-transport-ws")]
    async with connect(world.server.socket_url, subprotocols=protocol, max_size=None) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": world.server.headers}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        for number, asked in enumerate(_graph(world).requests("subscription")):
            head = f'{{"type": "subscribe", "id": "{number}", "payload": '
            if not _is_json(asked.content):
                continue  # ends the socket, as the protocol says; shown elsewhere
            codes = []
            await socket.send(head + asked.content.decode() + "}")
            try:
                message = await _first(world, socket, str(number))
            except (TimeoutError, ConnectionClosed) as problem:
                raise AssertionError(asked.about) from problem
            if message["type"] == "error":
                codes = _told(message["payload"])
            elif message["type"] == "next":
                codes = _told(message["payload"].get("errors", []))
                await socket.send(json.dumps({"type": "complete", "id": str(number)}))
            await world.check(asked.about, 200, codes)
    assert world.refused > refused + 20


def _report(world: World) -> None:
    if "Traceback" in world.server.logged:
        world.faults += [line for line in world.server.logged.splitlines() if "Traceback" in line]
    assert not world.faults, f"{len(world.faults)} of {world.sent}:\n" + "\n".join(world.faults[:400])
